"""The streams: symbols and tokens, tile by tile, to bytes and back. Integers only."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace
from functools import partial
from typing import TypeVar

from nicodec.ahead import in_threads
from nicodec.container.layout import Box, Header, Prior, SectionType, TileBody, TokenStreams, tiles
from nicodec.container.payloads import read_tiles
from nicodec.container.reader import NicFile, note_damage
from nicodec.container.references import read_aligned, what_blocks_say
from nicodec.entropy.coder import Latent, decode_latent, encode_latent
from nicodec.entropy.integer import BLAS_BUFFER
from nicodec.entropy.motion import Motion
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.symbols import TileSymbols
from nicodec.entropy.tokens import TokenPrior, Tokens, decode_tokens, encode_tokens, tokens_crc
from nicodec.errors import CorruptFileError, InexactError
from nicodec.latents.rates import file_rate
from nicodec.zoo.model import Model

T = TypeVar("T")


def code_latent(scales: ScaleModel, latent: Latent, verify: bool) -> tuple[int, bytes]:
    """The symbols' CRC and the coded bytes of one tile.

    Raises:
        InexactError: the symbols do not come back from the stream (with `verify`).
    """
    stream = encode_latent(scales, latent)
    if verify:
        height, width, _ = latent.z_hat.shape
        plain, mapped, held = replace(latent.rate, levels=None), latent.rate.levels is not None, latent.motion
        motion = None if held is None else Motion.none(height, width, **held.said)
        if decode_latent(scales, stream, height, width, plain, mapped, motion).crc() != latent.crc():
            raise InexactError("the encoded symbols do not decode to themselves on this machine; please report it")
    return latent.crc(), stream


def code_tokens(
    prior: TokenPrior, tokens: Tokens, depth: int, latent: Latent | None, verify: bool
) -> tuple[int, bytes]:
    """The tokens' CRC and the coded bytes of one tile.

    Raises:
        InexactError: the tokens do not come back from the stream (with `verify`).
    """
    stream, crc = encode_tokens(prior, tokens, depth, latent), tokens_crc(tokens)
    shape = tokens.shape[0], tokens.shape[1]
    if verify and tokens_crc(decode_tokens(prior, stream, shape, depth, latent)) != crc:
        raise InexactError("the encoded tokens do not decode to themselves on this machine; please report it")
    return crc, stream


class Listener:
    """Who hears of what there is of a tile as soon as it is read, from any thread; this one does nothing about it."""

    def moved(self, tile: Box, motion: Motion) -> None:
        """Its motion; the classes are not read yet."""

    def passed(self, tile: Box, latent: Latent, passes: int) -> None:
        """So many passes of its symbols; 0: z_hat. The same latent is then filled in further, meanwhile."""


NOBODY = Listener()


def decode_symbols(
    file: NicFile, model: Model, streams: TokenStreams | None, wanted: Container[Box] | None = None,
    damage: list[str] | None = None, listener: Listener = NOBODY,
) -> dict[Box, TileSymbols]:  # fmt: skip
    """Decode and check the symbols of some tiles of a file (None: of all): integer arithmetic only, no network.

    Args:
        model: what the file names.
        streams: the tokens that are wanted too.
        damage: where to note what is damaged, instead of raising; a tile then lacks its latent, its tokens or both.
        listener: hears of it meanwhile.

    Raises:
        InexactError: a stream parses, but to other symbols than the encoder's.
        MissingPartError, DamagedPartError, CorruptFileError: see `codec.decode_taus`.
    """
    header = file.header
    payload = file.payload(SectionType.SQ)
    if payload is None and streams is None:
        return {}  # all is drawn
    geometry = tiles(header.width, header.height)
    sq_tiles: list[TileBody | None] = [None] * len(geometry)
    if payload is not None:
        sq_tiles = attempt(lambda: read_tiles(payload, header, "the SQ section", damage), damage) or sq_tiles
    scales = None if payload is None else model.scales
    if scales is not None and (header.tune is None) != (scales.tunes == 1):
        said = "no tune" if header.tune is None else f"tune {header.tune.name.lower()}"
        raise CorruptFileError(f"the file says {said} of a base that has {scales.tunes}")
    prior = None if streams is None else model.prior(streams.kind)
    references = attempt(lambda: read_aligned(file), damage)
    says, count = what_blocks_say(file), len(references or ())

    def moved(tile: Box, motion: Motion) -> None:
        if motion.sources.max() > count:
            raise CorruptFileError(f"a tile takes from reference {motion.sources.max()} of {count}")
        listener.moved(tile, motion)

    def parse(number: int) -> tuple[TileSymbols, list[str]]:
        notes: list[str] = []
        own = None if damage is None else notes
        tile = geometry[number]
        motion = Motion.none(*tile.grid, **says._asdict()) if header.referring else None
        body, heard = sq_tiles[number], (partial(moved, tile), partial(listener.passed, tile))
        latent = attempt(partial(read_latent, scales, header, tile, body, motion, *heard), own)
        tokens = attempt(partial(read_token_map, prior, streams, number, tile, latent), own)
        return TileSymbols(latent, tokens), notes

    numbers = [number for number, tile in enumerate(geometry) if wanted is None or tile in wanted]
    symbols = {}
    for number, (held, notes) in zip(numbers, in_threads(parse, numbers, each=BLAS_BUFFER), strict=True):
        symbols[geometry[number]] = held
        if damage is not None:
            damage.extend(notes)
    return symbols


def attempt(call: Callable[[], T], damage: list[str] | None) -> T | None:
    """What `call` returns; or, where there is a list of damage, None and a note of what is damaged."""
    try:
        return call()
    except (CorruptFileError, InexactError) as error:
        note_damage(error, damage)
        return None


def read_latent(
    scales: ScaleModel | None, header: Header, tile: Box, body: TileBody | None, motion: Motion | None,
    moved: Callable[[Motion], None], passed: Callable[[Latent, int], None],
) -> Latent | None:  # fmt: skip
    """Decode and check the latent of one tile, if there is one. `motion`, `moved`, `passed`: as in `decode_latent`.

    Raises: as `decode_symbols`.
    """
    if scales is None or body is None:
        return None
    crc, stream = body
    latent = decode_latent(scales, stream, *tile.grid, file_rate(header), header.mapped, motion, moved, passed)
    check_crc("symbols", latent.crc(), crc)
    return latent


def read_token_map(
    prior: TokenPrior | None, streams: TokenStreams | None, index: int, tile: Box, latent: Latent | None
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
    tokens = decode_tokens(prior, stream, shape, streams.depth, seen)
    check_crc("tokens", tokens_crc(tokens), crc)
    return tokens


def check_crc(what: str, found: int, expected: int) -> None:
    """Raise InexactError where a CRC of decoded symbols does not hold."""
    if found != expected:
        raise InexactError(
            f"the {what} have CRC {found:06x}, the file says {expected:06x}; file and model are whole, so this "
            "machine's (or the encoder's) arithmetic is at fault"
        )
