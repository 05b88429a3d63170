"""A decoded picture and all that belongs to it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nicodec.image.jpeg import Jpeg

Pixels = NDArray[np.uint8]
METADATA = ("icc", "exif", "xmp")


@dataclass(frozen=True)
class Picture:
    """Pixels and what travels with them.

    Attributes:
        pixels: (H, W, 3) RGB or (H, W, 1) grey, uint8 0..255.
        alpha: (H, W) uint8, 0 transparent .. 255 opaque, or None.
        icc, exif, xmp: metadata as the source held them, or None.
        notes: what a user must be told about the reading or writing, a sentence each.
        damage: what of a damaged file could not be decoded, a sentence each.
        jpeg: the JPEG file that all of this was read from, for as long as nothing of it has changed; or None.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
    damage: tuple[str, ...] = field(default=(), compare=False)
    jpeg: Jpeg | None = field(default=None, compare=False)

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])

    @property
    def grey(self) -> bool:
        """Whether there is one channel."""
        return self.pixels.shape[2] == 1

    def stripped(self, names: Collection[str]) -> Picture:
        """Without the metadata in `names`: `icc`, `exif` (with DPI), `xmp`, or `all`."""
        if not names:
            return self
        gone = {name: None for name in METADATA if name in names or "all" in names}
        note = (
            ("the ICC profile was stripped; the colours will be taken for sRGB",) if self.icc and "icc" in gone else ()
        )
        return replace(self, **gone, notes=(*self.notes, *note), jpeg=None)  # type: ignore[arg-type]
