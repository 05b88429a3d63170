"""How strongly tokens of texture act."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nicodec.latents.geometry import Array
from nicodec.rate.scale import RATE_MAX

FURTHEST_HEARD = 1.5  # more was not tried


@dataclass(frozen=True, eq=False)
class Strength:
    """What a picture with tokens of texture is made of, at tau 1; less of it at a lower tau.

    Attributes:
        heard: what the fuser hears, times the log ratios that the tokens say; over 1 for it is followed in part only.
        led: the share of the way to the latent that it finds, of each group of components, and last of those in none:
            (G + 1,); or of all, (1,).
        textured: the share of the way from there to the energies that the tokens say, on a scale of logarithms, of
            each group: (G,); or of all, (1,).
    """

    heard: float
    led: Array
    textured: Array


def plain(rate: int) -> Strength:
    """That for a file's rate, 0..65535, where no fuser has learned better.

    Straight lines through what served best on held-out pictures, at qualities 5 to 85, where tau 0.7 may cost 0.7 dB.
    """
    share = rate / RATE_MAX
    led, textured = (np.array([value], np.float32) for value in (0.715 + 0.14 * share, 0.43 - 0.32 * share))
    return Strength(min(0.75 + 1.3 * share, FURTHEST_HEARD), led, textured)
