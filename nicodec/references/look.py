"""A small descriptor of pictures, and which of a dictionary look like one, wherever it is cut: exact and quick."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nicodec.image.picture import Pixels
from nicodec.references.align import luma
from nicodec.references.library import Held, dictionaries

CELLS = 24  # along a side
SEEN = 384  # pixels of the shorter side, about, that are looked at
BLUR = 5  # cells along a side
FLAT = 4.0  # levels squared, below which nothing tells
SHARE = 0.6  # of the cells that two looks must have in common, when one is moved over the other
ALIKE = 0.6  # correlation from which on a reference is worth a try
TRIED = 2
Values = NDArray[np.float64]
Spectra = NDArray[np.complex128]


def look(pixels: Pixels) -> bytes:
    """What a picture (H, W, 1 or 3) looks like: the brightness of CELLS x CELLS cells, whatever its size."""
    step = max(1, min(pixels.shape[:2]) // SEEN)
    seen = luma(pixels[::step, ::step])
    rows, columns = (np.arange(CELLS) * length // CELLS for length in seen.shape)
    sums, counts = (
        np.add.reduceat(np.add.reduceat(plane, rows, 0), columns, 1) for plane in (seen, np.ones_like(seen))
    )
    return np.round(sums / counts).astype(np.uint8).tobytes()


def likely(pixels: Pixels, named: Sequence[Path]) -> list[Held]:
    """Entries of dictionaries that look like a picture, the likest first. Raises: as `dictionaries`."""
    own, found = look(pixels), []
    for id_, dictionary in dictionaries(named, everywhere=False):
        likeness = likenesses(own, [entry.look for entry in dictionary.entries])
        best = [index for index in np.argsort(-likeness, kind="stable")[:TRIED].tolist() if likeness[index] >= ALIKE]
        found += [(likeness[index], Held(dictionary.entries[index].data, None, id_, index)) for index in best]
    return [held for _, held in sorted(found, key=lambda pair: -pair[0])][:TRIED]


def likenesses(own: bytes, others: Sequence[bytes]) -> Values:
    """How alike looks are to one: the largest correlation of what two have in common, over all shifts (n,)."""
    planes = detail(np.frombuffer(own + b"".join(others), np.uint8).reshape(-1, CELLS, CELLS))
    shape = (2 * CELLS, 2 * CELLS)
    spectra, squares = np.fft.rfft2(planes, shape), np.fft.rfft2(np.square(planes), shape)
    whole = np.fft.rfft2(np.ones((1, CELLS, CELLS)), shape)

    def correlated(a: Spectra, b: Spectra) -> Values:
        return np.fft.irfft2(np.conj(a) * b, shape)

    area = np.maximum(correlated(whole, whole), 1)
    sums = correlated(spectra[:1], whole), correlated(whole, spectra[1:])
    powers = correlated(squares[:1], whole), correlated(whole, squares[1:])
    spreads = [
        np.maximum(power - np.square(total) / area, 0) + FLAT * area for total, power in zip(sums, powers, strict=True)
    ]
    common = correlated(spectra[:1], spectra[1:]) - sums[0] * sums[1] / area
    likeness = np.where(area >= SHARE * CELLS**2, common / np.sqrt(spreads[0] * spreads[1]), -1)
    best: Values = likeness.reshape(len(others), -1).max(1)
    return best


def detail(planes: NDArray[np.uint8]) -> Values:
    """Looks (n, CELLS, CELLS) less what is blurred of them: skies above the ground are alike everywhere."""
    blurred = planes.astype(np.float64)
    for axis in (1, 2):
        padded = np.pad(blurred, [(BLUR // 2, BLUR // 2) if each == axis else (0, 0) for each in range(3)], mode="edge")
        blurred = np.mean([np.take(padded, range(k, k + CELLS), axis) for k in range(BLUR)], 0)
    return planes - blurred
