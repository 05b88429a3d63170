"""`nicodec batch`: archives, on this machine or on a cluster; for a folder or two, see `jobs`."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from copy import copy
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from nicodec.cli import decode, encode, messages, verify
from nicodec.cli.sizes import Size
from nicodec.errors import BatchError, InputError, OutputError, UsageError

if TYPE_CHECKING:
    from nicodec.scale.ledger import Tally
    from nicodec.scale.shards import Shard
    from nicodec.scale.worker import Order

PLACES: list[click.Parameter] = [click.Argument(["source"], metavar="SRC"), click.Argument(["target"], metavar="DST")]
ENCODING = ("quality", "effort", "tune", "streams", "token_bits", "robust", "references", "series", "drawn",
            "recommend", "model", "verify", "device", "allow_8bit", "allow_damaged", "strip")  # fmt: skip
VERIFYING = ("max_pixels",)
DECODING = ("kind", "anchor", "taus", "steps", "seed", "scale", "max_pixels", "memory_limit", "device", "strip")
TAR = click.Option(["--tar"], is_flag=True, help="Write a tar a shard instead of a file a picture. Members of tars "
                   "that are no pictures come along.")  # fmt: skip
SHARED: list[click.Parameter] = [
    click.Option(["--engine"], type=click.Choice(["local", "ray"]), default="local", show_default=True,
                 help="Who works: processes on this machine, or a Ray cluster."),
    click.Option(["--address"], metavar="HOST:PORT", help="The cluster's; auto: the one that this machine belongs to. "
                 "Default: one is started on this machine."),
    click.Option(["--workers"], type=click.IntRange(1), help="Each has a model of its own. Default: as many as there "
                 "is room for."),
    click.Option(["--cores"], type=click.IntRange(1, 256), default=1, show_default=True, help="Of each worker."),
    click.Option(["--memory"], type=Size(), default="2GiB", show_default=True, metavar="SIZE",
                 help="Of each worker: a picture that takes more is refused. One of 12 megapixels takes about "
                 "1.3 GiB."),
    click.Option(["--shard"], type=click.IntRange(1, 100_000), default=1000, show_default=True,
                 help="Pictures in a shard, which is done again where its worker is lost. A tar is one."),
    click.Option(["--column"], metavar="NAME", help="Of a manifest, with paths or URLs. Default: url, or else path."),
    click.Option(["--retry"], is_flag=True, help="Do finished shards again that have failures."),
    click.Option(["-f", "--force"], is_flag=True, help="Do all shards again, over what is there, another run's too."),
]  # fmt: skip
REPORTING = ("as_json", "quiet")


@click.group("batch")
def command() -> None:
    """Encode, decode or verify an archive, in shards, with many workers.

    SRC is a folder, a manifest (.jsonl or .parquet) or tars ('TARS/*.tar'), DST a folder; paths or URLs that fsspec
    knows. The same command goes on where it was stopped: SCALE.md says how, and what becomes of what fails.
    """


def options_of(other: click.Command, names: Sequence[str]) -> list[click.Parameter]:
    """Options of another command, as they are there; but each file becomes one picture, at one tau."""
    options = [copy(option) for option in other.params if option.name in names]
    for option in options:
        if isinstance(option, click.Option) and option.help:
            option.help = option.help.replace(decode.SEVERAL, "")
    return options


def run(
    do: str, source: str, target: str, engine: str, address: str | None, workers: int | None, cores: int, memory: float,
    shard: int, column: str | None, retry: bool, force: bool, as_json: bool, quiet: bool, tar: bool = False,
    **options: Any,
) -> None:  # fmt: skip
    """What all three commands do.

    Raises:
        BatchError: some of the files failed, or shards could not be finished; each was reported.
        OutputError: the target takes no more; what is done is done.
    """
    if address is not None and engine != "ray":
        raise UsageError("--address is a Ray cluster's: use --engine ray with it")
    from nicodec.scale.ledger import REPORT, Failure, Tally, left
    from nicodec.scale.places import Folder
    from nicodec.scale.report import Report
    from nicodec.scale.shards import plan
    from nicodec.scale.work import work_of
    from nicodec.scale.worker import Order

    gpus = int(options.get("device") == "cuda")
    order = Order({"do": do, **options}, Folder(target).url, tar, cores, None if gpus else int(memory))
    planned = plan(source, work_of(order.options).reads, shard, column)
    ledger, before, now = order.ledger(), Tally(), Tally()
    todo = left(planned.shards, ledger, before, retry=retry, again=force)
    said = _crew(engine, order, todo, workers, address, gpus)
    ledger.begin(force=force)
    unfinished, started = [], time.perf_counter()
    hidden = True if quiet else None  # None: where stderr is no terminal
    with closing(said), tqdm(unit="picture", leave=False, disable=hidden) as bar:
        for each in said:
            bar.total = planned.pictures and planned.pictures - before.taken
            if isinstance(each, int):
                bar.update(each)
                continue
            bar.clear()
            _tell(each, as_json=as_json, quiet=quiet)
            if each.unfinished is None:
                now.add(each)
                continue
            unfinished.append(each.unfinished)
            if each.unfinished.exit_code == OutputError.exit_code:  # it would take nothing from anybody
                break
    refused = Tally(failures=[Failure(source, why, InputError.exit_code) for why in planned.refused])
    _tell(refused, as_json=as_json, quiet=quiet)
    now.add(refused)
    report = Report(before, now, unfinished, time.perf_counter() - started)
    messages.report(report.line(), report.totals(), as_json=as_json, quiet=quiet)
    full = next((failure for failure in unfinished if failure.exit_code == OutputError.exit_code), None)
    if full is not None:
        raise OutputError(f"{full.error}; the same command goes on from here")
    ledger.target.write(REPORT, json.dumps(report.fields(), indent=1).encode())
    failed = len(report.all.failures)
    if failed or unfinished:
        raise BatchError(f"{failed} of {report.all.taken} pictures failed, {len(unfinished)} shards are unfinished; "
                         f"all others are done: {ledger.target.url_of(REPORT)}")  # fmt: skip


def _crew(
    engine: str, order: Order, shards: Iterator[Shard], workers: int | None, address: str | None, gpus: int
) -> Generator[int | Tally, None, None]:  # fmt: skip
    if engine == "ray":
        from nicodec.scale import cluster

        return cluster.run(order, shards, workers, address=address, gpus=gpus)
    from nicodec.scale import local
    from nicodec.threads import thread_count

    return local.run(order, shards, workers or max(1, thread_count() // order.threads))


def _tell(tally: Tally, *, as_json: bool, quiet: bool) -> None:
    """What a user must know of a shard: what failed, and what is odd about what did not."""
    messages.warn(tuple(tally.notes), quiet or as_json)
    for failure in [*tally.failures, *([] if tally.unfinished is None else [tally.unfinished])]:
        messages.report(
            f"nicodec: error: {failure.input}: {failure.error}", asdict(failure), as_json=as_json, quiet=False
        )


for verb, params, text in (
    ("encode", [*options_of(encode.command, ENCODING), TAR], """Encode the pictures of SRC: x.jpg becomes x.jpg.nic.

    With --series, pictures of a shard may refer to earlier ones of its folder; as they are read in order, nothing is
    coded better for others before one of these has shown that it pays."""),
    ("decode", [*options_of(decode.command, DECODING), TAR], "Decode the .nic files of SRC: x.jpg.nic becomes "
     "x.jpg.png."),
    ("verify", options_of(verify.command, VERIFYING), "Verify the .nic files of SRC; DST gets the report."),
):  # fmt: skip
    command.add_command(click.Command(
        verb, params=[*PLACES, *params, *SHARED, *options_of(encode.command, REPORTING)], callback=partial(run, verb),
        help=text,
    ))  # fmt: skip
