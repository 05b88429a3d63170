"""Peak signal-to-noise ratio."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nicodec.image.picture import Pixels

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as JPEG's Y


def psnr(a: Pixels, b: Pixels) -> float:
    """PSNR in dB of two uint8 pictures of one shape (H, W, C), over all channels, peak 255; infinite if equal."""
    return _psnr(a.astype(np.float64), b.astype(np.float64))


def psnr_y(a: Pixels, b: Pixels) -> float:
    """PSNR in dB of the luma (BT.601, full range, not rounded) of two uint8 RGB pictures (H, W, 3), peak 255."""
    return _psnr(a @ LUMA, b @ LUMA)


def _psnr(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    error = np.square(a - b).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
