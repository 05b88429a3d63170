"""One file, decoded as a page asks for it: what does not depend on anchor and tau is computed once."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nicodec.bases.own_decoder import OwnDecoder
from nicodec.codec import library_of
from nicodec.container.info import describe
from nicodec.container.layout import Anchor, Box, Header, SectionType
from nicodec.container.limits import check_declared
from nicodec.container.reader import read_file
from nicodec.entropy.symbols import TileSymbols
from nicodec.errors import DamagedPartError, MissingPartError, MissingStreamError, UnsupportedPictureError, UsageError
from nicodec.image.drawn import blank
from nicodec.image.kept import unpack_blocks, unpack_jpeg, unpack_transparency
from nicodec.image.picture import Picture, Pixels
from nicodec.latents.geometry import Array, Span, coarser, neighbourhood
from nicodec.options import ANCHORS, DecodeOptions
from nicodec.painters import Rendering
from nicodec.painters.experts import Experts
from nicodec.painters.restorer import Restorer
from nicodec.painters.synthesis import Synthesis
from nicodec.references.expect import Sources
from nicodec.zoo.model import Model

KEPT = 6  # times the latent's size: pieces overlap, and another number of steps is another y'


class Session:
    """A .nic file and the networks that paint it. Safe to call from several threads, one at a time works.

    Args:
        data: the file.
        engine, device: as in `DecodeOptions`.
        max_pixels: as in `DecodeOptions`.
        beside: the folder that it is from, where what it refers to is looked for.

    Raises:
        UnsupportedPictureError: another codec's file, unless that is a JPEG.
        LimitError: more pixels than a file of its size has (`container.limits.check_declared`).
        As `decode_bytes`.
    """

    def __init__(
        self, data: bytes, device: str = "auto", max_pixels: int | None = None, engine: str = "auto",
        beside: Path | None = None,
    ) -> None:  # fmt: skip
        self.file, self.seed = read_file(data), zlib.crc32(data)
        if SectionType.FOREIGN in self.file.sections and not self.file.holds_jpeg:
            raise UnsupportedPictureError("the file holds another codec's strings; decode it instead")
        check_declared(self.file, max_pixels)
        self.header, self.lock = self.file.header, threading.Lock()
        self.whole = Box(0, 0, self.header.width, self.header.height)
        self.drawn = unpack_blocks(self.file)  # or None
        self.alpha = unpack_transparency(self.file)  # (H, W) or None
        self.jpeg: Picture | None = None
        self.restorer: Restorer | None = None
        if self.file.holds_jpeg:
            self.jpeg = unpack_jpeg(self.file)
            with suppress(MissingPartError, DamagedPartError):  # the page then has no slider
                self.restorer = Model.restoring(engine, device).restorer
            return
        if not self.file.streams:
            return
        sought = DecodeOptions(device=device, max_pixels=max_pixels, engine=engine, beside=beside)
        base = OwnDecoder(self.file, engine, device, library=library_of(self.file, sought))
        experts = base.experts(Anchor.PERCEPTION if base.tokens else Anchor.FIDELITY)
        with suppress(MissingPartError, DamagedPartError, MissingStreamError):  # the page then has no slider
            experts = replace(experts, fuser=base.fuser())
        self.symbols = base.symbols()
        depth = base.tokens.depth if base.tokens else 0
        self.painter = RememberingSynthesis(self.symbols, self.header, experts, depth, base.sources)

    def facts(self) -> dict[str, Any]:
        """What the page needs to know: `describe`'s keys, `anchors` that work, and whether `tau` does."""
        if self.jpeg or not self.file.streams:
            return {**describe(self.file), "anchors": [ANCHORS[0]], "tau": self.restorer is not None}
        painter = self.painter
        experts = painter.experts
        both = (experts.mode is not None or experts.texture is not None) and painter.code is not None
        has_both = both and painter.y_hat is not None
        anchors = list(ANCHORS) if has_both else ["fidelity" if painter.y_hat is not None else "perception"]
        return {**describe(self.file), "anchors": anchors, "tau": experts.fuser is not None}

    def render(self, anchor: str, tau: float, steps: int, box: Box) -> Pixels:
        """The pixels of `box` (h, w, 3 or 1).

        Raises:
            UsageError: no such anchor, tau or box.
        """
        if anchor not in ANCHORS or not 0 <= tau <= 1 or not 1 <= steps <= 8 or box.common(self.whole) != box:
            raise UsageError("anchor, tau, steps or box out of range")
        rendering = Rendering(Anchor[anchor.upper()], (tau,), steps, self.seed)
        if self.jpeg:
            return self._restored(self.jpeg, box, rendering)
        if self.file.streams:
            with self.lock:
                (pixels,) = self.painter.paint(self.symbols, box, rendering)
        else:
            pixels = blank(self.header, box)
        if self.drawn is not None:
            self.drawn.paint(pixels, box)
        return pixels

    def _restored(self, picture: Picture, box: Box, rendering: Rendering) -> Pixels:
        """Of a JPEG's picture; its own pixels, where nothing restores them."""
        if self.restorer is None or picture.jpeg is None:
            return picture.pixels[box.slices]
        with self.lock:
            (pixels,) = self.restorer.paint(picture.pixels, picture.jpeg, box, rendering)
        return pixels


class RememberingSynthesis(Synthesis):
    """Computes what depends on neither anchor nor tau once: the latent, and the last residuals of the fuser."""

    def __init__(
        self, symbols: Mapping[Box, TileSymbols], header: Header, experts: Experts, depth: int, sources: Sources
    ) -> None:
        super().__init__(header, experts, depth, sources)
        everything, _ = neighbourhood(Box(0, 0, header.width, header.height), header.width, header.height)
        self.y_hat, self.code = super().gather(symbols, everything)
        self.residuals: dict[tuple[int, tuple[int, ...]], Array] = {}

    def gather(self, symbols: Mapping[Box, TileSymbols], region: Span) -> tuple[Array | None, Array | None]:
        """As `Synthesis`: cut out of what there is."""
        y_hat = None if self.y_hat is None else self.y_hat[:, :, *region]
        return y_hat, None if self.code is None else self.code[:, :, *coarser(region, self.experts.token_side)]

    def fuse(
        self, symbols: Mapping[Box, TileSymbols], y_hat: Array, code: Array | None, region: Span, rendering: Rendering
    ) -> Array:
        """As `Synthesis`. The last ones are kept, since a dragged slider asks for them again."""
        assert self.y_hat is not None
        key = rendering.steps, tuple(limit for s in region for limit in (s.start, s.stop))
        if (known := self.residuals.pop(key, None)) is None:
            known = super().fuse(symbols, y_hat, code, region, rendering)
        self.residuals[key] = known  # the youngest comes last
        while sum(held.size for held in self.residuals.values()) > KEPT * self.y_hat.size:
            del self.residuals[next(iter(self.residuals))]
        return known


def parse_box(text: str, whole: Box) -> Box:
    """`x,y,w,h` to a box; the whole picture where it is empty.

    Raises:
        UsageError: not four numbers, or not inside.
    """
    if not text:
        return whole
    try:
        box = Box(*(int(number) for number in text.split(",")))
    except (ValueError, TypeError):
        raise UsageError(f"{text!r} is no box, expected x,y,w,h") from None
    if min(box.width, box.height) < 1 or box.common(whole) != box:
        raise UsageError(f"the box {text} is not inside the picture")
    return box


def as_rgb(pixels: Pixels) -> Pixels:
    """(h, w, 1 or 3) to (h, w, 3)."""
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def as_image(pixels: Pixels, alpha: Pixels | None) -> Image.Image:
    """(h, w, 1 or 3), and alpha (h, w) or None, to an RGB or RGBA image."""
    planes = [as_rgb(pixels)] if alpha is None else [as_rgb(pixels), alpha[:, :, None]]
    return Image.fromarray(np.concatenate(planes, 2))
