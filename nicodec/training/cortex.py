"""A model of V1 as a metric, without trained weights: rectified Gabor responses, normalised divisively."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 13  # pixels of a filter
FILTER_STRIDE = 4  # pixels
LUMA = (0.3, 0.6, 0.1)
OPPONENTS = ((0.7, -0.7, 0.0), (-0.35, -0.35, 0.7))  # red against green, blue against yellow
WAVES = ((2.8, 1.6), (4.5, 2.2), (8.0, 3.0))  # period of a Gabor filter in luma, and sigma of its window, in pixels
DIRECTIONS = 6
BLOBS = (1.5, 3.0)  # sigmas of the blobs in opponent colours
EDGE = (9.0, 3.0)  # period and sigma of the edges in opponent colours
SEMI_SATURATION = 0.01  # of the squared responses at a place: what is fainter is not brought up to full strength


class Cortex(nn.Module):
    """What a patch of picture excites, in units of all that it excites: no weights of any training.

    ::

        x ─┬─ luma ─ Gabor: 3 periods, 6 directions, even and odd ─┬─ rectified, both signs ─ /sqrt(sum of squares) ─►
           └─ opponent colours ─ blobs, edges ─────────────────────┘

    x (B, 3, H, W), 0..1 -> (B, 88, H/4, W/4). After the model of simple cells in V1 (Heeger 1992): a network that was
    trained on pictures starts with such filters, whatever it was trained for, and so this stands for those networks
    that a loss does not see.
    """

    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = torch.cat([_gabors(), _opponents()])
        self.register_buffer("bank", torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        excited = F.relu(F.conv2d(x, self.bank, stride=FILTER_STRIDE, padding=SIDE // 2)).float()
        return excited / (excited.square().sum(1, keepdim=True) + SEMI_SATURATION).sqrt()

    def distance(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Of pictures (B, 3, H, W), 0..1: mean squared distance of what they excite, (B,), 0..2. x gets no gradient."""
        with torch.no_grad():
            target = self(x)
        return (self(x_hat) - target).square().sum(1).mean((1, 2))


def _window(sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates across and down from a filter's middle, and a Gaussian there, all (SIDE, SIDE)."""
    at = torch.arange(SIDE) - SIDE // 2.0
    down, across = torch.meshgrid(at, at, indexing="ij")
    return across, down, torch.exp(-(across**2 + down**2) / (2 * sigma**2))


def _wave(period: float, sigma: float, angle: float, phase: float) -> Tensor:
    across, down, window = _window(sigma)
    wave = torch.cos(2 * math.pi / period * (across * math.cos(angle) + down * math.sin(angle)) + phase)
    wave = window * (wave - (window * wave).sum() / window.sum())  # no response to what is flat
    return wave / wave.norm()


def _gabors() -> Tensor:
    waves = [
        _wave(period, sigma, math.pi * direction / DIRECTIONS, phase)
        for period, sigma in WAVES
        for direction in range(DIRECTIONS)
        for phase in (0.0, math.pi / 2)
    ]
    return torch.stack(waves)[:, None] * torch.tensor(LUMA)[:, None, None]


def _opponents() -> Tensor:
    shapes = [_window(sigma)[2] / _window(sigma)[2].norm() for sigma in BLOBS]
    shapes += [_wave(*EDGE, angle, math.pi / 2) for angle in (0.0, math.pi / 2)]
    return torch.stack([shape * torch.tensor(colour)[:, None, None] for colour in OPPONENTS for shape in shapes])
