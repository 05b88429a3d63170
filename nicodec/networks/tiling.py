"""Pictures of any size through the float networks, a tile at a time, in bounded memory and without seams.

A tile's core is coded alone (FORMAT.md, "Tiles"), but the transforms see a halo around it: pixels of the neighbours in
the encoder, their y_hat in the decoder. The halo is wider than any receptive field, so tiled and untiled agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nicodec.container.layout import STRIDE, Anchor, Box, Colour, Header, tiles
from nicodec.entropy import integer
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.symbols import TileSymbols
from nicodec.errors import UsageError
from nicodec.image.picture import Picture, Pixels
from nicodec.networks.base import HALO, WHOLE, Base
from nicodec.networks.effort import encode_tile
from nicodec.networks.experts import Experts
from nicodec.networks.fuser import normals
from nicodec.networks.layers import BLOCK, PATCH, Span, coarser, float64_product, to_rates
from nicodec.networks.trust import TRUST_REACH
from nicodec.networks.vq import VQExpert
from nicodec.rate.tile import TileRate

integer.offer(float64_product)

LED = 2  # positions further than HALO that tau makes pixels depend on, through g_a: even, for tokens two positions wide


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
    y: Tensor
    tokens: NDArray[np.uint16] | None


def analyse(picture: Picture, base: Base, vq: VQExpert | None, depth: int) -> Iterator[Analysed]:
    """The float half of encoding, as far as it does not depend on the rate: tile by tile, in order.

    Args:
        vq: None: no tokens.
        depth: bits a token.
    """
    for tile in tiles(picture.width, picture.height):
        around, core = neighbourhood(tile, picture.width, picture.height)
        pixels = cut(picture.pixels, *(slice(PATCH * s.start, PATCH * s.stop) for s in around))
        yield _analyse_tile(pixels, around, core, base, vq, depth)


@torch.inference_mode(False)  # whatever mode the host program is in: see `choose_symbols`
def _analyse_tile(pixels: Pixels, around: Span, core: Span, base: Base, vq: VQExpert | None, depth: int) -> Analysed:
    with torch.no_grad():
        y, tokens = base.g_a(to_input(pixels, base.std.device)), None
        if vq is not None:
            spread = y[:, :, core[0], core[1]] / base.std[None, :, None, None]
            tokens = vq.tokens(spread, depth)[0].cpu().numpy().astype(np.uint16)
    return Analysed(pixels, around, core, y, tokens)


@torch.inference_mode(False)  # whatever mode the host program is in: effort takes gradients
def choose_symbols(held: Analysed, base: Base, scales: ScaleModel | None, rate: TileRate, effort: int) -> TileSymbols:
    """The float half of encoding, the rest: the symbols of a tile.

    Args:
        scales: None: no latent.
        rate: of all of the picture's blocks.
    """
    if scales is None:
        return TileSymbols(None, held.tokens)
    near = rate.cut(*coarser(held.around))
    with torch.no_grad():
        y, z_hat = base.scaled(held.y, to_rates(near, held.y.device), held.core)
    x = to_input(held.pixels, base.std.device)
    return TileSymbols(encode_tile(base, scales, x, y, z_hat, near, held.core, effort), held.tokens)


def to_input(pixels: Pixels, device: torch.device | str) -> Tensor:
    """(h, w, 1 or 3) to (1, 3, h, w), float, 0..1."""
    x = torch.from_numpy(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()).to(device)
    return x.permute(2, 0, 1)[None].float() / 255


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
    fusion: Fusion = Fusion(),
) -> list[Pixels]:  # fmt: skip
    """The float half of decoding: the symbols of the tiles in `needed` to the pixels of `crop`, for each tau.

    Args:
        symbols: a tile may lack one stream, or both.
        depth: bits a token.

    Returns:
        (h, w, 3) or (h, w, 1), uint8.

    Raises:
        MissingPartError: see `Experts.paint`.
    """
    region, _ = neighbourhood(crop, header.width, header.height, reach(experts, header))
    y_hat, code = gather(symbols, experts, region, depth)
    residual = None
    if y_hat is not None and experts.fuser is not None:
        residual = fuse(y_hat, symbols, header, experts, region, fusion)
    return paint(symbols, header, experts, anchor, crop, region, y_hat, code, residual, fusion.taus)


def rate_of(held: TileSymbols, header: Header) -> TileRate:
    """A tile's own rate; the file's, where its latent is damaged."""
    return held.latent.rate if held.latent else TileRate(header.rate, header.tune or 0)


def rates_around(symbols: Mapping[Box, TileSymbols], header: Header, region: Span, device: torch.device) -> Tensor:
    """The rates of a region of the latent as `interpolate` takes them: of each tile, its own quality map's.

    Returns:
        (1,), or (1, h/4, w/4) where there is a quality map; the region is then one of whole blocks.
    """
    plain = to_rates(TileRate(header.rate, header.tune or 0), device)
    if not header.mapped:
        return plain
    place = coarser(region)
    whole = plain.expand(1, 1, *(s.stop - s.start for s in place)).clone()
    for tile, held in symbols.items():
        at = coarser(positions(tile))
        if held.latent and all(max(s.start, r.start) < min(s.stop, r.stop) for s, r in zip(at, place, strict=True)):
            paste(whole, place, to_rates(held.latent.rate, device)[None], at)
    return whole[0]


@torch.inference_mode()
def fuse(
    y_hat: Tensor, symbols: Mapping[Box, TileSymbols], header: Header, experts: Experts, region: Span, fusion: Fusion
) -> Tensor:
    """The fuser's y' - y_hat (1, M, H, W) in a region of the latent, tile by tile: the same whatever the region is.

    The fuser knows one rate a tile, the mean of its quality map, and no tunes but by the size of the quantiser's steps.
    """
    fuser = experts.fuser
    assert fuser is not None
    residual = torch.zeros_like(y_hat)
    for tile, held in symbols.items():
        rate = rate_of(held, header).flat()
        step = experts.base.ungain(to_rates(rate, y_hat.device))
        rates = to_rates(TileRate(rate.rate), y_hat.device)
        near = [
            (max(r.start, s.start - fuser.halo), min(r.stop, s.stop + fuser.halo))
            for s, r in zip(positions(tile), region, strict=True)
        ]
        if any(start >= stop for start, stop in near):
            continue
        rows, columns = (slice(start, stop) for start, stop in near)
        noise = torch.from_numpy(normals(fusion.seed, rows, columns, y_hat.shape[1]))[None].to(y_hat.device)
        inside = tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip((rows, columns), region, strict=True))
        part = fuser.residual(y_hat[:, :, inside[0], inside[1]], step, noise, rates, fusion.steps)
        paste(residual, region, part, (rows, columns), positions(tile))
    return residual


def paint(
    symbols: Mapping[Box, TileSymbols], header: Header, experts: Experts, anchor: Anchor, crop: Box, region: Span,
    y_hat: Tensor | None, code: Tensor | None, residual: Tensor | None, taus: Sequence[float],
) -> list[Pixels]:  # fmt: skip
    """y_hat, code vectors and residual of a region of the latent to the pixels of `crop` for each tau, tile by tile."""
    channels = 1 if header.colour is Colour.GREY else 3
    shape = crop.height, crop.width, channels
    pictures = [np.full(shape, 128, np.uint8) for _ in taus]  # tiles of which nothing is whole stay grey
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
        rates = rates_around(symbols, header, around, experts.base.std.device)
        inside = Box(wanted.left % STRIDE, wanted.top % STRIDE, wanted.width, wanted.height)
        target = Box(wanted.left - crop.left, wanted.top - crop.top, wanted.width, wanted.height)
        painted = experts.paint(anchor, near_y_hat, near_code, rates, near_residual, taus)
        for picture, x_hat in zip(pictures, painted, strict=True):
            own = x_hat[0][:, *(slice(PATCH * s.start, PATCH * s.stop) for s in core)]
            picture[target.slices] = to_pixels(own[:, *inside.slices], channels)
    return pictures


def gather(
    symbols: Mapping[Box, TileSymbols], experts: Experts, region: Span, depth: int
) -> tuple[Tensor | None, Tensor | None]:
    """y_hat (1, M, H, W) and code vectors (1, code, H/side, W/side) of a region of the latent; None: not there."""
    base, vq, side, device = experts.base, experts.vq, experts.token_side, experts.base.std.device
    y_hat = code = None
    if any(held.latent is not None for held in symbols.values()):
        y_hat = torch.zeros(1, base.config.latent, *(s.stop - s.start for s in region), device=device)
    if vq is not None and any(held.tokens is not None for held in symbols.values()):
        sides = (s.stop - s.start for s in coarser(region, side))
        code = torch.zeros(1, vq.config.code, *sides, device=device)
    for tile, held in symbols.items():
        if y_hat is not None and held.latent is not None:
            arrays = (held.latent.z_hat, held.latent.symbols)
            z_hat, rest = (torch.from_numpy(a.astype(np.float32)).permute(2, 0, 1)[None] for a in arrays)
            part = base.reconstruct(z_hat.to(device), rest.to(device), to_rates(held.latent.rate, device))
            paste(y_hat, region, part, positions(tile))
        if code is not None and vq is not None and held.tokens is not None:
            tokens = torch.from_numpy(held.tokens.astype(np.int64))[None].to(device)
            paste(code, coarser(region, side), vq.codebook.lookup(tokens, depth), coarser(positions(tile), side))
    return y_hat, code


def to_pixels(x_hat: Tensor, channels: int) -> Pixels:
    """(3, H, W), about 0..1, to (H, W, channels) uint8; one channel is the mean of the three."""
    if channels == 1:
        x_hat = x_hat.mean(0, keepdim=True)
    return (x_hat.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


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


def paste(whole: Tensor, whole_at: Span, part: Tensor, part_at: Span, only: Span = WHOLE) -> None:
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


def resolve_device(device: str) -> str:
    """`auto` to `cuda` where there is one, else `cpu`.

    Raises:
        UsageError: `cuda` was asked for and is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, but torch finds none here; use --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
