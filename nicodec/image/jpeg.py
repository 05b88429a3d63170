"""JPEG files as they are: the bytes, and how their picture was quantised."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nicodec.image.metadata import TURNED

FORMATS = ("JPEG", "MPO")  # as Pillow names them; MPO has further pictures behind the first
MCU = 16  # pixels: blocks of 8x8, and of chroma at half the resolution, lie on a grid of so many
BANDS = 15  # of frequencies, by the sum of those across and down
TOLD = 2 * BANDS + 1  # numbers that say how a picture was quantised
DEEPEST = 8.0  # log2 of the coarsest quantiser of baseline JPEG, about
RIGHT_FIRST, BOTTOM_FIRST = (2, 3, 6, 7), (3, 4, 7, 8)  # EXIF orientations whose upright picture begins there


@dataclass(frozen=True, eq=False)
class Jpeg:
    """A JPEG file, and what a network that mends its picture is told of it.

    Attributes:
        data: the file.
        quantised: (TOLD,), float32: log2 of the quantiser's steps over DEEPEST, the mean of each band of frequencies,
            of luma and then of chroma (again luma's where there is none); and log2 of luma's samples for each of
            chroma.
        origin: row and column, 0..15, of the upright picture's first pixel in a grid of MCUs.
    """

    data: bytes = field(repr=False)
    quantised: NDArray[np.float32]
    origin: tuple[int, int]


def jpeg_of(image: Image.Image, data: bytes, orientation: int) -> Jpeg | None:
    """What Pillow has read of a JPEG file; None: it is none.

    Args:
        orientation: 1..8, as EXIF numbers them.
    """
    if image.format not in FORMATS:
        return None
    layers: list[tuple[int, int, int, int]] = image.layer  # type: ignore[attr-defined]
    steps: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
    luma, chroma = layers[0], layers[min(1, len(layers) - 1)]
    bands = [_bands(steps.get(layer[3], [1] * 64)) for layer in (luma, chroma)]
    subsampled = np.log2(max(1.0, luma[1] * luma[2] / (chroma[1] * chroma[2])))
    width, height = image.size if orientation not in TURNED else image.size[::-1]
    origin = -height % MCU * (orientation in BOTTOM_FIRST), -width % MCU * (orientation in RIGHT_FIRST)
    return Jpeg(data, np.array([*bands[0], *bands[1], subsampled], np.float32), origin)


def _bands(steps: list[int]) -> NDArray[np.float64]:
    """The steps of 64 frequencies, row by row, as BANDS means of their logarithms: transposed, they are the same."""
    logs = np.log2(np.maximum(1, steps)) / DEEPEST
    bands = np.add.outer(np.arange(8), np.arange(8)).ravel()
    return np.bincount(bands, logs) / np.bincount(bands)
