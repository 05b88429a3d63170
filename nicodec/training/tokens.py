"""The prior of the tokens: trained as floats on both experts, exported as integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.entropy.tokens import TOKEN_LEVELS, TOTAL, TokenPrior
from nicodec.networks.base import Base, BaseConfig
from nicodec.networks.layers import RateBias, spread, zero_init
from nicodec.networks.vq import VQExpert
from nicodec.training.data import Pictures
from nicodec.training.export import index_layer, integer_layer
from nicodec.training.scales import ACTIVATION_MAX, magnitude, rectify
from nicodec.training.sq import file_rates, random_rates, to_tensor

LOGIT_MAX = 8.0
LOGIT_STEP = 2 * LOGIT_MAX / (TOKEN_LEVELS - 1)

RATE, TOGETHER = 4e-3, 16  # of training; crops that are learned from at once

# y and y_hat of crops (B, M, H/16, W/16) in natural units, and their rates, to tokens (B, h, w), int64.
Tokenise = Callable[[Tensor, Tensor, Tensor], Tensor]


class TokenNet(nn.Module):
    """The float twin of `nicodec.entropy.tokens.TokenPrior`, layer for layer: logits of a 1 at every inner node.

    `side`, `bits` and `signed` are as there; `width` is that of the features.
    """

    def __init__(self, base: BaseConfig, side: int, bits: int, width: int = 96, *, signed: bool = True) -> None:
        super().__init__()
        self.side, self.bits, self.signed = side, bits, signed
        latent, hyper, rows = base.latent, base.hyper, base.rows
        self.z = nn.Conv2d(hyper, 8 * width, 1)
        self.z_rate = RateBias(8 * width, rows)
        self.embed = nn.Conv2d(width // 2 + latent, width, 1)
        self.embed_rate = RateBias(width, rows)
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.hidden = nn.Conv2d(width * self.side**2, width, 1)
        self.hidden_rate = RateBias(width, rows)
        self.head = zero_init(nn.Conv2d(width, (1 << bits) - 1, 1))

    def forward(self, z_hat: Tensor, symbols: Tensor, rate: Tensor) -> Tensor:
        """z_hat (B, N, H/64, W/64) and symbols (B, M, H/16, W/16) to logits (B, 2^bits - 1, H/stride, W/stride)."""
        z_hat = z_hat.clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
        features = F.pixel_shuffle(F.pixel_shuffle(rectify(self.z_rate(self.z(z_hat), rate)), 2), 2)
        seen = magnitude(symbols) * symbols.sign() if self.signed else magnitude(symbols)
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
    base: Base, net: TokenNet, tokenise: Tokenise, pictures: Pictures, steps: int = 300, batch: int = 8,
    side: int = 256, epochs: int = 2,
) -> Tensor:  # fmt: skip
    """Train the prior on the tokens and symbols of what is frozen: `steps` batches of crops at random rates.

    `epochs`: how often each crop is learned from; where a token stands for a large square a crop has few of them.

    Returns:
        The static logits (2^bits - 1,) of how often each node was left by its 1.
    """
    samples = []
    for step in range(steps):  # making one takes as long as ten steps of training
        torch.manual_seed(step)
        x = pictures.batch(batch, side)
        rates = file_rates(random_rates(batch), x, base.config.tunes)
        *symbols, rate = sample_of(base, tokenise, x, to_tensor(rates, x))
        samples.append((*(whole.short() for whole in symbols), rate))
    whole = [torch.cat(parts) for parts in zip(*samples, strict=True)]
    static = static_logits(whole[2], net.bits)
    cast("Tensor", net.head.bias).data.copy_(static)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    shares = [part for _ in range(epochs) for part in torch.split(torch.randperm(len(whole[0])), TOGETHER)]
    for step, part in enumerate(shares):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50, 2 * (len(shares) - step) / len(shares))
        optimizer.zero_grad()
        bits_of(net, *(each[part] for each in whole)).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    net.eval().requires_grad_(False)
    return static


def static_logits(tokens: Tensor, bits: int) -> Tensor:
    """How often each node was left by its 1, on the way to tokens (B, h, w): (2^bits - 1,)."""
    nodes, ways = path(tokens.long(), bits)
    visits = [torch.bincount(nodes[ways == way], minlength=(1 << bits) - 1) + 0.5 for way in (0, 1)]
    return (visits[1] / visits[0]).log()


def sample_of(base: Base, tokenise: Tokenise, x: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z_hat, symbols, tokens and rates of a batch x (B, 3, H, W), 0..1."""
    with torch.no_grad():
        y, z_hat = base.transform(x, rate)
        symbols, y_hat = base.quantise(y, z_hat, rate)
        y, y_hat = y / spread(base.gain(rate), y), y_hat * spread(base.ungain(rate), y_hat)
        return z_hat, symbols, tokenise(y, y_hat, rate), rate


def tokeniser(base: Base, vq: VQExpert) -> Tokenise:
    """What a perception expert makes of y."""
    return lambda y, y_hat, rate: vq.codebook.nearest(vq.tokenizer(y / base.std[:, None, None]), vq.config.bits)


def bits_of(net: TokenNet, z_hat: Tensor, symbols: Tensor, tokens: Tensor, rate: Tensor) -> Tensor:
    """Bits of each token under the float prior: (B, h, w)."""
    nodes, ways = path(tokens.long(), net.bits)
    logits = net(z_hat.float(), symbols.float(), rate).gather(1, nodes).clamp(-LOGIT_MAX, LOGIT_MAX)
    return F.binary_cross_entropy_with_logits(logits, ways.float(), reduction="none").sum(1) / math.log(2)


def integer_prior(net: TokenNet, static: Tensor, magnitudes: Any) -> TokenPrior:
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
    return TokenPrior(net.bits, net.side, levels, magnitudes, weights, layers, net.signed)
