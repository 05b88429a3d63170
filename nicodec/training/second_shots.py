"""References for training: other shots of crops, aligned with them as an encoder would, and not quite the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

NEAR, FAR = 0.2, 5.0  # pixels that parts of a scene move by, in shots from one place, and from two
COARSEST = 64  # pixels: parts as large as that move as one; some, an eighth of it
CELLS = (8, 16, 32)  # pixels along a side of what has one vector
QUARTER = 4  # vectors are whole quarters of a pixel
NOISE = 0.02  # of 1, the strongest
BLUR = 1.0  # pixels, at most
GAIN, OFFSET = 0.08, 0.02  # of the light, at most, in places; an alignment knows that of the whole
HIDDEN = 0.3  # share of the crops of which something is hidden in the other shot


def second_shots(x: Tensor, develop: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Crops x (B, 3, H, W), 0..1, each with the noise of a sensor, and the aligned references that these may have.

    The other shot sees parts of the scene elsewhere, in another light, noisy, blurred, and some of it not at all; it is
    then coded; and a vector a cell, in quarters of a pixel, takes it back. Draws from torch's global CPU generator.

    Args:
        develop: pictures (B, 3, H, W) to what a decoder has of them.
    """
    flow = moved(x)
    other = x.roll(1, 0) if len(x) > 1 else x.flip(2)
    hidden = (smooth(x, 1, COARSEST) > 1.0).float() * chosen(x, HIDDEN)
    shot = warped(x, flow) * (1 - hidden) + other * hidden
    shot = blurred(shot) * (1 + often_little(x, GAIN) * smooth(x, 1, 2 * COARSEST))
    shot = shot + often_little(x, OFFSET) * smooth(x, 3, 2 * COARSEST)
    return noisy(x), warped(develop(noisy(shot)), found(-flow))


def moved(x: Tensor) -> Tensor:
    """By how many pixels each place of crops is seen elsewhere: (B, 2, H, W), x and y."""
    farthest = NEAR * (FAR / NEAR) ** torch.rand(len(x), 1, 1, 1)
    parts = smooth(x, 2, COARSEST) + 0.25 * smooth(x, 2, COARSEST // 8) * chosen(x, 0.5)
    edges = smooth(x, 1, COARSEST) > 0  # a nearer layer, which moves on its own
    nearer = torch.randn(len(x), 2, 1, 1).to(x) * chosen(x, 0.5)
    whole = torch.rand(len(x), 2, 1, 1).to(x)  # no alignment meets the grid of pixels
    return farthest.to(x) * (0.5 * parts + nearer * edges) + whole


def found(flow: Tensor) -> Tensor:
    """The vectors that an encoder finds for it: (B, 2, H, W), x and y in pixels, the same in each cell."""
    cells = CELLS[int(torch.randint(len(CELLS), ()))]
    vectors = (QUARTER * F.avg_pool2d(flow, cells)).round() / QUARTER
    return F.interpolate(vectors, scale_factor=cells, mode="nearest")


def warped(x: Tensor, flow: Tensor) -> Tensor:
    """Crops x (B, 3, H, W), seen `flow` (B, 2, H, W) pixels further."""
    height, width = x.shape[2:]
    grid = F.affine_grid(torch.eye(2, 3)[None].to(x), [1, 1, height, width], align_corners=False)
    scale = torch.tensor([2 / width, 2 / height]).to(x)
    at = grid + flow.permute(0, 2, 3, 1) * scale
    return F.grid_sample(x, at, mode="bicubic", padding_mode="border", align_corners=False)


def smooth(x: Tensor, channels: int, scale: int) -> Tensor:
    """A field of about unit spread that changes over `scale` pixels: (B, channels, H, W)."""
    height, width = (length // scale + 2 for length in x.shape[2:])
    knots = torch.randn(len(x), channels, height, width).to(x)
    return F.interpolate(knots, x.shape[2:], mode="bicubic", align_corners=True)


def chosen(x: Tensor, share: float) -> Tensor:
    """1 for so many of the crops, 0 for the others: (B, 1, 1, 1)."""
    return (torch.rand(len(x), 1, 1, 1) < share).to(x)


def often_little(x: Tensor, most: float) -> Tensor:
    """Anything up to `most`, of each crop: (B, 1, 1, 1)."""
    return most * torch.rand(len(x), 1, 1, 1).to(x) ** 3


def noisy(x: Tensor) -> Tensor:
    """With noise of any strength up to NOISE, less as a rule."""
    return x + often_little(x, NOISE) * torch.randn(x.shape).to(x)


def blurred(x: Tensor) -> Tensor:
    """Crops (B, 3, H, W), blurred by up to BLUR, less as a rule."""
    sigma = BLUR * torch.rand(len(x), 1) ** 2
    taps = (-0.5 * (torch.arange(-3, 4)[None] / sigma.clamp_min(0.05)) ** 2).exp()
    taps = (taps / taps.sum(1, keepdim=True)).to(x)
    batch, channels = x.shape[:2]
    rows = taps.repeat_interleave(channels, 0)[:, None, :, None]
    padded = F.pad(x.reshape(1, batch * channels, *x.shape[2:]), (3, 3, 3, 3), mode="replicate")
    passed = F.conv2d(F.conv2d(padded, rows, groups=len(rows)), rows.transpose(2, 3), groups=len(rows))
    return passed.reshape(x.shape)
