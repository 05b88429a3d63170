"""The prior of the tokens: trained as floats on both experts, exported as integers."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.entropy.tokens import TOKEN_LEVELS, TOTAL, TokenPrior
from nicodec.latents.geometry import PATCH
from nicodec.networks.base import Base
from nicodec.networks.layers import RateBias, zero_init
from nicodec.networks.vq import VQConfig, VQExpert
from nicodec.rate.scale import KNOTS
from nicodec.training.data import Pictures
from nicodec.training.export import index_layer, integer_layer
from nicodec.training.scales import ACTIVATION_MAX, magnitude, rectify
from nicodec.training.sq import file_rates, random_rates, to_tensor

LOGIT_MAX = 8.0
LOGIT_STEP = 2 * LOGIT_MAX / (TOKEN_LEVELS - 1)


class TokenNet(nn.Module):
    """The float twin of `nicodec.entropy.tokens.TokenPrior`, layer for layer: logits of a 1 at every inner node."""

    def __init__(self, latent: int, hyper: int, config: VQConfig, width: int = 96, rows: int = KNOTS) -> None:
        super().__init__()
        self.side = config.stride // PATCH
        self.z = nn.Conv2d(hyper, 8 * width, 1)
        self.z_rate = RateBias(8 * width, rows)
        self.embed = nn.Conv2d(width // 2 + latent, width, 1)
        self.embed_rate = RateBias(width, rows)
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.hidden = nn.Conv2d(width * self.side**2, width, 1)
        self.hidden_rate = RateBias(width, rows)
        self.head = zero_init(nn.Conv2d(width, (1 << config.bits) - 1, 1))

    def forward(self, z_hat: Tensor, symbols: Tensor, rate: Tensor) -> Tensor:
        """z_hat (B, N, H/64, W/64) and symbols (B, M, H/16, W/16) to logits (B, 2^bits - 1, H/stride, W/stride)."""
        z_hat = z_hat.clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
        features = F.pixel_shuffle(F.pixel_shuffle(rectify(self.z_rate(self.z(z_hat), rate)), 2), 2)
        seen = magnitude(symbols) * symbols.sign()
        x = rectify(self.embed_rate(self.embed(torch.cat([features, seen], 1)), rate))
        x = squares_to_channels(rectify(self.mix(x)), self.side)
        return self.head(rectify(self.hidden_rate(self.hidden(x), rate)))


def squares_to_channels(x: Tensor, side: int) -> Tensor:
    """(B, C, side·H, side·W) -> (B, side^2·C, H, W), in the order of `nicodec.entropy.tokens.squares_to_channels`."""
    batch, channels, height, width = x.shape
    squares = x.reshape(batch, channels, height // side, side, width // side, side).permute(0, 3, 5, 1, 2, 4)
    return squares.reshape(batch, side * side * channels, height // side, width // side)


def path(tokens: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The inner nodes on the way to tokens (B, h, w), and which way it goes: both (B, bits, h, w)."""
    depth = torch.arange(bits, device=tokens.device)[:, None, None]
    wide = tokens[:, None]
    return (1 << depth) - 1 + (wide >> (bits - depth)), wide >> (bits - depth - 1) & 1


def train_prior(
    base: Base, vq: VQExpert, pictures: Pictures, steps: int = 600, batch: int = 8, side: int = 256
) -> tuple[TokenNet, Tensor]:  # fmt: skip
    """Train the prior on the tokens and symbols of frozen experts, at random rates.

    Returns:
        The network, and the static logits (2^bits - 1,) of how often each node was left by its 1.
    """
    config = vq.config
    net = TokenNet(base.config.latent, base.config.hyper, config, rows=base.config.rows)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    visits = torch.full((2, (1 << config.bits) - 1), 0.5)
    counting = steps // 10  # steps that only count, so that training starts at the static prior
    for step in range(steps):
        torch.manual_seed(step)
        x = pictures.batch(batch, side)
        rates = file_rates(random_rates(batch), x, base.config.tunes)
        sample = sample_of(base, vq, x, to_tensor(rates, x))
        nodes, ways = path(sample[2], config.bits)
        for way in (0, 1):
            visits[way] += torch.bincount(nodes[ways == way], minlength=visits.shape[1])
        if step == counting:
            cast("Tensor", net.head.bias).data.copy_((visits[1] / visits[0]).log())
        if step >= counting:
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1.0, (step - counting + 1) / 50, 2 * (steps - step) / steps)
            optimizer.zero_grad()
            bits_of(net, *sample).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return net.eval().requires_grad_(False), (visits[1] / visits[0]).log()


def sample_of(base: Base, vq: VQExpert, x: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z_hat, symbols, tokens and rates of a batch x (B, 3, H, W), 0..1."""
    with torch.no_grad():
        y, z_hat = base.transform(x, rate)
        symbols, _ = base.quantise(y, z_hat, rate)
        codes = vq.tokenizer(base.natural(y, rate))
        return z_hat, symbols, vq.codebook.nearest(codes, vq.config.bits), rate


def bits_of(net: TokenNet, z_hat: Tensor, symbols: Tensor, tokens: Tensor, rate: Tensor) -> Tensor:
    """Bits of each token under the float prior: (B, h, w)."""
    nodes, ways = path(tokens, int(math.log2(net.head.out_channels + 1)))
    logits = net(z_hat, symbols, rate).gather(1, nodes).clamp(-LOGIT_MAX, LOGIT_MAX)
    return F.binary_cross_entropy_with_logits(logits, ways.float(), reduction="none").sum(1) / math.log(2)


def integer_prior(net: TokenNet, static: Tensor, bits: int, magnitudes: Any) -> TokenPrior:
    """Quantise the prior, layer for layer.

    Raises:
        ExportError: a sum could leave the range in which it is exact.
    """
    rows = len(net.z_rate.bias)
    layers = {
        "z": integer_layer(net.z, net.z_rate.bias),
        "embed": integer_layer(net.embed, net.embed_rate.bias),
        "mix": integer_layer(net.mix, rows=rows),
        "hidden": integer_layer(net.hidden, net.hidden_rate.bias),
        "head": index_layer(net.head, torch.zeros(rows, 1), -LOGIT_MAX, LOGIT_STEP, TOKEN_LEVELS),
    }
    logits = -LOGIT_MAX + LOGIT_STEP * np.arange(TOKEN_LEVELS)
    weights = np.round(TOTAL / (1 + np.exp(-logits))).astype(np.int64)
    levels = ((static + LOGIT_MAX) / LOGIT_STEP).round().clamp(0, TOKEN_LEVELS - 1).numpy().astype(np.uint8)
    return TokenPrior(bits, net.side, levels, magnitudes, weights, layers)
