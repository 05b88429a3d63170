"""Pictures of any size through the float networks, a tile at a time, in bounded memory and without seams.

A tile's core is coded alone (FORMAT.md, "Tiles"), but the transforms see a halo around it: pixels of the neighbours in
the encoder, their y_hat in the decoder. The halo is wider than any receptive field, so tiled and untiled agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from nicodec.container.layout import STRIDE, Box, Colour, Header, tiles
from nicodec.entropy.coder import Latent
from nicodec.entropy.scales import ScaleModel
from nicodec.errors import UsageError
from nicodec.image.picture import Picture, Pixels
from nicodec.networks.base import HALO
from nicodec.networks.effort import encode_tile
from nicodec.networks.layers import PATCH
from nicodec.zoo.load import load_base
from nicodec.zoo.manifest import Part

Span = tuple[slice, slice]  # rows and columns of a latent


def analyse(
    picture: Picture, part: Part, scales: ScaleModel, rate: int, effort: int, device: str
) -> Iterator[Latent]:  # fmt: skip
    """The float half of encoding: the symbols of each tile in order.

    Raises:
        UsageError: the device is not there.
    """
    place = resolve_device(device)
    base = load_base(part, place)
    for tile in tiles(picture.width, picture.height):
        around, core = neighbourhood(tile, picture.width, picture.height)
        pixels = cut(picture.pixels, *(slice(PATCH * s.start, PATCH * s.stop) for s in around))
        x = torch.from_numpy(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()).to(place)
        yield encode_tile(base, scales, x.permute(2, 0, 1)[None].float() / 255, rate, core, effort)


def needed(crop: Box, header: Header) -> list[Box]:
    """The tiles whose symbols the pixels of `crop` depend on, in order."""
    return [tile for tile in tiles(header.width, header.height) if tile.common(crop, HALO * PATCH)]


def synthesise(latents: Mapping[Box, Latent], header: Header, part: Part, device: str, crop: Box) -> Pixels:
    """The float half of decoding: the symbols of the tiles in `needed` to the pixels of `crop`.

    Returns:
        (h, w, 3) or (h, w, 1), uint8.

    Raises:
        UsageError: the device is not there.
    """
    place = resolve_device(device)
    base, rates = load_base(part, place), torch.tensor([float(header.rate)], device=place)
    region, _ = neighbourhood(crop, header.width, header.height)
    y_hat = torch.zeros(1, base.config.latent, *(s.stop - s.start for s in region), device=place)
    for tile, latent in latents.items():
        arrays = (latent.z_hat, latent.symbols)
        z_hat, symbols = (torch.from_numpy(a.astype(np.float32)).permute(2, 0, 1)[None].to(place) for a in arrays)
        paste(y_hat, region, base.reconstruct(z_hat, symbols, rates), positions(tile))
    channels = 1 if header.colour is Colour.GREY else 3
    picture = np.empty((crop.height, crop.width, channels), np.uint8)
    for tile in latents:
        if (wanted := crop.common(tile)) is None:
            continue
        around, core = neighbourhood(wanted, header.width, header.height)
        rows, columns = (slice(s.start - r.start, s.stop - r.start) for s, r in zip(around, region, strict=True))
        x_hat = base.synthesise(y_hat[:, :, rows, columns], rates, core)
        inside = Box(wanted.left % STRIDE, wanted.top % STRIDE, wanted.width, wanted.height)
        target = Box(wanted.left - crop.left, wanted.top - crop.top, wanted.width, wanted.height)
        picture[target.slices] = to_pixels(x_hat[0][:, *inside.slices], channels)
    return picture


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


def neighbourhood(box: Box, width: int, height: int) -> tuple[Span, Span]:
    """A box and its halo in the latent of a picture of this size, and its core in that; the halo ends at borders."""
    around, inside = [], []
    for core, limit in zip(positions(box), positions(Box(0, 0, width, height)), strict=True):
        start, stop = max(0, core.start - HALO), min(limit.stop, core.stop + HALO)
        around.append(slice(start, stop))
        inside.append(slice(core.start - start, core.stop - start))
    return (around[0], around[1]), (inside[0], inside[1])


def paste(whole: Tensor, whole_at: Span, part: Tensor, part_at: Span) -> None:
    """Copy what `part` and `whole` have in common; both are maps (1, C, H, W) with their places in the picture's."""
    target, source = [], []
    for to, at in zip(whole_at, part_at, strict=True):
        start, stop = max(to.start, at.start), min(to.stop, at.stop)
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
