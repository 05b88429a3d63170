"""What the perception anchor makes of what a fuser finds: `nicodec.painters.experts.Experts`, with a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nicodec.latents.texture import GAIN_MAX, GAIN_MIN, Texture
from nicodec.networks.base import Base
from nicodec.painters.strength import strength
from nicodec.rate.scale import TUNE_SPACING


@dataclass(frozen=True)
class Strengths:
    """Those of `painters.strength` for a batch, (B, 1, 1, 1) each."""

    heard: Tensor
    led: Tensor
    textured: Tensor

    @classmethod
    def at(cls, rates: Tensor) -> Strengths:
        """At rates as `interpolate` takes them; of a quality map, at its mean."""
        each = [strength(round(rate)) for rate in (rates % TUNE_SPACING).reshape(len(rates), -1).mean(1).tolist()]
        columns = zip(*((one.heard, one.led, one.textured) for one in each), strict=True)
        return cls(*(torch.tensor(column, device=rates.device)[:, None, None, None] for column in columns))


def anchored(
    base: Base, texture: Texture, x_hat: Tensor, y_natural: Tensor, said: Tensor, strengths: Strengths, tau: Tensor
) -> Tensor:
    """Pictures (B, 3, H, W), about 0..1, led to y' and given the texture that tokens say.

    Args:
        x_hat: the base's own pictures.
        y_natural: y' (B, M, h, w), in natural units.
        said: what tokens say (B, G + 1, h, w), see `painters.fuser.told`.
        strengths: of its parts at tau 1.
        tau: (B, 1, 1, 1).
    """
    y_base = base.g_a(x_hat)
    y = y_base + strengths.led * tau * (y_natural - y_base)
    wanted = energies(texture, y_base) * torch.exp(2 * said[:, :-1, :: texture.side, :: texture.side])
    gains = (wanted / energies(texture, y)).sqrt().clamp(GAIN_MIN, GAIN_MAX) ** (strengths.textured * tau)
    if texture.side > 1:  # linear between the middles of cells, as `latents.texture.smooth`
        gains = F.interpolate(gains, scale_factor=texture.side, mode="bilinear", align_corners=False)
    members = torch.cat([gains, torch.ones_like(gains[:, :1])], 1)
    return x_hat + base.g_s.linear(y * members[:, torch.from_numpy(texture.groups).to(y.device)] - y_base)


def energies(texture: Texture, y: Tensor) -> Tensor:
    """Those of `Texture.energies`, (B, G, h/side, w/side), of a batch (B, M, h, w)."""
    means = torch.from_numpy(texture.means).to(y.device)
    return F.avg_pool2d(F.conv2d(y.square(), means[:, :, None, None]), texture.side) + texture.floor
