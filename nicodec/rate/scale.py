"""Quality 0..100 (what a user says), rate 0..65535 (what the file holds), lambda (what training meant).

Everything that depends on the rate (gains, biases) is a table with KNOTS rows, and is read linearly between
two rows KNOT_SPACING apart: a power of two, so that the integer path interpolates with a shift. A base with several
tunes has KNOTS rows for each, one tune after the other, TUNE_SPACING apart.
"""

from __future__ import annotations

KNOTS = 9
KNOT_SHIFT = 13
KNOT_SPACING = 1 << KNOT_SHIFT
RATE_MAX = (KNOTS - 1) * KNOT_SPACING - 1  # 65535: fits 16 bits
TUNE_SPACING = KNOTS * KNOT_SPACING

LEVEL_MIN, LEVEL_MAX = -16, 15  # of a quality map
LEVEL_STEP = 2048  # what a level adds to the rate: 3.1 of quality

LAMBDA_MIN = 0.0004
LAMBDA_MAX = 0.25


def rate_from_quality(quality: float) -> int:
    """Map quality 0..100 (continuous) to the rate 0..65535 that the file carries."""
    return round(quality / 100 * RATE_MAX)


def quality_from_rate(rate: int) -> float:
    """Map a rate 0..65535 to quality 0..100."""
    return rate / RATE_MAX * 100


def lambda_from_rate(rate: float, highest: float = LAMBDA_MAX) -> float:
    """The weight of `255^2 · MSE` (x in 0..1) against bits per pixel that training used at this rate.

    Geometric between LAMBDA_MIN and `highest`, which belongs to the base, so equal steps of quality are about equal
    ratios of size.
    """
    return float(LAMBDA_MIN * (highest / LAMBDA_MIN) ** (rate / RATE_MAX))
