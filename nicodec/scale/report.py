"""What came of a run, in a line, and in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nicodec.scale.ledger import Failure, Tally


@dataclass(frozen=True)
class Report:
    """What came of a run.

    Attributes:
        before: of shards that were finished when it began.
        now: of those that it finished.
        unfinished: shards that have to be done again, and why.
        seconds: that it took.
    """

    before: Tally
    now: Tally
    unfinished: Sequence[Failure]
    seconds: float

    @property
    def all(self) -> Tally:
        """Of all finished shards."""
        tally = Tally()
        tally.add(self.before)
        tally.add(self.now)
        return tally

    def line(self) -> str:
        """Totals, for people."""
        tally, done = self.all, self.now.done
        line = f"{tally.done} of {tally.taken} pictures, {tally.input_bytes} -> {tally.output_bytes} bytes"
        if tally.output_bytes and tally.input_bytes:
            line += f" ({100 * (tally.output_bytes / tally.input_bytes - 1):+.1f} %)"
        line += f"; {done} of them now, in {self.seconds:.1f} s"
        if self.now.seconds:
            line += f" ({done / self.seconds:.2f} a second, {self.now.seconds / max(1, done):.3f} s of a worker each)"
        if self.before.failures:
            line += f"; {len(self.before.failures)} failed before, which --retry does again"
        return line

    def totals(self) -> dict[str, Any]:
        """The same, for programs."""
        tally = self.all
        return {
            "pictures": tally.taken, "done": tally.done, "failed": len(tally.failures), "done_before": self.before.done,
            "shards_unfinished": len(self.unfinished), "input_bytes": tally.input_bytes,
            "output_bytes": tally.output_bytes, "bytes_saved": tally.input_bytes - tally.output_bytes,
            "seconds": round(self.seconds, 3), "worker_seconds": round(tally.seconds, 3),
        }  # fmt: skip

    def fields(self) -> dict[str, Any]:
        """Totals, every failure and every shard that is not finished."""
        failures = [asdict(failure) for failure in self.all.failures]
        return {**self.totals(), "failures": failures, "unfinished": [asdict(failure) for failure in self.unfinished]}
