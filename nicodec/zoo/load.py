"""A part's file to its two halves: the integer models (no torch) and the float networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nicodec.dictionary.asset import Dictionary
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.tokens import TokenPrior
from nicodec.errors import MissingPartError, UsageError
from nicodec.zoo.manifest import Package, Part
from nicodec.zoo.once import once
from nicodec.zoo.store import read_part
from nicodec.zoo.stored import EXACT, REFERENCES, arrays_of, as_damaged_part, read_config, read_weights

if TYPE_CHECKING:
    from torch import nn

    from nicodec.foreign.adapters import ForeignBase
    from nicodec.latents.texture import Texture
    from nicodec.networks.base import Base, BaseConfig
    from nicodec.networks.clc import CLC
    from nicodec.networks.fuser import Denoiser
    from nicodec.networks.mode import MoDE
    from nicodec.networks.restorer import Restorer
    from nicodec.networks.trust import Trust
    from nicodec.networks.vq import VQExpert


@once
def load_scales(part: Part) -> ScaleModel:
    """The integer path of a base part.

    Raises:
        DamagedPartError: the part does not hold one.
    """
    with as_damaged_part(part):
        config = read_config(part)
        shape = config["latent"], config["hyper"], config["slices"], config.get("tunes", 1)
        return ScaleModel.from_arrays(arrays_of(part, EXACT), *shape)


@once
def load_prior(part: Part) -> TokenPrior:
    """The prior of the tokens of a VQ or a texture part.

    Raises:
        DamagedPartError: the part does not hold one.
    """
    with as_damaged_part(part):
        config = read_config(part)
        signed = part.kind == "vq"
        return TokenPrior.from_arrays(arrays_of(part, EXACT), config["bits"], config["stride"] // 16, signed)


@once
def load_texture(part: Part) -> Texture:
    """The codebook of a texture part.

    Raises:
        DamagedPartError: the part does not hold one.
    """
    from nicodec.latents.texture import Texture

    with as_damaged_part(part):
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
    with as_damaged_part(part):
        return BaseConfig(**read_config(part))


def is_foreign(part: Part) -> bool:
    """Whether a base part holds another codec's weights.

    Raises:
        DamagedPartError: it holds nothing of the kind that a base is.
    """
    with as_damaged_part(part):
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

    with as_damaged_part(part), torch.inference_mode(False):
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
def load_trust(part: Part, device: str) -> Trust:
    """What a trust part says of references, in float32 and ready to run.

    Raises:
        DamagedPartError: the part does not hold it.
    """
    from nicodec.networks.trust import Trust, TrustConfig

    return _filled(lambda: Trust(TrustConfig(**read_config(part))), part, device)


@once
def load_dictionary(part: Part) -> Dictionary:
    """The references of a dictionary part.

    Raises:
        DamagedPartError: the part does not hold them.
    """
    with as_damaged_part(part):
        return Dictionary.from_arrays(arrays_of(part, REFERENCES))


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
    with as_damaged_part(part):
        return bool(read_config(part))


@once
def load_clc(part: Part, base: Base) -> CLC:
    """What a dictionary's references do to the base that it was trained on: in float32, where the base is.

    Raises:
        DamagedPartError: the dictionary has no adapters, or not whole.
    """
    from nicodec.networks.clc import CLC, CLCConfig

    return _filled(lambda: CLC(CLCConfig(**read_config(part)), base), part, str(base.std.device))


def _filled(make: Callable[[], nn.Module], part: Part, device: str) -> Any:
    """A module with the part's float weights; what it does not know is passed over.

    Raises:
        DamagedPartError: the part does not hold what `make` takes, or not all weights of what it makes.
    """
    import torch

    # It is cached, and must not keep the mode that the host program is in.
    with as_damaged_part(part), torch.inference_mode(False):
        module = make()
        state = {name: torch.tensor(array) for name, array in read_weights(part).items()}
        missing, _ = module.load_state_dict(state, strict=False)
        if missing:
            raise KeyError(f"missing {sorted(missing)}")
        module = module.to(torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module.eval().requires_grad_(False)
