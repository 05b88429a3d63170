"""What pictures look like from afar, and which of a dictionary look like one: exact search, quick."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nicodec.container.dictionary import LOOK_BYTES
from nicodec.image.picture import Pixels
from nicodec.references.library import Held, dictionaries

CELLS = 8  # along a side
LEVELS = 32  # of a byte: one standard deviation
ALIKE = 0.85  # correlation from which on a reference is worth a try
TRIED = 2


def look(pixels: Pixels) -> bytes:
    """What a picture (H, W, 1 or 3) looks like: means of cells, whatever its size, brightness and contrast."""
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    rows, columns = (np.linspace(0, length, 4 * CELLS, endpoint=False).astype(int) for length in pixels.shape[:2])
    step = max(1, min(pixels.shape[:2]) // 512)
    small = np.stack([rgb[np.minimum(rows + k * step, len(rgb) - 1)][:, columns] for k in range(2)]).mean(0)
    means = small.reshape(CELLS, 4, CELLS, 4, 3).mean((1, 3))
    spread = np.round(LEVELS * (means - means.mean()) / (means.std() + 1)) + 128
    return spread.clip(0, 255).astype(np.uint8).tobytes()


def likely(pixels: Pixels, named: Sequence[Path]) -> list[Held]:
    """Entries of dictionaries that look like a picture, the likest first. Raises: as `dictionaries`."""
    if not named:
        return []
    own, found = unit(look(pixels)), []
    for id_, dictionary in dictionaries(named, everywhere=False):
        likeness = unit(b"".join(entry.look for entry in dictionary.entries)) @ own[0]
        best = [index for index in np.argsort(-likeness, kind="stable")[:TRIED].tolist() if likeness[index] >= ALIKE]
        found += [(likeness[index], Held(dictionary.entries[index].data, None, id_, index)) for index in best]
    return [held for _, held in sorted(found, key=lambda pair: -pair[0])][:TRIED]


def unit(looks: bytes) -> NDArray[np.float64]:
    """Looks as vectors of length 1: (n, LOOK_BYTES)."""
    vectors = np.frombuffer(looks, np.uint8).reshape(-1, LOOK_BYTES).astype(np.float64) - 128
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
