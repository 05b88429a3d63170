"""How many bits a sample a picture file has: Pillow opens some deep ones as 8-bit without a word."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

PNM_HEAD = re.compile(rb"P[2356](?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d+)")


def bits_of(data: bytes, image: Image.Image) -> int:
    """Bits a sample in the file `data` that Pillow opened as `image`; as the image's mode says, where data is empty."""
    if image.mode.startswith("F") or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        return 32
    if image.format == "PNG" and data:
        return data[24]
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(258, (8,))))  # type: ignore[attr-defined]
    if image.format == "PPM" and (fields := PNM_HEAD.match(data)):
        return int(fields[1]).bit_length()
    if image.format == "AVIF" and (start := data.find(b"pixi")) >= 0:
        return data[start + 9]  # after the box's type: version, flags, number of channels
    return 16 if image.mode.startswith("I") else 8


def to_8_bits(image: Image.Image, bits: int) -> Image.Image:
    """A deep grey image of Pillow's modes I and I;16 to L, by rounding; others are 8-bit in Pillow already."""
    if not image.mode.startswith("I"):
        return image
    most = 65535 if image.mode == "I" else (1 << bits) - 1  # Pillow scales what it opens as I
    samples = np.asarray(image).astype(np.float64)
    return Image.fromarray(np.round(samples * (255 / most)).clip(0, 255).astype(np.uint8))
