"""Defaults and ranges of everything a user can choose; the command line, the API and the README read them here."""

from __future__ import annotations

from dataclasses import dataclass

from nicodec.errors import UsageError

DEFAULT_MODEL = "g1"
DEFAULT_QUALITY = 60.0
QUALITY_RANGE = (0.0, 100.0)
DEFAULT_EFFORT = 3
EFFORT_RANGE = (1, 9)


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode.

    Attributes:
        quality: 0 (smallest file) .. 100 (closest to the original, not lossless), continuous.
        effort: 1 (quick) .. 9 (slow, smallest files); the decoder's time does not depend on it.
        model: name of the model package.
        verify: decode the symbols again and compare, before the file is handed out.
        device: `auto`, `cpu` or `cuda`, for the float networks.

    Raises:
        UsageError: quality or effort out of range.
    """

    quality: float = DEFAULT_QUALITY
    effort: int = DEFAULT_EFFORT
    model: str = DEFAULT_MODEL
    verify: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, (low, high) in {"quality": QUALITY_RANGE, "effort": EFFORT_RANGE}.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} is {getattr(self, name):g}, expected {low:g}..{high:g}")


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode.

    Attributes:
        crop: decode only this part of the picture: (left, top, width, height) in pixels. None: all of it.
        device: `auto`, `cpu` or `cuda`, for the float networks.

    Raises:
        UsageError: a negative corner, or no pixels.
    """

    crop: tuple[int, int, int, int] | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.crop and (min(self.crop[:2]) < 0 or min(self.crop[2:]) < 1):
            raise UsageError(f"crop is {self.crop}, expected left, top >= 0 and width, height >= 1")
