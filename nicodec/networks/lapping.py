"""Lapped transforms: a filter across block borders before a block transform, its inverse after the block synthesis."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nicodec.latents.geometry import PATCH

FOLD = 1.2  # of 1, 1.2, 1.4, 1.6 the one with the fewest bits over training pictures (reverse water-filling)


def prefilter() -> Tensor:
    """Pre-filter of the time-domain lapped transform across one border, `PATCH`/2 samples on either side.

    Returns:
        (PATCH, PATCH) float64: `W diag(I, J C2^T S C4 J) W`, with S = diag(FOLD, 1, ..), C2 and C4 the DCTs of types
        II and IV, J the flip and W the butterfly `[[I, J], [J, -I]] / sqrt 2` (Tran, Liang and Tu, IEEE TSP 2003).
    """
    half = PATCH // 2
    k, i = torch.arange(half, dtype=torch.float64)[:, None], torch.arange(half, dtype=torch.float64)
    dct_2 = (2 / half) ** 0.5 * torch.cos(math.pi * k * (2 * i + 1) / (2 * half))
    dct_2[0] /= 2**0.5
    dct_4 = (2 / half) ** 0.5 * torch.cos(math.pi * (2 * k + 1) * (2 * i + 1) / (4 * half))
    identity = torch.eye(half, dtype=torch.float64)
    flip, stretch = identity.flip(0), identity.clone()
    stretch[0, 0] = FOLD
    butterfly = torch.cat([torch.cat([identity, flip], 1), torch.cat([flip, -identity], 1)])
    middle = identity.new_zeros(PATCH, PATCH)
    middle[:half, :half] = identity
    middle[half:, half:] = flip @ dct_2.T @ stretch @ dct_4 @ flip
    return 0.5 * butterfly @ middle @ butterfly


class Lapping(nn.Module):
    """Filter the rows, then the columns, of pixels across all inner borders of PATCH x PATCH blocks.

    ::

        ..│ block │ block │..      taps (PATCH x PATCH) act on the PATCH samples around each │

    Starts as the identity; `klt.start` sets the pre-filter in g_a and its inverse in g_s. With it the
    block transform between them is a lapped one: no block edges, and fewer bits at the same error. The picture's
    outer borders are left as they are. Shapes: (B, C, H, W) -> (B, C, H, W), H and W multiples of PATCH.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.eye(PATCH))

    def forward(self, x: Tensor) -> Tensor:
        return self._filtered(x, self.taps)

    def adjoint(self, x: Tensor) -> Tensor:
        """By the transposed matrix: how a gradient goes back."""
        return self._filtered(x, self.taps.T)

    def _filtered(self, x: Tensor, taps: Tensor) -> Tensor:
        x = x.contiguous()
        batch, channels, height, width = x.shape
        edge = PATCH // 2
        if height > PATCH:
            inner = x[:, :, edge:-edge].reshape(batch, channels, -1, PATCH, width)
            inner = (taps @ inner).reshape(batch, channels, height - PATCH, width)
            x = torch.cat([x[:, :, :edge], inner, x[:, :, -edge:]], 2)
        if width > PATCH:
            inner = x[..., edge:-edge].reshape(batch, channels, height, -1, PATCH)
            inner = (inner @ taps.T).reshape(batch, channels, height, width - PATCH)
            x = torch.cat([x[..., :edge], inner, x[..., -edge:]], 3)
        return x
