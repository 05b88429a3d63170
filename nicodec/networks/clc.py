"""Conditional latent coding: references to a conditioning latent, and that to a base for pictures like them.

After Wu et al. (CLC, arXiv 2502.09971), there with reference pictures that the decoder runs through g_a, and whose
latents are aligned with y position by position. Ours says by what networks y is coded: what references can tell that
z_hat and the passes before do not is of what kind a picture is, not what lies where in it: base1's history.md has the
figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.dictionary.asset import CHANNELS
from nicodec.networks.base import Base

PATHS = ("means", "g_s")  # what runs in floats on both sides, and no bit of a stream depends on
GAIN = 8.0  # of what CLM sees: int8 holds the largest of all levels, most are small
FIXED = ("klt_t", "lapping")  # of g_s: what makes pixels of latents, for the fuser too


@dataclass(frozen=True)
class CLCConfig:
    """Widths: of the matching network, and of the conditioning latent."""

    wide: int = 64
    latent: int = 1


class CLC(nn.Module):
    """CLM and CLS.

    ::

        reference latents ─ CLM: 3x3, leaky, mean over positions, linear, softmax, mean over references ─► c (latent,)
        W of means and g_s ─ CLS: W + c_1 · D_1 + c_2 · D_2 .. ─► the means and g_s of this picture

    D starts as nothing, so training starts at the frozen base; without references a picture is coded by that alone.
    """

    def __init__(self, config: CLCConfig, base: Base) -> None:
        super().__init__()
        self.config = config
        self.look = nn.Conv2d(CHANNELS, config.wide, 3)
        self.match = nn.Linear(config.wide, 1 + config.latent)
        self.change = nn.ParameterDict(
            {
                key(path, name): torch.zeros(config.latent, weight.numel())
                for path in PATHS
                for name, weight in conditional(getattr(base, path)).items()
            }
        )

    def latent(self, levels: Tensor) -> Tensor:
        """CLM: references (n, CHANNELS, SIDE, SIDE), -1..1, to the conditioning latent (latent,), 0..1."""
        seen = F.leaky_relu(self.look(GAIN * levels), 0.1).mean((2, 3))
        c: Tensor = self.match(seen).float().softmax(1)[:, 1:].mean(0)
        return c

    def weights(self, module: nn.Module, path: str, c: Tensor) -> dict[str, Tensor]:
        """CLS: the weights of the means, the g_s or a copy of these that a conditioning latent makes, by name."""
        changed = {}
        for name, weight in conditional(module).items():
            changed[name] = weight + (c[:, None] * self.change[key(path, name)]).sum(0).view(weight.shape)
        return changed


def conditional(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of a module that a conditioning latent changes, by name."""
    return {name: weight for name, weight in module.named_parameters() if not name.startswith(FIXED)}


def key(path: str, name: str) -> str:
    """Under which a parameter's directions are kept: torch allows no dots there."""
    return f"{path}/{name.replace('.', '/')}"
