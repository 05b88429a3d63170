"""Stage `vq`: the perception expert on a frozen base."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nicodec.container.layout import STRIDE
from nicodec.networks.base import Base
from nicodec.networks.vq import VQConfig, VQExpert
from nicodec.training.critic import Critic
from nicodec.training.data import Pictures
from nicodec.training.sq import psnr
from nicodec.training.stage import Stage

DECAY = 0.98  # of the counts and sums behind the codebook's vectors
DEAD = 0.02  # of an even share: a vector used less is put where data is
COMMITMENT = 1.0
TEXTURE = 1.0  # weight of the texture term next to likeness


class VQStage(Stage):
    """Stage `vq` for the training loop: L1 + likeness + texture, and a codebook that follows the codes.

    The codebook moves by moving averages (van den Oord et al. 2017), not by gradient.
    """

    name = "vq"
    module: VQExpert
    slow = ("tokenizer",)  # at the full rate codes run away from their vectors within 200 steps
    muon = ("painter.body",)

    def __init__(self, config: VQConfig, base: Base, critic: Critic) -> None:
        self.module = VQExpert(config)
        self.base, self.critic = base, critic

    @torch.no_grad()
    def start(self, pictures: Pictures) -> None:
        """Codes start as the strongest components of the base's latent, vectors as their means over training pictures.

        The painter starts as the base's synthesis.
        """
        module, config = self.module, self.module.config
        strongest = self.base.std.argsort(descending=True)[: config.code]
        module.tokenizer.start_from(self.base.std, strongest)
        module.painter.start_from(self.base.g_s, module.tokenizer, self.base.std)
        crops = torch.cat([pictures.batch(8, min(256, pictures.least // STRIDE * STRIDE)) for _ in range(16)])
        codes = torch.cat([module.tokenizer(self._y(x)) for x in torch.split(crops, 8)])
        rows = codes.permute(0, 2, 3, 1).reshape(-1, config.code)
        vectors = rows[torch.randperm(len(rows))[: len(module.codebook.vectors)]]
        for _ in range(10):  # k-means
            nearest = torch.cdist(rows, vectors).argmin(1)
            counts = torch.bincount(nearest, minlength=len(vectors)).float()
            sums = torch.zeros_like(vectors).index_add_(0, nearest, rows)
            filled = counts > 0
            vectors[filled] = sums[filled] / counts[filled, None]
        module.codebook.vectors.copy_(vectors)

    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Of a batch (B, 3, H, W), 0..1."""
        module = self.module
        codes = module.tokenizer(self._y(x)).float()
        tokens = module.codebook.nearest(codes.detach(), module.config.bits)
        code_hat = module.codebook.lookup(tokens, module.config.bits)
        commitment = (codes - code_hat).square().mean()
        x_v = module.painter(codes + (code_hat - codes).detach())
        same, texture = self.critic.anew(x_v, x)
        l1 = (x_v - x).abs().mean()
        self._follow(codes.detach(), tokens)
        loss = l1 + same.mean() + TEXTURE * texture.mean() + COMMITMENT * commitment
        return loss, {
            "psnr": psnr(x_v, x), "likeness": same.mean().item(), "texture": texture.mean().item(),
            "commitment": commitment.item(), "perplexity": self._perplexity(),
        }  # fmt: skip

    @torch.no_grad()
    def _y(self, x: Tensor) -> Tensor:
        return self.base.g_a(x) / self.base.std[None, :, None, None]

    @torch.no_grad()
    def _follow(self, codes: Tensor, tokens: Tensor) -> None:
        """Move the vectors to the mean of the codes that chose them; put dead ones on codes of this batch."""
        book = self.module.codebook
        rows, flat = codes.permute(0, 2, 3, 1).reshape(-1, codes.shape[1]), tokens.flatten()
        sums = book.vectors * book.usage[:, None]
        book.usage.lerp_(torch.bincount(flat, minlength=len(sums)).to(book.usage.dtype), 1 - DECAY)
        sums.lerp_(torch.zeros_like(sums).index_add_(0, flat, rows), 1 - DECAY)
        dead = (book.usage < DEAD * book.usage.mean()).nonzero()[: len(rows) // 8, 0]
        if len(dead):
            sums[dead] = rows[torch.randperm(len(rows))[: len(dead)]]
            book.usage[dead] = 1.0
        book.vectors.copy_(sums / book.usage[:, None])

    def _perplexity(self) -> float:
        usage = self.module.codebook.usage
        share = usage / usage.sum()
        return math.exp(-(share * share.clamp_min(1e-9).log()).sum().item())

    @torch.no_grad()
    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """Means over 16 held-out pictures, 512x512 of each: PSNR, likeness, entropy of the tokens in bits."""
        assert isinstance(module, VQExpert)
        rows, tokens = [], []
        for picture in pictures.some(16):
            x = picture[None, :, :512, :512].float() / 255
            chosen = module.tokens(self._y(x), module.config.bits)
            x_v = module.painter(module.codebook.lookup(chosen, module.config.bits))
            same, texture = self.critic(x_v.clamp(0, 1), x)
            rows.append((psnr(x_v, x), same.item(), texture.item()))
            tokens.append(chosen.flatten())
        share = torch.bincount(torch.cat(tokens)).float()
        share = share[share > 0] / share.sum()
        score, same_mean, texture_mean = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        return {
            "psnr": round(score, 3), "likeness": round(same_mean, 4), "texture": round(texture_mean, 4),
            "entropy": round(-(share * share.log2()).sum().item(), 3),
        }  # fmt: skip
