"""A dictionary: reference latents, and vectors to find them by.

Its latents are excerpts of the pictures that it was built of: they decode to small, blurred, recognisable ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 8  # positions along a side of a reference: 128 pixels
CHANNELS = 24  # strongest components that a reference keeps
DIMENSIONS = 64  # of search vectors
ENTRIES_MAX = 1 << 17
LEVELS = 127  # of int8
LAYOUT = 12  # strongest components, whose signed means over cells are a region in small
LAYOUT_GRIDS = (1, 2, 4)  # cells along a side
LAYOUT_FEATURES = LAYOUT * sum(cells**2 for cells in LAYOUT_GRIDS)  # they come first, those of texture after them


@dataclass(frozen=True)
class Match:
    """A reference that was found.

    Attributes:
        id: its number in the dictionary.
        likeness: cosine of its search vector and the query's, -1..1.
        layout: the part of that sum which comes from what lies where.
    """

    id: int
    likeness: float
    layout: float

    @property
    def texture(self) -> float:
        """The rest of the likeness."""
        return self.likeness - self.layout


@dataclass(frozen=True)
class Dictionary:
    """K references, at most 2 KB each.

    Attributes:
        latents: (K, CHANNELS, SIDE, SIDE) int8: `level · step` is y in natural units.
        channels: (CHANNELS,) int16, which components of y these are.
        step: (CHANNELS,) float32.
        vectors: (K, DIMENSIONS) int8, unit search vectors times LEVELS.
        mean: (F,) float32 and projection: (F, DIMENSIONS) float16: features to search vectors.
        scale: (K,) uint8: a reference was seen at 1 / 2^scale of its picture's size.
        members: (K,) int32: regions that its cluster had; how common it is.
    """

    latents: NDArray[np.int8]
    channels: NDArray[np.int16]
    step: NDArray[np.float32]
    vectors: NDArray[np.int8]
    mean: NDArray[np.float32]
    projection: NDArray[np.float16]
    scale: NDArray[np.uint8]
    members: NDArray[np.int32]

    def __post_init__(self) -> None:
        size = len(self.latents)
        shapes = {
            "latents": (size, CHANNELS, SIDE, SIDE), "channels": (CHANNELS,), "step": (CHANNELS,),
            "vectors": (size, DIMENSIONS), "mean": self.mean.shape[:1],
            "projection": (*self.mean.shape[:1], DIMENSIONS), "scale": (size,), "members": (size,),
        }  # fmt: skip
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name} of a dictionary has shape {found}, expected {shape}")
        if not 1 <= size <= ENTRIES_MAX:
            raise ValueError(f"a dictionary of {size} references, expected 1..{ENTRIES_MAX}")

    def __len__(self) -> int:
        return len(self.latents)

    def levels(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The latents of some references (n, CHANNELS, SIDE, SIDE), -1..1: what CLM reads."""
        return self.latents[list(ids)].astype(np.float32) / LEVELS

    @property
    def id_bits(self) -> int:
        """Of a reference's ID at a fixed length, 1 or more."""
        return max(1, (len(self) - 1).bit_length())

    def search(self, features: NDArray[np.float32], count: int) -> list[Match]:
        """The `count` references most like a region with these features (F,), best first; equals by ID.

        Exact: an inner product with every search vector, 21 ms for 100,000 of them on two cores.
        """
        terms = (features - self.mean)[:, None] * self.projection
        layout, texture = terms[:LAYOUT_FEATURES].sum(0), terms[LAYOUT_FEATURES:].sum(0)
        length = max(float(np.linalg.norm(layout + texture)), 1e-9) * LEVELS
        likeness = self.vectors.astype(np.float32) @ (layout + texture) / length
        best = np.argsort(-likeness, kind="stable")[:count]
        shares = self.vectors[best].astype(np.float32) @ layout / length
        return [Match(int(i), float(likeness[i]), float(share)) for i, share in zip(best, shares, strict=True)]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Dictionary:
        """Build from stored arrays (names as `to_arrays` gives them).

        Raises:
            KeyError, ValueError: one is missing, or of another shape.
        """
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to store."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
