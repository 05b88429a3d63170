"""Symbols to bytes and back. The only file that talks to constriction, whose range coder this is."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import constriction
import numpy as np
from numpy.typing import NDArray

from nicodec.entropy.order import checkerboard
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.tables import SYMBOL_MAX, WEIGHT_TOTAL
from nicodec.errors import CorruptFileError

Symbols = NDArray[np.int16]
Indices = NDArray[np.uint8]


def categorical(counts: NDArray[np.int64]) -> constriction.stream.model.Categorical:
    """A table as constriction takes it.

    With `perfect=False` and float64 counts that sum to WEIGHT_TOTAL - entries, constriction's own
    rescaling is by exactly 1, and it adds one to every entry: the weights are counts + 1.
    """
    return constriction.stream.model.Categorical(counts.astype(np.float64), perfect=False)


_BYTE = categorical(np.full(256, WEIGHT_TOTAL // 256 - 1))


@dataclass(frozen=True)
class Latent:
    """The symbols of one tile: z_hat (h, w, N) and the residual symbols of y (4h, 4w, M), both int16.

    An encoder that chose the symbols by their cost has the scale `indices` of each pass over y already.
    """

    z_hat: Symbols
    symbols: Symbols
    indices: tuple[Indices, ...] | None = field(default=None, repr=False, compare=False)

    def tobytes(self) -> bytes:
        """z_hat, then symbols: little-endian int16 in C order."""
        return self.z_hat.astype("<i2").tobytes() + self.symbols.astype("<i2").tobytes()

    def crc(self) -> int:
        """The low 24 bits of the CRC-32 over all symbols."""
        return zlib.crc32(self.tobytes()) & 0xFFFFFF


def encode_latent(model: ScaleModel, latent: Latent, rate: int) -> bytes:
    """Code a tile's symbols as one range-coded stream (FORMAT.md, "SQ stream")."""
    encoder = constriction.stream.queue.RangeEncoder()
    for indices, values in groups(model, latent, rate):
        _encode(encoder, model, indices, values)
    return encoder.get_compressed().astype("<u4").tobytes()


def estimate_bits(model: ScaleModel, latent: Latent, rate: int) -> float:
    """What the tables say that a tile costs, in bits: the stream without the coder's own overhead."""
    return float(cost_map(model, latent, rate).sum())


def cost_map(model: ScaleModel, latent: Latent, rate: int) -> NDArray[np.float64]:
    """What each position of y costs, in bits: (4h, 4w); z's bits are shared evenly by the positions that it is for."""
    height, width, _ = latent.z_hat.shape
    (z_indices, z_values), *passes = groups(model, latent, rate)
    z_costs = _costs(model, z_indices, z_values).reshape(height, width, -1).sum(2)
    total = np.kron(z_costs, np.full((4, 4), 1 / 16))
    for step, (indices, values) in zip(model.passes, passes, strict=True):
        mask = checkerboard(4 * height, 4 * width, step.parity)
        total[mask] += _costs(model, indices, values).reshape(-1, step.stop - step.start).sum(1)
    return total


def _costs(model: ScaleModel, indices: Indices, values: Symbols) -> NDArray[np.float64]:
    costs = np.empty(len(values))
    for index in np.unique(indices):
        at = indices == index
        entries, escaped = entries_of(values[at], int(model.tables.limits[index]))
        costs[at] = model.tables.bits(int(index))[entries] + 16 * escaped
    return costs


def groups(model: ScaleModel, latent: Latent, rate: int) -> Iterator[tuple[Indices, Symbols]]:
    """Scale indices and symbols of z, then of each pass over y, flat: what is coded, in the order of coding."""
    height, width, _ = latent.z_hat.shape
    yield model.z_indices(height, width, rate).ravel(), latent.z_hat.ravel()
    all_indices = latent.indices or _y_indices(model, latent, rate)
    for step, indices in zip(model.passes, all_indices, strict=True):
        mask = checkerboard(4 * height, 4 * width, step.parity)
        yield indices.ravel(), latent.symbols[mask, step.start : step.stop].ravel()


def _y_indices(model: ScaleModel, latent: Latent, rate: int) -> Iterator[Indices]:
    """Scale indices of each pass over y; a pass sees the symbols of those before."""
    features = model.features(latent.z_hat, rate)
    coded = np.zeros_like(latent.symbols)
    for step in model.passes:
        yield model.y_indices(features, coded, step, rate)
        mask = checkerboard(coded.shape[0], coded.shape[1], step.parity)
        coded[mask, step.start : step.stop] = latent.symbols[mask, step.start : step.stop]


def decode_latent(model: ScaleModel, data: bytes, height: int, width: int, rate: int) -> Latent:
    """Read a tile's symbols back.

    Args:
        height, width: of z, in positions.

    Raises:
        CorruptFileError: the stream does not parse, ends early or has words left over.
    """
    decoder = constriction.stream.queue.RangeDecoder(words(data))
    z_hat = _decode(decoder, model, model.z_indices(height, width, rate).ravel()).reshape(height, width, model.hyper)
    features = model.features(z_hat, rate)
    symbols = np.zeros((4 * height, 4 * width, model.latent), np.int16)
    for step in model.passes:
        indices = model.y_indices(features, symbols, step, rate)
        values = _decode(decoder, model, indices.ravel()).reshape(indices.shape)
        symbols[checkerboard(4 * height, 4 * width, step.parity), step.start : step.stop] = values
    if not decoder.maybe_exhausted():
        raise CorruptFileError("an entropy stream has words left over after its last symbol")
    return Latent(z_hat, symbols)


def words(data: bytes) -> NDArray[np.uint32]:
    """The words of a stream.

    Raises:
        CorruptFileError: there are none, or not whole ones.
    """
    if not data or len(data) % 4:
        raise CorruptFileError(f"an entropy stream has {len(data)} bytes, expected a multiple of 4 above 0")
    return np.frombuffer(data, "<u4").astype(np.uint32)


def _encode(
    encoder: constriction.stream.queue.RangeEncoder, model: ScaleModel, indices: Indices, values: Symbols
) -> None:
    """One group: symbols sorted by scale index (stable), then what escaped, in the same order."""
    order = np.argsort(indices, kind="stable")
    values = values[order]
    escapes = []
    start = 0
    for index, count in enumerate(np.bincount(indices)):
        if count:
            chosen = values[start : start + count]
            entries, escaped = entries_of(chosen, int(model.tables.limits[index]))
            encoder.encode(entries.astype(np.int32), categorical(model.tables.table(index)))
            escapes.append(chosen[escaped])
            start += count
    raw = np.concatenate(escapes).astype(np.int32) + SYMBOL_MAX + 1
    if len(raw):
        encoder.encode(np.stack([raw >> 8, raw & 255], 1).ravel().astype(np.int32), _BYTE)


def _decode(decoder: constriction.stream.queue.RangeDecoder, model: ScaleModel, indices: Indices) -> Symbols:
    order = np.argsort(indices, kind="stable")
    parts, limits = [], []
    try:
        for index, count in enumerate(np.bincount(indices)):
            if count:
                limit = int(model.tables.limits[index])
                parts.append(decoder.decode(categorical(model.tables.table(index)), int(count)) - limit)
                limits.append(np.full(count, limit))
        values = np.concatenate(parts)
        escaped = values > np.concatenate(limits)
        if escaped.any():
            high, low = decoder.decode(_BYTE, 2 * int(escaped.sum())).reshape(-1, 2).T
            values[escaped] = (high << 8) + low - SYMBOL_MAX - 1
    except AssertionError as error:  # how constriction says that no symbol fits the stream
        raise CorruptFileError("an entropy stream holds words that no encoder writes") from error
    result = np.empty(len(values), np.int16)
    result[order] = values
    return result


def entries_of(values: Symbols, limit: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Entries of a table that stand for symbols, and which of them are the escape."""
    escaped = np.abs(values.astype(np.int64)) > limit
    return np.where(escaped, 2 * limit + 1, values.astype(np.int64) + limit), escaped
