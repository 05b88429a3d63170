"""The float half of encoding: pictures of any size, a tile at a time, in bounded memory and without seams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nicodec.container.layout import tiles
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.picture import Picture, Pixels
from nicodec.latents.codebook import TokenPath
from nicodec.latents.effort import encode_tile
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import Array, Span, coarser, cut, in_pixels, neighbourhood, to_input
from nicodec.latents.rates import to_rates
from nicodec.latents.wording import Wording
from nicodec.rate.tile import TileRate


@dataclass(frozen=True)
class Analysed:
    """What the analysis makes of a tile, whatever the rate.

    Attributes:
        pixels: of the tile and its halo (h, w, 1 or 3).
        around: rows and columns of the picture's latent that the tile and its halo are.
        core: of these, the tile's own.
        y: of the tile and its halo (1, M, h/16, w/16), in natural units.
        tokens: (rows, columns), uint16; None: not asked for.
    """

    pixels: Pixels
    around: Span
    core: Span
    y: Array
    tokens: NDArray[np.uint16] | None


def analyse(picture: Picture, base: FloatPath, vq: TokenPath | None, depth: int) -> Iterator[Analysed]:
    """What does not depend on the rate: tile by tile, in order.

    Args:
        vq: None: no tokens.
        depth: bits a token.
    """
    for tile in tiles(picture.width, picture.height):
        around, core = neighbourhood(tile, picture.width, picture.height)
        pixels = cut(picture.pixels, *in_pixels(around))
        y = base.g_a(to_input(pixels))
        tokens = None if vq is None else vq.tokens(y[:, :, core[0], core[1]] / base.std, depth)
        yield Analysed(pixels, around, core, y, tokens)


def choose_symbols(
    held: Analysed, base: FloatPath, scales: ScaleModel | None, rate: TileRate, effort: int,
    wording: Wording | None = None,
) -> TileSymbols:  # fmt: skip
    """The rest: the symbols of a tile.

    Args:
        scales: None: no latent.
        rate: of all of the picture's blocks.
        wording: how tokens of texture are chosen; None: there are none.
    """
    if scales is None:
        return TileSymbols(None, held.tokens)
    near = rate.cut(*coarser(held.around))
    y, z_hat = base.scaled(held.y, to_rates(near), held.core)
    latent, y_hat = encode_tile(base, scales, to_input(held.pixels), y, z_hat, near, held.core, effort)
    if wording is None:
        return TileSymbols(latent, held.tokens)
    return TileSymbols(latent, wording.tokens(base, held.y, y_hat, latent, to_rates(near), held.core))
