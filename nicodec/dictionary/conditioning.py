"""Pooled references, of files of version 1: the encoder tries some of the dictionary, the decoder finds them again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nicodec.container.layout import References, Section, SectionType
from nicodec.container.writer import write_references, write_section
from nicodec.dictionary.features import central, describe
from nicodec.engines import Networks
from nicodec.entropy.scales import ScaleModel
from nicodec.errors import CorruptFileError
from nicodec.image.picture import Picture
from nicodec.latents.effort import ThriftyRounding
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import Array, to_input
from nicodec.latents.rates import to_rates
from nicodec.rate.scale import lambda_from_rate
from nicodec.rate.tile import TileRate
from nicodec.zoo.manifest import Part
from nicodec.zoo.model import Model
from nicodec.zoo.stored import read_weights

AUTO_COUNT = 3  # references that `auto` tries
MIN_EFFECT = 0.3  # c up to which the networks change so little that a trial is not worth its time


@dataclass(frozen=True)
class Referred:
    """What a picture's references say, as coding and synthesis are given it: the model's own networks, changed.

    Attributes:
        base, mode: the model's own where there are no references.
        sections: that say so in a file.
    """

    base: FloatPath
    mode: Networks | None = None
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True)
class Conditioning:
    """What a dictionary's references do to the networks of the base that it was trained on: CLM and CLS.

    The arrays' version of `nicodec.networks.clc.CLC`.
    """

    part: Part
    networks: Networks

    def latent(self, levels: Array) -> Array:
        """References (n, CHANNELS, SIDE, SIDE), -1..1, to the conditioning latent (latent,), 0..1."""
        return self.networks("clm", levels)[0]

    def weights(self, networks: Networks, place: str, path: str, c: Array) -> dict[str, Array]:
        """By name, the weights that c makes of those of `path` (`means` or `g_s`), whose copy stands at `place`."""
        start, made = f"change.{path}/", {}
        for name, directions in read_weights(self.part).items():
            if name.startswith(start):
                own = f"{place}.{name.removeprefix(start).replace('/', '.')}"
                weight = networks.weight(own)
                made[own] = weight + (c @ directions).reshape(weight.shape)
        return made

    def base(self, base: FloatPath, c: Array) -> FloatPath:
        """A base for pictures like the references; the given one stays."""
        return base.changed(
            {k: v for path in ("means", "g_s") for k, v in self.weights(base.networks, path, path, c).items()}
        )

    def mode(self, mode: Networks, c: Array) -> Networks:
        """MoDE for them: its copies of g_s have weights of their own, and what makes g_s better does so for these."""
        fidelity, perception = (self.weights(mode, copy, "g_s", c) for copy in ("g_s_f", "g_s_p"))
        return mode.changed(fidelity | perception)


def refer(picture: Picture, model: Model, rate: int, count: int | None) -> Referred:
    """Search a picture's references, and decide whether they may pay; what files say has the last word (`trials`).

    They are tried on its middle (`central`): bits by the real tables, errors in pixels. Where they would change little,
    as on most photographs, they are not even tried.

    Args:
        model: with a dictionary, trained on its base.
        count: of references, 1 or more; None: AUTO_COUNT, or none where they do not pay.
    """
    base, scales, dictionary = model.base, model.scales, model.dictionary
    x = to_input(central(picture.pixels))
    y = base.g_a(x)
    found = dictionary.search(describe(y, base.std.ravel())[0], count or AUTO_COUNT)
    references = References(model.ids["dictionary"], dictionary.id_bits, tuple(sorted(match.id for match in found)))
    c = model.conditioning.latent(dictionary.levels(references.ids))
    if count is None and float(c.max()) < MIN_EFFECT:
        return Referred(base)
    section = Section(SectionType.REFERENCES, write_references(references))
    referred = Referred(model.conditioning.base(base, c), sections=(section,))
    extra = 8 * len(write_section(section, last=False))
    pays = count is not None or cost(referred.base, scales, x, y, rate) + extra < cost(base, scales, x, y, rate)
    return referred if pays else Referred(base)


def cost(base: FloatPath, scales: ScaleModel, x: Array, y: Array, rate: int) -> float:
    """Bits and error of a picture x (1, 3, H, W) whose latent is y, in bits, as `effort.correct` weighs them."""
    rates = to_rates(TileRate(rate))
    scaled, z_hat = base.scaled(y, rates)
    rounding = ThriftyRounding(base, scales, z_hat, TileRate(rate))
    _, y_hat = base.quantise(scaled, z_hat, rates, rounding)
    error = float(np.square(base.g_s(y_hat * base.ungain(rates), rates) - x).sum())
    return rounding.bits + error * lambda_from_rate(rate, base.lambda_max) * 255**2 / 3


def restore(references: References, model: Model) -> Referred:
    """The networks that a file's references make of those of the model that it names.

    Raises:
        MissingPartError: the dictionary is not installed; says its id.
        CorruptFileError: an ID that it does not have.
        DamagedPartError: it has no adapters, or is not whole.
    """
    dictionary, conditioning = model.dictionary, model.conditioning
    if references.ids[-1] >= len(dictionary) or references.id_bits != dictionary.id_bits:
        raise CorruptFileError(
            f"the file has references {references.ids} of {references.id_bits} bits, dictionary "
            f"{references.dictionary_id.hex()} has {len(dictionary)} of {dictionary.id_bits}"
        )
    c = conditioning.latent(dictionary.levels(references.ids))
    return Referred(conditioning.base(model.base, c), model.mode and conditioning.mode(model.mode, c))
