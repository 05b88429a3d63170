"""The float half of decoding: symbols to pictures of any size, tile by tile, in bounded memory, without seams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nicodec.container.layout import STRIDE, Anchor, Box, Colour, Header, tiles
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.drawn import blank
from nicodec.image.picture import Pixels
from nicodec.latents.geometry import (
    BLOCK,
    HALO,
    PATCH,
    Array,
    Span,
    coarser,
    in_pixels,
    neighbourhood,
    paste,
    positions,
    to_pixels,
)
from nicodec.latents.rates import to_rates
from nicodec.painters.experts import Experts
from nicodec.painters.fuser import normals
from nicodec.rate.tile import TileRate
from nicodec.references.expect import expect
from nicodec.references.warp import Aligned

TRUST_REACH = 2  # positions of the latent further than the networks see that a bounded picture depends on
LED = 2  # positions further than HALO that tau makes pixels depend on, through g_a: even, for tokens two positions wide


@dataclass(frozen=True)
class Fusion:
    """How far towards a natural picture: a picture for each of `taus`, 0..1; steps and seed of the diffusion."""

    taus: tuple[float, ...] = (0.0,)
    steps: int = 1
    seed: int = 0


def needed(crop: Box, header: Header, experts: Experts) -> list[Box]:
    """The tiles whose symbols the pixels of `crop` depend on, in order."""
    return [tile for tile in tiles(header.width, header.height) if tile.common(crop, reach(experts, header) * PATCH)]


def reach(experts: Experts, header: Header) -> int:
    """Positions of the latent around a crop that its pixels may depend on."""
    return in_blocks(HALO + TRUST_REACH + (LED + experts.fuser.halo if experts.fuser else 0), header)


def in_blocks(halo: int, header: Header) -> int:
    """A halo, or a little more: where there is a quality map, it is cut out of the picture's in whole blocks."""
    return -(-halo // BLOCK) * BLOCK if header.mapped else halo


def synthesise(
    symbols: Mapping[Box, TileSymbols], header: Header, experts: Experts, anchor: Anchor, depth: int, crop: Box,
    fusion: Fusion = Fusion(), references: Sequence[Aligned] = (),
) -> list[Pixels]:  # fmt: skip
    """The float half of decoding: the symbols of the tiles in `needed` to the pixels of `crop`, for each tau.

    Args:
        symbols: a tile may lack one stream, or both.
        depth: bits a token.
        references: that the tiles' motions are of.

    Returns:
        (h, w, 3) or (h, w, 1), uint8.

    Raises:
        MissingPartError: see `Experts.paint`.
    """
    region, _ = neighbourhood(crop, header.width, header.height, reach(experts, header))
    y_hat, code = gather(symbols, experts, region, depth, header, references)
    residual = None
    if y_hat is not None and experts.fuser is not None:
        residual = fuse(y_hat, symbols, header, experts, region, fusion)
    return paint(symbols, header, experts, anchor, crop, region, y_hat, code, residual, fusion.taus)


def rate_of(held: TileSymbols, header: Header) -> TileRate:
    """A tile's own rate; the file's, where its latent is damaged."""
    return held.latent.rate if held.latent else TileRate(header.rate, header.tune or 0)


def rates_around(symbols: Mapping[Box, TileSymbols], header: Header, region: Span) -> Array:
    """The rates of a region of the latent as `interpolate` takes them: of each tile, its own quality map's.

    Returns:
        (1,), or (1, h/4, w/4) where there is a quality map; the region is then one of whole blocks.
    """
    plain = to_rates(TileRate(header.rate, header.tune or 0))
    if not header.mapped:
        return plain
    place = coarser(region)
    whole = np.full((1, 1, *(s.stop - s.start for s in place)), plain[0])
    for tile, held in symbols.items():
        at = coarser(positions(tile))
        if held.latent and all(max(s.start, r.start) < min(s.stop, r.stop) for s, r in zip(at, place, strict=True)):
            paste(whole, place, to_rates(held.latent.rate)[None], at)
    return whole[0]


def fuse(
    y_hat: Array, symbols: Mapping[Box, TileSymbols], header: Header, experts: Experts, region: Span, fusion: Fusion
) -> Array:
    """The fuser's y' - y_hat (1, M, H, W) in a region of the latent, tile by tile: the same whatever the region is.

    The fuser knows one rate a tile, the mean of its quality map, and no tunes but by the size of the quantiser's steps.
    """
    fuser = experts.fuser
    assert fuser is not None
    residual = np.zeros_like(y_hat)
    for tile, held in symbols.items():
        near = [
            (max(r.start, s.start - fuser.halo), min(r.stop, s.stop + fuser.halo))
            for s, r in zip(positions(tile), region, strict=True)
        ]
        if any(start >= stop for start, stop in near):
            continue
        rows, columns = (slice(start, stop) for start, stop in near)
        rate = rate_of(held, header).flat()
        step, rates = experts.base.ungain(to_rates(rate)), to_rates(TileRate(rate.rate))
        noise = normals(fusion.seed, rows, columns, y_hat.shape[1])[None]
        inside = tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip((rows, columns), region, strict=True))
        part = fuser.residual(y_hat[:, :, inside[0], inside[1]], step, noise, rates, fusion.steps)
        paste(residual, region, part, (rows, columns), positions(tile))
    return residual


def paint(
    symbols: Mapping[Box, TileSymbols], header: Header, experts: Experts, anchor: Anchor, crop: Box, region: Span,
    y_hat: Array | None, code: Array | None, residual: Array | None, taus: Sequence[float],
) -> list[Pixels]:  # fmt: skip
    """y_hat, code vectors and residual of a region of the latent to the pixels of `crop` for each tau, tile by tile."""
    channels = 1 if header.colour is Colour.GREY else 3
    pictures = [blank(header, crop) for _ in taus]  # tiles of which nothing is whole stay so
    for tile, held in symbols.items():
        if (wanted := crop.common(tile)) is None or held.size == 0:
            continue
        halo = in_blocks(HALO + TRUST_REACH + (0 if residual is None else LED), header)
        around, core = neighbourhood(wanted, header.width, header.height, halo)
        rows, columns = (slice(s.start - r.start, s.stop - r.start) for s, r in zip(around, region, strict=True))
        near_y_hat = None if y_hat is None or held.latent is None else y_hat[:, :, rows, columns]
        near_code = None
        if code is not None and held.tokens is not None:
            near_code = code[:, :, *coarser((rows, columns), experts.token_side)]
        near_residual = None if residual is None else residual[:, :, rows, columns]
        rates = rates_around(symbols, header, around)
        inside = Box(wanted.left % STRIDE, wanted.top % STRIDE, wanted.width, wanted.height)
        target = Box(wanted.left - crop.left, wanted.top - crop.top, wanted.width, wanted.height)
        painted = experts.paint(anchor, near_y_hat, near_code, rates, near_residual, taus)
        for picture, x_hat in zip(pictures, painted, strict=True):
            own = x_hat[0][:, *in_pixels(core)]
            picture[target.slices] = to_pixels(own[:, *inside.slices], channels)
    return pictures


def gather(
    symbols: Mapping[Box, TileSymbols], experts: Experts, region: Span, depth: int, header: Header,
    references: Sequence[Aligned],
) -> tuple[Array | None, Array | None]:  # fmt: skip
    """y_hat (1, M, H, W) and code vectors (1, code, H/side, W/side) of a region of the latent; None: not there."""
    base, vq, side = experts.base, experts.vq, experts.token_side
    y_hat = code = None
    if any(held.latent is not None for held in symbols.values()):
        y_hat = np.zeros((1, base.latent, *(s.stop - s.start for s in region)), np.float32)
    if vq is not None and any(held.tokens is not None for held in symbols.values()):
        sides = (s.stop - s.start for s in coarser(region, side))
        code = np.zeros((1, vq.code, *sides), np.float32)
    for tile, held in symbols.items():
        if y_hat is not None and held.latent is not None:
            arrays = (held.latent.z_hat, held.latent.symbols)
            z_hat, rest = (np.moveaxis(array, 2, 0)[None].astype(np.float32) for array in arrays)
            expected = None
            if held.latent.motion is not None:
                place = neighbourhood(tile, header.width, header.height)
                expected = expect(base, references, held.latent.motion, *place)
            own = base.reconstruct(z_hat, rest, to_rates(held.latent.rate), expected)
            paste(y_hat, region, own, positions(tile))
        if code is not None and vq is not None and held.tokens is not None:
            paste(code, coarser(region, side), vq.lookup(held.tokens, depth), coarser(positions(tile), side))
    return y_hat, code
