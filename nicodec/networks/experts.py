"""Who paints the picture: the fidelity expert, the perception expert, or MoDE with one of them as the anchor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from nicodec.container.layout import Anchor
from nicodec.networks.base import Base
from nicodec.networks.fuser import Denoiser
from nicodec.networks.layers import PATCH
from nicodec.networks.mode import MoDE
from nicodec.networks.trust import bounded
from nicodec.networks.vq import VQExpert
from nicodec.zoo.store import missing

FIDELITY_LIMIT = 0.6  # see `bounded`; of photographs, one block of 16x16 in two hundred is beyond, at high rates
NATURAL_LIMIT = 0.8  # of the perception anchor, and wherever tau leads


@dataclass(frozen=True)
class Experts:
    """The networks that a file's streams, and what is installed, allow.

    Attributes:
        linear: paint the linear synthesis of the latents alone, which all others are held to.
    """

    base: Base
    vq: VQExpert | None = None
    mode: MoDE | None = None
    fuser: Denoiser | None = None
    linear: bool = False

    @property
    def token_side(self) -> int:
        """Positions of the latent along a side of a token."""
        return self.vq.config.stride // PATCH if self.vq else 1

    @torch.inference_mode()
    def paint(
        self, anchor: Anchor, y_hat: Tensor | None, code: Tensor | None, rates: Tensor,
        residual: Tensor | None = None, taus: Sequence[float] = (0.0,),
    ) -> list[Tensor]:  # fmt: skip
        """What the file holds to pixels (B, 3, H, W), about 0..1, for each tau; never far from its linear synthesis.

        Args:
            anchor: asked for; where one stream is missing, the other paints alone.
            y_hat: (B, M, H/16, W/16) in natural units, or None without an SQ stream.
            code: vectors of the tokens (B, code, H/stride, W/stride), or None without a VQ stream.
            rates: (B,), 0..65535.
            residual: what the fuser adds to y_hat for the latent y' of a natural picture; None where all taus are 0.
            taus: 0..1, how far the anchor's picture is led to y', see `Base.lead`. The paper fuses y_hat with y' and
                lets g_s decode both; here the fusion is of y' with the latent of the picture that the anchor made.

        Raises:
            MissingPartError, DamagedPartError: both streams, perception, and no MoDE part trained on these experts.
        """
        if y_hat is None:
            assert self.vq is not None
            assert code is not None
            return [self.vq.painter(code)] * len(taus)
        linear, step = self.base.g_s.linear(y_hat), self.base.ungain(rates)
        if self.linear:
            return [linear + 0.5] * len(taus)
        pictures = self._anchored(anchor, linear, y_hat, code, rates, residual, taus)
        fidelity = anchor is Anchor.FIDELITY
        limits = [FIDELITY_LIMIT if fidelity and tau == 0 else NATURAL_LIMIT for tau in taus]
        return [bounded(picture, linear + 0.5, step, limit) for picture, limit in zip(pictures, limits, strict=True)]

    def _anchored(
        self, anchor: Anchor, linear: Tensor, y_hat: Tensor, code: Tensor | None, rates: Tensor,
        residual: Tensor | None, taus: Sequence[float],
    ) -> list[Tensor]:  # fmt: skip
        """The networks' part of `paint`; `linear`: the base's linear synthesis of y_hat."""
        lead = None if residual is None else partial(self.base.lead, y=y_hat + residual)
        if code is None or self.vq is None or (self.mode is None and anchor is Anchor.FIDELITY):
            x_hat = self.base.g_s.from_linear(linear, y_hat, rates)
        elif self.mode is None:
            raise missing(
                "no mode part trained on the base and the vq that the file names is installed; decode with "
                "--anchor fidelity, or install the model's package"
            )
        elif anchor is Anchor.PERCEPTION:
            return self.mode.decode_perception(y_hat, code, rates, lead, taus)
        else:
            x_hat = self.mode.decode_fidelity(self.vq.painter, y_hat, code, rates)
        led = lead(x_hat) if lead else 0.0
        return [x_hat + tau * led for tau in taus]
