"""Pictures by whole factors smaller: each pixel the average of a square."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nicodec.image.metadata import with_size
from nicodec.image.picture import Picture, Pixels


def averaged(pixels: Pixels, scale: int, weights: Pixels | None = None) -> Pixels:
    """(H, W, C) to (ceil(H/scale), ceil(W/scale), C), uint8, rounded; beyond the borders the last pixels repeat.

    Args:
        weights: (H, W, 1), of each pixel in its square; where all of a square are 0, they count alike.
    """
    height, width, channels = pixels.shape
    made = np.empty((-(-height // scale), -(-width // scale), channels), np.uint8)
    for row in range(len(made)):  # a line of squares at a time: in little memory
        squares = _line_of(pixels, row, scale)
        share = np.ones((1, 1, 1, 1)) if weights is None else _line_of(weights, row, scale).astype(np.float64)
        share = share + (share.sum((0, 2), keepdims=True) == 0)
        total = np.broadcast_to(share, (*squares.shape[:3], 1)).sum((0, 2))
        made[row] = np.rint((squares * share).sum((0, 2)) / total)
    return made


def _line_of(pixels: Pixels, row: int, scale: int) -> Pixels:
    """A line of squares: (scale, squares, scale, C)."""
    line = pixels[row * scale : (row + 1) * scale]
    missing = scale - len(line), -line.shape[1] % scale
    padded = np.pad(line, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    return padded.reshape(scale, -1, scale, pixels.shape[2])


def shrink(picture: Picture, scale: int) -> Picture:
    """A picture at 1/scale. What is transparent lends its neighbours no colour; metadata say the new size."""
    alpha = None if picture.alpha is None else picture.alpha[:, :, None]
    pixels = averaged(picture.pixels, scale, alpha)
    small = replace(picture, pixels=pixels, alpha=None if alpha is None else averaged(alpha, scale)[:, :, 0])
    return with_size(small)
