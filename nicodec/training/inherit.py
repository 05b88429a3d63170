"""A base or a fuser that starts as the one before it: what both have is copied, and what is new begins as nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nicodec.entropy.integer import ACTIVATION_BITS
from nicodec.entropy.scales import ScaleModel
from nicodec.errors import TrainingRunError
from nicodec.networks.base import BaseConfig
from nicodec.networks.layers import interpolate
from nicodec.rate.scale import KNOT_SPACING, KNOTS, LAMBDA_MIN
from nicodec.training.scales import LOG_MIN, LOG_STEP
from nicodec.zoo.load import base_config, load_fuser, load_scales
from nicodec.zoo.stored import read_weights

if TYPE_CHECKING:
    from nicodec.networks.fuser import Denoiser
    from nicodec.training.data import Pictures
    from nicodec.training.sq import SQCodec
    from nicodec.zoo.manifest import Package, Part

STEP = re.compile(r"\.(?:entry|entry_rate|body|exit|steps)\.(\d+)\.")  # of a pass
OF_THE_BASE = ("g_s.klt_t", "g_s.lapping", "g_s.spread", "lapping", "klt")  # of a denoiser
TIME = "time.bias"
DEAF = ("spread", "hear", "coarse_said", "fine_said", "strengths")
NEW = re.compile(r"\.(down|pointwise)\.(weight|bias)$")  # of a block: at zero, it hands on what it is given


@torch.no_grad()
def inherit(codec: SQCodec, part: Part, pictures: Pictures) -> None:
    """Start `codec` as the base in `part`, which has as many tunes, or one.

    A table over the rate is read where lambda is the same, and goes on as it ends where lambda is larger. Further
    blocks pass on what they see. Further slices hold what the others leave of training pictures, and are coded after
    them. Where it is new, tune `eye` differs by its steps alone.

    Raises:
        TrainingRunError: the base there has other widths, or more tunes, or more blocks.
    """
    before, config = base_config(part), codec.base.config
    found = {f"base.{name}": torch.from_numpy(value) for name, value in read_weights(part).items()}
    found |= {f"scales.{name}": value for name, value in float_scales(load_scales(part)).items()}
    if config.context_depth > 1 and before.context_depth == 1:
        found = {re.sub(r"^(base\.means\.body\.\d+)\.", r"\1.0.", name): value for name, value in found.items()}
    _fill(codec.state_dict(), found, before, config, part)
    if config.latent > before.latent:
        codec.extend(before.latent, pictures)
    if config.tunes > 1:
        codec.tilt(0 if config.tunes > before.tunes else before.latent)


@torch.no_grad()
def inherit_fuser(denoiser: Denoiser, package: Package, config: BaseConfig) -> None:
    """Start a denoiser, which has its base's transforms already, with the networks of the fuser in `package`.

    It is deaf to residuals and tokens, as a new one is. `config`: of its own base.

    Raises:
        TrainingRunError: the fuser there has other widths, or more tunes, or more blocks.
    """
    part, before = package.parts["fuser"], base_config(package.parts["base"])
    own, found = (
        {name: value for name, value in each.state_dict().items() if not name.startswith(OF_THE_BASE + DEAF)}
        for each in (denoiser, load_fuser(part, "cpu"))
    )
    if further := found.keys() - own.keys():
        raise TrainingRunError(f"{part.path} has {min(further)}, which is not wanted: start without a predecessor")
    denoiser.time.bias.copy_(found[TIME])  # a table over the time, which is no rate
    _fill({name: value for name, value in own.items() if name != TIME}, found, before, config, part)
    denoiser.g_s.embed.weight[:, before.latent :] = 0


def _fill(
    state: Mapping[str, Tensor], found: Mapping[str, Tensor], before: BaseConfig, config: BaseConfig, part: Part
) -> None:
    """Copy into `state` what was found in `part`."""
    rows = before.rows, config.rows
    for name, own in state.items():
        value = found.get(name)
        if _is_further(name, value, before):
            continue
        if value is None and NEW.search(name):
            value = torch.zeros_like(own)
        elif value is not None and own.ndim == 2 and (len(value), len(own)) == rows and config.tunes >= before.tunes:
            each = torch.split(value, KNOTS)
            tables = [over_the_rate(table, before.lambda_max, config.lambda_max) for table in each]
            value = torch.cat(tables * (config.tunes // before.tunes))
        if value is not None and value.ndim == own.ndim:
            own = own[tuple(_held(had, has, before, config) for had, has in zip(value.shape, own.shape, strict=True))]
        if value is None or value.shape != own.shape:
            has = "nothing" if value is None else f"{tuple(value.shape)}"
            raise TrainingRunError(
                f"{part.path} has {has} for {name}, expected {tuple(own.shape)}: start without a predecessor"
            )
        own.copy_(value)


def _is_further(name: str, value: Tensor | None, before: BaseConfig) -> bool:
    """Whether a weight is a further slice's, or an inner one of a further block: it starts as it was built."""
    step = STEP.search(name)
    inner = value is None and re.search(r"\.\d+\.(depthwise|up)\.", name) is not None
    return inner or (step is not None and int(step[1]) >= 2 * before.slices)


def _held(had: int, has: int, before: BaseConfig, config: BaseConfig) -> slice:
    """What of a side of an array has a predecessor: all, or of the channels of y the first."""
    return slice(had if (had, has) == (before.latent, config.latent) else has)


def over_the_rate(table: Tensor, before: float, now: float) -> Tensor:
    """A table (KNOTS, C) of a base with lambda up to `before` as that of one with lambda up to `now`."""
    share = math.log(now / LAMBDA_MIN) / math.log(before / LAMBDA_MIN)
    return interpolate(table, KNOT_SPACING * share * torch.arange(KNOTS))[:, :, 0, 0]


def float_scales(scales: ScaleModel) -> dict[str, Tensor]:
    """An integer scale path as what `training.scales` makes it of, by names there."""
    unit = 1 << ACTIVATION_BITS
    found = {"z_log_scale": LOG_MIN + LOG_STEP / unit * scales.z_index}
    for stored, layer in scales.layers.items():
        name = stored if stored.startswith("hyper") else f"steps.{stored}"
        last = stored.endswith("head")  # which puts out indices of tables
        grid = np.exp2(layer.shift - ACTIVATION_BITS * last) / (LOG_STEP if last else 1)
        weight = layer.weight / grid.reshape(-1, *[1] * (layer.weight.ndim - 1))
        found[f"{name}.weight"] = weight[:, :, None, None] if weight.ndim == 2 else weight[:, None]
        bias = layer.bias / grid / unit + LOG_MIN * last
        if stored.endswith(("embed", "head")):  # which hear the rate
            found[f"{name}_rate.bias"], bias = bias, np.zeros_like(bias)
        found[f"{name}.bias"] = bias[0]
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in found.items()}
