"""A model: the parts that a picture is coded with, or that a file names, each resolved once and opened when asked for.

There is no state that models share but what cannot change: what a part holds is loaded once a process (`zoo.once`),
under the part, whose id is the hash of its content. So any number of models and threads work side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from nicodec.dictionary.asset import Dictionary
from nicodec.engines import Networks, load_networks
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.tokens import TokenPrior
from nicodec.rate.scale import LAMBDA_MAX, lambda_from_rate
from nicodec.zoo.load import has_adapters, load_dictionary, load_prior, load_scales, load_texture
from nicodec.zoo.manifest import TRAINED_ON, Package, Part
from nicodec.zoo.store import all_packages, all_trained, find_package, find_part, find_trained, missing
from nicodec.zoo.stored import read_config

if TYPE_CHECKING:
    from nicodec.dictionary.conditioning import Conditioning
    from nicodec.latents.codebook import TokenPath
    from nicodec.latents.floats import FloatPath
    from nicodec.latents.texture import Texture
    from nicodec.painters.fuser import Fuser
    from nicodec.painters.restorer import Restorer


class Model:
    """Parts by their ids, and the engine and device that run them.

    Args:
        ids: of the parts that are used, by kind.
        among: packages that may hold them, and parts that were trained on them.
        engine, device: as in `EncodeOptions`.
    """

    def __init__(
        self, ids: Mapping[str, bytes], among: Sequence[Package], engine: str = "auto", device: str = "auto"
    ) -> None:
        self.ids, self.among, self.engine, self.device = ids, among, engine, device
        self._parts: dict[str, Part] = {}

    @classmethod
    def named(cls, name: str, engine: str = "auto", device: str = "auto") -> Model:
        """A package's own. Raises: as `find_package`."""
        package = find_package(name)
        return cls({kind: part.id for kind, part in package.parts.items()}, [package], engine, device)

    @classmethod
    def installed(cls, ids: Mapping[str, bytes], engine: str = "auto", device: str = "auto") -> Model:
        """What any package has of these parts, as a file names them."""
        return cls(ids, all_packages(), engine, device)

    @classmethod
    def restoring(cls, engine: str = "auto", device: str = "auto") -> Model:
        """The first package on the search path that restores JPEGs: these name no model.

        Raises:
            MissingPartError, DamagedPartError: none does.
        """
        for package in all_packages():
            if "restorer" in package.parts:
                return cls({kind: part.id for kind, part in package.parts.items()}, [package], engine, device)
        raise missing("no model with a restorer part, which restores JPEGs, is installed")

    def part(self, kind: str) -> Part:
        """The part of a kind. Raises: as `find_part`."""
        if kind not in self._parts:
            self._parts[kind] = find_part(kind, self.ids[kind], self.among)
        return self._parts[kind]

    def trained(self, kind: str) -> Part | None:
        """A part that was trained on just those that are used; None where no package has one."""
        on = TRAINED_ON[kind]
        return find_trained(kind, {self.ids[each] for each in on}, self.among) if self.ids.keys() >= {*on} else None

    def weight(self, rate: int) -> float:
        """Of `255^2 · MSE` against bits a pixel, as the base was trained at a rate; no network is loaded for it."""
        return lambda_from_rate(rate, read_config(self.part("base")).get("lambda_max", LAMBDA_MAX))

    @cached_property
    def scales(self) -> ScaleModel:
        """The base's integer path."""
        return load_scales(self.part("base"))

    def prior(self, kind: str) -> TokenPrior:
        """The integer path of tokens, of a `vq` or a `texture`."""
        return load_prior(self.part(kind))

    @cached_property
    def texture(self) -> Texture:
        """What tokens of texture mean."""
        return load_texture(self.part("texture"))

    @cached_property
    def base(self) -> FloatPath:
        """The base's float path."""
        from nicodec.latents.floats import load_float_path

        return load_float_path(self.part("base"), self.engine, self.device)

    @cached_property
    def tokens(self) -> TokenPath:
        """The tokens' float path."""
        from nicodec.latents.codebook import load_token_path

        return load_token_path(self.part("vq"), self.engine, self.device)

    @cached_property
    def mode(self) -> Networks | None:
        """MoDE, trained on this base and these tokens; None where it is not installed."""
        part = self.trained("mode")
        return None if part is None else load_networks(part, self.engine, self.device)

    @cached_property
    def fuser(self) -> Fuser:
        """The fuser trained on this base.

        Raises:
            MissingPartError, DamagedPartError: it is not installed, or not whole.
        """
        from nicodec.painters.fuser import load_fuser

        part = self.trained("fuser")
        if part is None:
            raise missing(f"no fuser trained on base {self.ids['base'].hex()} is installed; decode with --tau 0")
        return load_fuser(part, self.engine, self.device, self.ids.get("texture"))

    def trust(self, named: bytes) -> Networks:
        """What tells how far references are trusted. `named`: how the id begins of one trained on this base.

        Raises:
            MissingPartError, DamagedPartError: it is not installed, or not whole.
        """
        base = self.ids["base"]
        ids = [part.id for part in all_trained("trust", {base}, self.among)]
        wanted = next((each for each in ids if each.startswith(named)), None)
        if wanted is None:
            others = ", ".join(each.hex() for each in ids) or "none"
            raise missing(f"the file names trust {named.hex()}.. on base {base.hex()}, and of such there is {others}")
        return load_networks(find_part("trust", wanted, self.among), self.engine, self.device)

    @cached_property
    def restorer(self) -> Restorer:
        """What restores JPEGs.

        Raises:
            MissingPartError, DamagedPartError: it is not whole.
        """
        from nicodec.painters.restorer import load_restorer

        return load_restorer(self.part("restorer"), self.base, self.engine, self.device)

    @cached_property
    def dictionary(self) -> Dictionary:
        """Pictures to refer to."""
        return load_dictionary(self.part("dictionary"))

    @cached_property
    def conditioning(self) -> Conditioning:
        """What they do to the base."""
        from nicodec.dictionary.conditioning import Conditioning

        part = self.part("dictionary")
        return Conditioning(part, load_networks(part, self.engine, self.device))

    @property
    def refers(self) -> bool:
        """Whether there is a dictionary that a file can refer to."""
        return "dictionary" in self.ids and has_adapters(self.part("dictionary"))
