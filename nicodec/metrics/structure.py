"""MS-SSIM, through the pytorch-msssim package."""

from __future__ import annotations

import numpy as np
import torch

from nicodec.image.picture import Pixels

LEAST_SIDE = 161  # four halvings must leave more than the 11-pixel window


def ms_ssim(a: Pixels, b: Pixels) -> float | None:
    """MS-SSIM, 0..1, of two uint8 RGB pictures (H, W, 3), data range 255; None where a side is below LEAST_SIDE."""
    if min(a.shape[:2]) < LEAST_SIDE:
        return None
    from pytorch_msssim import ms_ssim as compute

    x, y = (torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1)[None] for p in (a, b))
    return float(compute(x, y, data_range=255, size_average=True))
