"""Tables over the rate, as the float networks read them; `nicodec.entropy.integer` has the exact path's own way."""

from __future__ import annotations

import numpy as np

from nicodec.container.layout import Header
from nicodec.latents.geometry import WHOLE, Array, Span, coarser
from nicodec.rate.scale import KNOT_SPACING
from nicodec.rate.tile import TileRate


def file_rate(header: Header) -> TileRate:
    """What a file's header says of all its blocks; what a quality map makes of it stands in the tiles."""
    return TileRate(header.rate, header.tune or 0)


def to_rates(rate: TileRate) -> Array:
    """A tile's rate as networks take it: (1,), or (1, h, w) with a quality map."""
    return np.asarray(rate.knots(), np.float32)[None]


def rates_at(rates: Array, span: Span) -> Array:
    """Of a part of a tile, in whole blocks: rates as `to_rates` gives them."""
    return rates if rates.ndim == 1 or span == WHOLE else rates[:, *coarser(span)]


def interpolate(knots: Array, rates: Array) -> Array:
    """Read a table of per-rate vectors between its knots, linearly.

    Args:
        knots: (rows, C); KNOTS rows for each tune.
        rates: as `to_rates` gives them.

    Returns:
        (1, C, 1, 1) or (1, C, h, w); `spread` makes it fit feature maps.
    """
    position = rates / np.float32(KNOT_SPACING)
    low = np.floor(position).clip(0, len(knots) - 2)
    weight, index = (position - low)[..., None], low.astype(np.int64)
    vectors = (1 - weight) * knots[index] + weight * knots[index + 1]
    return vectors[:, :, None, None] if rates.ndim == 1 else np.ascontiguousarray(np.moveaxis(vectors, 3, 1))


def spread(vectors: Array, like: Array) -> Array:
    """Vectors for the feature maps `like` (1, C, H, W): each repeated over its block of 64 pixels."""
    if vectors.shape[2:] in ((1, 1), like.shape[2:]):
        return vectors
    rows, columns = (length // own for length, own in zip(like.shape[2:], vectors.shape[2:], strict=True))
    return vectors.repeat(rows, 2).repeat(columns, 3)
