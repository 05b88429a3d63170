"""Stage `mode`: MoDE's decoders of two experts' features, for both anchors at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nicodec.networks.base import Base
from nicodec.networks.fuser import Denoiser
from nicodec.networks.layers import spread
from nicodec.networks.mode import MoDE
from nicodec.networks.vq import VQExpert
from nicodec.rate.scale import TUNE_SPACING
from nicodec.training.critic import Critic, natural_losses
from nicodec.training.data import Pictures
from nicodec.training.sq import file_rates, held_out_rates, psnr, random_low_rates, to_tensor
from nicodec.training.stage import Stage

LIKENESS = 1.0  # weight next to log10 MSE, at rate 0: 0.01 of the doubting critic's likeness for 0.1 dB
LIKENESS_RISE = 3e-5  # of that weight with the rate, an exponent: as fast as likeness itself falls
EVEN = 0.03  # weight of MoDE-F's loss: makes its gradients as large as MoDE-P's, so that one measure finds the spikes
FIDELITY_SHARE = 0.35  # of the steps; all others train MoDE-P
TAU_SHARE = 0.3  # of MoDE-P's


@dataclass(frozen=True)
class Decoded:
    """What a decoder has: y_hat (B, M, H/16, W/16), code (B, code, h, w), rate as in `interpolate`."""

    y_hat: Tensor
    code: Tensor
    rate: Tensor


class MoDEStage(Stage):
    """Stage `mode` for the training loop.

    MoDE-F: 10 log10 MSE and a little likeness; MoDE-P: `natural_losses`. They share no weights, so a step trains one of
    them. Rates are drawn more often low, where quantisation takes most. With a fuser, some of MoDE-P's batches are
    led by a random tau, by one step of D: the anchor and the slider are to be used together.
    """

    name = "mode"
    module: MoDE
    slow = ("klt_t", "lapping")

    def __init__(self, base: Base, vq: VQExpert, critic: Critic, fuser: Denoiser | None = None) -> None:
        self.module = MoDE.between(base, vq)
        self.base, self.vq, self.critic, self.fuser = base, vq, critic, fuser

    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Of a batch (B, 3, H, W), 0..1."""
        rate = to_tensor(file_rates(random_low_rates(len(x)), x, self.base.config.tunes), x)
        depth = self.vq.config.bits - max(0, int(torch.randint(-8, 5, ()).item()))
        decoded = self._decoded(x, rate, depth)
        held = (decoded.y_hat, decoded.code, rate)
        if torch.rand(()) < FIDELITY_SHARE:
            x_f = self.module.decode_fidelity(self.vq.painter, *held)
            same, _ = self.critic.anew(x_f, x)
            error = (x_f - x).square().mean((1, 2, 3)).clamp_min(1e-7)
            rise = (LIKENESS_RISE * (rate % TUNE_SPACING).reshape(len(x), -1).mean(1)).exp()
            loss = error.log10().mean() + LIKENESS * (rise * same).mean()
            return EVEN * loss, {"psnr_f": psnr(x_f, x), "likeness_f": same.mean().item()}
        tau: Tensor | float = 0.0
        lead = None
        if self.fuser is not None and torch.rand(()) < TAU_SHARE:
            tau = torch.rand(len(x), 1, 1, 1).to(x.device)
            lead = partial(self.base.correction_towards, y=self._natural(self.fuser, decoded.y_hat, rate))
        (x_p,) = self.module.decode_perception(*held, lead, [tau])
        losses, figures = natural_losses(self.critic, x_p, x)
        return losses.mean(), figures

    def _decoded(self, x: Tensor, rate: Tensor, depth: int) -> Decoded:
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            base, vq = self.base, self.vq
            y, z_hat = base.transform(x, rate)
            _, y_hat = base.quantise(y, z_hat, rate)
            tokens = vq.codebook.nearest(vq.tokenizer(base.natural(y, rate)), depth)
            return Decoded(y_hat * spread(base.ungain(rate), y_hat), vq.codebook.lookup(tokens, depth), rate)

    @torch.no_grad()
    def _natural(self, fuser: Denoiser, y_hat: Tensor, rate: Tensor) -> Tensor:
        step = spread(self.base.ungain(rate), y_hat)
        return y_hat + fuser.residual(y_hat, step, torch.randn_like(y_hat), rate, 1)

    @torch.no_grad()
    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """(PSNR, likeness, texture) at `held_out_rates` of base and both anchors; 16 pictures, 512x512 of each."""
        assert isinstance(module, MoDE)
        figures: dict[str, list[list[float]]] = {"base": [], "fidelity": [], "perception": []}
        for value in held_out_rates(self.base.config.tunes):
            rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in figures}
            for picture in pictures.some(16):
                x = picture[None, :, :512, :512].float() / 255
                rate = torch.tensor([float(value)], device=x.device)
                decoded = self._decoded(x, rate, self.vq.config.bits)
                held = (decoded.y_hat, decoded.code, rate)
                pictures_of = {
                    "base": self.base.g_s(decoded.y_hat, rate),
                    "fidelity": module.decode_fidelity(self.vq.painter, *held),
                    "perception": module.decode_perception(*held)[0],
                }
                for name, x_hat in pictures_of.items():
                    same, texture = self.critic(x_hat.clamp(0, 1), x)
                    rows[name].append((psnr(x_hat, x), same.item(), texture.item()))
            for name, entries in rows.items():
                figures[name].append([round(sum(column) / len(entries), 4) for column in zip(*entries, strict=True)])
        return figures
