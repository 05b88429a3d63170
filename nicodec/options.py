"""Defaults and ranges of everything a user can choose; the command line, the API and the README read them here."""

from __future__ import annotations

from dataclasses import dataclass

from nicodec.errors import UsageError

DEFAULT_MODEL = "g0"
DEFAULT_QUALITY = 60.0
QUALITY_RANGE = (0.0, 100.0)


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode.

    Attributes:
        quality: 0 (smallest file) .. 100 (closest to the original, not lossless), continuous.
        model: name of the model package.
        verify: decode the symbols again and compare, before the file is handed out.
        device: `auto`, `cpu` or `cuda`, for the float networks.

    Raises:
        UsageError: quality out of range.
    """

    quality: float = DEFAULT_QUALITY
    model: str = DEFAULT_MODEL
    verify: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        low, high = QUALITY_RANGE
        if not low <= self.quality <= high:
            raise UsageError(f"quality is {self.quality:g}, expected {low:g}..{high:g}")


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode.

    Attributes:
        device: `auto`, `cpu` or `cuda`, for the float networks.
    """

    device: str = "auto"
