"""Points that experiments measure: kept as they come, compared at equal PSNR, and put in a table."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import nicodec
from nicodec.cli.encode import PICTURES
from nicodec.image.picture import Pixels
from nicodec.metrics.psnr import psnr

QUALITIES = (20, 40, 60, 80)


@dataclass(frozen=True)
class Point:
    """A file or several: bytes on disk, and the mean of what they show."""

    bytes: int
    psnr: float
    ssimulacra2: float = float("nan")


@dataclass
class Results:
    """Points that were measured, by name; and the folder of what was made for that."""

    path: Path
    points: dict[str, Point] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.points = {name: Point(**held) for name, held in json.loads(self.path.read_text()).items()}

    @property
    def folder(self) -> Path:
        """Of pictures and files."""
        return self.path.with_suffix("")

    def once(self, name: str, measure: Callable[[], Point]) -> Point:
        """The point of this name, measured now if it has not been."""
        if name not in self.points:
            self.points[name] = measure()
            whole = self.path.with_suffix(".part")
            whole.write_text(json.dumps({each: asdict(point) for each, point in self.points.items()}, indent=1))
            whole.replace(self.path)
        return self.points[name]

    def file(self, name: str, picture: Path, quality: float, **how: Any) -> Point:
        """A .nic file of a picture, decoded from disk. `how`: references or dictionaries."""

        def measure() -> Point:
            path = self.folder / f"{name}.nic"
            path.write_bytes(nicodec.encode(picture, quality=quality, streams="sq", **{"references": "off", **how}))
            decoded = np.asarray(nicodec.decode(path, **how).convert("RGB"))
            return Point(path.stat().st_size, psnr(pixels_of(picture), decoded))

        return self.once(name, measure)

    def curve(self, name: str, picture: Path, **how: Any) -> list[Point]:
        """Such files at all QUALITIES."""
        return [self.file(f"{name}-q{quality}", picture, quality, **how) for quality in QUALITIES]


def pixels_of(path: Path) -> Pixels:
    """(H, W, 3)."""
    return np.asarray(Image.open(path).convert("RGB"))


def pictures_in(folder: Path, count: int | None = None) -> list[Path]:
    """The first `count` pictures of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)[:count]


def saved(without: Sequence[Point], others: Sequence[Point]) -> float | None:
    """The mean share of bytes that others take more at equal PSNR, negative where fewer: log-linear between points.

    None: no point of the others lies in the range of those without.
    """
    known = sorted((point.psnr, np.log(point.bytes)) for point in without)
    inside = [point for point in others if known[0][0] <= point.psnr <= known[-1][0]]
    shares = [point.bytes / np.exp(np.interp(point.psnr, *zip(*known, strict=True))) - 1 for point in inside]
    return float(np.mean(shares)) if shares else None


def table(results: Results, rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as Markdown, and write them as CSV beside the results."""
    names = list(rows[0])
    with results.path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(f'{each:+.2%}' if isinstance(each, float) else str(each) for each in row.values())} |")


def mean_row(rows: Sequence[Mapping[str, Any]], first: str) -> dict[str, object]:
    """The means of all columns but the first, of what is there."""
    row: dict[str, object] = {first: "mean"}
    for name in list(rows[0])[1:]:
        held = [each[name] for each in rows if isinstance(each[name], float)]
        row[name] = statistics.mean(held) if held else None
    return row
