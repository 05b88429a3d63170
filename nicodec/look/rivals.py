"""What other codecs make of the original in as many bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from nicodec.image.picture import Pixels

SAVING: dict[str, dict[str, Any]] = {"avif": {"subsampling": "4:4:4", "speed": 6}, "jpeg": {}, "webp": {}}


@dataclass(frozen=True)
class Rival:
    """A picture that another codec coded in at most as many bytes as ours, if it can."""

    name: str
    quality: int
    size: int
    pixels: Pixels


def rival(kind: str, original: Pixels, size: int) -> Rival:
    """The best that `kind` (`avif`, `jpeg`, `webp`) can do in `size` bytes; its smallest file where none is so small.

    Args:
        original: (H, W, 3), uint8.
    """
    image, low, high = Image.fromarray(original), 0, 100
    files: dict[int, bytes] = {}
    while low < high:  # sizes rise with quality, up to little
        middle = (low + high + 1) // 2
        files[middle] = _save(image, kind, middle)
        low, high = (middle, high) if len(files[middle]) <= size else (low, middle - 1)
    data = files[low] if low in files else _save(image, kind, low)
    decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return Rival(kind, low, len(data), decoded)


def _save(image: Image.Image, kind: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality, **SAVING[kind])
    return buffer.getvalue()
