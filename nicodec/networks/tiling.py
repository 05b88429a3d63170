"""Pictures of any size through the float networks, a tile at a time, in bounded memory and without seams.

A tile's core is coded alone (FORMAT.md, "Tiles"), but the transforms see a halo around it: pixels of the neighbours in
the encoder, their y_hat in the decoder. The halo is wider than any receptive field, so tiled and untiled agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from nicodec.container.layout import STRIDE, Colour, Header, TileGeometry, tiles
from nicodec.entropy.coder import Latent
from nicodec.errors import UsageError
from nicodec.image.picture import Picture, Pixels
from nicodec.networks.base import HALO, PATCH
from nicodec.zoo.load import load_base
from nicodec.zoo.manifest import Part

Box = tuple[slice, slice]


def analyse(picture: Picture, part: Part, rate: int, device: str) -> Iterator[Latent]:
    """The float half of encoding: the symbols of each tile in order.

    Raises:
        UsageError: the device is not there.
    """
    place = resolve_device(device)
    base, rates = load_base(part, place), torch.tensor([float(rate)], device=place)
    for tile in tiles(picture.width, picture.height):
        around, core = neighbourhood(tile, picture.width, picture.height)
        pixels = cut(picture.pixels, *(slice(PATCH * s.start, PATCH * s.stop) for s in around))
        x = torch.from_numpy(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()).to(place)
        z_hat, symbols = base.analyse(x.permute(2, 0, 1)[None].float() / 255, rates, core)
        yield Latent(*(t[0].permute(1, 2, 0).cpu().numpy().astype(np.int16) for t in (z_hat, symbols)))


def synthesise(latents: Sequence[Latent], header: Header, part: Part, device: str) -> Pixels:
    """The float half of decoding: the symbols of all tiles to pixels (H, W, 3) or (H, W, 1), uint8.

    Raises:
        UsageError: the device is not there.
    """
    place = resolve_device(device)
    base, rates = load_base(part, place), torch.tensor([float(header.rate)], device=place)
    geometry = tiles(header.width, header.height)
    grid = [size * STRIDE // PATCH for size in TileGeometry(0, 0, header.width, header.height).grid]
    y_hat = torch.zeros(1, base.config.latent, *grid, device=place)
    for tile, latent in zip(geometry, latents, strict=True):
        arrays = (latent.z_hat, latent.symbols)
        z_hat, symbols = (torch.from_numpy(a.astype(np.float32)).permute(2, 0, 1)[None].to(place) for a in arrays)
        rows, columns = positions(tile)
        y_hat[:, :, rows, columns] = base.reconstruct(z_hat, symbols, rates)
    channels = 1 if header.colour is Colour.GREY else 3
    picture = np.empty((header.height, header.width, channels), np.uint8)
    for tile in geometry:
        (rows, columns), core = neighbourhood(tile, header.width, header.height)
        x_hat = base.synthesise(y_hat[:, :, rows, columns], rates, core)
        picture[tile.box] = to_pixels(x_hat[0, :, : tile.height, : tile.width], channels)
    return picture


def to_pixels(x_hat: Tensor, channels: int) -> Pixels:
    """(3, H, W), about 0..1, to (H, W, channels) uint8; one channel is the mean of the three."""
    if channels == 1:
        x_hat = x_hat.mean(0, keepdim=True)
    return (x_hat.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def positions(tile: TileGeometry) -> Box:
    """Rows and columns of a tile's core in the picture's latent."""
    height, width = (size * STRIDE // PATCH for size in tile.grid)
    top, left = tile.top // PATCH, tile.left // PATCH
    return slice(top, top + height), slice(left, left + width)


def neighbourhood(tile: TileGeometry, width: int, height: int) -> tuple[Box, Box]:
    """A tile with its halo in the picture's latent, and its core inside that.

    The halo ends at the picture's border, and is rounded to multiples of STRIDE pixels like everything that g_a sees.
    """
    limits = [size * STRIDE // PATCH for size in TileGeometry(0, 0, width, height).grid]
    around, inside = [], []
    for core, limit in zip(positions(tile), limits, strict=True):
        start, stop = max(0, core.start - HALO), min(limit, core.stop + HALO)
        around.append(slice(start, stop))
        inside.append(slice(core.start - start, core.stop - start))
    return (around[0], around[1]), (inside[0], inside[1])


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
