"""Building a dictionary: regions of many pictures at several scales, clustered; the real one nearest each centre."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nicodec.dictionary.asset import CHANNELS, DIMENSIONS, LEVELS, SIDE, Dictionary
from nicodec.dictionary.features import describe, strongest
from nicodec.errors import TrainingDataError, UsageError
from nicodec.image.picture import Pixels
from nicodec.latents.geometry import PATCH, to_input
from nicodec.networks.base import Base

SCALES = (0, 1, 2)  # a picture is seen at 1 / 2^scale of its size
STEP_QUANTILE = 0.999  # of magnitudes: what int8 holds without clipping
BATCH = 1024  # regions that the clustering takes at a time


@dataclass(frozen=True)
class Regions:
    """Regions of pictures: features (n, F), latents (n, CHANNELS, SIDE, SIDE) in natural units, scales (n,)."""

    features: NDArray[np.float32]
    latents: NDArray[np.float32]
    scales: NDArray[np.uint8]


@torch.inference_mode()
def regions(base: Base, pictures: Iterable[Pixels]) -> Regions:
    """All whole regions of SIDE x SIDE positions of pictures (h, w, 1 or 3), at SCALES.

    Raises:
        TrainingDataError: no picture holds one.
    """
    std = base.std.numpy()
    channels = strongest(std, CHANNELS)
    features, latents, scales = [], [], []
    for pixels in pictures:
        for scale, tile in _tiles(torch.from_numpy(to_input(pixels))):
            y = base.g_a(tile).numpy()
            features.append(describe(y, std))
            latents.append(y[:, channels])
            scales.append(np.full(len(y), scale, np.uint8))
    if not features:
        raise TrainingDataError(f"no picture is {SIDE * PATCH} pixels wide and high; a dictionary is built of such")
    return Regions(np.concatenate(features), np.concatenate(latents), np.concatenate(scales))


def _tiles(x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The regions of a picture (1, 3, h, w) at each scale that has any: (n, 3, side, side)."""
    side = SIDE * PATCH
    for scale in SCALES:
        small = x if scale == 0 else F.avg_pool2d(x, 1 << scale)
        rows, columns = (length // side for length in small.shape[2:])
        if rows and columns:
            whole = small[:, :, : rows * side, : columns * side]
            yield scale, whole.unfold(2, side, side).unfold(3, side, side)[0].permute(1, 2, 0, 3, 4).flatten(0, 1)


def build(base: Base, pictures: Iterable[Pixels], size: int, seed: int = 0) -> Dictionary:
    """A dictionary of `size` references at most: PCA of features, MiniBatchKMeans, the region nearest each centre.

    Raises:
        TrainingDataError: the pictures hold fewer regions.
        UsageError: the base has fewer components than a reference keeps; scikit-learn is not installed.
    """
    if base.config.latent < CHANNELS:
        raise UsageError(
            f"the base has {base.config.latent} components, expected {CHANNELS} or more; a dictionary keeps so many of "
            "each reference: build it for a wider base"
        )
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError:
        raise UsageError('building a dictionary takes scikit-learn: pip install "nicodec[dictionary]"') from None

    found = regions(base, pictures)
    if len(found.features) < (least := max(size, DIMENSIONS)):
        raise TrainingDataError(
            f"the pictures hold {len(found.features)} regions of {SIDE * PATCH} pixels, expected {least} or more; give "
            "more pictures, or a smaller --size"
        )
    mean, projection = principal(found.features)
    vectors = _unit((found.features - mean) @ projection)
    clusters = MiniBatchKMeans(size, batch_size=BATCH, n_init=3, random_state=seed).fit(vectors)
    chosen = _nearest(vectors, clusters.cluster_centers_, clusters.labels_)
    levels, step = _quantised(found.latents[chosen])
    return Dictionary(
        levels, strongest(base.std.numpy(), CHANNELS).astype(np.int16), step,
        np.round(vectors[chosen] * LEVELS).astype(np.int8), mean, projection.astype(np.float16), found.scales[chosen],
        np.bincount(clusters.labels_, minlength=size)[clusters.labels_[chosen]].astype(np.int32),
    )  # fmt: skip


def principal(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (F,) and the DIMENSIONS strongest principal components (F, DIMENSIONS), each brought to unit spread."""
    mean = features.mean(0)
    rows = (features - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    strongest = slice(-1, -DIMENSIONS - 1, -1)
    scale = 1 / np.sqrt(np.maximum(values[strongest], 1e-9))
    return mean.astype(np.float32), (vectors[:, strongest] * scale).astype(np.float32)


def _nearest(vectors: NDArray[np.float32], centres: NDArray[np.float32], labels: NDArray[np.int32]) -> NDArray[np.intp]:
    """Of each cluster that has members, the one nearest its centre, in the order of the clusters."""
    distance = np.square(vectors - centres[labels]).sum(1)
    order = np.lexsort((distance, labels))
    return order[np.unique(labels[order], return_index=True)[1]]


def _quantised(latents: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Latents (n, C, h, w) as int8, and what a level stands for in each channel (C,)."""
    largest = np.quantile(np.abs(latents), STEP_QUANTILE, axis=(0, 2, 3)).astype(np.float32)
    step = np.maximum(largest, 1e-9) / LEVELS
    levels = np.round(latents / step[:, None, None]).clip(-LEVELS, LEVELS)
    return levels.astype(np.int8), step.astype(np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (n, d) at length 1; rows of zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
