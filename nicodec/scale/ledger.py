"""What is done, in the target itself: an entry a finished shard, written last; a run that goes on leaves these out.

An entry's name is the hash of what its shard is and of what was to be done with it. So a manifest may grow, and nothing
that is listed otherwise is taken for done. What a listed file holds by now, and whether its output is still there, is
not looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nicodec.errors import NicodecError, OutputExistsError
from nicodec.scale.places import Folder
from nicodec.scale.shards import Shard

HOME = "_nicodec"
RUN, REPORT, SHARDS = f"{HOME}/run.json", f"{HOME}/report.json", f"{HOME}/shards"
WHEREVER = {"device"}  # of the options: what they change is who works, not what is made


@dataclass(frozen=True)
class Failure:
    """A file of which nothing was made, or an input that could not be listed."""

    input: str
    error: str
    exit_code: int

    @classmethod
    def of(cls, source: str, error: NicodecError) -> Failure:
        """What an error says of it."""
        return cls(source, str(error), error.exit_code)


@dataclass
class Tally:
    """What came of a shard, or of many.

    Attributes:
        done: files of which all was made.
        input_bytes, output_bytes: of those.
        seconds: of work, one worker's after the other's.
        notes: what is to be said of files that are done, a line each.
        failures: files of which nothing was made.
        unfinished: why the shard has to be done again, if it has.
    """

    done: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unfinished: Failure | None = None

    @property
    def taken(self) -> int:
        """Files that were looked at, done or failed."""
        return self.done + len(self.failures)

    def add(self, other: Tally) -> None:
        """Count another one in, without its notes, of which there may be millions."""
        self.done += other.done
        self.input_bytes += other.input_bytes
        self.output_bytes += other.output_bytes
        self.seconds += other.seconds
        self.failures += other.failures


class Ledger:
    """The entries in a target.

    Args:
        options: what is done to each file, see `work`; and `tar`, whether outputs are members of tars.
    """

    def __init__(self, target: Folder, options: Mapping[str, Any]) -> None:
        self.target = target
        self.options = json.loads(json.dumps({k: v for k, v in options.items() if k not in WHEREVER}))

    def begin(self, *, force: bool) -> None:
        """Make the target this run's, or see that it is.

        Raises:
            OutputExistsError: other things are there, or another run's, and `force` is off.
            InputError, OutputError: it cannot be read, or written to.
        """
        if self.target.has(RUN):
            before = _parsed(self.target.read(RUN)) or {}
            changed = [name for name in {**before, **self.options} if before.get(name) != self.options.get(name)]
            if changed and not force:
                said = "; ".join(f"{name} was {before.get(name)}, is {self.options.get(name)}" for name in changed[:3])
                raise OutputExistsError(f"{self.target.url} holds another run: {said}; use -f to write over it")
        elif not force and not self.target.is_empty():
            raise OutputExistsError(f"{self.target.url} holds other things; name an empty folder, or use -f")
        self.target.write(RUN, json.dumps(self.options, indent=1).encode())

    def name(self, shard: Shard) -> str:
        """Of a shard's entry."""
        what = json.dumps([self.options, asdict(shard)]).encode()
        return f"{SHARDS}/{hashlib.sha256(what).hexdigest()[:32]}.json"

    def finished(self) -> frozenset[str]:
        """The names of all entries. Raises: InputError."""
        if not self.target.fs.exists(f"{self.target.path}/{SHARDS}"):
            return frozenset()
        names, _ = Folder(self.target.url_of(SHARDS)).names(frozenset({".json"}))
        return frozenset(f"{SHARDS}/{name}" for name in names)

    def read(self, name: str) -> Tally | None:
        """An entry; None: it is not whole. Raises: InputError."""
        entry = _parsed(self.target.read(name))
        try:
            failures = [Failure(**failure) for failure in entry.pop("failures")]
            return Tally(**entry, failures=failures)
        except (AttributeError, KeyError, TypeError):
            return None

    def write(self, shard: Shard, tally: Tally) -> None:
        """A shard is finished. Raises: OutputError."""
        entry = asdict(tally)
        del entry["unfinished"]
        self.target.write(self.name(shard), json.dumps(entry).encode())


def left(shards: Iterator[Shard], ledger: Ledger, before: Tally, *, retry: bool, again: bool) -> Iterator[Shard]:
    """The shards that are not finished; what came of the others is counted in `before`.

    Args:
        retry: do those again that have failures.
        again: do all.
    """
    finished = frozenset() if again else ledger.finished()
    for shard in shards:
        if (name := ledger.name(shard)) in finished:
            tally = ledger.read(name)
            if tally is not None and not (retry and tally.failures):
                before.add(tally)
                continue
        yield shard


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
