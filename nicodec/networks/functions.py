"""Networks as named functions from arrays to arrays: what an engine runs, and what graphs are made of.

The rate is (1,), or (1, H/64, W/64) where there is a quality map. What is cheap and depends on the rate alone (gains,
the walk over the passes, the steps of the diffusion) is not here but in numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nicodec.container.layout import STRIDE
from nicodec.dictionary.asset import CHANNELS, SIDE
from nicodec.entropy.order import Pass, passes
from nicodec.image.jpeg import TOLD
from nicodec.latents.geometry import PATCH
from nicodec.networks.base import Base
from nicodec.networks.bounded import bounded
from nicodec.networks.clc import CLC
from nicodec.networks.fuser import Denoiser
from nicodec.networks.mode import MoDE
from nicodec.networks.restorer import Restorer
from nicodec.networks.trust import Trust
from nicodec.networks.vq import VQExpert

HEIGHT, WIDTH = 3 * STRIDE, 5 * STRIDE  # of the picture that graphs are made with


@dataclass(frozen=True)
class Input:
    """What a function is given: the shape of an example, and which of its sides may be any."""

    shape: tuple[int, ...]
    free: tuple[int, ...] = ()


@dataclass(frozen=True)
class Function:
    """A function of float32 tensors, and what it is given, by name and in order."""

    call: Callable[..., Tensor | tuple[Tensor, ...]]
    inputs: Mapping[str, Input]


def maps(channels: int, stride: int) -> Input:
    """Feature maps (1, channels, H/stride, W/stride) of a picture of any size."""
    return Input((1, channels, HEIGHT // stride, WIDTH // stride), (2, 3))


def rates(mapped: bool) -> Input:
    """The rate, one or a map."""
    return Input((1, HEIGHT // STRIDE, WIDTH // STRIDE), (1, 2)) if mapped else Input((1,))


def steps(channels: int) -> Input:
    """The quantiser's, in natural units: (1, channels, 1, 1), or a map of them as large as y."""
    return Input((1, channels, 1, 1), (2, 3))


def of_base(base: Base, mapped: bool = False) -> dict[str, Function]:
    """g_a, h_a, the means of each pass, g_s and its gradient, and what no painted picture may leave by too much."""
    config = base.config
    y, z, rate = maps(config.latent, PATCH), maps(config.hyper, STRIDE), rates(mapped)
    picture = maps(3, 1)

    def means(index: int) -> Function:
        step = passes(config.latent, config.slices)[index]
        given = {"features": maps(config.context, PATCH), "y_hat": y, "rate": rate}
        return Function(lambda features, y_hat, rate: base.means(features, y_hat, step, rate), given)

    return {
        "g_a": Function(base.g_a, {"x": picture}),
        "h_a": Function(base.h_a, {"y": y, "rate": rate}),
        "hyper_features": Function(base.means.features, {"z_hat": z, "rate": rate}),
        **{f"means_{index}": means(index) for index in range(2 * config.slices)},
        "linear": Function(base.g_s.linear, {"y_hat": y}),
        "g_s": Function(base.g_s.from_linear, {"linear": picture, "y_hat": y, "rate": rate}),
        "g_s_gradient": Function(
            lambda y_hat, x, weight, rate: error_gradient(base, y_hat, x, weight, rate),
            {"y_hat": y, "x": picture, "weight": maps(1, 1), "rate": rate},
        ),
        "bounded": Function(
            bounded, {"picture": picture, "linear": picture, "step": steps(config.latent), "limit": Input((1,))}
        ),
    }  # fmt: skip


def of_vq(vq: VQExpert, mapped: bool = False) -> dict[str, Function]:
    """Tokenizer and painter."""
    config = vq.config
    code = maps(config.code, config.stride)
    return {
        "tokenizer": Function(vq.tokenizer, {"y": maps(config.latent, PATCH)}),
        "features": Function(vq.painter.features, {"code": code}),
        "painter": Function(vq.painter, {"code": code}),
    }


def of_mode(mode: MoDE, mapped: bool = False) -> dict[str, Function]:
    """The two anchors; MoDE-P in two steps, for its picture may be led in between."""
    vq = mode.config.vq
    y, rate = maps(vq["latent"], PATCH), rates(mapped)
    heard = {f"f{stride}": maps(vq[f"wide_{stride}"], stride) for stride in (16, 8, 4)}

    def fidelity(y_hat: Tensor, f16: Tensor, f8: Tensor, f4: Tensor, rate: Tensor) -> Tensor:
        return mode.fidelity_picture(y_hat, (f16, f8, f4), rate)

    return {
        "fidelity": Function(fidelity, {"y_hat": y, **heard, "rate": rate}),
        "perception": Function(
            mode.perception_features, {"y_hat": y, "code": maps(vq["code"], vq["stride"]), "rate": rate}
        ),
        "painted": Function(mode.painted, {"x_s": maps(3, 1), "features": heard["f4"], "rate": rate}),
    }


def of_fuser(fuser: Denoiser, mapped: bool = False) -> dict[str, Function]:
    """The denoiser, and the linear synthesis that it sees."""
    y, groups = maps(fuser.config.latent, PATCH), fuser.config.groups
    return {
        "linear": Function(fuser.g_s.linear, {"y_hat": y}),
        "denoiser": Function(
            fuser,
            {
                "r_t": y, "t": Input((1,)), "y_hat": y, "linear": maps(3, 1),
                "step": steps(fuser.config.latent), "rate": rates(mapped),
                **({"said": maps(groups + 1, PATCH)} if groups else {}),
            },
        ),
    }  # fmt: skip


def of_restorer(restorer: Restorer, mapped: bool = False) -> dict[str, Function]:
    """The whole of it."""
    y = maps(restorer.config.latent, PATCH)
    return {"restored": Function(restorer, {"x": maps(3, 1), "y": y, "noise": y, "told": Input((1, TOLD + 1))})}


def of_trust(trust: Trust, mapped: bool = False) -> dict[str, Function]:
    """The means of each pass but the last slice's, where references are trusted."""
    config = trust.config
    y, hyper = maps(config.latent, PATCH), maps(config.context, PATCH)

    def means(step: Pass) -> Function:
        given = {"hyper": hyper, "y_ref": y, "off": y, "rate": rates(mapped)}
        return Function(lambda hyper, y_ref, off, rate: trust(hyper, y_ref, off, step, rate), given)

    return {f"trust_{step.index}": means(step) for step in trust.steps}


def of_dictionary(clc: CLC, mapped: bool = False) -> dict[str, Function]:
    """CLM: references to their conditioning latent."""
    return {"clm": Function(clc.latent, {"levels": Input((3, CHANNELS, SIDE, SIDE), (0,))})}


OF: dict[str, Callable[[Any, bool], dict[str, Function]]] = {
    "base": of_base, "vq": of_vq, "mode": of_mode, "fuser": of_fuser, "dictionary": of_dictionary,
    "restorer": of_restorer, "trust": of_trust,
}  # fmt: skip


def error_gradient(base: Base, y_hat: Tensor, x: Tensor, weight: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """The squared error of what g_s makes of y_hat (natural units), and its gradient there.

    Args:
        x: the picture that it should make.
        weight: (1, 1, H, W), of a pixel's squared error: 0 where it is another tile's.
        y_hat, rate: as g_s takes them.
    """
    linear = base.g_s.linear(y_hat).detach().requires_grad_()
    at = y_hat.detach().requires_grad_()
    with torch.enable_grad():
        error = ((base.g_s.from_linear(linear, at, rate) - x).square() * weight).sum()
        by_linear, by_features = torch.autograd.grad(error, (linear, at))
    return error.detach().reshape(1), by_features + base.g_s.adjoint(by_linear)
