"""What training starts from: the lapped principal components of training pictures (KLT), and steps by frequency."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nicodec.latents.geometry import PATCH
from nicodec.networks.base import Base
from nicodec.networks.lapping import prefilter

TILT = 0.25  # tune `eye` starts with steps in proportion to this power of a component's frequency


@torch.no_grad()
def start(base: Base, crops: Tensor) -> Tensor:
    """Set the linear shortcuts to the lapped principal components of training pictures.

    Args:
        crops: (n, 3, S, S) of training pictures, float, 0..1; S a multiple of 16, at least 48.

    Returns:
        Eigenvalues (M,) in the order of the latent's channels: interleaved over the slices, so that
        every slice holds low and high frequencies.
    """
    taps = prefilter()
    base.g_a.lapping.taps.copy_(taps)
    base.g_s.lapping.taps.copy_(torch.linalg.inv(taps))
    patches = F.pixel_unshuffle(base.g_a.lapping(crops - 0.5), PATCH)[:, :, 1:-1, 1:-1]  # those lapped all round
    values, vectors = _principal_components(patches)
    m, slices = base.config.latent, base.config.slices
    order = torch.cat([torch.arange(first, m, slices) for first in range(slices)])
    values, vectors = values[order], vectors[order]
    base.g_a.klt.weight.copy_(vectors[:, :, None, None])
    base.g_s.klt_t.weight.copy_(vectors.T[:, :, None, None])
    base.std.copy_(values.clamp_min(1e-8).sqrt())
    base.g_s.spread.copy_(base.std)

    values_8, vectors_8 = _principal_components(F.pixel_unshuffle(crops - 0.5, 8))
    c8 = base.config.wide_8
    white = (vectors_8 / values_8.clamp_min(1e-8).sqrt()[:, None])[:c8, :, None, None]
    base.g_s.look.weight[: len(white)] = white  # the network sees each component at the same strength

    log_norm = 0.5 * _waves(base).square().sum((1, 2, 3)).log()  # 0 where the lapped transform is orthonormal
    base.log_gain.add_(log_norm)
    base.log_ungain.sub_(log_norm)
    return values


@torch.no_grad()
def extend(base: Base, first: int, crops: Tensor) -> None:
    """Set the linear shortcuts of channels from `first` on to the principal components of what the others leave.

    The networks start as if these were not there. `crops`: as in `start`.
    """
    patches = F.pixel_unshuffle(base.g_a.lapping(crops - 0.5), PATCH)[:, :, 1:-1, 1:-1]
    held = torch.linalg.qr(base.g_a.klt.weight[:first, :, 0, 0].T)[0]  # an orthonormal basis (768, first)
    values, vectors = _principal_components(patches - F.conv2d(patches, (held @ held.T)[:, :, None, None]))
    count = base.config.latent - first
    base.g_a.klt.weight[first:] = vectors[:count, :, None, None]
    base.g_s.klt_t.weight[:, first:] = vectors[:count].T[:, :, None, None]
    base.std[first:] = values[:count].clamp_min(1e-8).sqrt()
    base.g_s.spread[first:] = base.std[first:]
    for embed in (base.g_s.embed, base.h_a.embed):
        embed.weight[:, first:] = 0
    log_norm = 0.5 * _waves(base)[first:].square().sum((1, 2, 3)).log()
    base.log_gain[:, first:] += log_norm
    base.log_ungain[:, first:] -= log_norm


def tilt(base: Base) -> Tensor:
    """How much coarser the steps of tune `eye` are than those of the other at its start: logarithms (M,)."""
    return TILT * (_mean_frequency(_waves(base)) / 0.1).log()


def _waves(base: Base) -> Tensor:
    """What each channel of the latent makes of a picture: (M, 3, 48, 48)."""
    impulses = torch.eye(base.config.latent, device=base.std.device)[:, :, None, None]
    return base.g_s.linear(F.pad(impulses, (1, 1, 1, 1)))


def _mean_frequency(waves: Tensor) -> Tensor:
    """Of pictures (n, 3, S, S): the mean of the frequency over their power, in cycles a pixel (n,)."""
    power = torch.fft.fft2(waves).abs().square().sum(1)  # (n, S, S)
    axis = torch.fft.fftfreq(waves.shape[-1], device=waves.device)
    return (power * torch.hypot(axis[:, None], axis)).sum((1, 2)) / power.sum((1, 2))


def _principal_components(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Of all positions of feature maps (B, C, H, W): eigenvalues (C,), falling, and unit vectors in rows (C, C)."""
    rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    values, vectors = torch.linalg.eigh((rows.T @ rows / len(rows)).double())
    return values.flip(0).float(), vectors.flip(1).T.float()
