"""What pictures that know each other are worth: second shots, controls, noise, dictionaries, and whole series.

python tests/lab/conditional.py WHAT FOLDER --out DIR [--count N]

    pairs      a second shot of each picture, coded with the first and without
    neighbours each picture with the one before it, as walks and films have them
    controls   with references that say nothing: never more bytes than without
    noise      the gain against noise in the reference
    family     and against the size of a dictionary of other shots of a scene
    versions   a screen with itself as it was before, of `screens.py render --later`
    series     a folder as `encode -r --series`, against AVIF, JPEG XL and a film

Bytes are those of files on disk, all counted; a dictionary, which files share, is not. Every figure is written to
DIR/<what>.json when it is there, and not measured again.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
from folders import ways_of
from PIL import Image
from points import QUALITIES, Results, mean_row, pictures_in, pixels_of, saved, table
from screens import LATER
from shots import noisy, shoot, shuffled_classes, shuffled_vectors, spoilt

import nicodec

NOISES = (0, 2, 5, 10, 20, 40)  # levels
SIZES = (1, 2, 4, 8, 16, 32)
HELD_OUT = 4  # of so many pictures of a family, one is coded, the others may be in the dictionary
ALLOWED = 0.001  # share of the bytes that a reference in vain may cost


@click.group()
def main() -> None:
    """Measure what references are worth."""


def measured(what: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command that takes a folder of pictures, and has results of its own."""

    def made(function: Callable[..., None]) -> click.Command:
        def run(folder: Path, out: Path, count: int | None) -> None:
            function(pictures_in(folder, count), Results(out / f"{what}.json"))

        options = [
            click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path)),
            click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Results."),
            click.option("--count", type=int, help="Pictures, the first by name; all if not said."),
        ]
        command: Any = run
        for option in options:
            command = option(command)
        command.__doc__ = function.__doc__
        return main.command(what)(command)

    return made


@measured("pairs")
def pairs(paths: list[Path], results: Results) -> None:
    """A second shot of each picture, coded with the first and without: bytes at equal PSNR."""
    rows = []
    for seed, path in enumerate(paths):
        first, second = shoot(results, path, seed)
        without = results.curve(f"{path.stem}-alone", second)
        referring = results.curve(f"{path.stem}-with", second, references=[first])
        each = {f"q{quality}": saved(without, [point]) for quality, point in zip(QUALITIES, referring, strict=True)}
        rows.append({"picture": path.stem, "bytes at equal PSNR": saved(without, referring), **each})
    table(results, [*rows, mean_row(rows, "picture")])


@measured("neighbours")
def neighbours(paths: list[Path], results: Results) -> None:
    """Each picture coded with the one before it by name, and without: bytes at equal PSNR."""
    rows = []
    for before, path in pairwise(paths):
        without = results.curve(f"{path.stem}-alone", path)
        referring = results.curve(f"{path.stem}-with", path, references=[before])
        rows.append({"picture": path.stem, "bytes at equal PSNR": saved(without, referring)})
    table(results, [*rows, mean_row(rows, "picture")])


@measured("controls")
def controls(paths: list[Path], results: Results) -> None:
    """References that say nothing: never more than ALLOWED above the bytes without."""
    rows = []
    for seed, path in enumerate(paths):
        first, second = shoot(results, path, seed)
        wrong, _ = shoot(results, paths[(seed + 1) % len(paths)], (seed + 1) % len(paths))
        grey = results.folder / f"{path.stem}-grey.png"
        Image.new("RGB", Image.open(second).size, (128, 128, 128)).save(grey)
        without = results.curve(f"{path.stem}-alone", second)
        found = {
            "wrong": results.curve(f"{path.stem}-wrong", second, references=[wrong]),
            "grey": results.curve(f"{path.stem}-grey", second, references=[grey]),
        }
        for name, function, change in (
            ("classes", "choose_classes", shuffled_classes), ("vectors", "find_motion", shuffled_vectors),
        ):  # fmt: skip
            with spoilt(function, change):
                found[name] = results.curve(f"{path.stem}-{name}", second, references=[first])
        for name, points in found.items():
            more = [point.bytes / alone.bytes - 1 for point, alone in zip(points, without, strict=True)]
            at_equal = saved(without, points)
            rows.append({"picture": path.stem, "control": name, "bytes at equal PSNR": at_equal,
                         "most bytes at a quality": max(more), "holds": max(more) <= ALLOWED})  # fmt: skip
    table(results, rows)


@measured("noise")
def noise(paths: list[Path], results: Results) -> None:
    """The gain against noise in the first shot, in levels."""
    rows = []
    for sigma in NOISES:
        shares = []
        for seed, path in enumerate(paths):
            first, second = shoot(results, path, seed)
            spoilt_first = results.folder / f"{path.stem}-n{sigma}.png"
            Image.fromarray(noisy(pixels_of(first), sigma, np.random.default_rng(seed))).save(spoilt_first)
            without = results.curve(f"{path.stem}-alone", second)
            shares.append(saved(without, results.curve(f"{path.stem}-n{sigma}", second, references=[spoilt_first])))
        held = [share for share in shares if share is not None]
        rows.append({"noise in levels": sigma, "bytes at equal PSNR": statistics.mean(held), "pictures": len(held)})
    table(results, rows)


@measured("family")
def family(paths: list[Path], results: Results) -> None:
    """The gain against K: one in HELD_OUT pictures of a scene with a dictionary of K of the others."""
    coded, pool = paths[::HELD_OUT], results.folder / "pool"
    pool.mkdir(exist_ok=True)
    for path in set(paths) - set(coded):
        shutil.copy(path, pool)
    rows = []
    for size in (size for size in SIZES if size <= len(paths) - len(coded)):
        dictionary = results.folder / f"{size}.nicdict"
        if not dictionary.exists():
            call = [sys.executable, "-m", "nicodec", "dictionary", "build", "--data", pool, "--size", str(size)]
            subprocess.run([*call, "-o", dictionary], check=True)
        shares = [
            saved(
                results.curve(f"{path.stem}-alone", path),
                results.curve(f"{path.stem}-k{size}", path, dictionaries=[dictionary]),
            )
            for path in coded
        ]
        held = [share for share in shares if share is not None]
        rows.append({"K": size, "bytes at equal PSNR": statistics.mean(held), "pictures": len(held)})
    table(results, rows)


@measured("versions")
def versions(paths: list[Path], results: Results) -> None:
    """Each screen with the default file of what it was before: bytes at equal quality, and how much more PSNR."""
    rows = []
    for before in [path for path in paths if not path.stem.endswith(LATER)]:
        after, reference = before.with_stem(f"{before.stem}{LATER}"), results.folder / f"{before.stem}.nic"
        reference.write_bytes(nicodec.encode(before))
        without = results.curve(f"{after.stem}-alone", after)
        referring = results.curve(f"{after.stem}-with", after, references=[reference])
        pairs_of = list(zip(without, referring, strict=True))
        shares = {f"q{q}": b.bytes / a.bytes - 1 for q, (a, b) in zip(QUALITIES, pairs_of, strict=True)}
        more = [f"{b.psnr - a.psnr:+.1f}" for a, b in pairs_of]
        rows.append({"screen": before.stem, **shares, "mean": statistics.mean(shares.values()), "dB": ", ".join(more)})
    table(results, [*rows, mean_row(rows, "screen")])


@measured("series")
def series(paths: list[Path], results: Results) -> None:
    """All pictures of a folder as a series, against files alone and a film: bytes, mean PSNR and SSIMULACRA2."""
    folder = results.folder / "in"
    folder.mkdir(exist_ok=True)
    named = [folder / f"{path.stem}.png" for path in paths]
    for path, copy in zip(paths, named, strict=True):
        if not copy.exists():
            Image.fromarray(pixels_of(path)).save(copy)  # without metadata, which other codecs would keep
    (ways, lacking), rows = ways_of(), []
    for name, (measure, settings) in ways.items():
        for setting in settings:
            point = results.once(f"{name}-{setting}", partial(measure, named, results.folder, setting))
            rows.append({"codec": name, "setting": setting, "bytes": point.bytes, "PSNR": f"{point.psnr:.2f}",
                         "SSIMULACRA2": f"{point.ssimulacra2:.1f}"})  # fmt: skip
    table(results, rows)
    print("\n".join(f"not measured: {line}" for line in lacking))


if __name__ == "__main__":
    main()
