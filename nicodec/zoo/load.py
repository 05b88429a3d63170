"""A part's file to its two halves: the integer models (no torch) and the float networks."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from nicodec.dictionary.asset import Dictionary
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.tokens import TokenPrior
from nicodec.errors import DamagedPartError, MissingPartError, UsageError, brief, out_of_memory
from nicodec.zoo.manifest import Package, Part
from nicodec.zoo.once import once
from nicodec.zoo.store import read_part

if TYPE_CHECKING:
    from torch import nn

    from nicodec.foreign.adapters import ForeignBase
    from nicodec.latents.texture import Texture
    from nicodec.networks.base import Base, BaseConfig
    from nicodec.networks.clc import CLC
    from nicodec.networks.fuser import Denoiser
    from nicodec.networks.mode import MoDE
    from nicodec.networks.restorer import Restorer
    from nicodec.networks.vq import VQExpert

EXACT = "entropy."  # prefix of the arrays of the integer path
SCALE = ".scale"  # suffix of what the weights of that name, which are int8 then, are multiplied by
REFERENCES = "references."  # of those of a dictionary; all others belong to the float networks


@once
def load_scales(part: Part) -> ScaleModel:
    """The integer path of a base part.

    Raises:
        DamagedPartError: the part does not hold one.
    """
    with _as_damaged_part(part):
        config = read_config(part)
        shape = config["latent"], config["hyper"], config["slices"], config.get("tunes", 1)
        return ScaleModel.from_arrays(_arrays(part, EXACT), *shape)


@once
def load_prior(part: Part) -> TokenPrior:
    """The prior of the tokens of a VQ or a texture part.

    Raises:
        DamagedPartError: the part does not hold one.
    """
    with _as_damaged_part(part):
        config = read_config(part)
        signed = part.kind == "vq"
        return TokenPrior.from_arrays(_arrays(part, EXACT), config["bits"], config["stride"] // 16, signed)


@once
def load_texture(part: Part) -> Texture:
    """The codebook of a texture part.

    Raises:
        DamagedPartError: the part does not hold one.
    """
    from nicodec.latents.texture import Texture

    with _as_damaged_part(part):
        return Texture.from_arrays(read_weights(part), read_config(part))


@once
def load_base(part: Part, device: str) -> Base:
    """The float networks of a base part, in float32 and ready to run.

    Raises:
        UsageError: it is another codec's.
        DamagedPartError: the part does not hold them.
    """
    from nicodec.networks.base import Base

    return _filled(lambda: Base(base_config(part)), part, device)


def base_config(part: Part) -> BaseConfig:
    """The widths of a base of ours.

    Raises:
        UsageError: it is another codec's.
        DamagedPartError: the part does not say any.
    """
    from nicodec.networks.base import BaseConfig

    if is_foreign(part):
        raise UsageError(f"{part.path} is another codec's base, expected one of ours; these take aux and fuser alone")
    with _as_damaged_part(part):
        return BaseConfig(**read_config(part))


def is_foreign(part: Part) -> bool:
    """Whether a base part holds another codec's weights.

    Raises:
        DamagedPartError: it holds nothing of the kind that a base is.
    """
    with _as_damaged_part(part):
        return "architecture" in read_config(part)


@once
def load_foreign(part: Part, device: str) -> ForeignBase:
    """Another codec, in float32 and ready to run.

    Raises:
        DamagedPartError: the part does not hold one.
    """
    import torch
    from safetensors.torch import load

    from nicodec.foreign.adapters import ForeignBase

    with _as_damaged_part(part), torch.inference_mode(False):
        return ForeignBase(**read_config(part), state=load(read_part(part))).to(device)


@once
def load_vq(part: Part, device: str) -> VQExpert:
    """The perception expert of a VQ part, in float32 and ready to run.

    Raises:
        DamagedPartError: the part does not hold it.
    """
    from nicodec.networks.vq import VQConfig, VQExpert

    return _filled(lambda: VQExpert(VQConfig(**read_config(part))), part, device)


@once
def load_mode(part: Part, device: str) -> MoDE:
    """What MoDE adds to the experts, of a mode part, in float32 and ready to run.

    Raises:
        DamagedPartError: the part does not hold them.
    """
    from nicodec.networks.mode import MoDE, MoDEConfig

    return _filled(lambda: MoDE(MoDEConfig(**read_config(part))), part, device)


@once
def load_fuser(part: Part, device: str) -> Denoiser:
    """The fuser's denoiser, in float32 and ready to run.

    Raises:
        DamagedPartError: the part does not hold it.
    """
    from nicodec.networks.fuser import Denoiser, FuserConfig

    return _filled(lambda: Denoiser(FuserConfig(**read_config(part))), part, device)


@once
def load_restorer(part: Part, device: str) -> Restorer:
    """The restorer of a restorer part, in float32 and ready to run.

    Raises:
        DamagedPartError: the part does not hold it.
    """
    from nicodec.networks.restorer import Restorer, RestorerConfig

    return _filled(lambda: Restorer(RestorerConfig(**read_config(part))), part, device)


@once
def load_dictionary(part: Part) -> Dictionary:
    """The references of a dictionary part.

    Raises:
        DamagedPartError: the part does not hold them.
    """
    with _as_damaged_part(part):
        return Dictionary.from_arrays(_arrays(part, REFERENCES))


def dictionary_of(package: Package) -> Dictionary:
    """The references of a package's dictionary.

    Raises:
        MissingPartError: it has none.
        DamagedPartError: the part does not hold them.
    """
    if "dictionary" not in package.parts:
        raise MissingPartError(
            f"model {package.name} has no dictionary; make one with `nicodec train dictionary build`"
        )
    return load_dictionary(package.parts["dictionary"])


def has_adapters(part: Part) -> bool:
    """Whether a dictionary can be coded with, and not only searched.

    Raises:
        DamagedPartError: it holds nothing of the kind that a dictionary is.
    """
    with _as_damaged_part(part):
        return bool(read_config(part))


@once
def load_clc(part: Part, base: Base) -> CLC:
    """What a dictionary's references do to the base that it was trained on: in float32, where the base is.

    Raises:
        DamagedPartError: the dictionary has no adapters, or not whole.
    """
    from nicodec.networks.clc import CLC, CLCConfig

    return _filled(lambda: CLC(CLCConfig(**read_config(part)), base), part, str(base.std.device))


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
    with _as_damaged_part(part):
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


def _arrays(part: Part, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in _stored(part).items() if name.startswith(prefix)}


@once
def _stored(part: Part) -> dict[str, NDArray[Any]]:
    return safetensors.numpy.load(read_part(part))


def _filled(make: Callable[[], nn.Module], part: Part, device: str) -> Any:
    """A module with the part's float weights; what it does not know is passed over.

    Raises:
        DamagedPartError: the part does not hold what `make` takes, or not all weights of what it makes.
    """
    import torch

    # It is cached, and must not keep the mode that the host program is in.
    with _as_damaged_part(part), torch.inference_mode(False):
        module = make()
        state = {name: torch.tensor(array) for name, array in read_weights(part).items()}
        missing, _ = module.load_state_dict(state, strict=False)
        if missing:
            raise KeyError(f"missing {sorted(missing)}")
        module = module.to(torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module.eval().requires_grad_(False)


@contextmanager
def _as_damaged_part(part: Part) -> Iterator[None]:
    """Whatever a damaged file makes go wrong, said as one error."""
    try:
        yield
    except (KeyError, ValueError, TypeError, RuntimeError, struct.error, safetensors.SafetensorError) as error:
        if out_of_memory(error):
            raise
        raise DamagedPartError(f"{part.path} is not a {part.kind} part: {brief(error)}") from None
