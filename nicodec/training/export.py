"""A finished run to a model package: float weights to fp16 or bytes, the scale path to integers, tables, manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from nicodec.dictionary.asset import Dictionary
from nicodec.entropy.integer import ACTIVATION_BITS, ACTIVATION_MAX, WEIGHT_MAX, Layer
from nicodec.entropy.scales import MAGNITUDES, ScaleModel
from nicodec.entropy.tables import SCALE_LEVELS, Tables
from nicodec.entropy.tokens import TokenPrior
from nicodec.errors import ExportError, TrainingRunError, brief
from nicodec.latents.texture import Texture
from nicodec.networks.base import BaseConfig
from nicodec.networks.clc import CLC
from nicodec.networks.fuser import Denoiser
from nicodec.networks.mode import MoDE
from nicodec.networks.restorer import Restorer
from nicodec.networks.trust import Trust
from nicodec.networks.vq import VQExpert
from nicodec.rate.scale import KNOTS
from nicodec.training.checkpoint import STATE, read_average, read_state, replace
from nicodec.training.scales import LOG_MIN, LOG_STEP, ScalePass, Scales
from nicodec.training.sq import SQCodec
from nicodec.zoo.manifest import TRAINED_ON, Package, graph_path, read_manifest, write_manifest, write_tensors
from nicodec.zoo.stored import EXACT, REFERENCES, SCALE

ADOPTED = frozenset({"base", "texture", "trust"})  # parts that a package may have of another one: files need them
IN_BYTES = frozenset({"mode", "fuser", "restorer", "trust"})  # parts that no symbol depends on
KINDS = {"sq": "base", "foreign": "base", "clc": "dictionary"}  # of stages' parts, where they have names of their own
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def load_run(run: Path) -> SQCodec:
    """The EMA weights of a run of stage `sq`.

    Raises:
        TrainingRunError: the folder holds no such run.
    """
    return load_module(run, "sq", lambda config: SQCodec(BaseConfig(**config)))


def load_module(run: Path, stage: str, build: Callable[[dict[str, Any]], ModuleT]) -> ModuleT:
    """The EMA weights of a run, in the module that `build` makes of the run's config.

    Raises:
        TrainingRunError: the folder holds no run of this stage.
    """
    try:
        found = stage_of(run)
        if found != stage:
            raise TrainingRunError(f"{run} is a run of stage {found}, expected {stage}")
        module = build(json.loads((run / "run.json").read_text(encoding="utf-8"))["config"])
        module.load_state_dict(read_average(run / STATE))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise TrainingRunError(f"{run} holds no finished run of stage {stage}: {brief(error)}") from None
    return module.eval().requires_grad_(False)


def stage_of(run: Path) -> str:
    """The stage that a run trains.

    Raises:
        TrainingRunError: the folder holds no run.
    """
    try:
        return str(json.loads((run / "run.json").read_text(encoding="utf-8"))["stage"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise TrainingRunError(f"{run} holds no run: {brief(error)}") from None


def export_average(run: Path, file: Path) -> int:
    """Write the EMA weights of a run, of any stage, to a safetensors file that is small enough to be kept.

    Convolutions are fp16. The header says what `run.json` does (`run`), and the `step`.

    Returns:
        The step.

    Raises:
        TrainingRunError: the folder holds no run, or no checkpoint yet.
    """
    stage_of(run)
    state = read_state(run / STATE, torch.device("cpu"))
    step, described = int(state["step"]), (run / "run.json").read_text(encoding="utf-8")
    tensors = {name: _stored(value) for name, value in state["ema"].items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    content = save(tensors, {"run": described, "step": str(step)})
    replace(file, lambda path: path.write_bytes(content))
    return step


def export_base(codec: SQCodec, folder: Path, summary: str, tables: tuple[Tables, ...]) -> None:
    """Write a package with a base part, with tables for each of its tunes; the folder's name is the model's.

    Raises:
        ExportError: a layer does not fit the integer format.
    """
    config = codec.base.config
    write_part(folder, "base", codec.base, asdict(config), integer_scales(codec.scales, config, tables).to_arrays())
    write_manifest(folder, folder.name, summary, {"base": "base.safetensors"})


def adopt(package: Package, folder: Path, summary: str) -> None:
    """Write a package with the base of another one, and what else its files name; the folder's name is the model's."""
    held = {kind: part for kind, part in package.parts.items() if kind in ADOPTED}
    folder.mkdir(parents=True, exist_ok=True)
    for part in held.values():
        (folder / f"{part.kind}.safetensors").write_bytes(part.path.read_bytes())
        for graph in part.graphs:
            path = graph_path(folder, part.kind, graph)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(part.graph(graph))
    files = {kind: f"{kind}.safetensors" for kind in held}
    write_manifest(folder, folder.name, summary, files, {kind: part.graphs for kind, part in held.items()})


def export_vq(vq: VQExpert, prior: TokenPrior, folder: Path) -> None:
    """Add a VQ part to the package in `folder`."""
    write_part(folder, "vq", vq, asdict(vq.config), prior.to_arrays())
    _extend_manifest(folder, "vq")


def export_texture(texture: Texture, prior: TokenPrior, folder: Path) -> None:
    """Add a texture part to the package in `folder`."""
    exact = {EXACT + name: array for name, array in prior.to_arrays().items()}
    tensors = {name: torch.from_numpy(array) for name, array in {**texture.to_arrays(), **exact}.items()}
    write_tensors(folder, "texture", tensors, texture.config)
    _extend_manifest(folder, "texture")


def export_network(kind: str, module: Denoiser | MoDE | Restorer | Trust, folder: Path) -> None:
    """Add a part that is one network, and nothing else, to the package in `folder`, which has what it stands on."""
    write_part(folder, kind, module, asdict(module.config), {})
    _extend_manifest(folder, kind)


def export_dictionary(dictionary: Dictionary, folder: Path, clc: CLC | None = None) -> None:
    """Add a dictionary to the package in `folder`; without adapters it can only be searched."""
    tensors = {REFERENCES + name: torch.from_numpy(array) for name, array in dictionary.to_arrays().items()}
    for name, value in clc.state_dict().items() if clc else ():
        tensors[name] = (value.half() if name.startswith("change") else value.float()).contiguous()
    config = asdict(clc.config) if clc else {}
    write_tensors(folder, "dictionary", tensors, config)
    _extend_manifest(folder, "dictionary")


def write_part(
    folder: Path, kind: str, module: nn.Module, config: dict[str, Any], exact: Mapping[str, NDArray[Any]]
) -> None:
    """Write `folder`/`kind`.safetensors: float weights, the integer path as it is, widths in the header."""
    tensors: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        tensors |= _in_bytes(name, value) if kind in IN_BYTES else {name: _stored(value)}
    tensors |= {EXACT + name: torch.from_numpy(array) for name, array in exact.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder, kind, tensors, config)


def _extend_manifest(folder: Path, kind: str) -> None:
    """Put a new part into the manifest; parts that were trained on an older one of its kind leave it."""
    package = read_manifest(folder / "model.toml")
    kept = [old for old in package.parts if old != kind and kind not in TRAINED_ON[old]]
    files = {name: f"{name}.safetensors" for name in [*kept, kind]}
    write_manifest(folder, package.name, package.summary, files, {old: package.parts[old].graphs for old in kept})


def integer_scales(scales: Scales, config: BaseConfig, tables: tuple[Tables, ...]) -> ScaleModel:
    """Quantise the scale path, layer for layer. `tables`: of each tune.

    Raises:
        ExportError: a sum could leave the range in which it is exact.
    """
    layers = {
        "hyper.embed": integer_layer(scales.hyper.embed, scales.hyper.embed_rate.bias),
        "hyper.mix": integer_layer(scales.hyper.mix, rows=config.rows),
        "hyper.grow": integer_layer(scales.hyper.grow, rows=config.rows),
    }
    for index, step in enumerate(scales.steps):
        assert isinstance(step, ScalePass)
        layers[f"{index}.embed"] = integer_layer(step.embed, step.embed_rate.bias)
        layers[f"{index}.mix"] = integer_layer(step.mix, rows=config.rows)
        layers[f"{index}.hidden"] = integer_layer(step.hidden, rows=config.rows)
        layers[f"{index}.head"] = index_layer(step.head, step.head_rate.bias, LOG_MIN, LOG_STEP, SCALE_LEVELS)
    unit = 1 << ACTIVATION_BITS
    z_index = ((scales.z_log_scale - LOG_MIN) / LOG_STEP * unit).round().numpy().astype(np.int64)
    magnitude = np.round(np.log2(1 + np.arange(MAGNITUDES)) * unit)
    try:
        return ScaleModel(config.latent, config.hyper, config.slices, z_index, magnitude, layers, tables)
    except ValueError as error:
        raise ExportError(f"the scale path does not fit the integer format: {error}") from None


def integer_layer(conv: nn.Conv2d, rate_bias: Tensor | None = None, rows: int = KNOTS) -> Layer:
    """A hidden layer: activations in, activations out, both in units of 2^-ACTIVATION_BITS.

    Args:
        conv: 1x1, or depthwise 3x3.
        rate_bias: (rows, C), what is added to its bias at each knot; None: nothing, at none of `rows`.

    Raises:
        ExportError: a weight does not fit 16 bits.
    """
    knots = torch.zeros(rows, 1) if rate_bias is None else rate_bias
    return _quantise(conv, knots, scale=1.0, offset=0.0, drop=0, high=ACTIVATION_MAX)


def index_layer(conv: nn.Conv2d, rate_bias: Tensor, least: float, step: float, levels: int) -> Layer:
    """A last layer: activations in, whole numbers 0..levels-1 out that stand for `least` + `step` · index.

    `rate_bias`: (rows, C or 1), what is added to its bias at each knot.

    Raises:
        ExportError: a weight does not fit 16 bits.
    """
    return _quantise(conv, rate_bias, 1 / step, -least / step, ACTIVATION_BITS, levels - 1)


def _quantise(conv: nn.Conv2d, rate_bias: Tensor, scale: float, offset: float, drop: int, high: int) -> Layer:
    weight = conv.weight.double().numpy().reshape(len(conv.weight), *_kernel(conv)) * scale
    bias = np.zeros((1, len(weight))) if conv.bias is None else conv.bias.double().numpy()[None]
    bias = (bias + rate_bias.double().numpy()) * scale + offset
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    exponent = np.array([min(20, math.floor(math.log2(WEIGHT_MAX / max(peak, 1e-9)))) for peak in largest])
    if exponent.min() < 1:
        raise ExportError(f"a weight of {largest.max():g} does not fit 16 bits")
    grid = np.ldexp(1.0, exponent)
    integers: NDArray[np.float64] = np.round(weight * grid.reshape(-1, *[1] * (weight.ndim - 1)))
    return Layer(
        integers, np.round(bias * grid * (1 << ACTIVATION_BITS)).astype(np.int64), (exponent + drop).astype(np.int64),
        high=high,
    )  # fmt: skip


def _kernel(conv: nn.Conv2d) -> tuple[int, ...]:
    return (3, 3) if conv.groups > 1 else (conv.in_channels,)


def _stored(value: Tensor) -> Tensor:
    """Convolutions in fp16; gains and biases, which are small and act on everything, in fp32."""
    return (value.half() if value.ndim == 4 else value.float()).contiguous()


def _in_bytes(name: str, value: Tensor) -> dict[str, Tensor]:
    """A convolution as int8, with a scale for each channel that it puts out; all else, and the KLT, as it is stored."""
    if value.ndim != 4 or "klt" in name:
        return {name: _stored(value)}
    scale = value.float().abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12) / 127
    return {name: (value.float() / scale).round().to(torch.int8).contiguous(), name + SCALE: scale}
