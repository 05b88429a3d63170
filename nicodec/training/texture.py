"""The codebook of texture: which groups of components there are, and what is said of them. k-means, no gradient."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nicodec.latents.geometry import PATCH, Array
from nicodec.latents.texture import Texture
from nicodec.networks.base import Base
from nicodec.networks.layers import spread
from nicodec.training.data import Pictures
from nicodec.training.sq import file_rates, random_low_rates, to_tensor
from nicodec.training.tokens import Tokenise

FLOOR = (2 / 255) ** 2 / 20  # of an energy, in natural units
FIRST = 3  # the strongest components, flat colours, which the SQ stream never loses
SPLITS, ROUNDS = 8, 12  # of k-means, in a split of a node, and over all leaves


def build(
    base: Base, pictures: Pictures, bits: int = 8, stride: int = 32, groups: int = 12, batches: int = 100,
    batch: int = 8, side: int = 256,
) -> Texture:  # fmt: skip
    """A codebook of 2^bits centres for a frozen base, from random crops at random rates, more of them low.

    Args:
        stride: side of a cell in pixels: 16 or 32.
        groups: of components; fewer where y has so few.
        batches, batch, side: how many crops, and how large.
    """
    found = groups_of(base.std.numpy(), groups)
    count = int(found.max()) + 1
    empty = Texture(found, np.zeros((1, count), np.float32), np.ones(1, np.float32), FLOOR, stride // PATCH)
    rows = []
    for index in range(batches):
        torch.manual_seed(index)
        x = pictures.batch(batch, side)
        rate = to_tensor(file_rates(random_low_rates(batch), x, base.config.tunes), x)
        with torch.no_grad():
            y = base.g_a(x)
            scaled, z_hat = base.scaled(y, rate)
            _, y_hat = base.quantise(scaled, z_hat, rate)
            x_hat = base.g_s(y_hat * spread(base.ungain(rate), y_hat), rate)
            ratios = ratios_of(empty, y, base.g_a(x_hat))
        rows.append(np.moveaxis(ratios, 1, 3).reshape(-1, count))
    centres, usage = tree(np.concatenate(rows), bits)
    return Texture(found, centres, usage, FLOOR, empty.side)


def ratios_of(texture: Texture, y: Tensor, y_base: Tensor) -> Array:
    """What tokens should say of crops, (B, G, h, w): of y, and that of the base's picture, (B, M, H/16, W/16)."""
    each = zip(*(torch.split(latent, 1) for latent in (y, y_base)), strict=True)
    return np.stack([texture.ratios(own.cpu().numpy(), of_base.cpu().numpy()) for own, of_base in each])


def tokeniser(base: Base, texture: Texture) -> Tokenise:
    """The nearest centres."""

    def tokenise(y: Tensor, y_hat: Tensor, rate: Tensor) -> Tensor:
        ratios = ratios_of(texture, y, base.g_a(base.g_s(y_hat, rate)))
        return torch.from_numpy(np.stack([texture.distances(each, texture.bits).argmin(2) for each in ratios]))

    return tokenise


def groups_of(std: Array, count: int) -> NDArray[np.int64]:
    """The group of each component of y, by its spread `std` (M,): edges of groups in a geometric series; or -1."""
    order = np.argsort(-std, kind="stable")
    edges = np.unique(np.round(np.geomspace(FIRST, len(std), count + 1)).astype(np.int64))
    groups = np.full(len(std), -1)
    for index, (start, stop) in enumerate(pairwise(edges)):
        groups[order[start:stop]] = index
    return groups


def tree(rows: Array, bits: int) -> tuple[Array, Array]:
    """Centres of rows (n, G) in the order of a binary tree: halves of halves, then k-means over all leaves.

    Returns:
        Centres (2^bits, G) and how many rows each is the nearest of (2^bits,).
    """
    leaves = [rows]
    for _ in range(bits):
        leaves = [half for leaf in leaves for half in halves(leaf)]
    centres = np.stack([leaf.mean(0) for leaf in leaves])
    nearest = nearest_of(rows, centres)
    for _ in range(ROUNDS):
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.stack([np.bincount(nearest, column, len(centres)) for column in rows.T], 1)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres).astype(np.float32)
        nearest = nearest_of(rows, centres)
    return centres, np.bincount(nearest, minlength=len(centres)).astype(np.float32)


def halves(rows: Array) -> tuple[Array, Array]:
    """Rows (n, G) in two, by k-means from their main axis; the less of the last group first. One row is both."""
    if len(rows) < 2:
        return rows, rows
    centred = rows - rows.mean(0)
    along = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
    upper = along > np.median(along)
    for _ in range(SPLITS):
        if upper.all() or not upper.any():
            break
        low, high = rows[~upper].mean(0), rows[upper].mean(0)
        upper = (rows - (low + high) / 2) @ (high - low) > 0
    if upper.all() or not upper.any():
        upper = np.arange(len(rows)) >= len(rows) // 2
    return rows[~upper], rows[upper]


def nearest_of(rows: Array, centres: Array) -> NDArray[np.int64]:
    """The nearest centre (K, G) of each row (n, G): (n,)."""
    parts, far = np.array_split(rows, 1 + len(rows) // 4096), np.square(centres).sum(1)
    return np.concatenate([(far - 2 * part @ centres.T).argmin(1) for part in parts])
