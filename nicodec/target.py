"""Encode to a size or to a closeness, instead of to a quality: one analysis, and a search by real files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nicodec.codec import decode_bytes, encode_at, recommending
from nicodec.errors import TargetError, UsageError
from nicodec.image.picture import Picture
from nicodec.options import QUALITY_RANGE, EncodeOptions, check_number

TRIES = 8
TYPICAL = {"bytes": 0.04, "psnr": 0.16, "lpips": -0.035}  # of a step of quality, on the axis that is searched
CLOSE = {"bytes": 0.005, "psnr": 0.02, "lpips": 0.01}  # how far on the right side of the target is near enough

EXACT = 100.0  # dB, where the search takes a picture without any error to be


@dataclass(frozen=True)
class Target:
    """What a file is to reach: at most so many `bytes`, at least a `psnr` in dB, or at most an `lpips`.

    Attributes:
        trunk: AlexNet weights for LPIPS; None: those in torch's cache.

    Raises:
        UsageError: negative, nan or infinite.
    """

    kind: str
    value: float
    trunk: Path | None = None

    def __post_init__(self) -> None:
        check_number(f"the target in {self.kind}", self.value, 0)

    @property
    def name(self) -> str:
        """As a user reads it."""
        return self.spell(self.value)

    def spell(self, value: float) -> str:
        """What a file reached, which may be infinite, as a user reads it."""
        return {"bytes": "%.0f bytes", "psnr": "%.2f dB PSNR", "lpips": "LPIPS %.4f"}[self.kind] % value

    def axis(self, value: float) -> float:
        """What the search works on: about linear in quality."""
        return min(value, EXACT) if self.kind == "psnr" else math.log(max(value, 1e-9))

    def met(self, value: float) -> bool:
        """Whether a value is on the right side."""
        return value >= self.value if self.kind == "psnr" else value <= self.value


def encode_to_target(picture: Picture, options: EncodeOptions, target: Target) -> tuple[bytes, float, float]:
    """The smallest file that is close enough, or the closest that is small enough, as far as TRIES files can tell.

    Returns:
        The file, its quality, and what it reached: bytes, dB or LPIPS.

    Raises:
        TargetError: no quality reaches it; says what the end of the scale does.
        UsageError: LPIPS without weights; another codec's base.
        As `encode_picture`.
    """
    judge, encode = _judge(picture, target, options), encode_at(picture, options)
    low, high = QUALITY_RANGE
    wants_low = target.kind == "bytes"  # the target is met at low qualities, and the highest such one is wanted
    tried: dict[float, tuple[bytes, float]] = {}
    quality = options.quality
    for _ in range(TRIES):
        data = encode(quality)
        tried[quality] = data, judge(data)
        value = tried[quality][1]
        if target.met(value) and abs(target.axis(value) - target.axis(target.value)) <= CLOSE[target.kind]:
            break
        if target.met(value) == wants_low:
            low = quality
        else:
            high = quality
        following = _next(target, tried, low, high)
        if following in tried:  # two qualities of one size, say
            following = (low + high) / 2
        if following in tried:
            break
        quality = following
    met = {q: found for q, found in tried.items() if target.met(found[1])}
    if not met:
        end = min(tried) if wants_low else max(tried)
        found = f"quality {end:g} gives {target.spell(tried[end][1])}"
        if len({value for _, value in tried.values()}) == 1:
            found = f"at any quality it is {target.spell(tried[end][1])}, for the picture is kept exactly (see --drawn)"
        raise TargetError(f"{target.name} cannot be reached: {found}")
    best = max(met) if wants_low else min(met, key=lambda quality: (len(met[quality][0]), quality))
    data, value = met[best]
    return recommending(picture, data, options), best, value


def _next(target: Target, tried: dict[float, tuple[bytes, float]], low: float, high: float) -> float:
    """The next quality to try: where a line through the two nearest tries meets the target, kept inside low..high."""
    aim = target.axis(target.value)
    points = sorted(((q, target.axis(found[1])) for q, found in tried.items()), key=lambda point: abs(point[1] - aim))
    (near, value), *others = points[:2]
    slope = TYPICAL[target.kind]
    if others and others[0][1] != value and (others[0][1] - value) / (others[0][0] - near) * slope > 0:
        slope = (others[0][1] - value) / (others[0][0] - near)
    safe = 0.3 * CLOSE[target.kind] * (1 if target.kind == "psnr" else -1)  # a little to the right side
    quality = near + (aim + safe - value) / slope
    if not low < quality < high and {low, high} - set(tried):  # an end that nobody has tried yet
        return min(max(quality, low), high)
    return quality if low < quality < high else (low + high) / 2


def _judge(picture: Picture, target: Target, options: EncodeOptions) -> Callable[[bytes], float]:
    if target.kind == "bytes":
        return len
    everything = options.decoding(picture.width * picture.height)

    def decoded(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return decode_bytes(data, everything).pixels

    if target.kind == "psnr":
        from nicodec.metrics.psnr import psnr

        return lambda data: psnr(picture.pixels, decoded(data))
    from nicodec.metrics.perceptual import Perception, find_trunk

    trunk = find_trunk(target.trunk)
    if trunk is None:
        raise UsageError("LPIPS needs AlexNet weights: give torchvision's file with --trunk; torch's cache has none")
    distance = Perception(trunk).distance
    rgb = np.broadcast_to(picture.pixels, (picture.height, picture.width, 3))
    return lambda data: distance(rgb, np.broadcast_to(decoded(data), rgb.shape))
