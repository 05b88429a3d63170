"""The restorer: what a JPEG's quantiser took from its picture, as close as can be told, or as natural as can be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.image.jpeg import TOLD
from nicodec.networks.base import Base, BaseConfig
from nicodec.networks.layers import Block, Pointwise, easing, stack, zero_init

SHARED = frozenset({"latent", "wide_16", "wide_8", "eased"})  # fields that a config has from its base's


@dataclass(frozen=True)
class RestorerConfig:
    """Widths and depths of a restorer. Counts of channels; depths are blocks."""

    latent: int = 320  # M, channels of the base's y
    wide_16: int = 192  # features at 1/16
    wide_8: int = 96
    depth_16: int = 4
    depth_8: int = 6
    eased: float = 0.0  # as in the base

    @classmethod
    def on(cls, base: BaseConfig, **depths: int) -> RestorerConfig:
        """With a base's widths, so that it can start as the base's g_s."""
        return cls(latent=base.latent, wide_16=base.wide_16, wide_8=base.wide_8, eased=base.eased, **depths)


class Told(nn.Module):
    """Scale features, and add to them, by what is told: (B, c, H, W) -> (B, c, H, W). Starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.told = zero_init(Pointwise(TOLD + 1, 2 * channels))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        log_scale, shift = self.told(told[:, :, None, None]).to(x.dtype).chunk(2, 1)
        return x * log_scale.exp() + shift


class Restorer(nn.Module):
    """A JPEG's picture to a restored one.

    ::

        x ─┬─ base's g_a ─► y ─ /spread ─ 1x1 ─(+)─ told ─ blocks 1/16 ─ 1x1, shuffle 2 ─(+)─ told ─ blocks 1/8 ─┐
           │                            noise ─ 1x1 ┘                                    │                      │
           ├─ unshuffle 8 ─ 1x1 ─────────────────────────────────────────────────────────┘                      │
           └────────────────────────────────────────────────────────────────────(+)── shuffle 8 ◄─ 1x1 ◄────────┘

    It is the network of a `Synthesis` g_s, as which it starts (`start_from`), with the picture itself in the place of
    the linear synthesis. `told` is how the picture was quantised (`Jpeg.quantised`), and last 0 for a picture as close
    to the original as can be, or 1 for a natural one; tau leads along a straight line through both. What is natural is
    made of noise: it need not be the same everywhere. Convolutional and local: it sees `nicodec.painters.fuser.halo_of`
    positions.
    """

    spread: Tensor

    def __init__(self, config: RestorerConfig) -> None:
        super().__init__()
        self.config = config
        c8, c16 = config.wide_8, config.wide_16
        self.ease = easing(config.eased)
        self.register_buffer("spread", torch.ones(config.latent))  # of y on the training patches
        self.embed = Pointwise(config.latent, c16)
        self.hear = zero_init(Pointwise(config.latent, c16, bias=False))
        self.coarse_told = Told(c16)
        self.coarse = stack(c16, config.depth_16)
        self.grow = Pointwise(c16, 4 * c8)
        self.look = Pointwise(3 * 64, c8)
        self.fine_told = Told(c8)
        self.fine = stack(c8, config.depth_8)
        self.head = zero_init(Pointwise(c8, 3 * 64))

    @torch.no_grad()
    def start_from(self, base: Base) -> None:
        """Take the weights of the base's g_s; blocks beyond its own start as the identity."""
        for block in [*self.coarse, *self.fine]:
            assert isinstance(block, Block)
            for layer in (block.pointwise, block.down):
                zero_init(layer)
        own = self.state_dict().keys()
        self.load_state_dict({k: v for k, v in base.g_s.state_dict().items() if k in own}, strict=False)

    def forward(self, x: Tensor, y: Tensor, noise: Tensor, told: Tensor) -> Tensor:
        """Restore.

        Args:
            x: (B, 3, H, W), 0..1, sides multiples of 16.
            y: what the base's g_a makes of it, (B, M, H/16, W/16).
            noise: as y, standard normal; zeros where nothing is to be made up.
            told: (B, TOLD + 1).

        Returns:
            (B, 3, H, W), about 0..1, float32.
        """
        seen = self.ease(y / self.spread[:, None, None])
        coarse = self.coarse(self.coarse_told(self.embed(seen) + self.hear(noise), told))
        fine = F.pixel_shuffle(self.grow(coarse), 2) + self.ease(self.look(F.pixel_unshuffle(x - 0.5, 8)))
        fine = self.fine(self.fine_told(fine, told))
        return x + F.pixel_shuffle(self.head(fine), 8).float()
