"""From references and a tile's motion to the latent that they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nicodec.container.layout import Colour, Header
from nicodec.container.references import Alignment
from nicodec.engines import Networks
from nicodec.entropy.motion import CELLS, Motion
from nicodec.image.picture import Pixels
from nicodec.latents.floats import Expected, FloatPath
from nicodec.latents.geometry import Span, in_pixels, to_input
from nicodec.references.warp import Aligned, warp

GREY = np.array([19595, 38470, 7471], np.int64)  # of 65536: what of R, G and B is in grey


def in_colour(pixels: Pixels, channels: int) -> Pixels:
    """A reference (h, w, 1 or 3) with as many channels as the picture has."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(3, 2)
    return ((pixels @ GREY + (1 << 15)) >> 16).astype(np.uint8)[:, :, None]


def lay(pixels: Pixels, alignment: Alignment, header: Header) -> Aligned:
    """A reference's pixels (h, w, 1 or 3) under the picture of a file."""
    channels = 1 if header.colour is Colour.GREY else 3
    return Aligned(in_colour(pixels, channels), alignment, header.width, header.height)


@dataclass(frozen=True, eq=False)
class Sources:
    """What a picture is coded beside.

    Attributes:
        aligned: its references, by their numbers from 1 on.
        trust: as in `Expected`.
    """

    aligned: Sequence[Aligned] = ()
    trust: Networks | None = None


def expect(base: FloatPath, sources: Sources, motion: Motion, around: Span, core: Span) -> Expected:
    """What references say of a tile.

    Args:
        sources: of the picture.
        motion: of the tile; in its halo, blocks take what the nearest ones of the tile do.
        around: rows and columns of the picture's latent that the tile and its halo are.
        core: of these, the tile's own.
    """
    pixels = warp(sources.aligned, grown(motion, around, core), around)
    y = base.g_a(to_input(pixels))
    return Expected(motion, pixels[in_pixels(core)], y[:, :, core[0], core[1]], sources.trust)


def grown(motion: Motion, around: Span, core: Span) -> Motion:
    """A tile's motion with that of its halo."""
    halo = [(c.start, a.stop - a.start - c.stop) for a, c in zip(around, core, strict=True)]
    blocks = [(before // 2, after // 2) for before, after in halo]
    cells = [(CELLS * before, CELLS * after) for before, after in blocks]
    return Motion(
        np.pad(motion.sources, blocks, mode="edge"),
        np.pad(motion.vectors, [*cells, (0, 0)], mode="edge"),
        np.pad(motion.classes, halo, mode="edge"),
    )
