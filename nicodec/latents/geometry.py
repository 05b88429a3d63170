"""Where tiles, halos and blocks lie in a picture's latent.

A tile's core is coded alone (FORMAT.md, "Tiles"), but the transforms see a halo around it: pixels of the neighbours in
the encoder, their y_hat in the decoder. The halo is wider than any receptive field, so tiled and untiled agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.container.layout import STRIDE, Box
from nicodec.image.picture import Pixels

Array = NDArray[np.float32]
Span = tuple[slice, slice]  # rows and columns of a latent

PATCH = 16  # one latent position stands for 16x16 pixels
BLOCK = 4  # latent positions along a side of a block, which has one z and, in a quality map, one level
HALO = 8  # latent positions around a tile's core that g_a and g_s may see; no output depends on more
WHOLE = (slice(None), slice(None))


def coarser(span: Span, side: int = BLOCK) -> Span:
    """Rows and columns of a map whose positions are `side` x `side` of the latent's."""
    rows, columns = (slice(s.start // side, s.stop // side) for s in span)
    return rows, columns


def enlarged(values: NDArray[Any], times: int) -> NDArray[Any]:
    """Each of (h, w, ..) so many times down and across."""
    return values.repeat(times, 0).repeat(times, 1)


def in_pixels(span: Span) -> Span:
    """Rows and columns of the pixels that positions of a latent stand for."""
    rows, columns = (slice(PATCH * s.start, PATCH * s.stop) for s in span)
    return rows, columns


def positions(box: Box) -> Span:
    """Rows and columns of the picture's latent that hold a box, in whole squares of STRIDE pixels."""
    step = STRIDE // PATCH
    rows = slice(box.top // STRIDE * step, -(-(box.top + box.height) // STRIDE) * step)
    columns = slice(box.left // STRIDE * step, -(-(box.left + box.width) // STRIDE) * step)
    return rows, columns


def neighbourhood(box: Box, width: int, height: int, halo: int = HALO) -> tuple[Span, Span]:
    """A box and its halo in the latent of a picture of this size, and its core in that; the halo ends at borders."""
    around, inside = [], []
    for core, limit in zip(positions(box), positions(Box(0, 0, width, height)), strict=True):
        start, stop = max(0, core.start - halo), min(limit.stop, core.stop + halo)
        around.append(slice(start, stop))
        inside.append(slice(core.start - start, core.stop - start))
    return (around[0], around[1]), (inside[0], inside[1])


def within(span: Span, region: Span) -> Span:
    """Where a part of a latent lies in a region of it that holds that part."""
    rows, columns = (slice(s.start - r.start, s.stop - r.start) for s, r in zip(span, region, strict=True))
    return rows, columns


def paste(whole: Array, whole_at: Span, part: Array, part_at: Span, only: Span = WHOLE) -> None:
    """Copy what `part` and `whole` have in common; both are maps (1, C, H, W) with their places in the picture's.

    `only`: and no more than this place.
    """
    target, source = [], []
    for to, at, limit in zip(whole_at, part_at, only, strict=True):
        start = max(to.start, at.start, limit.start or 0)
        stop = min(end for end in (to.stop, at.stop, limit.stop) if end is not None)
        target.append(slice(start - to.start, stop - to.start))
        source.append(slice(start - at.start, stop - at.start))
    whole[:, :, target[0], target[1]] = part[:, :, source[0], source[1]]


def cut(pixels: Pixels, rows: slice, columns: slice) -> Pixels:
    """A box of pixels (H, W, C); beyond the right and bottom borders the last ones repeat."""
    height, width, _ = pixels.shape
    inside = pixels[rows.start : rows.stop, columns.start : columns.stop]
    missing = (max(0, rows.stop - height), max(0, columns.stop - width))
    return np.pad(inside, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")


def to_input(pixels: Pixels) -> Array:
    """(h, w, 1 or 3) to (1, 3, h, w), float32, 0..1."""
    planes = np.ascontiguousarray(np.moveaxis(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), 2, 0))
    return planes[None].astype(np.float32) / np.float32(255)


def to_pixels(x_hat: Array, channels: int) -> Pixels:
    """(3, H, W), about 0..1, to (H, W, channels) uint8; one channel is the mean of the three."""
    if channels == 1:
        x_hat = x_hat.mean(0, keepdims=True)
    pixels = np.empty((*x_hat.shape[1:], len(x_hat)), np.uint8)
    for channel, plane in enumerate(x_hat):
        scaled = plane.clip(0, 1) * np.float32(255)
        pixels[:, :, channel] = np.rint(scaled, out=scaled)
    return pixels
