"""Probability tables measured on training pictures: what the symbols of a scale index really are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from nicodec.entropy.coder import Latent, entries_of, groups
from nicodec.entropy.tables import SCALE_LEVELS, WEIGHT_TOTAL, Tables, gaussian_tables, quantise
from nicodec.rate.scale import RATE_MAX
from nicodec.training.data import Pictures
from nicodec.training.export import integer_scales
from nicodec.training.sq import SQCodec

PRIOR = 10.0  # observations of the Gaussian for each entry of a table, so that rare scales keep its shape


def latent_of(codec: SQCodec, x: torch.Tensor, rate: int) -> tuple[Latent, int]:
    """The symbols of one picture x (1, 3, H, W), 0..1, and the rate that they were made at."""
    rates = torch.tensor([float(rate)], device=x.device)
    z_hat, symbols = (t[0].permute(1, 2, 0).cpu().numpy().astype(np.int16) for t in codec.base.analyse(x, rates))
    return Latent(z_hat, symbols), rate


def measure_tables(codec: SQCodec, pictures: Pictures, count: int = 150) -> Tables:
    """Histograms over `count` crops at rates spread evenly, made symmetric, on top of a Gaussian prior.

    Symbols that the float networks predict as Gaussian have a sharper peak and longer tails; measured tables made
    files 1.8 % smaller on held-out pictures.
    """
    start = gaussian_tables()
    model = integer_scales(codec.scales, codec.base.config, start)
    histograms = [PRIOR * len(table) * (table + 1) / WEIGHT_TOTAL for table in map(start.table, range(SCALE_LEVELS))]
    torch.manual_seed(0)
    for index in range(count):
        crop = pictures.batch(1, pictures.least // 64 * 64)
        latent, rate = latent_of(codec, crop, round(RATE_MAX * (index + 0.5) / count))
        for indices, values in groups(model, latent, rate):
            for scale in np.unique(indices):
                entries, _ = entries_of(values[indices == scale], int(start.limits[scale]))
                histograms[scale] += np.bincount(entries, minlength=len(histograms[scale]))
    return Tables(start.limits, np.concatenate([quantise(_symmetric(histogram)) for histogram in histograms]))


def _symmetric(histogram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the two signs; the escape, which is last, stays."""
    signed = histogram[:-1]
    return np.append((signed + signed[::-1]) / 2, histogram[-1])
