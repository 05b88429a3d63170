"""The restorer at work: a JPEG's picture to restored ones of any size, tile by tile, without seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nicodec.container.layout import STRIDE, Box, tiles
from nicodec.engines import Networks, load_networks
from nicodec.image.jpeg import Jpeg
from nicodec.image.picture import Pixels
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import Array, Span, cut, in_pixels, neighbourhood, to_input, to_pixels
from nicodec.painters import Rendering
from nicodec.painters.fuser import halo_of, normals
from nicodec.zoo.manifest import Part
from nicodec.zoo.stored import read_config

FURTHEST = 1.25  # of the way from the close picture to the natural one, at tau 1; chosen on held-out pictures


@dataclass(frozen=True)
class Restorer:
    """A restorer's networks, and the base's that they stand on; see `nicodec.networks.restorer.Restorer`.

    Attributes:
        halo: positions around one that it depends on, or more.
    """

    networks: Networks
    base: FloatPath
    halo: int

    def paint(self, pixels: Pixels, jpeg: Jpeg, crop: Box, rendering: Rendering) -> list[Pixels]:
        """The pixels of `crop` (h, w, 3 or 1), restored, for each tau.

        Args:
            pixels: of the whole picture.
            jpeg: the file that they are from.
        """
        top, left = jpeg.origin
        pixels = np.pad(pixels, ((top, 0), (left, 0), (0, 0)), mode="edge")  # blocks then lie on whole multiples
        height, width, channels = pixels.shape
        wanted = Box(left + crop.left, top + crop.top, crop.width, crop.height)
        pictures = [np.empty((crop.height, crop.width, channels), np.uint8) for _ in rendering.taus]
        for tile in tiles(width, height):
            if (part := tile.common(wanted)) is None:
                continue
            around, core = neighbourhood(part, width, height, self.halo)
            x = to_input(cut(pixels, *in_pixels(around)))
            inside = Box(part.left % STRIDE, part.top % STRIDE, part.width, part.height)
            target = Box(part.left - wanted.left, part.top - wanted.top, part.width, part.height)
            for picture, x_hat in zip(pictures, self.restored(x, jpeg, around, rendering), strict=True):
                picture[target.slices] = to_pixels(x_hat[0][:, *in_pixels(core)][:, *inside.slices], channels)
        return pictures

    def restored(self, x: Array, jpeg: Jpeg, around: Span, rendering: Rendering) -> list[Array]:
        """Pixels x (1, 3, H, W), 0..1, of a region of the picture's latent, restored for each tau."""
        y = self.base.g_a(x)

        def end(told: float, noise: Array) -> Array:
            return self.networks("restored", x, y, noise, np.append(jpeg.quantised, np.float32(told))[None])[0]

        close = end(0, np.zeros_like(y))
        if max(rendering.taus) == 0:
            return [close] * len(rendering.taus)
        natural = end(1, normals(rendering.seed, *around, y.shape[1])[None])
        return [close + np.float32(FURTHEST * tau) * (natural - close) for tau in rendering.taus]


def load_restorer(part: Part, base: FloatPath, engine: str, device: str) -> Restorer:
    """That of a restorer part, on its base. Raises: as `load_networks`."""
    config = read_config(part)
    return Restorer(load_networks(part, engine, device), base, halo_of(config["depth_16"], config["depth_8"]))
