"""Every stage by its name: what it is made of, and which parts of a package stay frozen under it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nicodec.errors import MissingPartError, UsageError
from nicodec.networks.base import BaseConfig
from nicodec.networks.clc import CLCConfig
from nicodec.networks.fuser import Denoiser, FuserConfig
from nicodec.networks.restorer import RestorerConfig
from nicodec.networks.trust import TrustConfig
from nicodec.networks.vq import VQConfig
from nicodec.training.checkpoint import STATE
from nicodec.training.clc import CLCStage
from nicodec.training.critic import Critic
from nicodec.training.export import load_module
from nicodec.training.foreign import ForeignConfig, ForeignStage
from nicodec.training.fuser import AuxStage, FuserStage
from nicodec.training.latents import ForeignLatents, Latents, OwnLatents
from nicodec.training.mode import MoDEStage
from nicodec.training.restorer import RestorerStage
from nicodec.training.sq import SQStage
from nicodec.training.stage import Stage
from nicodec.training.trust import TrustStage
from nicodec.training.vq import VQStage
from nicodec.zoo.load import (
    base_config,
    dictionary_of,
    is_foreign,
    load_base,
    load_foreign,
    load_fuser,
    load_scales,
    load_texture,
    load_vq,
)
from nicodec.zoo.manifest import Package, Part, part_id

ConfigT = TypeVar("ConfigT")
Widths = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A stage that has no device yet.

    Attributes:
        build: makes it on a device.
        frozen: what it stands on, by name: ids that must not change while it is trained.
    """

    build: Callable[[str], Stage]
    frozen: Mapping[str, str] = field(default_factory=dict)


def sq(widths: Widths, predecessor: Package | None = None) -> Recipe:
    """The base. `widths`: fields of `BaseConfig`. `predecessor`: whose base it starts as; None: from the KLT."""
    config = _configured(BaseConfig, widths)
    part = _part("base", predecessor)
    return Recipe(lambda _: SQStage(config, part), _before(part))


def foreign(widths: Widths) -> Recipe:
    """A base of CompressAI's. `widths`: fields of `ForeignConfig`."""
    config = _configured(ForeignConfig, widths)
    return Recipe(lambda _: ForeignStage(config))


def vq(package: Package, trunks: Sequence[Path], widths: Widths) -> Recipe:
    """The perception expert on a package's base. `widths`: fields of `VQConfig` that are not the base's."""
    part = package.parts["base"]
    base = base_config(part)
    config = _configured(lambda **chosen: VQConfig.beside(base, **chosen), widths)
    return Recipe(lambda device: VQStage(config, load_base(part, device), _critic(trunks, device)), _ids(part))


def mode(package: Package, trunks: Sequence[Path]) -> Recipe:
    """Both anchors on a package's base and perception expert, beside its fuser, if it has one."""
    parts = package.parts
    if "vq" not in parts:
        raise MissingPartError(f"model {package.name} has no vq part; train and export that first")
    fuser = parts.get("fuser")
    return Recipe(
        lambda device: MoDEStage(
            load_base(parts["base"], device),
            load_vq(parts["vq"], device),
            _critic(trunks, device),
            load_fuser(fuser, device) if fuser else None,
        ),
        _ids(parts["base"], parts["vq"], *([fuser] if fuser else [])),
    )


def aux(package: Package, trunks: Sequence[Path], widths: Widths, predecessor: Package | None = None) -> Recipe:
    """The auxiliary encoder on a package's base. `widths`: fields of `FuserConfig` that are not the base's.

    `predecessor`: whose fuser it starts as; None: as the base's own transforms.

    Raises:
        MissingPartError: the predecessor has no fuser.
        UsageError: it, or the package, is on another codec's base.
    """

    def build(device: str) -> Stage:
        base = latents(package, device)
        config = _configured(lambda **chosen: FuserConfig(**base.widths, **chosen), widths)
        return AuxStage(config, base, _critic(trunks, device), predecessor)

    before = _part("fuser", predecessor)
    if predecessor and any(is_foreign(each.parts["base"]) for each in (package, predecessor)):
        raise UsageError("a fuser of another codec's base has no predecessor, and is none: leave it out")
    return Recipe(build, {**_ids(package.parts["base"]), **_before(before)})


def fuser(package: Package, trunks: Sequence[Path], guide: Path, predecessor: Package | None = None) -> Recipe:
    """The denoiser on a package's base, which hears its tokens of texture. `guide`: a run of stage aux on the same.

    `predecessor`: whose fuser, on the same base, it starts as; None: as the auxiliary encoder.
    """
    held = [package.parts[kind] for kind in ("base", "texture") if kind in package.parts]
    found = load_module(guide, "aux", lambda config: Denoiser(FuserConfig(**config)))
    before = _part("fuser", predecessor)
    return Recipe(
        lambda device: FuserStage(
            found.config, latents(package, device), found.to(device), _critic(trunks, device), before
        ),
        {**_ids(*held), "aux": part_id((guide / STATE).read_bytes()).hex(), **_before(before)},
    )


def restorer(package: Package, trunks: Sequence[Path], widths: Widths, predecessor: Package | None = None) -> Recipe:
    """What restores JPEGs, on a package's base. `widths`: fields of `RestorerConfig` that are not the base's.

    `predecessor`: whose restorer, with no more blocks, it starts as; None: as the base's g_s.
    """
    part, before = package.parts["base"], _part("restorer", predecessor)
    base = base_config(part)
    config = _configured(lambda **chosen: RestorerConfig.on(base, **chosen), widths)
    return Recipe(
        lambda device: RestorerStage(config, load_base(part, device), _critic(trunks, device), before),
        {**_ids(part), **_before(before)},
    )


def trust(package: Package, widths: Widths) -> Recipe:
    """How far references are trusted, on a package's base. `widths`: fields of `TrustConfig`, but the base's."""
    part = package.parts["base"]
    base = base_config(part)
    config = _configured(lambda **chosen: TrustConfig.on(base, **chosen), widths)
    return Recipe(lambda device: TrustStage(config, load_base(part, device)), _ids(part))


def clc(package: Package, widths: Widths) -> Recipe:
    """What the references of a package's dictionary do to its base. `widths`: fields of `CLCConfig`.

    It stands on the references alone: the dictionary's id changes when what is trained here is exported to it.
    """
    config = _configured(CLCConfig, widths)
    part = package.parts["base"]
    dictionary = dictionary_of(package)
    references = hashlib.sha256(b"".join(array.tobytes() for array in dictionary.to_arrays().values()))
    return Recipe(
        lambda device: CLCStage(config, load_base(part, device), load_scales(part), dictionary),
        {**_ids(part), "references": references.hexdigest()[:16]},
    )


def _configured(config: Callable[..., ConfigT], widths: Widths) -> ConfigT:
    """A config with these widths.

    Raises:
        UsageError: they do not go together.
    """
    try:
        return config(**widths)
    except ValueError as error:
        raise UsageError(f"these widths do not go together: {error}") from None


def latents(package: Package, device: str) -> Latents:
    """The base of a package, ours or another codec's, with the tokens of texture that there are."""
    part, texture = package.parts["base"], package.parts.get("texture")
    if is_foreign(part):
        return ForeignLatents(load_foreign(part, device))
    return OwnLatents(load_base(part, device), (load_texture(texture), texture.id.hex()) if texture else None)


def _critic(trunks: Sequence[Path], device: str) -> Critic:
    return Critic(*trunks).to(device)


def _part(kind: str, predecessor: Package | None) -> Part | None:
    """That part of a predecessor, if there is any. Raises: MissingPartError."""
    if predecessor is not None and kind not in predecessor.parts:
        raise MissingPartError(f"model {predecessor.name} has no {kind} to start as")
    return predecessor.parts[kind] if predecessor else None


def _before(part: Part | None) -> dict[str, str]:
    return {"predecessor": part.id.hex()} if part else {}


def _ids(*parts: Part) -> dict[str, str]:
    return {part.kind: part.id.hex() for part in parts}
