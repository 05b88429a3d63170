"""A base part's file to its two halves: the integer scale model (no torch) and the float networks."""

from __future__ import annotations

import json
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

import safetensors.numpy

from nicodec.entropy.scales import ScaleModel
from nicodec.errors import DamagedPartError
from nicodec.zoo.manifest import Part
from nicodec.zoo.store import read_part

if TYPE_CHECKING:
    from nicodec.networks.base import Base

EXACT = "entropy."  # prefix of the arrays of the integer path; all others belong to the float networks


@cache
def load_scales(part: Part) -> ScaleModel:
    """The integer path of a base part.

    Raises:
        DamagedPartError: the part does not hold one.
    """
    try:
        config = read_config(part)
        arrays = safetensors.numpy.load(read_part(part))
        exact = {name.removeprefix(EXACT): array for name, array in arrays.items() if name.startswith(EXACT)}
        return ScaleModel.from_arrays(exact, config["latent"], config["hyper"], config["slices"])
    except (KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise DamagedPartError(f"{part.path} is not a base part: {error!r}") from None


@cache
def load_base(part: Part, device: str) -> Base:
    """The float networks of a base part, in float32 and ready to run.

    Raises:
        DamagedPartError: the part does not hold them.
    """
    import torch
    from safetensors.torch import load

    from nicodec.networks.base import LATER, Base, BaseConfig

    try:
        base = Base(BaseConfig(**read_config(part)))
        state = {name: tensor.float() for name, tensor in load(read_part(part)).items() if not name.startswith(EXACT)}
        missing, unexpected = base.load_state_dict(state, strict=False)
        if unexpected or not LATER.issuperset(missing):
            raise KeyError(f"missing {sorted(set(missing) - LATER)}, unexpected {unexpected}")
    except (KeyError, ValueError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise DamagedPartError(f"{part.path} is not a base part: {error!r}") from None
    base = base.to(torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return base.eval().requires_grad_(False)


def read_config(part: Part) -> dict[str, Any]:
    """The widths of a base, from the header of its safetensors file."""
    content = read_part(part)
    (length,) = struct.unpack("<Q", content[:8])
    config: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["config"])
    return config
