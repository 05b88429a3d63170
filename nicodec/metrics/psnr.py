"""Peak signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from nicodec.image.picture import Pixels


def psnr(a: Pixels, b: Pixels) -> float:
    """PSNR in dB of two uint8 pictures of one shape (H, W, C), over all channels, peak 255; infinite if equal."""
    error = np.square(a.astype(np.float64) - b.astype(np.float64)).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
