"""Measure codecs x settings x pictures into a folder; a killed run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nicodec.bench.measures import OF_PICTURES, Compare
from nicodec.bench.worker import code
from nicodec.errors import InputError, NicodecError
from nicodec.image.files import read_picture, to_pillow
from nicodec.metrics.perceptual import Features, Perception

CROP = 224  # side of the crops kept for looking at
CROPPED_PICTURES = 3


@dataclass(frozen=True)
class Source:
    """A readable picture: its RGB pixels are what codecs get, its key what measurements are filed under."""

    name: str
    key: str
    image: Image.Image


def read_sources(paths: Sequence[Path]) -> tuple[list[Source], dict[str, str]]:
    """Readable pictures as RGB, and why the others are not."""
    sources, skipped = [], {}
    for path in paths:
        try:
            data = path.read_bytes()
            image = to_pillow(read_picture(data)).convert("RGB")
            image.info.clear()
            sources.append(Source(path.name, hashlib.sha256(data).hexdigest()[:16], image))
        except (OSError, NicodecError) as error:
            skipped[str(path)] = str(error)
    if not sources:
        raise InputError(f"none of the {len(paths)} inputs is a readable picture")
    return sources, skipped


class Bench:
    """A report folder that is being filled.

    `measurements.jsonl` has a line a measurement; `features/` the patch features of decoded pictures, for the distances
    between sets; `crops/` small PNGs of the first pictures.

    Args:
        encoders: version and settings of each codec by name; what another encoder made is measured anew.
        comparisons: what is measured of a picture by name; what lacks one of them is measured anew.
    """

    def __init__(
        self, folder: Path, encoders: dict[str, str], comparisons: dict[str, Compare], perception: Perception | None
    ) -> None:
        self.folder, self.encoders, self.comparisons, self.perception = folder, encoders, comparisons, perception
        for part in ("features", "crops"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self.file = folder / "measurements.jsonl"
        self.done: dict[tuple[str, float, str], dict[str, Any]] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:  # the last line of a run that was killed while writing it
                continue
            self.done[row["codec"], row["setting"], row["key"]] = row
        self.file.write_text("".join(json.dumps(row) + "\n" for row in self.done.values()), encoding="utf-8")

    def measure(self, names: Sequence[str], sources: Sequence[Source], settings: Callable[[str], Sequence[float]],
                progress: Callable[[int, int], None]) -> None:  # fmt: skip
        """Fill in what is missing. One fresh process a codec, so that peak memory is that codec's own."""
        jobs = [(name, setting, n) for name in names for setting in settings(name) for n in range(len(sources))]
        for count, (name, todo) in enumerate(_grouped(jobs)):
            waiting = [job for job in todo if not self._has(name, job[1], sources[job[2]].key)]
            finished = sum(1 for job in jobs if job[0] in names[:count])
            progress(finished + len(todo) - len(waiting), len(jobs))
            if not waiting:
                continue
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as worker:
                for at, (_, setting, index) in enumerate(waiting):
                    source = sources[index]
                    outcome = worker.submit(code, name, np.asarray(source.image), setting).result()
                    self._file(name, setting, source, outcome, keep_crop=index < CROPPED_PICTURES)
                    progress(finished + len(todo) - len(waiting) + at + 1, len(jobs))

    def _has(self, name: str, setting: float, key: str) -> bool:
        row = self.done.get((name, setting, key), {})
        return row.get("encoder") == self.encoders[name] and row.keys() >= self.comparisons.keys()

    def _file(self, name: str, setting: float, source: Source, outcome: dict[str, Any], *, keep_crop: bool) -> None:
        original, decoded = np.asarray(source.image), outcome.pop("decoded")
        row = {
            "codec": name, "encoder": self.encoders[name], "setting": setting,
            "picture": source.name, "key": source.key, "width": source.image.width, "height": source.image.height,
            **outcome, "bpp": 8 * outcome["bytes"] / (source.image.width * source.image.height),
            **{metric: compare(original, decoded) for metric, compare in self.comparisons.items()},
        }  # fmt: skip
        stem = _stem(name, setting, source)
        if self.perception:
            np.save(self.folder / "features" / f"{stem}.npy", self.perception.features(decoded).astype(np.float16))
        if keep_crop:
            _center(decoded).save(self.folder / "crops" / f"{stem}.png")
            _center(original).save(self.folder / "crops" / f"original-{source.key}.png")
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.done[name, setting, source.key] = row

    def rows(self, names: Sequence[str], sources: Sequence[Source]) -> list[dict[str, Any]]:
        """All measurements of these codecs on these pictures; a metric that was not measured is None."""
        keys = {source.key for source in sources}
        rows = [row for job, row in self.done.items() if job[0] in names and job[2] in keys and self._has(*job)]
        return [row | {metric: row.get(metric) for metric in OF_PICTURES} for row in rows]

    def features(self, name: str, setting: float, sources: Sequence[Source]) -> Features:
        """Patch features of a set as one codec decoded it."""
        files = [self.folder / "features" / f"{_stem(name, setting, source)}.npy" for source in sources]
        return np.concatenate([np.load(file).astype(np.float32) for file in files])


def crop_file(folder: Path, name: str, setting: float, source: Source) -> Path:
    """Where the crop of a decoded picture was kept."""
    return folder / "crops" / f"{_stem(name, setting, source)}.png"


def _grouped(jobs: list[tuple[str, float, int]]) -> Iterator[tuple[str, list[tuple[str, float, int]]]]:
    for name in dict.fromkeys(job[0] for job in jobs):
        yield name, [job for job in jobs if job[0] == name]


def _stem(name: str, setting: float, source: Source) -> str:
    return f"{name.replace(':', '-')}-{setting:g}-{source.key}"


def _center(pixels: NDArray[np.uint8] | Image.Image) -> Image.Image:
    image = Image.fromarray(np.asarray(pixels))
    left, top = max(0, (image.width - CROP) // 2), max(0, (image.height - CROP) // 2)
    return image.crop((left, top, min(image.width, left + CROP), min(image.height, top + CROP)))
