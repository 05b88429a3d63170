"""Which token of texture a cell gets: one that is near what it should say, and cheap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nicodec.entropy.coder import Latent
from nicodec.entropy.tokens import TokenPrior, Tokens, node_costs
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import Array, Span
from nicodec.latents.rates import spread, to_rates
from nicodec.latents.texture import Texture

DISTANCE_PER_BIT = 0.1  # squared distance of log ratios, summed over groups, that a bit is worth


@dataclass(frozen=True, eq=False)
class Wording:
    """What tokens of texture mean, what they cost, and of how many bits they are (`depth`)."""

    texture: Texture
    prior: TokenPrior
    depth: int

    def tokens(
        self, base: FloatPath, y: Array, y_hat: Array, latent: Latent, rates: Array, core: Span
    ) -> Tokens:  # fmt: skip
        """Those of a tile (h, w).

        Args:
            y: of the tile and its halo (1, M, H/16, W/16), in natural units; the halo stands for what a decoder has.
            y_hat: of its core, in quantiser steps.
            latent: the tile's.
            rates: of the tile and its halo.
            core: rows and columns of y that are the tile's own.
        """
        seen = y.copy()
        seen[:, :, core[0], core[1]] = y_hat * spread(base.ungain(to_rates(latent.rate)), y_hat)
        y_base = base.g_a(base.g_s(seen, rates))
        ratios = self.texture.ratios(*(of[:, :, core[0], core[1]] for of in (y, y_base)))
        distances = self.texture.distances(ratios, self.depth)
        costs = node_costs(self.prior, (distances.shape[0], distances.shape[1]), self.depth, latent)
        return (distances + np.float32(DISTANCE_PER_BIT) * costs).argmin(2).astype(np.uint16)
