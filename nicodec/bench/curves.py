"""Rate-distortion curves and what lies between them, through the `bjontegaard` package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nicodec.bench.measures import MEASURES

METHOD = "akima"
LEAST_OVERLAP = 0.25


@dataclass(frozen=True)
class Curve:
    """One codec's points on one metric, by rising rate: bpp and the metric's value, each (points,)."""

    bpp: list[float]
    value: list[float]


def scale(metric: str, values: list[float]) -> NDArray[np.float64]:
    """A metric on the axis that differences are taken on, higher is better: MS-SSIM in dB, distances negated."""
    array = np.array(values, np.float64)
    if metric == "ms_ssim":
        return -10 * np.log10(1 - array)
    return array if MEASURES[metric].higher_is_better else -array


def overlap(metric: str, anchor: Curve, test: Curve) -> float:
    """Share of the smaller of two curves' quality ranges that both cover, 0..1."""
    a, b = scale(metric, anchor.value), scale(metric, test.value)
    shared = min(a.max(), b.max()) - max(a.min(), b.min())
    return float(max(0.0, shared) / max(1e-12, min(np.ptp(a), np.ptp(b))))


def bd_rate(metric: str, anchor: Curve, test: Curve) -> float | None:
    """Bjontegaard's difference in rate in percent, negative where `test` needs fewer bits.

    None where the curves share less than LEAST_OVERLAP of the smaller range, or have fewer than four points.
    """
    import bjontegaard

    points = _comparable(metric, anchor, test)
    if points is None:
        return None
    return float(bjontegaard.bd_rate(*points, method=METHOD, require_matching_points=False, min_overlap=0))


def bd_psnr(anchor: Curve, test: Curve) -> float | None:
    """Bjontegaard's difference in PSNR in dB, positive where `test` is better; None as for `bd_rate`."""
    import bjontegaard

    points = _comparable("psnr", anchor, test)
    if points is None:
        return None
    return float(bjontegaard.bd_psnr(*points, method=METHOD, require_matching_points=False, min_overlap=0))


def _comparable(metric: str, anchor: Curve, test: Curve) -> tuple[NDArray[np.float64], ...] | None:
    """Both curves with strictly rising quality, as bjontegaard wants them."""
    if overlap(metric, anchor, test) < LEAST_OVERLAP:
        return None
    result: list[NDArray[np.float64]] = []
    for curve in (anchor, test):
        value = scale(metric, curve.value)
        order = np.argsort(curve.bpp)
        rate, value = np.array(curve.bpp)[order], value[order]
        rising = np.concatenate([[True], value[1:] > np.maximum.accumulate(value)[:-1]])
        result += [rate[rising], value[rising]]
    return tuple(result) if min(map(len, result)) >= 4 else None
