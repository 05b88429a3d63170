"""What references a picture is coded with: the encoder tries them, the decoder finds them again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nicodec.container.layout import References, Section, SectionType
from nicodec.container.writer import write_references, write_section
from nicodec.dictionary.asset import Dictionary
from nicodec.dictionary.features import central, describe
from nicodec.entropy.scales import ScaleModel
from nicodec.errors import CorruptFileError
from nicodec.image.picture import Picture
from nicodec.networks.base import Base
from nicodec.networks.clc import CLC
from nicodec.networks.effort import ThriftyRounding
from nicodec.networks.mode import MoDE
from nicodec.networks.tiling import to_input
from nicodec.rate.scale import lambda_from_rate
from nicodec.zoo.load import load_clc, load_dictionary
from nicodec.zoo.manifest import Part
from nicodec.zoo.store import find_part

USUAL = 3  # references that `auto` tries
FAINT = 0.3  # c up to which the networks change so little that a trial is not worth its time


@dataclass(frozen=True)
class Referred:
    """A base for a picture, and the section that says so; none with the base itself."""

    base: Base
    sections: tuple[Section, ...] = ()


@torch.inference_mode(False)  # whatever mode the host program is in: `effort` takes gradients
@torch.no_grad()
def refer(picture: Picture, base: Base, scales: ScaleModel, part: Part, rate: int, count: int | None) -> Referred:
    """Search a picture's references, and decide whether they may pay; what files say has the last word (`trials`).

    They are tried on its middle (`central`): bits by the real tables, errors in pixels. Where they would change little,
    as on most photographs, they are not even tried.

    Args:
        part: a dictionary, trained on `base`.
        count: of references, 1 or more; None: USUAL, or none where they do not pay.
    """
    dictionary, clc = load_dictionary(part), load_clc(part, base)
    x = to_input(central(picture.pixels), base.std.device)
    y = base.g_a(x)
    found = dictionary.search(describe(y, base.std)[0].cpu().numpy(), count or USUAL)
    references = References(part.id, dictionary.id_bits, tuple(sorted(match.id for match in found)))
    c = _latent(clc, dictionary, references)
    if count is None and float(c.max()) < FAINT:
        return Referred(base)
    section = Section(SectionType.REFERENCES, write_references(references))
    referred = Referred(clc.conditioned(base, c), (section,))
    extra = 8 * len(write_section(section, last=False))
    pays = count is not None or cost(referred.base, scales, x, y, rate) + extra < cost(base, scales, x, y, rate)
    return referred if pays else Referred(base)


def cost(base: Base, scales: ScaleModel, x: Tensor, y: Tensor, rate: int) -> float:
    """Bits and error of a picture x (1, 3, H, W) whose latent is y, in bits, as `effort.correct` weighs them."""
    rates = torch.tensor([float(rate)], device=x.device)
    scaled, z_hat = base.scaled(y, rates)
    rounding = ThriftyRounding(base, scales, z_hat, rate)
    _, y_hat = base.quantise(scaled, z_hat, rates, rounding)
    error = (base.g_s(y_hat * base.ungain(rates), rates) - x).square().sum().item()
    return rounding.bits + error * lambda_from_rate(rate, base.config.lambda_max) * 255**2 / 3


def _latent(clc: CLC, dictionary: Dictionary, references: References) -> Tensor:
    """The conditioning latent of references, where their CLM is."""
    levels = torch.from_numpy(dictionary.levels(references.ids))
    return clc.latent(levels.to(clc.match.weight.device))


@torch.no_grad()
def restore(references: References, base: Base, mode: MoDE | None) -> tuple[Base, MoDE | None]:
    """The networks that a file's references make of those that are installed.

    Raises:
        MissingPartError: the dictionary is not installed; says its id.
        CorruptFileError: an ID that it does not have.
        DamagedPartError: it has no adapters, or is not whole.
    """
    part = find_part("dictionary", references.dictionary_id)
    dictionary, clc = load_dictionary(part), load_clc(part, base)
    if references.ids[-1] >= len(dictionary) or references.id_bits != dictionary.id_bits:
        raise CorruptFileError(
            f"the file has references {references.ids} of {references.id_bits} bits, dictionary {part.id.hex()} has "
            f"{len(dictionary)} of {dictionary.id_bits}"
        )
    c = _latent(clc, dictionary, references)
    return clc.conditioned(base, c), mode and clc.conditioned(mode, c)
