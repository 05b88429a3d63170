"""What a region looks like, as one vector: spatial pyramid pooling over its latent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nicodec.container.layout import STRIDE
from nicodec.dictionary.asset import LAYOUT, LAYOUT_GRIDS
from nicodec.image.picture import Pixels
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import PATCH, Array, cut, to_input

TEXTURE_GRIDS = (1, 2)  # cells along a side
SEEN = 512  # pixels along a side, at most, of what stands for a picture


def strongest(std: Array, count: int) -> NDArray[np.intp]:
    """The `count` components of y with the largest spread (M,), largest first: (count,)."""
    return np.argsort(-std, kind="stable")[:count]


def describe(y: Array, std: Array) -> Array:
    """The features of regions of any size.

    After CLC's spatial pyramid pooling, there of the maxima of a ResNet's last layer. Ours pools the codec's own
    latent, so that a dictionary needs no other network: signed means of the strongest components say what lies where,
    mean magnitudes of all of them what texture there is.

    Args:
        y: latents (B, M, h, w) in natural units, of one region each; h and w at least 4.
        std: spread of y on training pictures (M,).

    Returns:
        (B, F) float32.
    """
    unit = y / std[:, None, None]
    signed = unit[:, strongest(std, LAYOUT)]
    layout = [pooled(signed, cells) / np.float32(cells) for cells in LAYOUT_GRIDS]
    texture = [np.log1p(pooled(np.abs(unit), cells)) / np.float32(cells) for cells in TEXTURE_GRIDS]
    return np.concatenate([*layout, *texture], 1)


def pooled(maps: Array, cells: int) -> Array:
    """Means of maps (B, C, h, w) over cells x cells parts, overlapping where they must: (B, C·cells²)."""
    rows, columns = (
        [slice(side * i // cells, -(-side * (i + 1) // cells)) for i in range(cells)] for side in maps.shape[2:]
    )
    means = [maps[:, :, row, column].mean((2, 3)) for row in rows for column in columns]
    return np.stack(means, 2).reshape(len(maps), -1)


def central(pixels: Pixels) -> Pixels:
    """The middle of a picture (h, w, C), which stands for all of it: SEEN pixels a side at most, multiples of 64.

    Sides of less than 64 pixels are filled up by their last row or column.
    """
    spans = []
    for length in pixels.shape[:2]:
        side = max(STRIDE, min(SEEN, length // STRIDE * STRIDE))
        start = max(0, length - side) // 2 // PATCH * PATCH
        spans.append(slice(start, start + side))
    return cut(pixels, spans[0], spans[1])


def features_of(pixels: Pixels, base: FloatPath) -> Array:
    """The features (F,) of a picture (h, w, 1 or 3), as one region: of its middle."""
    return describe(base.g_a(to_input(central(pixels))), base.std.ravel())[0]
