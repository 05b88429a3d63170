"""The streams: symbols and tokens, tile by tile, to sections and back."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from nicodec.container.layout import Box, Header, Prior, Section, SectionType, TileBody, TokenStreams, Tune, tiles
from nicodec.container.reader import NicFile, note_damage, read_tiles
from nicodec.container.references import read_aligned
from nicodec.container.writer import write_tiles, write_tokens
from nicodec.entropy.coder import Latent, decode_latent, encode_latent
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.symbols import TileSymbols
from nicodec.entropy.tokens import TokenPrior, Tokens, decode_tokens, encode_tokens, tokens_crc
from nicodec.errors import CorruptFileError, InexactError, MissingPartError, UsageError
from nicodec.image.picture import Picture
from nicodec.options import EncodeOptions
from nicodec.rate.map import contrast_levels, mask_levels, total
from nicodec.rate.tile import Levels, TileRate
from nicodec.zoo.load import has_adapters, load_prior, load_scales
from nicodec.zoo.manifest import Part
from nicodec.zoo.store import find_package, find_part

if TYPE_CHECKING:
    from nicodec.dictionary.conditioning import Referred
    from nicodec.latents.analysis import Analysed
    from nicodec.latents.floats import FloatPath

ONLY_LATENTS = "a file of a model with several tunes, or with a quality map, has neither tokens nor references"
T = TypeVar("T")


class StreamEncoder:
    """A model's parts, loaded to encode.

    Raises:
        MissingPartError, DamagedPartError: the model is not installed, or not whole, or has no VQ part.
        UsageError: more bits a token than the codebook has; the device is not there.
    """

    def __init__(self, options: EncodeOptions) -> None:
        from nicodec.latents.codebook import load_token_path
        from nicodec.latents.floats import load_float_path

        runs = options.engine, options.device
        parts = find_package(options.model).parts
        self.options, self.parts = options, parts
        self.base = load_float_path(parts["base"], *runs)
        self.tune = Tune[options.tune.upper()] if self.base.tunes > 1 else None
        self.version = 1 if self.tune is None and options.roi is None else 2
        wanted = wanted_streams(options, parts, self.version)
        self.scales = load_scales(parts["base"]) if "sq" in wanted else None
        self.vq = load_token_path(parts["vq"], *runs) if "vq" in wanted else None
        self.prior = load_prior(parts["vq"]) if "vq" in wanted else None
        deepest = self.prior.bits if self.prior else 0
        self.depth = deepest if options.token_bits is None else options.token_bits
        self.kind = Prior.STATIC if options.robust or self.scales is None else Prior.SQ
        held = parts.get("dictionary")
        self.dictionary = held if held and self.scales and self.version == 1 and has_adapters(held) else None
        if isinstance(options.references, int) and self.dictionary is None:
            if self.version > 1:
                raise UsageError(f"{ONLY_LATENTS}; encode with --references off")
            raise MissingPartError(
                f"model {options.model} has no dictionary that a latent can refer to; encode with --references off"
            )
        if self.prior and self.depth > deepest:
            raise UsageError(f"token bits are {self.depth}, expected 1..{deepest} with model {options.model}")

    def analyse(self, picture: Picture) -> Iterator[Analysed]:
        """Each tile in order, as far as the rate does not matter."""
        from nicodec.latents.analysis import analyse

        return analyse(picture, self.base, self.vq, self.depth)

    def levels(self, picture: Picture) -> Levels | None:
        """The quality map of all of a picture's blocks: by its mask, and in tune `eye` by its contrast."""
        roi, parts = self.options.roi, []
        if self.tune is Tune.EYE:
            parts.append(contrast_levels(picture.pixels))
        if roi is not None:
            parts.append(mask_levels(roi, picture.height, picture.width))
        return total(*parts) if parts else None

    def refer(self, picture: Picture, rate: int) -> Referred:
        """The base that a picture is coded with, and its REFERENCES section, if references pay or are asked for."""
        from nicodec.dictionary.conditioning import Referred, refer

        wanted = self.options.references
        if self.scales is None or self.dictionary is None or wanted == "off" or isinstance(wanted, tuple):
            return Referred(self.base)
        count = None if wanted == "auto" else int(wanted)
        runs = self.options.engine, self.options.device
        return refer(picture, self.base, self.scales, self.dictionary, rate, count, *runs)

    def symbols(self, analysed: Iterable[Analysed], base: FloatPath, rate: TileRate) -> Iterator[TileSymbols]:
        """The symbols of each tile in order: all that floats decide. `base`: as `refer` says; `rate`: of all blocks."""
        from nicodec.latents.analysis import choose_symbols

        return (choose_symbols(held, base, self.scales, rate, self.options.effort) for held in analysed)

    def sections(self, symbols: Iterable[TileSymbols], rate: int) -> list[Section]:
        """The SQ section, the VQ section or both.

        Raises:
            InexactError: the symbols do not come back from the stream (with `options.verify`).
        """
        sq_tiles, vq_tiles = [], []
        for held in symbols:
            if self.scales and held.latent:
                sq_tiles.append(code_latent(self.scales, held.latent, self.options.verify))
            if self.prior and held.tokens is not None:
                seen = held.latent if self.kind is Prior.SQ else None
                vq_tiles.append(code_tokens(self.prior, held.tokens, self.depth, seen, rate, self.options.verify))
        sections = [Section(SectionType.SQ, write_tiles(sq_tiles))] if sq_tiles else []
        if vq_tiles:
            payload = write_tokens(self.parts["vq"].id, self.kind, self.depth, vq_tiles)
            sections.append(Section(SectionType.VQ, payload))
        return sections


def wanted_streams(options: EncodeOptions, parts: Mapping[str, Part], version: int) -> list[str]:
    """`sq`, `vq` or both, as they are asked for, or as the model and this version of the format have them.

    Raises:
        MissingPartError: the model has no VQ part.
        UsageError: version 2, and tokens.
    """
    if options.streams is None:
        return ["sq", "vq"] if "vq" in parts and version == 1 else ["sq"]
    wanted = options.streams.split("+")
    if "vq" in wanted and version > 1:
        raise UsageError(f"{ONLY_LATENTS}; encode with --streams sq")
    if "vq" in wanted and "vq" not in parts:
        raise MissingPartError(f"model {options.model} has no vq part; encode with --streams sq")
    return wanted


def code_latent(scales: ScaleModel, latent: Latent, verify: bool) -> tuple[int, bytes]:
    """The symbols' CRC and the coded bytes of one tile.

    Raises:
        InexactError: the symbols do not come back from the stream (with `verify`).
    """
    stream = encode_latent(scales, latent)
    if verify:
        height, width, _ = latent.z_hat.shape
        plain, mapped = replace(latent.rate, levels=None), latent.rate.levels is not None
        referring = latent.motion is not None
        if decode_latent(scales, stream, height, width, plain, mapped, referring).crc() != latent.crc():
            raise InexactError("the encoded symbols do not decode to themselves on this machine; please report it")
    return latent.crc(), stream


def code_tokens(
    prior: TokenPrior, tokens: Tokens, depth: int, latent: Latent | None, rate: int, verify: bool
) -> tuple[int, bytes]:
    """The tokens' CRC and the coded bytes of one tile.

    Raises:
        InexactError: the tokens do not come back from the stream (with `verify`).
    """
    stream, crc = encode_tokens(prior, tokens, depth, latent, rate), tokens_crc(tokens)
    if (
        verify
        and tokens_crc(decode_tokens(prior, stream, (tokens.shape[0], tokens.shape[1]), depth, latent, rate)) != crc
    ):
        raise InexactError("the encoded tokens do not decode to themselves on this machine; please report it")
    return crc, stream


def decode_symbols(
    file: NicFile, streams: TokenStreams | None, wanted: Container[Box] | None = None, damage: list[str] | None = None
) -> dict[Box, TileSymbols]:
    """Decode and check the symbols of some tiles of a file (None: of all): integer arithmetic only, no torch.

    Args:
        streams: the tokens that are wanted too.
        damage: where to note what is damaged, instead of raising; a tile then lacks its latent, its tokens or both.

    Raises:
        InexactError: a stream parses, but to other symbols than the encoder's.
        MissingPartError, DamagedPartError, CorruptFileError: see `codec.decode_bytes`.
    """
    header = file.header
    payload = file.payload(SectionType.SQ)
    if payload is None and streams is None:
        return {}  # all is drawn
    geometry = tiles(header.width, header.height)
    sq_tiles: list[TileBody | None] = [None] * len(geometry)
    if payload is not None:
        sq_tiles = attempt(lambda: read_tiles(payload, header, "the SQ section", damage), damage) or sq_tiles
    scales = None if payload is None else load_scales(find_part("base", header.base_id))
    if scales is not None and (header.tune is None) != (scales.tunes == 1):
        said = "no tune" if header.tune is None else f"tune {header.tune.name.lower()}"
        raise CorruptFileError(f"the file says {said} of a base that has {scales.tunes}")
    prior = None if streams is None else load_prior(find_part("vq", streams.vq_id))
    references = attempt(lambda: read_aligned(file), damage)
    symbols = {}
    for index, (tile, sq) in enumerate(zip(geometry, sq_tiles, strict=True)):
        if wanted is None or tile in wanted:
            latent = attempt(partial(read_latent, scales, header, tile, sq, len(references or ())), damage)
            tokens = attempt(partial(read_token_map, prior, header.rate, streams, index, tile, latent), damage)
            symbols[tile] = TileSymbols(latent, tokens)
    return symbols


def attempt(call: Callable[[], T], damage: list[str] | None) -> T | None:
    """What `call` returns; or, where there is a list of damage, None and a note of what is damaged."""
    try:
        return call()
    except (CorruptFileError, InexactError) as error:
        note_damage(error, damage)
        return None


def read_latent(
    scales: ScaleModel | None, header: Header, tile: Box, body: TileBody | None, references: int
) -> Latent | None:
    """Decode and check the latent of one tile, if there is one. Raises: as `decode_symbols`."""
    if scales is None or body is None:
        return None
    crc, stream = body
    rate = TileRate(header.rate, header.tune or 0)
    latent = decode_latent(scales, stream, *tile.grid, rate, header.mapped, header.referring)
    check_crc("symbols", latent.crc(), crc)
    if latent.motion is not None and latent.motion.sources.max() > references:
        raise CorruptFileError(f"a tile takes from reference {latent.motion.sources.max()} of {references}")
    return latent


def read_token_map(
    prior: TokenPrior | None, rate: int, streams: TokenStreams | None, index: int, tile: Box, latent: Latent | None
) -> Tokens | None:
    """Decode and check the tokens of tile number `index`, if there are any. Raises: as `decode_symbols`."""
    if prior is None or streams is None or (body := streams.tiles[index]) is None:
        return None
    crc, stream = body
    if streams.depth > prior.bits:
        raise CorruptFileError(f"the file has tokens of {streams.depth} bits, its codebook has {prior.bits}")
    if streams.prior is Prior.SQ and latent is None:
        raise CorruptFileError("the tokens depend on symbols that the file does not have")
    rows, columns = tile.grid
    shape = (4 * rows // prior.side, 4 * columns // prior.side)
    seen = latent if streams.prior is Prior.SQ else None
    tokens = decode_tokens(prior, stream, shape, streams.depth, seen, rate)
    check_crc("tokens", tokens_crc(tokens), crc)
    return tokens


def check_crc(what: str, found: int, expected: int) -> None:
    """Raise InexactError where a CRC of decoded symbols does not hold."""
    if found != expected:
        raise InexactError(
            f"the {what} have CRC {found:06x}, the file says {expected:06x}; file and model are whole, so this "
            "machine's (or the encoder's) arithmetic is at fault"
        )
