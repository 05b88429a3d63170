"""What references a picture is coded with: the encoder tries them, the decoder finds them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nicodec.container.layout import References, Section, SectionType
from nicodec.container.writer import write_references, write_section
from nicodec.dictionary.asset import LEVELS, Dictionary
from nicodec.dictionary.features import central, describe
from nicodec.entropy.scales import ScaleModel
from nicodec.errors import CorruptFileError
from nicodec.image.picture import Picture
from nicodec.networks.base import Base
from nicodec.networks.effort import ThriftyRounding
from nicodec.networks.mode import MoDE
from nicodec.networks.tiling import to_input
from nicodec.rate.scale import lambda_from_rate
from nicodec.zoo.load import load_clc, load_dictionary
from nicodec.zoo.manifest import Part
from nicodec.zoo.store import find_part

USUAL = 3  # references that `auto` tries, those most like the picture
NEAR = 8  # among which it tries the one that changes most, too
FAINT = 0.05  # c up to which the networks hardly change


@dataclass(frozen=True)
class Referred:
    """A base for a picture, and the section that says so; none with the base itself."""

    base: Base
    sections: tuple[Section, ...] = ()

    @property
    def bits(self) -> int:
        """Of the section in the file."""
        return sum(8 * len(write_section(section, last=False)) for section in self.sections)


@torch.inference_mode(False)  # whatever mode the host program is in: `effort` takes gradients
@torch.no_grad()
def refer(picture: Picture, base: Base, scales: ScaleModel, part: Part, rate: int, count: int | None) -> Referred:
    """Search a picture's references, and decide whether they pay.

    They are tried on its middle (`central`): bits by the real tables, errors in pixels. Where they would change next to
    nothing, as on most photographs, they are not even tried.

    Args:
        part: a dictionary, trained on `base`.
        count: of references, 1 or more, the most like the picture; None: what pays most, and that may be none.
    """
    dictionary, clc = load_dictionary(part), load_clc(part, base)
    x = to_input(central(picture.pixels), base.std.device)
    y = base.g_a(x)
    found = [match.id for match in dictionary.search(describe(y, base.std)[0].cpu().numpy(), count or NEAR)]
    if count is not None:
        return _referred(found, part, base)
    strength = {id_: float(clc.latent(latents(dictionary, [id_], base)).max()) for id_ in found}
    strongest = max(found, key=lambda id_: strength[id_])
    if strength[strongest] < FAINT:
        return Referred(base)
    tried = [Referred(base), _referred(found[:USUAL], part, base), _referred([strongest], part, base)]
    return min(tried, key=lambda referred: referred.bits + cost(referred.base, scales, x, y, rate))


def _referred(ids: list[int], part: Part, base: Base) -> Referred:
    dictionary, clc = load_dictionary(part), load_clc(part, base)
    references = References(part.id, dictionary.id_bits, tuple(sorted(ids)))
    c = clc.latent(latents(dictionary, ids, base))
    return Referred(clc.conditioned(base, c), (Section(SectionType.REFERENCES, write_references(references)),))


def cost(base: Base, scales: ScaleModel, x: Tensor, y: Tensor, rate: int) -> float:
    """Bits and error of a picture x (1, 3, H, W) whose latent is y, in bits, as `effort.correct` weighs them."""
    rates = torch.tensor([float(rate)], device=x.device)
    scaled, z_hat = base.scaled(y, rates)
    rounding = ThriftyRounding(scales, z_hat, rate)
    _, y_hat = base.quantise(scaled, z_hat, rates, rounding)
    error = (base.g_s(y_hat * base.ungain(rates), rates) - x).square().sum().item()
    return rounding.bits + error * lambda_from_rate(rate) * 255**2 / 3


def latents(dictionary: Dictionary, ids: Sequence[int], base: Base) -> Tensor:
    """References (n, CHANNELS, SIDE, SIDE), -1..1, where the base is."""
    return torch.from_numpy(dictionary.latents[list(ids)]).to(base.std.device) / LEVELS


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
    c = clc.latent(latents(dictionary, references.ids, base))
    return clc.conditioned(base, c), mode and clc.conditioned(mode, c)
