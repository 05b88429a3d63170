"""Frozen bases as the fuser's training sees them: pixels to latents, as encoder and decoder have them, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from nicodec.foreign.adapters import ForeignBase
from nicodec.networks.base import Base
from nicodec.networks.fuser import Denoiser
from nicodec.networks.layers import spread
from nicodec.training.sq import file_rates, held_out_rates, random_low_rates, to_tensor


@dataclass(frozen=True)
class Coded:
    """A batch: y, y_hat (B, M, h, w) in natural units, the quantiser's step in these, and the rate.

    Step and rate are (B, M, 1, 1) and (B,), or with quality maps (B, M, h, w) and (B, h/4, w/4).
    """

    y: Tensor
    y_hat: Tensor
    step: Tensor
    rate: Tensor

    def at(self, some: Tensor) -> Coded:
        """Those pictures of the batch for which `some` (B,) is true."""
        return Coded(self.y[some], self.y_hat[some], self.step[some], self.rate[some])


class Latents(Protocol):
    """What is asked of a base."""

    @property
    def rates(self) -> tuple[int, ...]:
        """To validate at."""

    @property
    def widths(self) -> dict[str, Any]:
        """What a `FuserConfig` has from it."""

    def draw(self, x: Tensor) -> Tensor:
        """Rates to code a batch at, as its files may have them, more of them low."""

    def code(self, x: Tensor, rate: Tensor) -> Coded:
        """Code x (B, 3, H, W), 0..1, sides multiples of 64, at such rates, by plain rounding. No gradient."""

    def decode(self, coded: Coded, residual: Tensor | None) -> Tensor:
        """Pixels (B, 3, H, W), about 0..1, of a batch, and of what a fuser adds to its y_hat, as a decoder would.

        No gradient but the residual's.
        """

    def prepare(self, denoiser: Denoiser) -> None:
        """Give a new denoiser what the base has of use to it."""


class OwnLatents:
    """Our base."""

    def __init__(self, base: Base) -> None:
        self.base = base

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

    def draw(self, x: Tensor) -> Tensor:
        """As `Latents`."""
        return to_tensor(file_rates(random_low_rates(len(x)), x, self.base.config.tunes), x)

    @torch.no_grad()
    def code(self, x: Tensor, rate: Tensor) -> Coded:
        """As `Latents`."""
        with torch.autocast(x.device.type, enabled=False):
            y, z_hat = self.base.transform(x, rate)
            _, y_hat = self.base.quantise(y, z_hat, rate)
            step = spread(self.base.ungain(rate), y)
            return Coded(y * step, y_hat * step, step, rate)

    def decode(self, coded: Coded, residual: Tensor | None) -> Tensor:
        """As `Latents`: see `Experts.paint`."""
        with torch.no_grad():
            x_hat: Tensor = self.base.g_s(coded.y_hat, coded.rate)
        return x_hat if residual is None else x_hat + self.base.lead(x_hat, coded.y_hat + residual)

    def prepare(self, denoiser: Denoiser) -> None:
        """As `Latents`."""
        denoiser.start_from(self.base)


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

    def prepare(self, denoiser: Denoiser) -> None:
        """Nothing: its transforms are of another kind."""
