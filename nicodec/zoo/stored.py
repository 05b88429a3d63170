"""What a part's file holds: its configuration, and arrays by name."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from nicodec.errors import DamagedPartError, brief, out_of_memory
from nicodec.zoo.manifest import Part
from nicodec.zoo.once import once
from nicodec.zoo.store import read_part

EXACT = "entropy."  # prefix of the arrays of the integer path
SCALE = ".scale"  # suffix of what the weights of that name, which are int8 then, are multiplied by
REFERENCES = "references."  # of those of a dictionary; all others belong to the float networks


def read_config(part: Part) -> dict[str, Any]:
    """The widths of a part's networks, from the header of its safetensors file."""
    content = read_part(part)
    (length,) = struct.unpack("<Q", content[:8])
    config: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["config"])
    return config


class Weights(Mapping[str, "NDArray[np.float32]"]):
    """The weights of a part's float networks by name, each brought to float32 when it is asked for.

    They are stored as fp32 or fp16, or as int8 with a scale for each channel.
    """

    def __init__(self, stored: Mapping[str, NDArray[Any]]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        weight = np.asarray(self._stored[name], np.float32)
        return weight * self._stored[name + SCALE] if name + SCALE in self._stored else weight

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._stored if not name.endswith(SCALE))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@once
def read_weights(part: Part) -> Weights:
    """The weights of a part's float networks.

    Raises:
        DamagedPartError: the part is no safetensors file.
    """
    with as_damaged_part(part):
        stored = {name: a for name, a in _stored(part).items() if not name.startswith((EXACT, REFERENCES))}
        return Weights({**_first_bases(part), **stored} if part.kind == "base" else stored)


def _first_bases(part: Part) -> dict[str, NDArray[Any]]:
    """What the first bases were stored without, which does nothing or is the identity."""
    config = read_config(part)
    latent, wide_8 = config["latent"], config["wide_8"]
    return {
        "g_a.lapping.taps": np.eye(16), "g_s.lapping.taps": np.eye(16), "g_s.spread": np.ones(latent),
        "g_s.look.weight": np.zeros((wide_8, 3 * 64, 1, 1)), "g_s.look.bias": np.zeros(wide_8),
    }  # fmt: skip


def arrays_of(part: Part, prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in _stored(part).items() if name.startswith(prefix)}


@once
def _stored(part: Part) -> dict[str, NDArray[Any]]:
    return safetensors.numpy.load(read_part(part))


@contextmanager
def as_damaged_part(part: Part) -> Iterator[None]:
    """Whatever a damaged file makes go wrong, said as one error."""
    try:
        yield
    except (KeyError, ValueError, TypeError, RuntimeError, struct.error, safetensors.SafetensorError) as error:
        if out_of_memory(error):
            raise
        raise DamagedPartError(f"{part.path} is not a {part.kind} part: {brief(error)}") from None
