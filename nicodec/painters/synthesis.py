"""The float half of decoding: symbols to pictures of any size, tile by tile, in bounded memory, without seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np

from nicodec.container.drawn import SIDE
from nicodec.container.layout import STRIDE, Box, Colour, Header, tiles
from nicodec.entropy.coder import Latent
from nicodec.entropy.motion import Motion
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.drawn import blank
from nicodec.image.picture import Pixels
from nicodec.latents.floats import Expected, FloatPath, as_array, symbols_of
from nicodec.latents.geometry import (
    BLOCK,
    HALO,
    PATCH,
    Array,
    Span,
    coarser,
    enlarged,
    in_pixels,
    neighbourhood,
    paste,
    positions,
    to_pixels,
    within,
)
from nicodec.latents.rates import file_rate, to_rates
from nicodec.painters import PLAIN, Rendering
from nicodec.painters.experts import Experts
from nicodec.painters.foresight import Foresight
from nicodec.painters.fuser import normals, told
from nicodec.painters.strength import plain
from nicodec.rate.tile import TileRate
from nicodec.references.expect import Sources, expect
from nicodec.streams import Listener

BOUNDED_REACH = 2  # positions of the latent further than the networks see that a bounded picture depends on
LEAD_REACH = 2  # beyond HALO, what tau makes pixels depend on through g_a: even, for tokens two positions wide
TEXTURE_REACH = 6  # the same where texture is painted too: a cell of two positions and the next one, and both lappings


class Synthesis:
    """Paints a file's picture, a tile at a time. `decode`, `view` and the encoder's trials have this one in common.

    Args:
        experts: who paints.
        depth: bits a token.
        sources: what the file refers to.
    """

    def __init__(self, header: Header, experts: Experts, depth: int = 0, sources: Sources | None = None) -> None:
        self.header, self.experts, self.depth, self.sources = header, experts, depth, sources or Sources()
        self.textures = experts.fuser.strength(header.rate) if experts.fuser else plain(header.rate)
        self._seen: dict[Box, Pixels] = {}  # of tiles that show some of the references themselves
        self._foresight: Foresight | None = None

    @property
    def halo(self) -> int:
        """Positions of the latent around a crop that its pixels may depend on."""
        fuser = self.experts.fuser
        return in_blocks(HALO + BOUNDED_REACH + self.reach + (fuser.halo if fuser else 0), self.header)

    @property
    def reach(self) -> int:
        """Positions of the latent, beyond what the networks see, that a picture depends on where tau leads it."""
        return TEXTURE_REACH if self.experts.texture else LEAD_REACH if self.experts.fuser else 0

    def needed(self, crop: Box) -> list[Box]:
        """The tiles whose symbols the pixels of `crop` depend on, in order."""
        every = tiles(self.header.width, self.header.height)
        return [tile for tile in every if tile.common(crop, self.halo * PATCH)]

    def paint(self, symbols: Mapping[Box, TileSymbols], crop: Box, rendering: Rendering = PLAIN) -> list[Pixels]:
        """The symbols of the tiles in `needed` to the pixels of `crop`, for each tau.

        Args:
            symbols: a tile may lack one stream, or both.

        Returns:
            (h, w, 3) or (h, w, 1), uint8.

        Raises:
            MissingPartError: see `Experts.paint`.
        """
        region, _ = neighbourhood(crop, self.header.width, self.header.height, self.halo)
        y_hat, code = self.gather(symbols, region)
        residual = None
        if y_hat is not None and self.experts.fuser is not None and max(rendering.taus) > 0:
            residual = self.fuse(symbols, y_hat, code, region, rendering)
        return self._paint(symbols, crop, rendering, region, y_hat, code, residual)

    def gather(self, symbols: Mapping[Box, TileSymbols], region: Span) -> tuple[Array | None, Array | None]:
        """y_hat and code vectors of a region of the latent, see `gather`."""
        return gather(symbols, self.experts, region, self.depth, self.reconstruct)

    @contextmanager
    def foresee(self) -> Iterator[Listener]:
        """What is to hear of the symbols of the one tile that is read meanwhile, so that y_hat is made as they come."""
        foresight = self._foresight = Foresight(self.experts.base, self.expected)
        whole = False
        try:
            yield foresight
            whole = True
        finally:
            foresight.end(wanted=whole)

    def expected(self, tile: Box, motion: Motion) -> Expected:
        """What the references say of a tile."""
        place = neighbourhood(tile, self.header.width, self.header.height)
        found = expect(self.experts.base, self.sources, motion, *place)
        self._seen.pop(tile, None)
        if motion.shown is not None and motion.shown.any():
            self._seen[tile] = found.seen.copy()  # without the halo
        return found

    def reconstruct(self, tile: Box, latent: Latent) -> Array:
        """y_hat of a tile, in natural units."""
        foresight, self._foresight = self._foresight, None
        foreseen = foresight.y_hat(latent) if foresight else None
        return y_hat_of(self.experts.base, latent, partial(self.expected, tile)) if foreseen is None else foreseen

    def fuse(
        self, symbols: Mapping[Box, TileSymbols], y_hat: Array, code: Array | None, region: Span, rendering: Rendering
    ) -> Array:
        """The fuser's y' - y_hat (1, M, H, W) in a region of the latent, tile by tile: the same whatever the region is.

        A fuser of a base without tunes knows no quality maps: it is told one rate a tile, the mean of its map.
        """
        fuser, residual = self.experts.fuser, np.zeros_like(y_hat)
        assert fuser is not None
        said = None
        if fuser.hears and code is not None:
            said = told(np.float32(self.textures.heard) * code, self.experts.token_side)
        halo = in_blocks(fuser.halo, self.header)
        for tile, held in symbols.items():
            near = [
                (max(r.start, s.start - halo), min(r.stop, s.stop + halo))
                for s, r in zip(positions(tile), region, strict=True)
            ]
            if any(start >= stop for start, stop in near):
                continue
            rows, columns = (slice(start, stop) for start, stop in near)
            if fuser.mapped:
                rates = rates_around(symbols, self.header, (rows, columns))
            else:
                rates = to_rates(rate_of(held, self.header).flat())
            step = self.experts.base.ungain(rates)
            noise = normals(rendering.seed, rows, columns, y_hat.shape[1])[None]
            inside = within((rows, columns), region)
            near_said = None if said is None else said[:, :, *inside]
            part = fuser.residual(y_hat[:, :, *inside], step, noise, rates, rendering.steps, near_said)
            paste(residual, region, part, (rows, columns), positions(tile))
        return residual

    def _paint(
        self, symbols: Mapping[Box, TileSymbols], crop: Box, rendering: Rendering, region: Span,
        y_hat: Array | None, code: Array | None, residual: Array | None,
    ) -> list[Pixels]:  # fmt: skip
        """y_hat, code vectors and residual of a region of the latent to the pixels of `crop` for each tau."""
        header, channels = self.header, 1 if self.header.colour is Colour.GREY else 3
        pictures = [blank(header, crop) for _ in rendering.taus]  # tiles of which nothing is whole stay so
        halo = in_blocks(HALO + BOUNDED_REACH + (self.reach if max(rendering.taus) > 0 else 0), header)
        for tile, held in symbols.items():
            if (wanted := crop.common(tile)) is None or held.size == 0:
                continue
            around, core = neighbourhood(wanted, header.width, header.height, halo)
            rows, columns = within(around, region)
            near_y_hat = None if y_hat is None or held.latent is None else y_hat[:, :, rows, columns]
            near_code = None
            if code is not None and held.tokens is not None:
                near_code = code[:, :, *coarser((rows, columns), self.experts.token_side)]
            near_residual = None if residual is None else residual[:, :, rows, columns]
            rates = rates_around(symbols, header, around)
            painted = self.experts.paint(
                rendering.anchor, near_y_hat, near_code, rates, near_residual, rendering.taus, self.textures
            )
            inside = Box(wanted.left % STRIDE, wanted.top % STRIDE, wanted.width, wanted.height)
            target = Box(wanted.left - crop.left, wanted.top - crop.top, wanted.width, wanted.height)
            for picture, x_hat in zip(pictures, painted, strict=True):
                own = x_hat[0][:, *in_pixels(core)]
                picture[target.slices] = to_pixels(own[:, *inside.slices], channels)
                self._show(tile, held, wanted, picture[target.slices])
        return pictures

    def _show(self, tile: Box, held: TileSymbols, wanted: Box, pixels: Pixels) -> None:
        """Lay the references' own pixels over those of a part of a tile, in the blocks that show them."""
        if (seen := self._seen.get(tile)) is None:
            return
        assert held.latent is not None
        assert held.latent.motion is not None
        assert held.latent.motion.shown is not None
        inside = Box(wanted.left - tile.left, wanted.top - tile.top, wanted.width, wanted.height).slices
        mask = enlarged(held.latent.motion.shown, SIDE)[inside] > 0
        pixels[mask] = seen[inside][mask]


def in_blocks(halo: int, header: Header) -> int:
    """A halo, or a little more: where there is a quality map, it is cut out of the picture's in whole blocks."""
    return -(-halo // BLOCK) * BLOCK if header.mapped else halo


def rate_of(held: TileSymbols, header: Header) -> TileRate:
    """A tile's own rate; the file's, where its latent is damaged."""
    return held.latent.rate if held.latent else file_rate(header)


def rates_around(symbols: Mapping[Box, TileSymbols], header: Header, region: Span) -> Array:
    """The rates of a region of the latent as `interpolate` takes them: of each tile, its own quality map's.

    Returns:
        (1,), or (1, h/4, w/4) where there is a quality map; the region is then one of whole blocks.
    """
    plain = to_rates(file_rate(header))
    if not header.mapped:
        return plain
    place = coarser(region)
    whole = np.full((1, 1, *(s.stop - s.start for s in place)), plain[0])
    for tile, held in symbols.items():
        at = coarser(positions(tile))
        if held.latent and all(max(s.start, r.start) < min(s.stop, r.stop) for s, r in zip(at, place, strict=True)):
            paste(whole, place, to_rates(held.latent.rate)[None], at)
    return whole[0]


def y_hat_of(base: FloatPath, latent: Latent, expected: Callable[[Motion], Expected] | None = None) -> Array:
    """y_hat of a tile (1, M, h, w), in natural units. `expected`: what references say of it, where it has any."""
    told = expected(latent.motion) if expected and latent.motion is not None else None
    return base.reconstruct(as_array(latent.z_hat), partial(symbols_of, latent), to_rates(latent.rate), told)


def gather(
    symbols: Mapping[Box, TileSymbols], experts: Experts, region: Span, depth: int,
    reconstruct: Callable[[Box, Latent], Array] | None = None,
) -> tuple[Array | None, Array | None]:  # fmt: skip
    """y_hat (1, M, H, W) and what tokens say (1, code, H/side, W/side) of a region of the latent; None: not there.

    Where tokens of texture say nothing there is nan.

    `reconstruct`: what makes y_hat of a tile; None: its symbols alone.
    """
    base, meaning, side = experts.base, experts.tokens, experts.token_side
    y_hat = code = None
    if any(held.latent is not None for held in symbols.values()):
        y_hat = np.zeros((1, base.latent, *(s.stop - s.start for s in region)), np.float32)
    if meaning is not None and any(held.tokens is not None for held in symbols.values()):
        sides = (s.stop - s.start for s in coarser(region, side))
        code = np.full((1, meaning.code, *sides), np.nan if experts.texture else 0, np.float32)
    for tile, held in symbols.items():
        if y_hat is not None and held.latent is not None:
            own = reconstruct(tile, held.latent) if reconstruct else y_hat_of(base, held.latent)
            paste(y_hat, region, own, positions(tile))
        if code is not None and meaning is not None and held.tokens is not None:
            paste(code, coarser(region, side), meaning.lookup(held.tokens, depth), coarser(positions(tile), side))
    return y_hat, code
