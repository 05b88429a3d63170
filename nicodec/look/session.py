"""One file, decoded as a page asks for it: what does not depend on anchor and tau is computed once."""

from __future__ import annotations

import threading
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nicodec.codec import find_experts, find_fuser, find_references, unpack_blocks, unpack_transparency
from nicodec.container.info import describe
from nicodec.container.layout import Anchor, Box, SectionType
from nicodec.container.limits import check_declared
from nicodec.container.reader import read_file
from nicodec.errors import DamagedPartError, MissingPartError, MissingStreamError, UnsupportedPictureError, UsageError
from nicodec.image.drawn import blank
from nicodec.image.picture import Pixels
from nicodec.latents.geometry import Array, Span, neighbourhood
from nicodec.options import ANCHORS, DecodeOptions
from nicodec.painters.synthesis import Fusion, fuse, gather, paint, reach
from nicodec.streams import decode_symbols

KEPT = 6  # times the latent's size: pieces overlap, and another number of steps is another y'


class Session:
    """A .nic file and the networks that paint it. Safe to call from several threads, one at a time works.

    Args:
        data: the file.
        engine, device: as in `DecodeOptions`.
        max_pixels: as in `DecodeOptions`.
        beside: the folder that it is from, where what it refers to is looked for.

    Raises:
        UnsupportedPictureError: another codec's file.
        LimitError: more pixels than a file of its size has (`container.limits.check_declared`).
        As `decode_bytes`.
    """

    def __init__(
        self, data: bytes, device: str = "auto", max_pixels: int | None = None, engine: str = "auto",
        beside: Path | None = None,
    ) -> None:  # fmt: skip
        self.data, self.file = data, read_file(data)
        if SectionType.FOREIGN in self.file.sections:
            raise UnsupportedPictureError("the file holds another codec's strings; decode it instead")
        check_declared(self.file, max_pixels)
        self.header, self.lock = self.file.header, threading.Lock()
        self.whole = Box(0, 0, self.header.width, self.header.height)
        self.drawn = unpack_blocks(self.file)  # or None
        self.alpha = unpack_transparency(self.file)  # (H, W) or None
        self.residuals: dict[tuple[int, tuple[int, ...]], Array] = {}
        if not self.file.streams:
            return
        sought = DecodeOptions(device=device, max_pixels=max_pixels, engine=engine, beside=beside)
        references = find_references(self.file, sought, None)
        anchor = Anchor.PERCEPTION if SectionType.VQ in self.file.sections else Anchor.FIDELITY
        self.experts, streams = find_experts(self.file, anchor, engine, device)
        with suppress(MissingPartError, DamagedPartError, MissingStreamError):  # the page then has no slider
            self.experts = replace(self.experts, fuser=find_fuser(self.file, engine, device))
        self.symbols = decode_symbols(self.file, streams)
        everything = neighbourhood(self.whole, self.whole.width, self.whole.height)[0]
        self.positions = (everything[0].stop - everything[0].start) * (everything[1].stop - everything[1].start)
        depth = streams.depth if streams else 0
        self.y_hat, self.code = gather(self.symbols, self.experts, everything, depth, self.header, references)

    def facts(self) -> dict[str, Any]:
        """What the page needs to know: `describe`'s keys, `anchors` that work, and whether `tau` does."""
        if not self.file.streams:
            return {**describe(self.file), "anchors": [ANCHORS[0]], "tau": False}
        has_both = self.experts.mode is not None and self.code is not None and self.y_hat is not None
        anchors = list(ANCHORS) if has_both else ["fidelity" if self.y_hat is not None else "perception"]
        return {**describe(self.file), "anchors": anchors, "tau": self.experts.fuser is not None}

    def render(self, anchor: str, tau: float, steps: int, box: Box) -> Pixels:
        """The pixels of `box` (h, w, 3 or 1).

        Raises:
            UsageError: no such anchor, tau or box.
        """
        if anchor not in ANCHORS or not 0 <= tau <= 1 or not 1 <= steps <= 8 or box.common(self.whole) != box:
            raise UsageError("anchor, tau, steps or box out of range")
        pixels = self._paint(Anchor[anchor.upper()], tau, steps, box) if self.file.streams else blank(self.header, box)
        if self.drawn is not None:
            self.drawn.paint(pixels, box)
        return pixels

    def _paint(self, anchor: Anchor, tau: float, steps: int, box: Box) -> Pixels:
        """What the networks make of `box`."""
        width, height = self.whole.width, self.whole.height
        region, _ = neighbourhood(box, width, height, reach(self.experts, self.header))
        with self.lock:
            y_hat = None if self.y_hat is None else self.y_hat[:, :, region[0], region[1]]
            residual = None
            if y_hat is not None and tau > 0 and self.experts.fuser is not None:
                residual = self._residual(y_hat, region, steps)
            side = self.experts.token_side
            rows, columns = (slice(s.start // side, s.stop // side) for s in region)
            code = None if self.code is None else self.code[:, :, rows, columns]
            asked = self.symbols, self.header, self.experts, anchor, box, region
            return paint(*asked, y_hat, code, residual, (tau,))[0]

    def _residual(self, y_hat: Array, region: Span, steps: int) -> Array:
        """What the fuser adds to a region. The last ones are kept, since a dragged slider asks for them again."""
        key = steps, tuple(limit for s in region for limit in (s.start, s.stop))
        if (known := self.residuals.pop(key, None)) is None:
            fusion = Fusion((1.0,), steps, zlib.crc32(self.data))
            known = fuse(y_hat, self.symbols, self.header, self.experts, region, fusion)
        self.residuals[key] = known  # the youngest comes last
        while sum(held.size for held in self.residuals.values()) > KEPT * y_hat.shape[1] * self.positions:
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
