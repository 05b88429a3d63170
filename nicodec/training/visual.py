"""What tune `eye` minimises: squared error mixed with structure, in a luma and two opponent channels.

SSIMULACRA2, by which the tune is judged, is not in here. But the numbers below were chosen so that the sum predicts it:
on 491 decodes of held-out pictures by six codecs it misses by 1.2 points (root mean square), and squared error by 3.1.
SSIM's own C2 makes much of flat parts; what keeps flat drawings from ruling a run is that `sq.loss` caps each picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SQUARED = 0.2  # share of the squared error; the rest is structure
LIKE_SQUARED = 2400.0  # 255^2 · MSE per unit of 1 - SSIM, on photographs at all rates within a seventh
SCALES = (0.05, 0.25, 0.3, 0.4)  # weights of 1:1, 1:2, 1:4, 1:8
CHROMA = 0.06  # of each opponent channel beside luma; hue blotches in skies are what it is for
OPPONENT = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))
RADIUS, SIGMA = 5, 1.5  # of the window, as in SSIM
LEAST = (2 * RADIUS + 1) << (len(SCALES) - 1)  # pixels of a side: 88, for a window at the coarsest scale
C1, C2 = 0.01**2, 0.03**2


def visual_error(x_hat: Tensor, x: Tensor) -> list[tuple[Tensor, float]]:
    """Maps of error on the scale of `255^2 · MSE`, (B, 1, h, w) each, and their weights, which sum to about 1.

    Args:
        x_hat, x: (B, 3, H, W), about 0..1, sides at least LEAST.
    """
    with torch.autocast(x.device.type, enabled=False):  # variances are differences, of which bf16 leaves nothing
        x_hat, x = x_hat.float(), x.float()
        maps = [((x_hat - x).square().mean(1, keepdim=True) * 255**2, SQUARED)]
        matrix = x.new_tensor(OPPONENT)[:, :, None, None]
        shares = x.new_tensor([1.0, CHROMA, CHROMA])[None, :, None, None] / (1 + 2 * CHROMA)
        a, b = F.conv2d(x_hat, matrix), F.conv2d(x, matrix)
        for weight in SCALES:
            lost = (1 - structure(a, b)) * shares
            maps.append((lost.sum(1, keepdim=True) * LIKE_SQUARED, (1 - SQUARED) * weight))
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return maps


def structure(a: Tensor, b: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004) of each channel, over windows that lie inside: (B, C, H, W) -> (B, C, H-10, W-10)."""
    mean_a, mean_b, aa, bb, ab = blurred(torch.cat([a, b, a * a, b * b, a * b], 1)).chunk(5, 1)
    var_a, var_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return likeness * (2 * covariance + C2) / (var_a + var_b + C2)


def blurred(x: Tensor) -> Tensor:
    """Gaussian windows, separable, without a border: (B, C, H, W) -> (B, C, H-10, W-10)."""
    offset = torch.arange(-RADIUS, RADIUS + 1, device=x.device, dtype=x.dtype)
    taps = torch.exp(-(offset**2) / (2 * SIGMA**2))
    taps = (taps / taps.sum()).repeat(x.shape[1], 1)
    x = F.conv2d(x, taps[:, None, :, None], groups=x.shape[1])
    return F.conv2d(x, taps[:, None, None, :], groups=x.shape[1])
