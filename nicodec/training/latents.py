"""Frozen bases as the fuser's training sees them: pixels to latents, as encoder and decoder have them, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nicodec.foreign.adapters import ForeignBase
from nicodec.latents.texture import Texture
from nicodec.networks.base import Base
from nicodec.networks.fuser import Denoiser
from nicodec.networks.layers import spread
from nicodec.painters.fuser import told
from nicodec.training.anchored import anchored
from nicodec.training.inherit import inherit_fuser
from nicodec.training.sq import file_rates, held_out_rates, random_low_rates, to_tensor
from nicodec.training.texture import ratios_of
from nicodec.zoo.manifest import Package

LEAST_BITS = 4  # a token: fewer say little
NOTHING = {"groups": 0, "texture": ""}


@dataclass(frozen=True)
class Coded:
    """A batch, as a decoder has it, and its original's latent.

    Attributes:
        y, y_hat: (B, M, h, w) in natural units; y is g_a's.
        step, rate: the quantiser's step in these and the rate, (B, M, 1, 1) and (B,), or with quality maps
            (B, M, h, w) and (B, h/4, w/4).
        x_hat: our base's picture (B, 3, 16 h, 16 w), about 0..1; None: another codec's, which decodes y' itself.
    """

    y: Tensor
    y_hat: Tensor
    step: Tensor
    rate: Tensor
    x_hat: Tensor | None = None

    def at(self, some: Tensor) -> Coded:
        """Those pictures of the batch for which `some` (B,) is true."""
        x_hat = None if self.x_hat is None else self.x_hat[some]
        return Coded(self.y[some], self.y_hat[some], self.step[some], self.rate[some], x_hat)


class Latents(Protocol):
    """What is asked of a base."""

    @property
    def rates(self) -> tuple[int, ...]:
        """To validate at."""

    @property
    def widths(self) -> dict[str, Any]:
        """What a `FuserConfig` has from it."""

    @property
    def heard(self) -> dict[str, Any]:
        """And what it has from the tokens of texture that a fuser hears."""

    def draw(self, x: Tensor) -> Tensor:
        """Rates to code a batch at, as its files may have them, more of them low."""

    def code(self, x: Tensor, rate: Tensor) -> Coded:
        """Code x (B, 3, H, W), 0..1, sides multiples of 64, at such rates, by plain rounding. No gradient."""

    def decode(self, coded: Coded, residual: Tensor | None) -> Tensor:
        """Pixels (B, 3, H, W), about 0..1, of a batch, and of what a fuser adds to its y_hat, as a decoder would.

        No gradient but the residual's.
        """

    def said(self, coded: Coded) -> Tensor | None:
        """What tokens of texture of a batch say (B, G + 1, h, w), see `told`; None: there are none. No gradient."""

    def anchored(self, coded: Coded, residual: Tensor, said: Tensor, led: Tensor, textured: Tensor) -> Tensor:
        """As `decode`, what the perception anchor shows where tokens say something; see `anchored.anchored`."""

    def prepare(self, denoiser: Denoiser, predecessor: Package | None) -> None:
        """Give a new denoiser what the base has of use to it, and the fuser of another package of ours."""


class OwnLatents:
    """Our base. `texture`: what its tokens mean, and the id of that part."""

    def __init__(self, base: Base, texture: tuple[Texture, str] | None = None) -> None:
        self.base, self.texture = base, texture

    @property
    def rates(self) -> tuple[int, ...]:
        """As `Latents`."""
        return held_out_rates(self.base.config.tunes)

    @property
    def widths(self) -> dict[str, Any]:
        """As `Latents`."""
        config = self.base.config
        return {
            "latent": config.latent, "wide_16": config.wide_16, "wide_8": config.wide_8,
            "depth_16": config.depth_16, "depth_8": config.depth_8 + 1, "tunes": config.tunes, "eased": config.eased,
        }  # fmt: skip

    @property
    def heard(self) -> dict[str, Any]:
        """As `Latents`."""
        return {"groups": self.texture[0].code, "texture": self.texture[1]} if self.texture else NOTHING

    def draw(self, x: Tensor) -> Tensor:
        """As `Latents`."""
        return to_tensor(file_rates(random_low_rates(len(x)), x, self.base.config.tunes), x)

    @torch.no_grad()
    def code(self, x: Tensor, rate: Tensor) -> Coded:
        """As `Latents`."""
        with torch.autocast(x.device.type, enabled=False):
            y = self.base.g_a(x)  # `scaled` times `step` would be less: gains are learned apart, and shrink it
            scaled, z_hat = self.base.scaled(y, rate)
            _, y_hat = self.base.quantise(scaled, z_hat, rate)
            step = spread(self.base.ungain(rate), y)
        x_hat = self.base.g_s(y_hat * step, rate)
        return Coded(y, y_hat * step, step, rate, x_hat)

    def decode(self, coded: Coded, residual: Tensor | None) -> Tensor:
        """As `Latents`: see `Experts.paint`."""
        x_hat = coded.x_hat
        assert x_hat is not None
        return x_hat if residual is None else x_hat + self.base.correction_towards(x_hat, coded.y_hat + residual)

    @torch.no_grad()
    def said(self, coded: Coded) -> Tensor | None:
        """As `Latents`; of as many bits a token as files may have."""
        if self.texture is None:
            return None
        texture, _ = self.texture
        depth = int(torch.randint(min(LEAST_BITS, texture.bits), texture.bits + 1, ()))
        ratios = ratios_of(texture, coded.y, self.base.g_a(self.decode(coded, None)))
        codes = [texture.lookup(texture.distances(each, depth).argmin(2), depth) for each in ratios]
        return torch.from_numpy(told(np.concatenate(codes), texture.side)).to(coded.y)

    def anchored(self, coded: Coded, residual: Tensor, said: Tensor, led: Tensor, textured: Tensor) -> Tensor:
        """As `Latents`."""
        assert self.texture is not None
        assert coded.x_hat is not None
        with torch.autocast(residual.device.type, enabled=False):
            y_natural = coded.y_hat + residual
            return anchored(self.base, self.texture[0], coded.x_hat.float(), y_natural, said, led, textured)

    def prepare(self, denoiser: Denoiser, predecessor: Package | None) -> None:
        """As `Latents`. Raises: see `inherit_fuser`."""
        denoiser.start_from(self.base)
        if predecessor is not None:
            inherit_fuser(denoiser, predecessor, self.base.config)


class ForeignLatents:
    """Another codec's base: one rate, quantiser steps of 1."""

    def __init__(self, base: ForeignBase) -> None:
        self.base = base

    @property
    def rates(self) -> tuple[int, ...]:
        """As `Latents`."""
        return (0,)

    @property
    def widths(self) -> dict[str, Any]:
        """As `Latents`."""
        return {"latent": self.base.channels}

    @property
    def heard(self) -> dict[str, Any]:
        """As `Latents`: nothing."""
        return NOTHING

    def draw(self, x: Tensor) -> Tensor:
        """As `Latents`."""
        return x.new_zeros(len(x))

    @torch.no_grad()
    def code(self, x: Tensor, rate: Tensor) -> Coded:
        """As `Latents`."""
        with torch.autocast(x.device.type, enabled=False):
            y, y_hat = self.base.code(x)
        return Coded(y, y_hat, y.new_ones(len(y), y.shape[1], 1, 1), rate)

    def decode(self, coded: Coded, residual: Tensor | None) -> Tensor:
        """As `Latents`."""
        return self.base.g_s(coded.y_hat if residual is None else coded.y_hat + residual, coded.rate)

    def said(self, coded: Coded) -> None:
        """As `Latents`: nothing."""

    def anchored(self, coded: Coded, residual: Tensor, said: Tensor, led: Tensor, textured: Tensor) -> Tensor:
        """There are no tokens."""
        raise NotImplementedError

    def prepare(self, denoiser: Denoiser, predecessor: Package | None) -> None:
        """Nothing: its transforms are of another kind."""
