"""What the perception anchor makes of what a fuser finds: `nicodec.painters.experts.Experts`, with a gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nicodec.latents.texture import GAIN_MAX, GAIN_MIN, Texture
from nicodec.networks.base import Base


def anchored(
    base: Base, texture: Texture, x_hat: Tensor, y_natural: Tensor, said: Tensor, led: Tensor, textured: Tensor
) -> Tensor:
    """Pictures (B, 3, H, W), about 0..1, led to y' and given the texture that tokens say.

    Args:
        x_hat: the base's own pictures.
        y_natural: y' (B, M, h, w), in natural units.
        said: what tokens say (B, G + 1, h, w), see `painters.fuser.told`.
        led: (B, G + 1, 1, 1), and
        textured: (B, G, 1, 1), how far, as in `painters.strength.Strength`; times tau.
    """
    groups = torch.from_numpy(texture.groups).to(said.device)
    y_base = base.g_a(x_hat)
    y = y_base + led[:, groups] * (y_natural - y_base)
    wanted = energies(texture, y_base) * torch.exp(2 * said[:, :-1, :: texture.side, :: texture.side])
    gains = (wanted / energies(texture, y)).sqrt().clamp(GAIN_MIN, GAIN_MAX) ** textured
    if texture.side > 1:  # linear between the middles of cells, as `latents.texture.smooth`
        gains = F.interpolate(gains, scale_factor=texture.side, mode="bilinear", align_corners=False)
    members = torch.cat([gains, torch.ones_like(gains[:, :1])], 1)
    return x_hat + base.g_s.linear(y * members[:, groups] - y_base)


def energies(texture: Texture, y: Tensor) -> Tensor:
    """Those of `Texture.energies`, (B, G, h/side, w/side), of a batch (B, M, h, w)."""
    means = torch.from_numpy(texture.means).to(y.device)
    return F.avg_pool2d(F.conv2d(y.square(), means[:, :, None, None]), texture.side) + texture.floor
