"""CompressAI's published weights as model packages: the only place that may use a network."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from nicodec.errors import InputError, UsageError, brief
from nicodec.foreign.adapters import ARCHITECTURES, PREFIX, ForeignBase, parse_name
from nicodec.zoo.manifest import write_manifest, write_tensors


def fetch(name: str, folder: Path, source: Path | None) -> None:
    """Make a package of another codec's weights.

    Args:
        name: such as `compressai:mbt2018-mean-q3`.
        folder: of the package; its last part is the model's name.
        source: the file that CompressAI publishes, if it is at hand; None: download it.

    Raises:
        UsageError: a name that is not known.
        InputError: the file is not there, or not of this model.
    """
    architecture, quality = known(name)
    state = _load(source) if source else _download(architecture, quality)
    try:
        base = ForeignBase(architecture, quality, state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"the weights are not {name}'s: {brief(error)}") from None
    write_package(base, folder, f"{name}: float entropy path, no promise across machines")


def known(name: str) -> tuple[str, int]:
    """The architecture and quality of a name. Raises: UsageError: it is none that is known."""
    if (parsed := parse_name(name)) is None:
        names = ", ".join(f"{PREFIX}{architecture}-qN" for architecture in ARCHITECTURES)
        raise UsageError(f"no base named {name}; known: {names}")
    return parsed


def write_package(base: ForeignBase, folder: Path, summary: str) -> None:
    """Write a package with another codec as its base, and its tables; the folder's name is the model's."""
    base.model.update()
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous() for key, value in base.model.state_dict().items()}
    write_tensors(folder, "base", tensors, base.config)
    write_manifest(folder, folder.name, summary, {"base": "base.safetensors"})


def _load(source: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
        state = content.get("state_dict", content)
        return {key.removeprefix("module."): value for key, value in state.items()}
    except Exception as error:  # what torch raises here depends on the kind of damage
        raise InputError(f"{source} holds no weights: {brief(error)}") from None


def _download(architecture: str, quality: int) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings(action="ignore"):
        from compressai.zoo.image import model_urls

    url = model_urls[architecture]["mse"].get(quality)
    if url is None:
        raise UsageError(f"CompressAI publishes no quality {quality} of {architecture}")
    try:
        state: dict[str, torch.Tensor] = torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot download {url}: {error}; get it by other means, and name it with --from") from None
    return state
