"""Stages `aux` and `fuser`: what a natural latent would be, and the denoiser that finds one without the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nicodec.networks.fuser import Denoiser, FuserConfig, of_files
from nicodec.networks.layers import zero_init
from nicodec.rate.scale import RATE_MAX
from nicodec.training.checkpoint import fill
from nicodec.training.critic import Critic, natural_losses
from nicodec.training.data import Pictures
from nicodec.training.latents import Coded, Latents
from nicodec.training.sq import psnr
from nicodec.training.stage import Stage
from nicodec.zoo.load import load_fuser
from nicodec.zoo.manifest import Package, Part

NOISE = 0.5  # quantiser steps: what the auxiliary encoder sees of y is this vague, so that y' cannot smuggle y through
KEEP = 0.01  # weight of |y' - y_hat|^2 in quantiser steps: no further off than it helps
AT_ONCE = 0.75  # share of the pictures whose r_t is all noise: one step is the default, more of them say little more
SPOKEN = 0.7  # share of the pictures whose tokens of texture are heard, where there are such
LEAST_TAU = 0.5  # these are looked at as the perception anchor shows them, from this tau to 1
LOST = 1.35  # decibels that tau 1 may lose to tau 0, at each rate; and by tau^2, as an error does
USUAL = 26.0, 17.0  # PSNR of the base, in dB: at rate 0, and what it has more at the highest
MATCH = 0.025  # weight of |D - r|^2 in units of its spread, for all others: the mean that it asks for is timid


class AuxStage(Stage):
    """Stage `aux`: y' = g'_a(x) decodes, on the frozen base, to a natural picture. Used in training only.

    g'_a is a denoiser that sees the true residual of y_hat, dimly: y' = y_hat + step · A((y + noise - y_hat) / step).
    """

    name = "aux"
    module: Denoiser
    slow = ("klt", "lapping")

    def __init__(self, config: FuserConfig, base: Latents, critic: Critic, predecessor: Package | None = None) -> None:
        """`predecessor`: whose fuser it starts as; None: as the base's own transforms."""
        self.module = Denoiser(config)
        self.base, self.critic, self.predecessor = base, critic, predecessor

    @torch.no_grad()
    def start(self, pictures: Pictures) -> None:
        """Inputs at about unit spread, or as the base says; the output starts as nothing."""
        batches = [self.base.code(x, self.base.draw(x)) for x in _samples(pictures)]
        self.module.g_s.spread.copy_(spread(coded.y for coded in batches))
        self.base.prepare(self.module, self.predecessor)

    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Of a batch (B, 3, H, W), 0..1."""
        coded = self.base.code(x, self.base.draw(x))
        residual = imagine(self.module, coded)
        losses, figures = natural_losses(self.critic, self.base.decode(coded, residual), x)
        kept = (residual / coded.step).square().mean()
        return losses.mean() + KEEP * kept, {**figures, "kept": kept.item()}

    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """See `validate`: of plain decodes and of y'."""
        assert isinstance(module, Denoiser)
        ways = {"natural": lambda coded: self.base.decode(coded, imagine(module, coded))}
        return validate(self.base, self.critic, pictures, ways)


class FuserStage(Stage):
    """Stage `fuser`: D learns y' from y_hat and noise; AT_ONCE of its predictions are from noise alone.

    All are looked at through the frozen base, for matching y' alone would give its mean, which is a blur. Where the
    base's package has tokens of texture, it hears those of most pictures; these are looked at as the perception anchor
    shows them, at a random tau, and what squared error may grow there has a price, which rises at each rate until no
    more than LOST is lost. Where less serves best, tau reaches further: a table is learned by which LOST is lost at tau
    1 at each rate. Pictures that are hard to code count no more than others: the loss is a mean of logarithms.
    """

    name = "fuser"
    module: Denoiser
    slow = ("klt", "lapping")
    quick = ("strengths",)

    def __init__(
        self, config: FuserConfig, base: Latents, aux: Denoiser, critic: Critic, predecessor: Part | None = None
    ) -> None:
        """`predecessor`: the fuser that it starts as, on the same base; None: as the auxiliary encoder."""
        self.module = Denoiser(replace(config, **base.heard, anchored=bool(base.heard["groups"])))
        self.base, self.aux, self.critic, self.predecessor = base, aux, critic, predecessor

    @torch.no_grad()
    def start(self, pictures: Pictures) -> None:
        """Start as the auxiliary encoder, but deaf to the residual, and to tokens; and measure the spread of that.

        Or as the predecessor. Raises: TrainingRunError: it is on another base.
        """
        if self.predecessor is not None:
            before = load_fuser(self.predecessor, "cpu").state_dict()
            fill(self.module, {**_strengths_of(self.module), **before}, self.predecessor.path)
            return
        batches = [self.base.code(x, self.base.draw(x)) for x in _samples(pictures)]
        self.module.load_state_dict({**self.module.state_dict(), **self.aux.state_dict()})
        zero_init(self.module.hear)
        self.module.spread.copy_(spread(imagine(self.aux, coded) / coded.step for coded in batches))

    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Of a batch (B, 3, H, W), 0..1."""
        coded = self.base.code(x, self.base.draw(x))
        unit = self.module.spread[:, None, None] * coded.step
        t = torch.where(torch.rand(len(x)) < AT_ONCE, 1.0, torch.rand(len(x))).to(x.device)
        dim = t < 1
        r = torch.zeros_like(coded.y_hat)
        if dim.any():
            with torch.no_grad():
                r[dim] = imagine(self.aux, coded.at(dim)) / unit[dim]
        angle = (t * torch.pi / 2)[:, None, None, None]
        r_t = angle.cos() * r + angle.sin() * torch.randn_like(r)
        spoken = (torch.rand(len(x)) < SPOKEN).to(x.device)
        spoken[0] = True  # one at least, for means of them are taken
        if (said := self.base.said(coded)) is not None:
            said = said * spoken[:, None, None, None]
        linear = self.module.g_s.linear(coded.y_hat)
        found = self.module(r_t, t, coded.y_hat, linear, coded.step, coded.rate, heard(self.module, coded.rate, said))
        tau = 1 - (1 - LEAST_TAU) * torch.rand(len(x)).to(x.device) * spoken
        if said is None:
            shown = self.base.decode(coded, found * unit)
        else:
            shown = show(self.module, self.base, coded, found * unit, said, tau, spoken)
        losses, figures = natural_losses(self.critic, shown, x)
        loss = losses.log().mean()
        if said is not None:
            priced, more = self.priced(x, shown, coded, tau, spoken)
            loss, figures = loss + priced, figures | more
        match = (found - r)[dim].square().sum() / found.numel()
        return loss + MATCH * match, {**figures, "match": match.item()}

    def priced(
        self, x: Tensor, shown: Tensor, coded: Coded, tau: Tensor, some: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """What the squared error of some pictures costs, beyond what may be lost; and figures for the record.

        Its gradients by the tables of price and reach are such that they end where as much is lost as may be: by all
        error together, and by the decibels of each picture, which grow with the square of how far tau leads.
        """
        reach, price = (table[some] for table in self.module.strengths.reach_and_price(coded.rate))
        error, plain = (usual(each - x, coded.rate)[some] for each in (shown, self.base.decode(coded, None)))
        allowed = LOST * tau[some].square()
        over = error * 10 ** (-0.1 * allowed) - plain
        paid = price.detach().clamp_min(0) * over - price * over.detach()
        lost = 10 * (error.detach() / plain).clamp_min(1e-6).log10()
        reached = reach.pow(3) / 3 * lost - reach * allowed
        figures = {"lost": lost.mean().item(), "price": price.mean().item(), "reach": reach.mean().item()}
        return (paid + reached).mean(), figures

    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """See `validate`: of plain decodes, of what one step finds, and of the perception anchor at three taus."""
        assert isinstance(module, Denoiser)

        def find(coded: Coded, said: Tensor | None) -> Tensor:
            noise = torch.randn_like(coded.y_hat)
            return module.residual(coded.y_hat, coded.step, noise, coded.rate, 1, heard(module, coded.rate, said))

        def natural(coded: Coded) -> Tensor:
            said = self.base.said(coded)
            return self.base.decode(coded, find(coded, None if said is None else 0 * said))

        def shown(tau: float, coded: Coded) -> Tensor:
            said = self.base.said(coded)
            assert said is not None
            at = tau * module.strengths.reach_and_price(coded.rate)[0]
            return show(module, self.base, coded, find(coded, said), said, at, torch.ones_like(at, dtype=torch.bool))

        anchored = {f"tau {tau}": partial(shown, tau) for tau in (0.5, 0.7, 1.0)} if module.config.groups else {}
        return validate(self.base, self.critic, pictures, {"natural": natural, **anchored})


def heard(module: Denoiser, rates: Tensor, said: Tensor | None) -> Tensor | None:
    """What tokens say, as strongly as a denoiser hears it in files of such rates."""
    return None if said is None else torch.cat([module.strengths.at(rates)[0] * said[:, :-1], said[:, -1:]], 1)


def show(
    module: Denoiser, base: Latents, coded: Coded, residual: Tensor, said: Tensor, tau: Tensor, spoken: Tensor
) -> Tensor:
    """What is shown of what a denoiser found: by the perception anchor at taus (B,), where tokens are `spoken` (B,).

    Elsewhere as `Latents.decode` shows it, which is all of the way, and no texture.
    """
    _, led, textured = module.strengths.at(coded.rate)
    at, told = (each[:, None, None, None] for each in (tau, spoken))
    return base.anchored(coded, residual, said, torch.where(told, led * at, 1), torch.where(told, textured * at, 0))


def _strengths_of(module: Denoiser) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if name.startswith("strengths.")}


def usual(error: Tensor, rates: Tensor) -> Tensor:
    """Mean squares of errors (B, 3, H, W), in units of what is usual at their rates: (B,)."""
    lowest, more = USUAL
    return error.square().mean((1, 2, 3)) * 10 ** ((lowest + more / RATE_MAX * of_files(rates)) / 10)


def _samples(pictures: Pictures) -> Iterator[Tensor]:
    for _ in range(16):
        yield pictures.batch(4, min(256, pictures.least // 64 * 64))


def spread(maps: Iterable[Tensor]) -> Tensor:
    """Root mean squares of channels (M,) over feature maps (B, M, h, w)."""
    return torch.stack([x.square().mean((0, 2, 3)) for x in maps]).mean(0).sqrt().clamp_min(1e-3)


def imagine(aux: Denoiser, coded: Coded) -> Tensor:
    """What the auxiliary encoder adds to a batch: y' - y_hat (B, M, H/16, W/16), natural units."""
    seen = (coded.y - coded.y_hat) / coded.step + NOISE * torch.randn_like(coded.y)
    linear = aux.g_s.linear(coded.y_hat)
    r = aux(seen, coded.y.new_zeros(len(coded.y)), coded.y_hat, linear, coded.step, coded.rate)
    return r * coded.step


@torch.no_grad()
def validate(
    base: Latents, critic: Critic, pictures: Pictures, ways: Mapping[str, Callable[[Coded], Tensor]]
) -> dict[str, Any]:
    """(PSNR, likeness, texture) of plain decodes, and of what each of `ways` shows, at each rate.

    Of 8 pictures' corners of 256x256: the critic takes seconds for a whole picture.
    """
    torch.manual_seed(0)
    figures: dict[str, list[list[float]]] = {name: [] for name in ("plain", *ways)}
    for value in base.rates:
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in figures}
        for picture in pictures.some(8):
            x = picture[None, :, :256, :256].float() / 255
            coded = base.code(x, torch.tensor([float(value)], device=x.device))
            for name in figures:
                x_hat = (ways[name](coded) if name in ways else base.decode(coded, None)).clamp(0, 1)
                same, texture = critic(x_hat, x)
                rows[name].append((psnr(x_hat, x), same.item(), texture.item()))
        for name, entries in rows.items():
            figures[name].append([round(sum(column) / len(entries), 4) for column in zip(*entries, strict=True)])
    return figures
