"""`nicodec bench`."""

from __future__ import annotations

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from nicodec.bench.sets import MANIFESTS, find_set
from nicodec.cli.sizes import Finite
from nicodec.options import QUALITY_RANGE

DEFAULT_CODECS = ("nicodec", "jpeg", "jpeg:tune=psnr", "webp", "avif", "avif:tune=psnr", "jxl")
PATH = click.Path(path_type=Path)


class Settings(click.ParamType[Any]):
    """Qualities of nicodec with commas between."""

    name = "settings"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Parse, or fail with what was expected."""
        return tuple(Finite(*QUALITY_RANGE).convert(entry, param, ctx) for entry in value.split(","))


@click.command("bench")
@click.argument("pictures", nargs=-1, required=True, type=PATH, metavar="IMAGES...")
@click.option("-o", "--output", required=True, type=PATH, metavar="REPORT_DIR",
              help="Folder of the report. A run that was stopped goes on where it was.")  # fmt: skip
@click.option("--codec", "codecs", multiple=True, default=DEFAULT_CODECS, show_default=True,
              help="What to measure; several times for several. Of nicodec also nicodec:tune=psnr, :sq, :vq, "
              ":perception, :tau=T, :steps=N, any of them together, and @MODEL; of JPEG also jpeg:tau=0, 0.7 and 1, "
              "restored; compressai:MODEL.")  # fmt: skip
@click.option("--set", "named", type=click.Choice(list(MANIFESTS)),
              help="IMAGES is a folder with this set: pictures that are missing or other are named.")  # fmt: skip
@click.option(
    "--settings", type=Settings(), metavar="Q,Q..", help="Quality settings of nicodec, instead of eight over the range."
)
@click.option("--trunk", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="AlexNet weights for LPIPS and patch distances. Default: torch's cache.")  # fmt: skip
@click.option("--published", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help='JSON of published curves to draw beside: {"name": {"bpp": [..], "psnr": [..]}}.')  # fmt: skip
@click.option(
    "--speed", is_flag=True, help="Measure seconds by stage and memory by size instead; uses the first picture."
)
@click.option("--threads", type=click.IntRange(1, 256), help="CPU threads, 1..256. Default: one a core.")
def command(
    pictures: tuple[Path, ...], output: Path, codecs: tuple[str, ...], settings: tuple[float, ...] | None,
    named: str | None, trunk: Path | None, published: Path | None, speed: bool, threads: int | None,
) -> None:  # fmt: skip
    """Measure codecs on IMAGES: rate, distortion, perception, time, memory.

    Writes report.json, measurements.csv, summary.csv, report.md, report.html and plots to REPORT_DIR. Exit code 3 if a
    picture could not be read, or the set is not whole.
    """
    from nicodec.cli.flags import set_threads
    from nicodec.errors import InputError, UsageError

    absent_packages = [name for name in ("bjontegaard", "matplotlib", "pytorch_msssim") if find_spec(name) is None]
    if absent_packages:
        raise UsageError(f"bench needs {', '.join(absent_packages)}: install nicodec with its extra, nicodec[bench]")
    if named and len(pictures) != 1:
        raise UsageError(f"--set {named} takes one folder, not {len(pictures)} pictures")
    set_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    if speed:
        from nicodec.bench.speed import measure_speed

        text, figures = measure_speed(pictures[0])
        (output / "speed.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        (output / "speed.md").write_text(text, encoding="utf-8")
        click.echo(text)
        return

    from nicodec.bench.codecs import make, missing
    from nicodec.bench.measures import comparisons
    from nicodec.bench.pages import markdown, page
    from nicodec.bench.plots import draw
    from nicodec.bench.run import Bench, read_sources
    from nicodec.bench.summary import report, to_csv, to_json
    from nicodec.metrics.perceptual import Perception, find_trunk

    chosen = find_set(named, pictures[0]) if named else None
    sources, skipped = read_sources(chosen.paths if chosen else pictures)
    absent = {name: why for name in codecs if (why := missing(name)) is not None}
    made = {name: make(name) for name in codecs if name not in absent}
    found = find_trunk(trunk)
    perception = Perception(found) if found else None
    compare, without = comparisons(perception)
    absent |= without
    bench = Bench(output, {name: codec.encoder for name, codec in made.items()}, compare, perception)
    names = list(made)
    ladder = {name: settings if settings and name.startswith("nicodec") else made[name].settings for name in names}
    bench.measure(names, sources, ladder.__getitem__, Progress())
    curves = json.loads(published.read_text(encoding="utf-8")) if published else {}
    result = report(bench, names, sources, skipped, absent, curves, chosen)
    (output / "plots").mkdir(exist_ok=True)
    plots = draw(result, output / "plots")
    (output / "report.json").write_text(to_json(result), encoding="utf-8")
    (output / "measurements.csv").write_text(to_csv(result["measurements"]), encoding="utf-8")
    (output / "summary.csv").write_text(to_csv(result["summary"]), encoding="utf-8")
    (output / "report.md").write_text(markdown(result, plots), encoding="utf-8")
    (output / "report.html").write_text(page(result, plots, output, sources), encoding="utf-8")
    for name, why in absent.items():
        click.echo(f"nicodec: not measured: {name}: {why}", err=True)
    click.echo(f"{output / 'report.html'}: written", err=True)
    faults = [*(f"skipped {name}: {why}" for name, why in skipped.items()), *(chosen.faults() if chosen else [])]
    if faults:
        raise InputError("; ".join(faults))


class Progress:
    """Jobs done and time left: one line that renews itself on a terminal, a line a minute elsewhere."""

    def __init__(self) -> None:
        self.started = self.shown = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Tell of `done` of `total` jobs."""
        now = time.monotonic()
        self.first = done if self.first is None else self.first
        terminal = sys.stderr.isatty()
        if now - self.shown < (0.2 if terminal else 60) and done < total:
            return
        self.shown = now
        left = (now - self.started) / max(1, done - self.first) * (total - done)
        line = f"{done}/{total} measured, about {left / 60:.1f} minutes left"
        click.echo(f"\r{line}\033[K" if terminal else line, err=True, nl=not terminal or done == total)
