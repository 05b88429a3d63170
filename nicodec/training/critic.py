"""What a picture looks like, as a loss: LPIPS and the statistics of textures, over one SqueezeNet trunk."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.metrics.perceptual import load_lpips

WINDOWS = (9, 9, 5, 5, 3, 3, 3)  # positions of each layer of the trunk: 18 to 48 pixels


class Critic(nn.Module):
    """LPIPS (SqueezeNet) and a Wasserstein distortion in the same features.

    ::

        x_hat, x ─ trunk ─ unit vectors f_hat, f of each layer ─┬─ |f_hat - f|^2 ──────────────────────► LPIPS
                                                                └─ local means and spreads, compared ──► texture

    The texture term is the 2-Wasserstein distance of Gaussians fitted, channel by channel, to the features in
    windows (Ballé et al., arXiv 2412.00505, there over VGG): grass may be other grass. Weights of channels are
    LPIPS's, so that both terms share a scale: with windows of one position they would be equal.

    Training only; figures are reported with AlexNet, which no loss has seen.
    """

    def __init__(self, trunk: Path) -> None:
        super().__init__()
        self.lpips = load_lpips("squeeze", trunk)

    def forward(self, x_hat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compare pictures (B, 3, H, W), 0..1: LPIPS and texture, (B,) each."""
        with torch.no_grad():
            targets = self._features(x)
        same = texture = torch.zeros(len(x), device=x.device)
        for f_hat, f, line, window in zip(self._features(x_hat), targets, self.lpips.lins, WINDOWS, strict=True):
            weight = line.model[-1].weight
            same = same + _weighed((f_hat - f).square(), weight)
            texture = texture + _weighed(_wasserstein(f_hat, f, window), weight)
        return same, texture

    def _features(self, x: Tensor) -> list[Tensor]:
        outputs = self.lpips.net(self.lpips.scaling_layer(2 * x - 1))
        return [F.normalize(output.float(), dim=1, eps=1e-8) for output in outputs]


def _weighed(differences: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(differences, weight).mean((1, 2, 3))


def _wasserstein(f_hat: Tensor, f: Tensor, window: int) -> Tensor:
    window = min(window, *f.shape[2:])
    means, spreads = [], []
    for features in (f_hat, f):
        mean = F.avg_pool2d(features, window, stride=max(1, window // 2))
        square = F.avg_pool2d(features.square(), window, stride=max(1, window // 2))
        means.append(mean)
        spreads.append((square - mean.square()).clamp_min(1e-6).sqrt())
    return (means[0] - means[1]).square() + (spreads[0] - spreads[1]).square()
