"""Who paints the picture: the fidelity expert, the perception expert, or MoDE with one of them as the anchor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nicodec.container.layout import Anchor
from nicodec.errors import MissingPartError
from nicodec.networks.base import Base
from nicodec.networks.fuser import Denoiser
from nicodec.networks.layers import PATCH
from nicodec.networks.mode import MoDE
from nicodec.networks.vq import VQExpert


@dataclass(frozen=True)
class Experts:
    """The networks that a file's streams, and what is installed, allow."""

    base: Base
    vq: VQExpert | None = None
    mode: MoDE | None = None
    fuser: Denoiser | None = None

    @property
    def token_side(self) -> int:
        """Positions of the latent along a side of a token."""
        return self.vq.config.stride // PATCH if self.vq else 1

    @torch.inference_mode()
    def paint(self, anchor: Anchor, y_hat: Tensor | None, code: Tensor | None, rates: Tensor) -> Tensor:
        """What the file holds to pixels (B, 3, H, W), about 0..1.

        Args:
            anchor: asked for; where one stream is missing, the other paints alone.
            y_hat: (B, M, H/16, W/16) in natural units, or None without an SQ stream.
            code: vectors of the tokens (B, code, H/stride, W/stride), or None without a VQ stream.
            rates: (B,), 0..65535.

        Raises:
            MissingPartError: both streams, asked for perception, and no MoDE part trained on these experts.
        """
        if y_hat is None:
            assert self.vq is not None
            assert code is not None
            return self.vq.painter(code)
        if code is None or self.vq is None or (self.mode is None and anchor is Anchor.FIDELITY):
            return self.base.g_s(y_hat, rates)
        if self.mode is None:
            raise MissingPartError(
                "no mode part trained on the base and the vq that the file names is installed; decode with "
                "--anchor fidelity, or install the model's package"
            )
        decode = self.mode.decode_perception if anchor is Anchor.PERCEPTION else self.mode.decode_fidelity
        return decode(self.base, self.vq, y_hat, code, rates)
