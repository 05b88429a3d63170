"""Building a dictionary: pictures clustered by what they look like; the real one nearest each centre is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nicodec.references.look import CELLS, detail

ROUNDS = 50  # of k-means, at most


@dataclass(frozen=True)
class Cluster:
    """A picture that stands for others.

    Attributes:
        index: of the picture.
        members: how many pictures it stands for, itself included.
    """

    index: int
    members: int


def clusters(looks: Sequence[bytes], size: int) -> list[Cluster]:
    """At most `size` pictures, by their looks, in order: those nearest the centres of k-means."""
    vectors = detail(np.frombuffer(b"".join(looks), np.uint8).reshape(-1, CELLS, CELLS)).reshape(len(looks), -1)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    centres = _spread(vectors, min(size, len(vectors)))
    for _ in range(ROUNDS):
        own = (vectors @ centres.T).argmax(1)
        means = np.stack([vectors[own == k].mean(0) if (own == k).any() else centres[k] for k in range(len(centres))])
        moved = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
        if np.allclose(moved, centres):
            break
        centres = moved
    likeness = vectors @ centres.T
    own = likeness.argmax(1)
    found = []
    for k in range(len(centres)):
        if (own == k).any():
            nearest = int(np.where(own == k, likeness[:, k], -np.inf).argmax())
            found.append(Cluster(nearest, int((own == k).sum())))
    return sorted(found, key=lambda cluster: cluster.index)


def _spread(vectors: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Centres to start from: the likest of all to the mean, then always the one that is least like those before."""
    chosen = [int((vectors @ vectors.mean(0)).argmax())]
    nearest = vectors @ vectors[chosen[0]]
    for _ in range(count - 1):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return vectors[chosen]
