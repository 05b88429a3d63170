"""Symbols to bytes and back. The only file that talks to constriction, whose range coder this is."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import constriction
import numpy as np
from numpy.typing import NDArray

from nicodec.entropy.levels import rebuild, residuals
from nicodec.entropy.motion import Motion, Step, walk_motion
from nicodec.entropy.order import checkerboard
from nicodec.entropy.scales import ScaleModel, ScaleWalk
from nicodec.entropy.tables import SCALE_LEVELS, SYMBOL_MAX, WEIGHT_BITS, WEIGHT_TOTAL, Tables
from nicodec.errors import CorruptFileError
from nicodec.rate.tile import Levels, TileRate

Symbols = NDArray[np.int16]
Indices = NDArray[np.uint8]
NO_ENCODER = "an entropy stream holds words that no encoder writes"


def categorical(counts: NDArray[np.int64]) -> constriction.stream.model.Categorical:
    """A table as constriction takes it.

    With `perfect=False` and float64 counts that sum to WEIGHT_TOTAL - entries, constriction's own
    rescaling is by exactly 1, and it adds one to every entry: the weights are counts + 1.
    """
    return constriction.stream.model.Categorical(counts.astype(np.float64), perfect=False)


_BYTE = categorical(np.full(256, WEIGHT_TOTAL // 256 - 1))


@dataclass(frozen=True)
class Latent:
    """The symbols of one tile: z_hat (h, w, N) and the residual symbols of y (4h, 4w, M), both int16; and their rate.

    In a file with references, `motion` says what it takes from them. An encoder that chose the symbols by their cost
    has the scale `indices` of each pass over y already.
    """

    z_hat: Symbols
    symbols: Symbols
    rate: TileRate
    indices: tuple[Indices, ...] | None = field(default=None, repr=False, compare=False)
    motion: Motion | None = field(default=None, repr=False)

    def tobytes(self) -> bytes:
        """The quality map's levels, the motion, z_hat, then symbols, as far as they are there: int16, little-endian."""
        levels = b"" if self.rate.levels is None else self.rate.levels.astype("<i2").tobytes()
        motion = b"" if self.motion is None else self.motion.tobytes()
        return levels + motion + b"".join(part.astype("<i2").tobytes() for part in (self.z_hat, self.symbols))

    @property
    def classes(self) -> NDArray[np.uint8] | None:
        """Of each position of y, where there are any."""
        return None if self.motion is None else self.motion.classes

    def crc(self) -> int:
        """The low 24 bits of the CRC-32 over all symbols."""
        return zlib.crc32(self.tobytes()) & 0xFFFFFF


def encode_latent(model: ScaleModel, latent: Latent) -> bytes:
    """Code a tile's symbols as one range-coded stream, after the number of its map's table (FORMAT.md, "SQ stream")."""
    encoder, tables = constriction.stream.queue.RangeEncoder(), model.tables[latent.rate.tune]
    head = b""
    if latent.rate.levels is not None:
        indices, values = _map_group(tables, latent.rate.levels)
        _encode(encoder, tables, indices, values)
        head = indices[:1].tobytes()
    if latent.motion is not None:
        walk_motion(latent.motion, partial(_encode_step, encoder))
    for indices, values in groups(model, latent):
        _encode(encoder, tables, indices, values)
    return head + encoder.get_compressed().astype("<u4").tobytes()


def estimate_bits(model: ScaleModel, latent: Latent) -> float:
    """What the tables say that a tile costs, in bits: the stream without the coder's own overhead."""
    return float(cost_map(model, latent).sum())


def cost_map(model: ScaleModel, latent: Latent) -> NDArray[np.float64]:
    """What each position of y costs, in bits: (4h, 4w).

    The bits of z and of the quality map are shared evenly by the positions that they are for, those of the motion by
    all.
    """
    height, width, _ = latent.z_hat.shape
    tables = model.tables[latent.rate.tune]
    (z_indices, z_values), *passes = groups(model, latent)
    blocks = _costs(tables, z_indices, z_values).reshape(height, width, -1).sum(2)
    if latent.rate.levels is not None:
        blocks += _costs(tables, *_map_group(tables, latent.rate.levels)).reshape(height, width)
    if latent.motion is not None:
        blocks += motion_bits(latent.motion) / blocks.size
    total = np.kron(blocks, np.full((4, 4), 1 / 16))
    for step, (indices, values) in zip(model.passes, passes, strict=True):
        mask = checkerboard(4 * height, 4 * width, step.parity)
        total[mask] += _costs(tables, indices, values).reshape(-1, step.stop - step.start).sum(1)
    return total


def _costs(tables: Tables, indices: Indices, values: Symbols) -> NDArray[np.float64]:
    costs = np.empty(len(values))
    for index in np.unique(indices):
        at = indices == index
        entries, escaped = entries_of(values[at], int(tables.limits[index]))
        costs[at] = tables.bits(int(index))[entries] + 16 * escaped
    return costs


def _map_group(tables: Tables, levels: Levels) -> tuple[Indices, Symbols]:
    """What is coded of a quality map, and under which table: all of it under the cheapest."""
    values = residuals(levels)
    under = [np.full(len(values), index, np.uint8) for index in range(SCALE_LEVELS)]
    return min(under, key=lambda indices: _costs(tables, indices, values).sum()), values


def groups(model: ScaleModel, latent: Latent) -> Iterator[tuple[Indices, Symbols]]:
    """Scale indices and symbols of z, then of each pass over y, flat: what networks code, in the order of coding."""
    height, width, _ = latent.z_hat.shape
    yield model.z_indices(height, width, latent.rate).ravel(), latent.z_hat.ravel()
    all_indices = latent.indices or _y_indices(model, latent)
    for step, indices in zip(model.passes, all_indices, strict=True):
        mask = checkerboard(4 * height, 4 * width, step.parity)
        yield indices.ravel(), latent.symbols[mask, step.start : step.stop].ravel()


def _y_indices(model: ScaleModel, latent: Latent) -> Iterator[Indices]:
    """Scale indices of each pass over y; a pass sees the symbols of those before."""
    walk = ScaleWalk(model, latent.z_hat, latent.rate, latent.classes)
    for step in model.passes:
        yield walk.indices(step)
        walk.tell(step, latent.symbols[walk.mask(step), step.start : step.stop])


def decode_latent(
    model: ScaleModel, data: bytes, height: int, width: int, rate: TileRate, mapped: bool = False,
    motion: Motion | None = None, moved: Callable[[Motion], None] | None = None,
    passed: Callable[[Latent, int], None] | None = None,
) -> Latent:  # fmt: skip
    """Read a tile's symbols back.

    Args:
        height, width: of z, in positions.
        rate: without levels.
        mapped: whether the tile has a quality map; the latent's rate then has the levels.
        motion: an empty one (`Motion.none`), which is filled in; None: the tile has none.
        moved: called with the motion as soon as all of it but the classes is there.
        passed: called with the latent, which is filled in further meanwhile, and how many passes are in it: 0 after
            z_hat, then after each.

    Raises:
        CorruptFileError: the stream does not parse, ends early or has words left over; or what the map or a vector
            says is out of its range.
    """
    tables = model.tables[rate.tune]
    decoder = constriction.stream.queue.RangeDecoder(words(data[mapped:]))
    if mapped:
        if data[0] >= SCALE_LEVELS:
            raise CorruptFileError(f"a quality map is coded by table {data[0]}, expected 0..{SCALE_LEVELS - 1}")
        coded = _decode(decoder, tables, np.full(height * width, data[0], np.uint8))
        rate = replace(rate, levels=rebuild(coded, height, width))
    if motion is not None:
        _decode_motion(decoder, motion, moved)
    z_indices = model.z_indices(height, width, rate)
    z_hat = _decode(decoder, tables, z_indices.ravel()).reshape(z_indices.shape)
    walk = ScaleWalk(model, z_hat, rate, None if motion is None else motion.classes)
    latent = Latent(z_hat, np.zeros((*walk.shape, model.latent), np.int16), rate, motion=motion)
    passed = passed or (lambda latent, passes: None)
    passed(latent, 0)
    for step in model.passes:
        indices = walk.indices(step)
        values = _decode(decoder, tables, indices.ravel()).reshape(indices.shape)
        latent.symbols[walk.mask(step), step.start : step.stop] = values
        passed(latent, step.index + 1)
        walk.tell(step, values)
    if not decoder.maybe_exhausted():
        raise CorruptFileError("an entropy stream has words left over after its last symbol")
    return latent


def _decode_motion(
    decoder: constriction.stream.queue.RangeDecoder, motion: Motion, moved: Callable[[Motion], None] | None
) -> None:
    try:
        walk_motion(motion, partial(_decode_step, decoder), moved)
    except AssertionError as error:  # as in `_decode`
        raise CorruptFileError(NO_ENCODER) from error


def _encode_step(encoder: constriction.stream.queue.RangeEncoder, weights: list[int], entry: int) -> int:
    encoder.encode(entry, categorical(np.array(weights) - 1))
    return entry


def _decode_step(decoder: constriction.stream.queue.RangeDecoder, weights: list[int], _: int) -> int:
    return int(decoder.decode(categorical(np.array(weights) - 1)))


def motion_bits(motion: Motion, walk: Callable[[Motion, Step], None] = walk_motion) -> float:
    """What a tile's motion takes in its stream; or what that part of it does which `walk` codes."""
    total = 0.0

    def add(weights: list[int], entry: int) -> int:
        nonlocal total
        total += WEIGHT_BITS - math.log2(weights[entry])
        return entry

    walk(motion, add)
    return total


def words(data: bytes) -> NDArray[np.uint32]:
    """The words of a stream.

    Raises:
        CorruptFileError: there are none, or not whole ones.
    """
    if not data or len(data) % 4:
        raise CorruptFileError(f"an entropy stream has {len(data)} bytes, expected a multiple of 4 above 0")
    return np.frombuffer(data, "<u4").astype(np.uint32)


def _encode(encoder: constriction.stream.queue.RangeEncoder, tables: Tables, indices: Indices, values: Symbols) -> None:
    """One group: symbols sorted by scale index (stable), then what escaped, in the same order."""
    order = np.argsort(indices, kind="stable")
    values = values[order]
    escapes = []
    start = 0
    for index, count in enumerate(np.bincount(indices)):
        if count:
            chosen = values[start : start + count]
            entries, escaped = entries_of(chosen, int(tables.limits[index]))
            encoder.encode(entries.astype(np.int32), categorical(tables.table(index)))
            escapes.append(chosen[escaped])
            start += count
    raw = np.concatenate(escapes).astype(np.int32) + SYMBOL_MAX + 1
    if len(raw):
        encoder.encode(np.stack([raw >> 8, raw & 255], 1).ravel().astype(np.int32), _BYTE)


def _decode(decoder: constriction.stream.queue.RangeDecoder, tables: Tables, indices: Indices) -> Symbols:
    order = np.argsort(indices, kind="stable")
    parts, limits = [], []
    try:
        for index, count in enumerate(np.bincount(indices)):
            if count:
                limit = int(tables.limits[index])
                parts.append(decoder.decode(categorical(tables.table(index)), int(count)) - limit)
                limits.append(np.full(count, limit))
        values = np.concatenate(parts)
        escaped = values > np.concatenate(limits)
        if escaped.any():
            high, low = decoder.decode(_BYTE, 2 * int(escaped.sum())).reshape(-1, 2).T
            values[escaped] = (high << 8) + low - SYMBOL_MAX - 1
    except AssertionError as error:  # how constriction says that no symbol fits the stream
        raise CorruptFileError(NO_ENCODER) from error
    result = np.empty(len(values), np.int16)
    result[order] = values
    return result


def entries_of(values: Symbols, limit: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Entries of a table that stand for symbols, and which of them are the escape."""
    escaped = np.abs(values.astype(np.int64)) > limit
    return np.where(escaped, 2 * limit + 1, values.astype(np.int64) + limit), escaped
