"""The scale path: from symbols that both sides have to the scale indices of the symbols to come. All integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.entropy.integer import ACTIVATION_BITS, ACTIVATION_MAX, Integers, Layer, interpolate, pixel_shuffle
from nicodec.entropy.motion import LOWERED
from nicodec.entropy.order import Pass, checkerboard, passes
from nicodec.entropy.tables import SCALE_LEVELS, Tables, split_tables
from nicodec.rate.scale import KNOTS
from nicodec.rate.tile import TileRate

MAGNITUDES = 256  # entries of the table that compresses |symbol|; larger symbols count as the last
Z_MAX = 127  # z_hat is clipped to this magnitude before the scale networks see it


@dataclass(frozen=True)
class ScaleModel:
    """All that entropy coding needs of a base: integer networks, tables, and what shape the latent has.

    ::

        z_hat ─ pointwise, shuffle 2 ─ depthwise ─ pointwise, shuffle 2 ─► features (H, W, w)
        [features, magnitude(symbols so far)] ─ pointwise ─ depthwise ─ pointwise ─ pointwise ─► scale indices

    The passes are `ScaleWalk`'s.

    Attributes:
        latent, hyper, slices: M, N and the number of channel slices.
        z_index: (KNOTS · tunes, N) int64, scale indices of z in units of 1/256.
        magnitude: (MAGNITUDES,) what the networks see of |symbol|, in units of 1/256.
        layers: the layers by name: `hyper.embed`, `hyper.mix`, `hyper.grow`, and for each pass k
            `k.embed`, `k.mix`, `k.hidden`, `k.head`.
        tables: the probability tables of each tune.
    """

    latent: int
    hyper: int
    slices: int
    z_index: NDArray[np.int64]
    magnitude: Integers
    layers: Mapping[str, Layer]
    tables: tuple[Tables, ...]

    def __post_init__(self) -> None:
        for layer in self.layers.values():
            layer.check_bound()
        largest = max([self.magnitude.max(), *(layer.high for layer in self.layers.values())])
        if len(self.magnitude) != MAGNITUDES or largest > ACTIVATION_MAX or self.magnitude.min() < 0:
            raise ValueError(f"an activation can reach {largest}, the bounds are proven for 0..{ACTIVATION_MAX}")
        rows = {len(self.z_index), *(len(layer.bias) for layer in self.layers.values())}
        if rows != {KNOTS * self.tunes}:
            raise ValueError(f"tables over the rate have {sorted(rows)} rows, {self.tunes} tunes have {KNOTS} each")

    @property
    def tunes(self) -> int:
        """How many tunes there are."""
        return len(self.tables)

    @property
    def passes(self) -> list[Pass]:
        """The passes over y in coding order."""
        return passes(self.latent, self.slices)

    def z_indices(self, height: int, width: int, rate: TileRate) -> NDArray[np.uint8]:
        """Scale indices of z: (height, width, N)."""
        index = (interpolate(self.z_index, rate.knots()) + (1 << (ACTIVATION_BITS - 1))) >> ACTIVATION_BITS
        return np.broadcast_to(np.clip(index, 0, SCALE_LEVELS - 1).astype(np.uint8), (height, width, self.hyper))

    def features(self, z_hat: NDArray[np.int16], rate: TileRate) -> Integers:
        """Hyper features of z_hat (h, w, N): (4h, 4w, width)."""
        x = np.clip(z_hat, -Z_MAX, Z_MAX).astype(np.float64) * (1 << ACTIVATION_BITS)
        x = pixel_shuffle(self.layers["hyper.embed"].pointwise(x, rate.knots()))
        x = self.layers["hyper.mix"].depthwise(x, rate.knots(2))
        return pixel_shuffle(self.layers["hyper.grow"].pointwise(x, rate.knots(2)))

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], latent: int, hyper: int, slices: int, tunes: int = 1
    ) -> ScaleModel:
        """Build from the arrays of a base part (names as `to_arrays` gives them).

        Raises:
            ValueError, KeyError: an array is missing or out of its range.
        """
        names = {key.removesuffix(".shift") for key in arrays if key.endswith(".shift")}
        layers = {name: Layer.from_arrays(arrays, name) for name in names}
        tables = split_tables(arrays["tables.limits"].astype(np.int64), arrays["tables.counts"].astype(np.int64), tunes)
        z_index, magnitude = arrays["z_index"].astype(np.int64), arrays["magnitude"].astype(np.float64)
        return cls(latent, hyper, slices, z_index, magnitude, layers, tables)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to store: integers only."""
        arrays: dict[str, NDArray[Any]] = {
            "tables.limits": np.concatenate([tables.limits for tables in self.tables]).astype(np.int32),
            "tables.counts": np.concatenate([tables.counts for tables in self.tables]).astype(np.int32),
            "z_index": self.z_index.astype(np.int32),
            "magnitude": self.magnitude.astype(np.int32),
        }
        for name, layer in self.layers.items():
            arrays |= layer.to_arrays(name)
        return arrays


class ScaleWalk:
    """The passes over one tile, or over it again: scale indices of each, which see the symbols of those before.

    Args:
        z_hat: (h, w, N).
        classes: (4h, 4w), of a file with references: what lowers the indices.
    """

    def __init__(
        self, model: ScaleModel, z_hat: NDArray[np.int16], rate: TileRate, classes: NDArray[np.uint8] | None = None
    ) -> None:
        self.model, self.rate, self.classes = model, rate, classes
        features = model.features(z_hat, rate)
        self.shape, self._width = (features.shape[0], features.shape[1]), features.shape[2]
        self._seen = np.empty((*self.shape, self._width + model.latent))  # features, then magnitudes of symbols
        self._seen[:, :, : self._width] = features

    def mask(self, step: Pass) -> NDArray[np.bool_]:
        """Which positions (4h, 4w) are of a pass."""
        return checkerboard(*self.shape, step.parity)

    def indices(self, step: Pass) -> NDArray[np.uint8]:
        """Scale indices of a pass, in raster order: (positions, M/slices). All passes before were told."""
        embed, mix, hidden, head = (
            self.model.layers[f"{step.index}.{name}"] for name in ("embed", "mix", "hidden", "head")
        )
        mask, everywhere = self.mask(step), self.rate.knots(4)
        at = self.rate.knots(4, mask)
        x = embed.pointwise(self._seen[:, :, : self._width + step.known], everywhere)
        indices = head.pointwise(hidden.pointwise(mix.depthwise(x, at, step.parity), at), at)
        if self.classes is not None:
            indices = np.maximum(indices - np.take(LOWERED, self.classes[mask])[:, None], 0)
        return indices.astype(np.uint8)

    def tell(self, step: Pass, symbols: NDArray[np.integer[Any]]) -> None:
        """The symbols of a pass (positions, M/slices), as `indices` has them."""
        part = self._seen[:, :, self._width + step.start : self._width + step.stop]
        if step.parity == 0:
            part[:] = self.model.magnitude[0]
        part[self.mask(step)] = np.take(self.model.magnitude, np.abs(symbols.clip(1 - MAGNITUDES, MAGNITUDES - 1)))
