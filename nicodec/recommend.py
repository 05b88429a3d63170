"""Which tau a file recommends (`decode --tau auto`): the one whose picture has as much texture as the original."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nicodec.codec import decode_taus
from nicodec.container.layout import Anchor, Box, Hint
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file
from nicodec.image.picture import Picture, Pixels
from nicodec.latents.geometry import Array, cut, in_pixels, positions, to_input
from nicodec.options import EncodeOptions
from nicodec.zoo.model import Model

TAUS = tuple(index / 10 for index in range(11))
WINDOW = 512  # pixels of a side of the picture's middle, which speaks for all of it


def recommend(picture: Picture, data: bytes, options: EncodeOptions) -> bytes:
    """The file with the tau that suits its picture in its header, where that has a place for one.

    Of the perception anchor's pictures from tau 0 to 1 it is the one whose energies are nearest to the original's: cell
    by cell and group by group of y's components, on a scale of logarithms (`Texture.ratios`).

    Raises:
        MissingPartError, DamagedPartError: the model has no fuser, or not a whole one.
    """
    file = read_file(data)
    if file.header.hint is None:
        return data
    model = Model.named(options.model, options.engine, options.device)
    crop = _middle(picture)
    place = crop.left, crop.top, crop.width, crop.height
    asked = replace(options.decoding(picture.width * picture.height), anchor="perception", taus=TAUS, crop=place)
    original = _latent(picture.pixels[crop.slices], model)
    latents = (_latent(painted.pixels, model) for painted in decode_taus(data, asked))
    errors = [np.square(model.texture.ratios(original, latent)).mean() for latent in latents]
    hint = Hint(Anchor.PERCEPTION, round(100 * TAUS[int(np.argmin(errors))]))
    return write_file(replace(file.header, hint=hint), list(file.sections.values()))


def _latent(pixels: Pixels, model: Model) -> Array:
    whole = in_pixels(positions(Box(0, 0, pixels.shape[1], pixels.shape[0])))
    return model.base.g_a(to_input(cut(pixels, *whole)))


def _middle(picture: Picture) -> Box:
    width, height = min(picture.width, WINDOW), min(picture.height, WINDOW)
    return Box((picture.width - width) // 2, (picture.height - height) // 2, width, height)
