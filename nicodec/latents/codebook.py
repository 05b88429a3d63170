"""What tokens stand for: nodes of a tree over the vectors of a codebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.engines import Networks, load_networks
from nicodec.latents.geometry import PATCH, Array
from nicodec.zoo.manifest import Part
from nicodec.zoo.stored import read_config


def nodes(vectors: Array, usage: Array, depth: int) -> Array:
    """Vectors of all nodes of one depth of a tree, means of the leaves below, weighted by their use.

    Args:
        vectors: of the leaves (2^bits, code), in the order of a binary tree.
        usage: (2^bits,).

    Returns:
        (2^depth, code).
    """
    weight = np.maximum(usage, np.float32(1e-6)).reshape(1 << depth, -1, 1)
    return (vectors.reshape(1 << depth, -1, vectors.shape[1]) * weight).sum(1) / weight.sum(1)


@dataclass(frozen=True)
class TokenPath:
    """A VQ part's networks and its codebook; the arrays' version of `nicodec.networks.vq.VQExpert`.

    Attributes:
        code: components of a vector.
        side: positions of the latent along a side of a token.
    """

    networks: Networks
    code: int
    side: int

    def nodes(self, depth: int) -> Array:
        """Vectors of all nodes of one depth (2^depth, code)."""
        return nodes(self.networks.weight("codebook.vectors"), self.networks.weight("codebook.usage"), depth)

    def tokens(self, y: Array, depth: int) -> NDArray[np.uint16]:
        """Y in units of its spread (1, M, H/16, W/16) to the tokens (h, w), 0..2^depth-1: the nearest nodes."""
        code, nodes = self.networks("tokenizer", y)[0][0], self.nodes(depth)
        rows = np.moveaxis(code, 0, 2).reshape(-1, self.code)
        distance = np.square(nodes).sum(1) - 2 * rows @ nodes.T
        return distance.argmin(1).reshape(code.shape[1:]).astype(np.uint16)

    def lookup(self, tokens: NDArray[Any], depth: int) -> Array:
        """Tokens (h, w) of one depth to code vectors (1, code, h, w)."""
        return np.ascontiguousarray(np.moveaxis(self.nodes(depth)[tokens.astype(np.int64)], 2, 0))[None]


def load_token_path(part: Part, engine: str, device: str) -> TokenPath:
    """That of a VQ part. Raises: as `load_networks`."""
    config = read_config(part)
    return TokenPath(load_networks(part, engine, device), config["code"], config["stride"] // PATCH)
