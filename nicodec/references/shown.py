"""Blocks that show a reference's own pixels: where bits are few, these know more than what networks make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nicodec.container.drawn import SIDE
from nicodec.container.layout import Box, Header, tiles
from nicodec.container.references import Says
from nicodec.drawing import Bits, block_errors
from nicodec.entropy.coder import motion_bits
from nicodec.entropy.motion import walk_shown
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.picture import Picture
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import Array, Span, paste, positions
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import Synthesis
from nicodec.references.refer import Referring

LEAST_BITS = 1.0  # of error that a block must gain: about what saying so takes where its neighbours are not shown


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture that refers to others.

    Attributes:
        symbols: of each tile.
        says: what its blocks say; which of them show a reference's own pixels, if any does.
        errors: of each block in bits, as a plain decode shows it: (rows, columns).
    """

    symbols: list[TileSymbols]
    says: Says
    errors: Bits


class KnownLatents(Synthesis):
    """Of tiles whose y_hat the encoder has already, in natural units."""

    def __init__(self, header: Header, experts: Experts, y_hats: Mapping[Box, Array]) -> None:
        super().__init__(header, experts)
        self.y_hats = y_hats

    def gather(self, symbols: Mapping[Box, TileSymbols], region: Span) -> tuple[Array, None]:
        """As ever."""
        y_hat = np.zeros((1, self.experts.base.latent, *(s.stop - s.start for s in region)), np.float32)
        for tile in symbols:
            paste(y_hat, region, self.y_hats[tile], positions(tile))
        return y_hat, None


def show(picture: Picture, found: Referring, header: Header, base: FloatPath, weight: float) -> Shown:
    """Let blocks show the references' own pixels where these are nearer to the picture.

    Args:
        weight: of errors, see `nicodec.drawing`.
    """
    places = tiles(header.width, header.height)
    held = dict(zip(places, found.symbols, strict=True))
    synthesis = KnownLatents(header, Experts(base), dict(zip(places, found.y_hats, strict=True)))
    (decoded,) = synthesis.paint(held, Box(0, 0, header.width, header.height))
    seen = np.empty_like(picture.pixels)
    for tile, pixels in zip(places, found.seen, strict=True):
        seen[tile.slices] = pixels[: tile.height, : tile.width]
    coded, own = (block_errors(picture.pixels, pixels, weight) for pixels in (decoded, seen))
    shown, symbols, more = own < coded - LEAST_BITS, [], 0.0
    for tile, each in held.items():
        assert each.latent is not None
        assert each.latent.motion is not None
        motion, here = each.latent.motion, shown[_blocks(tile)]
        here &= motion.sources[: here.shape[0], : here.shape[1]] > 0
        said = np.zeros_like(motion.sources)
        said[: here.shape[0], : here.shape[1]] = here
        saying = replace(motion, shown=said)
        more += motion_bits(saying, walk_shown)
        symbols.append(replace(each, latent=replace(each.latent, motion=saying)))
    if (coded - own)[shown].sum() <= more:
        symbols, own = found.symbols, coded
    latent = symbols[0].latent
    assert latent is not None
    assert latent.motion is not None
    return Shown(symbols, Says(**latent.motion.said), np.where(shown, own, coded))


def _blocks(tile: Box) -> tuple[slice, slice]:
    """Rows and columns of the blocks of a tile, as far as there is a picture."""
    bottom, right = tile.top + tile.height, tile.left + tile.width
    return slice(tile.top // SIDE, -(-bottom // SIDE)), slice(tile.left // SIDE, -(-right // SIDE))
