"""Tokens to bytes and back: each bit of a token on its way down the codebook's tree, under an integer prior."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from nicodec.entropy.coder import Latent, categorical, words
from nicodec.entropy.integer import ACTIVATION_BITS, ACTIVATION_MAX, Integers, Layer, pixel_shuffle
from nicodec.entropy.scales import MAGNITUDES, Z_MAX
from nicodec.errors import CorruptFileError

TOKEN_LEVELS = 64  # probabilities that a bit may have
BLOCK = 4  # positions of y along a side of one of z

Tokens = NDArray[np.uint16]


@dataclass(frozen=True)
class TokenPrior:
    """How likely each bit of a token is, from nothing (`static`) or from the symbols of the SQ stream (`sq`).

    ::

        z_hat ─ pointwise, shuffle 2, shuffle 2 ─► features (H, W, w/2)
        [features, magnitude(symbols)] ─ pointwise ─ depthwise ─ squares to channels ─┐
                                                   levels of all nodes ◄─ pointwise ─ pointwise ◄┘

    The last layer gives each inner node of the tree a level 0..TOKEN_LEVELS-1, which picks the weight of a 1.
    Node n of depth d with prefix p is n = 2^d - 1 + p.

    Attributes:
        bits: depth of the tree.
        side: 1 or 2, positions of y along a side of a token.
        static: (2^bits - 1,) levels for `static`.
        magnitude: (256,) what the networks see of |symbol|, in units of 1/256.
        signed: whether they see the symbol's sign too: texture is the same with any.
        weights: (TOKEN_LEVELS,) counts of a 1, of 2^24 - 2 in all.
        layers: `z`, `embed`, `mix`, `hidden`, `head`.
    """

    bits: int
    side: int
    static: NDArray[np.uint8]
    magnitude: Integers
    weights: NDArray[np.int64]
    layers: Mapping[str, Layer]
    signed: bool = True

    def __post_init__(self) -> None:
        for layer in self.layers.values():
            layer.check_bound()
        nodes = (1 << self.bits) - 1
        if len(self.static) != nodes or len(self.layers["head"].shift) != nodes:
            raise ValueError(f"expected levels for {nodes} nodes")
        if len(self.weights) != TOKEN_LEVELS or self.weights.min() < 0 or self.weights.max() > TOTAL:
            raise ValueError("the weights of a token's bits are out of range")
        if self.magnitude.max() > ACTIVATION_MAX or self.static.max() >= TOKEN_LEVELS:
            raise ValueError("a magnitude or a level is out of range")

    def levels(self, latent: Latent | None, count: int) -> NDArray[np.uint8]:
        """Levels of all nodes at each of `count` tokens: (count, 2^bits - 1). Without a latent, the static ones."""
        if latent is None:
            return np.broadcast_to(self.static, (count, len(self.static)))
        rate, of_tokens = latent.rate, BLOCK // self.side
        z = np.clip(latent.z_hat, -Z_MAX, Z_MAX).astype(np.float64) * (1 << ACTIVATION_BITS)
        features = pixel_shuffle(pixel_shuffle(self.layers["z"].pointwise(z, rate.knots())))
        clipped = np.clip(latent.symbols, 1 - MAGNITUDES, MAGNITUDES - 1)
        seen = np.take(self.magnitude, np.abs(clipped))
        if self.signed:
            seen = np.copysign(seen, clipped)
        x = self.layers["embed"].pointwise(np.concatenate([features, seen], 2), rate.knots(BLOCK))
        x = squares_to_channels(self.layers["mix"].depthwise(x, rate.knots(BLOCK)), self.side)
        x = self.layers["hidden"].pointwise(x, rate.knots(of_tokens))
        x = self.layers["head"].pointwise(x, rate.knots(of_tokens))
        return x.reshape(count, -1).astype(np.uint8)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], bits: int, side: int, signed: bool) -> TokenPrior:
        """Build from the arrays of a VQ or a texture part (names as `to_arrays` gives them).

        Raises:
            ValueError, KeyError: an array is missing or out of its range.
        """
        layers = {name.removesuffix(".shift"): Layer.from_arrays(arrays, name.removesuffix(".shift"))
                  for name in arrays if name.endswith(".shift")}  # fmt: skip
        return cls(
            bits, side, arrays["static"].astype(np.uint8), arrays["magnitude"].astype(np.float64),
            arrays["weights"].astype(np.int64), layers, signed,
        )  # fmt: skip

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to store: integers only."""
        arrays: dict[str, NDArray[Any]] = {
            "static": self.static,
            "magnitude": self.magnitude.astype(np.int32),
            "weights": self.weights.astype(np.int32),
        }
        for name, layer in self.layers.items():
            arrays |= layer.to_arrays(name)
        return arrays


TOTAL = (1 << 24) - 2


def squares_to_channels(x: Integers, side: int) -> Integers:
    """(side·H, side·W, C) -> (H, W, side^2·C): position (i, j) of a square goes to channels from (side·i + j)·C on."""
    height, width, channels = x.shape[0] // side, x.shape[1] // side, x.shape[2]
    squares = x.reshape(height, side, width, side, channels).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(squares).reshape(height, width, side * side * channels)


def tokens_crc(tokens: Tokens) -> int:
    """The low 24 bits of the CRC-32 over all tokens, little-endian uint16 in raster order."""
    return zlib.crc32(tokens.astype("<u2").tobytes()) & 0xFFFFFF


def encode_tokens(prior: TokenPrior, tokens: Tokens, depth: int, latent: Latent | None) -> bytes:
    """Code a tile's tokens (h, w), each below 2^depth, as one range-coded stream (FORMAT.md, "VQ stream")."""
    encoder = constriction.stream.queue.RangeEncoder()
    levels = prior.levels(latent, tokens.size)
    for level, bits in _walk(levels, tokens.ravel(), depth):
        order = np.argsort(level, kind="stable")
        start = 0
        for index, count in enumerate(np.bincount(level)):
            if count:
                chosen = bits[order[start : start + count]].astype(np.int32)
                encoder.encode(chosen, _bit_model(prior, index))
                start += count
    return encoder.get_compressed().astype("<u4").tobytes()


def estimate_token_bits(prior: TokenPrior, tokens: Tokens, depth: int, latent: Latent | None) -> float:
    """What the prior says that a tile's tokens cost, in bits."""
    return float(token_costs(prior, tokens, depth, latent).sum())


def node_costs(prior: TokenPrior, shape: tuple[int, int], depth: int, latent: Latent | None) -> NDArray[np.float32]:
    """What each token of a tile would cost, in bits: (*shape, 2^depth)."""
    each = -np.log2((np.stack([TOTAL - prior.weights, prior.weights]) + 1) / (1 << 24)).astype(np.float32)
    levels = prior.levels(latent, shape[0] * shape[1])
    costs = np.zeros((len(levels), 1), np.float32)
    for bit in range(depth):
        of_nodes = levels[:, (1 << bit) - 1 : (2 << bit) - 1]
        costs = np.stack([costs + of_way[of_nodes] for of_way in each], 2).reshape(len(levels), -1)
    return costs.reshape(*shape, -1)


def token_costs(prior: TokenPrior, tokens: Tokens, depth: int, latent: Latent | None) -> NDArray[np.float64]:
    """What each token (h, w) costs, in bits: (h, w)."""
    ones = -np.log2((prior.weights + 1) / (1 << 24))
    zeros = -np.log2((TOTAL - prior.weights + 1) / (1 << 24))
    levels, costs = prior.levels(latent, tokens.size), np.zeros(tokens.size)
    for level, bits in _walk(levels, tokens.ravel(), depth):
        costs += np.where(bits, ones[level], zeros[level])
    return costs.reshape(tokens.shape)


def decode_tokens(prior: TokenPrior, data: bytes, shape: tuple[int, int], depth: int, latent: Latent | None) -> Tokens:
    """Read a tile's tokens back, `shape` of them.

    Raises:
        CorruptFileError: the stream does not parse, ends early or has words left over.
    """
    decoder = constriction.stream.queue.RangeDecoder(words(data))
    levels = prior.levels(latent, shape[0] * shape[1])
    tokens = np.zeros(shape[0] * shape[1], np.int64)
    try:
        for bit in range(depth):
            level = np.take_along_axis(levels, ((1 << bit) - 1 + tokens)[:, None], 1)[:, 0]
            order = np.argsort(level, kind="stable")
            counts = np.bincount(level)
            parts = [
                decoder.decode(_bit_model(prior, index), int(count)) for index, count in enumerate(counts) if count
            ]
            bits = np.empty(len(tokens), np.int64)
            bits[order] = np.concatenate(parts)
            tokens = 2 * tokens + bits
    except AssertionError as error:  # how constriction says that no symbol fits the stream
        raise CorruptFileError("a token stream holds words that no encoder writes") from error
    if not decoder.maybe_exhausted():
        raise CorruptFileError("a token stream has words left over after its last token")
    return tokens.reshape(shape).astype(np.uint16)


def _walk(
    levels: NDArray[np.uint8], tokens: Tokens, depth: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """For each bit, highest first: its level and its value at every token."""
    wide = tokens.astype(np.int64)
    for bit in range(depth):
        node = (1 << bit) - 1 + (wide >> (depth - bit))
        level = np.take_along_axis(levels, node[:, None], 1)[:, 0]
        yield level, (wide >> (depth - bit - 1) & 1).astype(bool)


def _bit_model(prior: TokenPrior, level: int) -> constriction.stream.model.Categorical:
    one = int(prior.weights[level])
    return categorical(np.array([TOTAL - one, one]))
