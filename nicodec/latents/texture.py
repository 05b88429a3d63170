"""Tokens of texture: how much stronger or weaker, cell by cell, the original is than what the SQ stream alone shows.

A cell is a square of a few positions of the latent. For each group of components of y a token says the log of
sqrt(energy of the original / energy of the base's own picture), both analysed by g_a, which is linear. Only what is
frozen defines it: who paints with it may get better without a file being touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.latents.codebook import nodes
from nicodec.latents.geometry import PATCH, Array

GAIN_MIN, GAIN_MAX = 0.4, 3.0  # of amplitudes


@dataclass(frozen=True, eq=False)
class Texture:
    """A codebook of texture.

    Attributes:
        groups: of each component of y, the group that it belongs to, or -1: (M,). Groups are 0..G-1.
        centres: log ratios of amplitudes (2^bits, G), in the order of a binary tree.
        usage: how often each was the nearest: (2^bits,).
        floor: what is added to all energies (natural units), so that nothing is weighed that nobody sees.
        side: positions of the latent along a side of a cell.
    """

    groups: NDArray[np.int64]
    centres: Array
    usage: Array
    floor: float
    side: int

    def __post_init__(self) -> None:
        if self.groups.min() < -1 or {*self.groups.tolist()} - {-1} != {*range(self.code)}:
            raise ValueError(f"the components of a texture make no {self.code} groups")
        whole = len(self.centres) == len(self.usage) == 1 << self.bits
        if not whole or self.side not in (1, 2) or not self.floor > 0:
            raise ValueError("a codebook of texture is out of range")

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> Texture:
        """Build from the arrays and the config of a texture part.

        Raises:
            ValueError, KeyError: something is missing or out of its range.
        """
        groups, side = arrays["groups"].astype(np.int64), config["stride"] // PATCH
        return cls(groups, arrays["centres"], arrays["usage"], config["floor"], side)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to store."""
        return {"groups": self.groups.astype(np.int16), "centres": self.centres, "usage": self.usage}

    @property
    def config(self) -> dict[str, Any]:
        """What is stored beside them."""
        return {"bits": self.bits, "stride": self.side * PATCH, "floor": self.floor}

    @property
    def bits(self) -> int:
        """Depth of the tree."""
        return len(self.centres).bit_length() - 1

    @property
    def code(self) -> int:
        """Groups, which a centre has a ratio of each for."""
        return self.centres.shape[1]

    @cached_property
    def means(self) -> Array:
        """What of each component's energy is in each group's: (G, M)."""
        member = (self.groups == np.arange(self.code)[:, None]).astype(np.float32)
        return member / member.sum(1, keepdims=True)

    def energies(self, y: Array) -> Array:
        """Mean energies in each cell (G, h/side, w/side), the floor included, of y (1, M, h, w) in natural units."""
        _, components, height, width = y.shape
        of_groups = self.means @ np.square(y[0]).reshape(components, -1)
        cells = of_groups.reshape(self.code, height // self.side, self.side, width // self.side, self.side)
        return cells.mean((2, 4)) + np.float32(self.floor)

    def ratios(self, y: Array, y_base: Array) -> Array:
        """What a token should say, (G, h/side, w/side): of the original's latent y and that of the base's picture."""
        return np.float32(0.5) * np.log(self.energies(y) / self.energies(y_base))

    def nodes(self, depth: int) -> Array:
        """Ratios of all nodes of one depth of the tree: (2^depth, G)."""
        return nodes(self.centres, self.usage, depth)

    def distances(self, ratios: Array, depth: int) -> Array:
        """Squared distances of ratios (G, h, w) to all nodes of one depth: (h, w, 2^depth)."""
        rows, of_nodes = np.moveaxis(ratios, 0, 2), self.nodes(depth)
        return np.square(rows).sum(2)[:, :, None] - 2 * rows @ of_nodes.T + np.square(of_nodes).sum(1)

    def lookup(self, tokens: NDArray[Any], depth: int) -> Array:
        """Tokens (h, w) of one depth to what they say (1, G, h, w)."""
        return np.ascontiguousarray(np.moveaxis(self.nodes(depth)[tokens.astype(np.int64)], 2, 0))[None]

    def textured(self, y: Array, y_base: Array, said: Array, share: Array) -> Array:
        """A picture's latent with the texture that tokens say.

        Args:
            y: of the picture, (1, M, h, w) in natural units.
            y_base: of the base's own picture.
            said: what `lookup` gave, (1, G, h/side, w/side); nan where nothing is said.
            share: how far on the way to the energies that it says, on a scale of logarithms; 0 is not at all, 1 all the
                way: of each group (G,), or of all, (1,).
        """
        wanted = self.energies(y_base) * np.exp(2 * said[0])
        gains = np.sqrt(wanted / self.energies(y)).clip(GAIN_MIN, GAIN_MAX) ** share[:, None, None]
        gains = smooth(np.nan_to_num(gains, nan=1.0), self.side)
        members = np.concatenate([gains, np.ones_like(gains[:1])])  # group -1 stays as it is
        return y * members[self.groups][None]


def smooth(cells: Array, side: int) -> Array:
    """Maps of cells (G, h, w) to maps of positions (G, side·h, side·w): linear between the middles of cells."""
    if side == 1:
        return cells
    rows = _between(cells)
    return np.ascontiguousarray(_between(rows.transpose(0, 2, 1)).transpose(0, 2, 1))


def _between(cells: Array) -> Array:
    """(G, h, w) to (G, 2h, w), linear between rows; beyond a border there is the same again."""
    around = np.pad(cells, ((0, 0), (1, 1), (0, 0)), mode="edge")
    near, far = np.float32(0.75) * cells, np.float32(0.25) * around
    return np.stack([near + far[:, :-2], near + far[:, 2:]], 2).reshape(len(cells), -1, cells.shape[2])
