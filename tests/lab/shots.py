"""Two shots of one picture, by a fixed script; and encoders that are spoilt, so that references say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from points import Results, pixels_of

from nicodec.entropy.motion import CELLS, Motion
from nicodec.image.picture import Pixels
from nicodec.references import refer
from nicodec.references.classes import Weighed

MARGIN = 16  # pixels of the first shot around the second, which a moved camera may see
SHIFT, ANGLE, ZOOM, TILT = (
    4.0,
    1.0,
    0.01,
    1.5,
)  # pixels, degrees, share, pixels of a corner: of a hand-held step, at most
GAIN, COLOUR, OFFSET, SENSOR = 0.06, 0.02, 4.0, 1.0  # shares, shares, levels, at most; levels of noise in both shots
JPEG_QUALITY = 90  # of the first shot


def shots(pixels: Pixels, seed: int) -> tuple[Pixels, Pixels]:
    """A first shot (H, W, 3), and a second one, MARGIN smaller all around, after a hand-held step."""
    random = np.random.default_rng(seed)
    height, width, _ = pixels.shape
    moved = Image.fromarray(pixels).transform((width, height), Image.Transform.PERSPECTIVE, step(random, width, height),
                                              Image.Resampling.BICUBIC)  # fmt: skip
    gains = (1 + random.uniform(-GAIN, GAIN)) * (1 + random.uniform(-COLOUR, COLOUR, 3))
    lit = np.asarray(moved)[MARGIN:-MARGIN, MARGIN:-MARGIN] * gains + random.uniform(-OFFSET, OFFSET)
    return noisy(pixels, SENSOR, random), noisy(lit, SENSOR, random)


def step(random: np.random.Generator, width: int, height: int) -> list[float]:
    """A homography as Pillow takes it: where each pixel of the second shot lies in the first."""
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    middle, angle = np.array([width, height]) / 2, np.deg2rad(random.uniform(-ANGLE, ANGLE))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = (corners - middle) @ turn.T * (1 + random.uniform(-ZOOM, ZOOM)) + middle
    to = turned + random.uniform(-SHIFT, SHIFT, 2) + random.uniform(-TILT, TILT, (4, 2))
    rows = [
        row
        for (x, y), (u, v) in zip(corners, to, strict=True)
        for row in ([x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y])
    ]
    return np.linalg.solve(np.array(rows), to.ravel()).tolist()


def noisy(pixels: NDArray[Any], sigma: float, random: np.random.Generator) -> Pixels:
    """With Gaussian noise, in levels."""
    return (pixels + random.normal(0, sigma, pixels.shape)).clip(0, 255).round().astype(np.uint8)


def shoot(results: Results, path: Path, seed: int) -> tuple[Path, Path]:
    """The files of both shots of a picture: a JPEG, and a PNG."""
    first, second = (results.folder / f"{path.stem}-{end}" for end in ("a.jpg", "b.png"))
    if not second.exists():
        a, b = map(Image.fromarray, shots(pixels_of(path), seed))
        a.save(first, quality=JPEG_QUALITY)
        b.save(second)
    return first, second


@contextmanager
def spoilt(name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """An encoder in which what a function of `nicodec.references.refer` finds is changed."""
    whole: Callable[..., Any] = getattr(refer, name)
    setattr(refer, name, lambda *given: change(whole(*given)))
    try:
        yield
    finally:
        setattr(refer, name, whole)


def shuffled_classes(found: list[Weighed]) -> list[Weighed]:
    """As many of each, anywhere; said to be worth a trial."""
    random = np.random.default_rng(0)
    shuffled = [random.permutation(each.classes.ravel()).reshape(each.classes.shape) for each in found]
    return [replace(each, classes=own, cost=0.9 * each.alone) for each, own in zip(found, shuffled, strict=True)]


def shuffled_vectors(found: Motion) -> Motion:
    """Those of other blocks, as far off again."""
    order = np.random.default_rng(0).permutation(found.sources.size)
    blocks = found.vectors[::CELLS, ::CELLS]
    vectors = (blocks.reshape(-1, 2)[order] + np.array([40, -40], np.int16)).reshape(blocks.shape)
    return replace(found, vectors=vectors.repeat(CELLS, 0).repeat(CELLS, 1), splits=np.zeros_like(found.classes))
