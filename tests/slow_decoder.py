"""The executable specification: entropy path and range coder of FORMAT.md in plain integers.

Shares no code with nicodec. Slow on purpose: one symbol at a time, int64 sums, Python integers in the range coder.
"""

import json
import struct
import zlib

import numpy as np
import safetensors.numpy
from slow_container import parse, tiles

WORD, STATE = 1 << 32, 1 << 64


class RangeDecoder:
    def __init__(self, stream):
        self.words = list(struct.unpack(f"<{len(stream) // 4}I", stream))
        self.lower, self.range, self.read = 0, STATE - 1, 0
        self.point = self.next_word() << 32 | self.next_word()

    def next_word(self):
        self.read += 1
        return self.words[self.read - 1] if self.read <= len(self.words) else 0

    def decode(self, weights):
        scale = self.range >> 24
        q = (self.point - self.lower) % STATE // scale
        assert q < 1 << 24
        entry = cumulative = 0
        while q >= cumulative + weights[entry]:
            cumulative += weights[entry]
            entry += 1
        self.lower = (self.lower + scale * cumulative) % STATE
        self.range = scale * weights[entry]
        if self.range < WORD:
            self.lower = (self.lower << 32) % STATE
            self.range <<= 32
            self.point = (self.point << 32) % STATE | self.next_word()
        return entry

    def finish(self):
        assert len(self.words) in (self.read - 1, self.read), "words left over, or missing"


class Integers:
    """The scale path of a base part, at one rate or, once it has read a map, at one rate a block."""

    def __init__(self, part, rate, tune=0):
        (length,) = struct.unpack("<Q", part[:8])
        config = json.loads(json.loads(part[8 : 8 + length])["__metadata__"]["config"])
        self.latent, self.hyper, self.slices = config["latent"], config["hyper"], config["slices"]
        arrays = safetensors.numpy.load(part)
        self.a = {k.removeprefix("entropy."): v for k, v in arrays.items() if k.startswith("entropy.")}
        self.tunes = config.get("tunes", 1)
        assert tune < self.tunes
        self.rate, self.tune, self.rates = rate, tune, [[rate]]
        self.weights, start = [], 0
        for limit in self.a["tables.limits"].tolist():
            counts = self.a["tables.counts"][start : start + 2 * limit + 2].tolist()
            self.weights.append([count + 1 for count in counts])
            assert sum(self.weights[-1]) == 1 << 24
            start += 2 * limit + 2
        self.limits = self.a["tables.limits"].tolist()[64 * tune : 64 * tune + 64]
        self.weights = self.weights[64 * tune : 64 * tune + 64]

    def use(self, levels):
        self.rates = [[min(max(self.rate + 2048 * level, 0), 65535) for level in row] for row in levels]

    def at_rate(self, table, r, s, rows, columns):
        """A table over the rate at position (r, s) of a grid of rows x columns positions."""
        rate = self.rates[r * len(self.rates) // rows][s * len(self.rates[0]) // columns]
        i, f = (rate >> 13) + 9 * self.tune, rate & 8191
        return (table[i].astype(np.int64) * (8192 - f) + table[i + 1].astype(np.int64) * f + 4096) >> 13

    def finish(self, total, name):
        shift, bias = self.a[name + ".shift"].astype(np.int64), self.a[name + ".bias"]
        rows, columns, _ = total.shape
        for r in range(rows):
            for s in range(columns):
                total[r, s] += self.at_rate(bias, r, s, rows, columns)
        return np.clip((total + (np.int64(1) << (shift - 1))) >> shift, *self.a[name + ".range"].tolist())

    def pointwise(self, x, name):
        weight = self.a[name + ".weight"].astype(np.int64)
        return self.finish(np.einsum("rsi,oi->rso", x, weight), name)

    def depthwise(self, x, name):
        weight = self.a[name + ".weight"].astype(np.int64)
        total = np.zeros_like(x)
        rows, columns, _ = x.shape
        for r in range(rows):
            for s in range(columns):
                for i in range(3):
                    for j in range(3):
                        if 0 <= r + i - 1 < rows and 0 <= s + j - 1 < columns:
                            total[r, s] += weight[:, i, j] * x[r + i - 1, s + j - 1]
        return self.finish(total, name)

    @staticmethod
    def shuffle(x):
        rows, columns, channels = x.shape
        out = np.zeros((2 * rows, 2 * columns, channels // 4), np.int64)
        for i in range(2):
            for j in range(2):
                out[i::2, j::2] = x[:, :, 2 * i + j :: 4]
        return out

    def z_indices(self, rows, columns):
        places = [(r, s) for r in range(rows) for s in range(columns)]
        index = [(self.at_rate(self.a["z_index"], r, s, rows, columns) + 128) >> 8 for r, s in places]
        return [int(np.clip(value, 0, 63)) for values in index for value in values]

    def features(self, z):
        x = self.shuffle(self.pointwise(256 * np.clip(z, -127, 127), "hyper.embed"))
        return self.shuffle(self.pointwise(self.depthwise(x, "hyper.mix"), "hyper.grow"))

    def indices(self, features, y, k, classes):
        known = (k // 2 + k % 2) * self.latent // self.slices
        magnitude = self.a["magnitude"].astype(np.int64)
        seen = magnitude[np.minimum(np.abs(y[:, :, :known]), 255)]
        x = self.pointwise(np.concatenate([features, seen], 2), f"{k}.embed")
        index = self.pointwise(self.pointwise(self.depthwise(x, f"{k}.mix"), f"{k}.hidden"), f"{k}.head")
        return np.maximum(index - np.array([0, 0, 3, 9, 15])[classes][:, :, None], 0)


class AdaptiveTable:
    def __init__(self, entries, likely):
        self.counts = [7 if entry == likely else 1 for entry in range(entries)]

    def decode(self, decoder):
        n, t = len(self.counts), sum(self.counts)
        weights = [count * ((1 << 24) - n) // t + 1 for count in self.counts]
        weights[0] += (1 << 24) - sum(weights)
        entry = decoder.decode(weights)
        self.counts[entry] += 24
        if sum(self.counts) > 1024:
            self.counts = [count + 1 >> 1 for count in self.counts]
        return entry


def read_motion(decoder, rows, columns, kind):
    """Sources (2h, 2w), vectors (8h, 8w, 2), splits (4h, 4w), shown (2h, 2w), classes (4h, 4w) of a tile (h, w)."""
    sources = np.zeros((2 * rows, 2 * columns), np.int64)
    tables = [AdaptiveTable(9, i) for i in range(9)]
    shows, shown = [AdaptiveTable(2, i // 2) for i in range(3)], np.zeros_like(sources)
    reader = VectorReader(decoder, rows, columns)
    for r in range(2 * rows):
        for s in range(2 * columns):
            beside = sources[r, s - 1] if s else sources[r - 1, s] if r else 1
            sources[r, s] = tables[beside].decode(decoder)
            if not sources[r, s]:
                continue
            reader.read_block(r, s, splits=kind & 2)
            if kind & 1:
                beside = (shown[r, s - 1] if s else 0) + (shown[r - 1, s] if r else 0)
                shown[r, s] = shows[beside].decode(decoder)
    classes, tables = np.zeros((4 * rows, 4 * columns), np.int64), [AdaptiveTable(5, i // 2) for i in range(9)]
    for r in range(4 * rows):
        for s in range(4 * columns):
            if sources[r // 2, s // 2]:
                west = classes[r, s - 1] if s else classes[r - 1, s] if r else 0
                north = classes[r - 1, s] if r else west
                classes[r, s] = tables[west + north].decode(decoder)
    return sources, reader.vectors, reader.splits, shown, classes


def said(motion, kind):
    """What a file of this kind of references says of it."""
    sources, vectors, splits, shown, classes = motion
    parts = [sources, vectors if kind & 2 else vectors[::4, ::4]]
    return [*parts, *([splits] if kind & 2 else []), *([shown] if kind & 1 else []), classes]


class VectorReader:
    def __init__(self, decoder, rows, columns):
        self.decoder = decoder
        self.vectors, self.known = np.zeros((8 * rows, 8 * columns, 2), np.int64), set()
        self.splits = np.zeros((4 * rows, 4 * columns), np.int64)
        self.sizes = [[[AdaptiveTable(16, 0) for _ in range(2)] for _ in range(2)] for _ in range(3)]
        self.tables = [[AdaptiveTable(2, i // 2) for i in range(3)] for _ in range(2)]

    def read_block(self, r, s, splits):
        if not splits or not self.read_split(2 * r, 2 * s, 1):
            self.read_square(4 * r, 4 * s, 4, 0)
            return
        for i, j in ((2 * r, 2 * s), (2 * r, 2 * s + 1), (2 * r + 1, 2 * s), (2 * r + 1, 2 * s + 1)):
            self.splits[i, j] = 1 + self.read_split(i, j, 2)
            if self.splits[i, j] == 1:
                self.read_square(2 * i, 2 * j, 2, 1)
                continue
            for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
                self.read_square(2 * i + row, 2 * j + column, 1, 2)

    def read_split(self, i, j, least):
        beside = [self.splits[at] >= least for at in ((i, j - 1), (i - 1, j)) if min(at) >= 0]
        return self.tables[least - 1][sum(beside)].decode(self.decoder)

    def read_square(self, r, s, side, level):
        around = [at for at in ((r, s - 1), (r - 1, s), (r - 1, s + side)) if at in self.known]
        around = [self.vectors[at].tolist() for at in around]
        agree = len(around) > 1 and around[0] == around[1]
        for k in (0, 1):
            parts = [vector[k] for vector in around]
            expected = sorted(parts)[1] if len(parts) == 3 else parts[0] if parts else 0
            digits = self.sizes[level][agree][k].decode(self.decoder)
            value = 1 if digits else 0
            for _ in range(digits - 1):
                value = 2 * value + self.decoder.decode([1 << 23] * 2)
            part = expected + (value // 2 if value % 2 == 0 else -(value + 1) // 2)
            assert -8192 <= part <= 8191
            self.vectors[r : r + side, s : s + side, k] = part
        self.known |= {(i, j) for i in range(r, r + side) for j in range(s, s + side)}


def read_group(decoder, net, indices):
    """Symbols of one group, in the group's own order."""
    order = sorted(range(len(indices)), key=lambda n: indices[n])
    values, escaped = {}, []
    for n in order:
        limit = net.limits[indices[n]]
        values[n] = decoder.decode(net.weights[indices[n]]) - limit
        if values[n] > limit:
            escaped.append(n)
    for n in escaped:
        high = decoder.decode([65536] * 256)
        values[n] = (high << 8 | decoder.decode([65536] * 256)) - 32768
    return [values[n] for n in range(len(indices))]


def integers(part, header):
    """The scale path in the tune that the file names; where the base has one, it has no name."""
    net = Integers(part, header["rate"], max(0, header["tune"] - 1))
    assert (header["tune"] > 0) == (net.tunes > 1)
    return net


def decode_symbols(data, part):
    """z (h, w, N) and y (4h, 4w, M) of every tile, int64, checked against the file's own CRCs."""
    header, sections = parse(data)
    net = integers(part, header)
    found = [decode_tile(net, grid, body, header) for grid, body in tiles(header, sections[3])]
    return [tile[-2:] for tile in found]


def decode_motion(data, part):
    """Sources, vectors, splits, what is shown, and classes of every tile."""
    header, sections = parse(data)
    assert header["motion"]
    net = integers(part, header)
    return [decode_tile(net, grid, body, header)[1] for grid, body in tiles(header, sections[3])]


def decode_levels(data, part):
    """The quality map (h, w) of every tile."""
    header, sections = parse(data)
    assert header["mapped"]
    net = integers(part, header)
    return [decode_tile(net, grid, body, header)[0] for grid, body in tiles(header, sections[3])]


class TokenIntegers(Integers):
    """The token prior of a VQ or a texture part."""

    def __init__(self, part, rate, tune, signed):
        (length,) = struct.unpack("<Q", part[:8])
        config = json.loads(json.loads(part[8 : 8 + length])["__metadata__"]["config"])
        self.signed = signed
        self.bits, self.side = config["bits"], config["stride"] // 16
        self.rate, self.tune, self.rates = rate, tune, [[rate]]
        arrays = safetensors.numpy.load(part)
        self.a = {k.removeprefix("entropy."): v for k, v in arrays.items() if k.startswith("entropy.")}

    def levels(self, z, y):
        """Level of every node, token by token in raster order."""
        features = self.shuffle(self.shuffle(self.pointwise(256 * np.clip(z, -127, 127), "z")))
        seen = (np.sign(y) if self.signed else 1) * self.a["magnitude"].astype(np.int64)[np.minimum(np.abs(y), 255)]
        x = self.depthwise(self.pointwise(np.concatenate([features, seen], 2), "embed"), "mix")
        side = self.side
        x = np.concatenate([x[i::side, j::side] for i in range(side) for j in range(side)], 2)
        x = self.pointwise(self.pointwise(x, "hidden"), "head")
        return [x[r, s] for r in range(x.shape[0]) for s in range(x.shape[1])]


def decode_tokens(data, base_part, part):
    """Tokens (h, w) of every tile, checked against the file's own CRCs. `part`: VQ or texture."""
    header, sections = parse(data)
    payload, at = (sections[10], 8) if 10 in sections else (sections[5], 9)
    prior, depth = payload[8] if at == 9 else 1, payload[at]
    net = TokenIntegers(part, header["rate"], max(0, header["tune"] - 1), signed=at == 9)
    latents = decode_symbols(data, base_part) if 3 in sections else None
    levels_of = decode_levels(data, base_part) if header["mapped"] else None
    found = []
    for index, ((rows, columns), body) in enumerate(tiles(header, payload[at + 1 :])):
        height, width = 4 * rows // net.side, 4 * columns // net.side
        if levels_of:
            net.use(levels_of[index].tolist())
        levels = net.levels(*latents[index]) if prior else [net.a["static"]] * (height * width)
        decoder, tokens = RangeDecoder(body[3:]), [0] * (height * width)
        for d in range(depth):
            level = [int(levels[n][(1 << d) - 1 + tokens[n]]) for n in range(len(tokens))]
            for n in sorted(range(len(tokens)), key=lambda n: level[n]):
                one = int(net.a["weights"][level[n]]) + 1
                tokens[n] = 2 * tokens[n] + decoder.decode([(1 << 24) - one, one])
        decoder.finish()
        found.append(np.array(tokens).reshape(height, width))
        assert zlib.crc32(found[-1].astype("<u2").tobytes()) & 0xFFFFFF == int.from_bytes(body[:3], "little")
    return found


def read_levels(decoder, net, number, rows, columns):
    """A quality map: the median of W, N and W + N - NW, and what it is off by."""
    assert number < 64
    differences = read_group(decoder, net, [number] * (rows * columns))
    levels = np.zeros((rows, columns), np.int64)
    for n, difference in enumerate(differences):
        r, s = divmod(n, columns)
        west, north = levels[r, s - 1] if s else None, levels[r - 1, s] if r else None
        if r and s:
            expected = sorted([west, north, west + north - levels[r - 1, s - 1]])[1]
        else:
            expected = west if s else north if r else 0
        levels[r, s] = expected + difference
        assert -16 <= levels[r, s] <= 15
    return levels


def decode_tile(net, grid, body, header):
    """Levels and motion, if there are any, or None, z and y."""
    crc, rows, columns, levels, motion = body[:3], *grid, None, None
    mapped, moved, kind = header["mapped"], header["motion"], header["kind"]
    decoder = RangeDecoder(body[4:] if mapped else body[3:])
    if mapped:
        levels = read_levels(decoder, net, body[3], rows, columns)
        net.use(levels.tolist())
    if moved:
        motion = read_motion(decoder, rows, columns, kind)
    classes = motion[-1] if moved else np.zeros((4 * rows, 4 * columns), np.int64)
    z = np.array(read_group(decoder, net, net.z_indices(rows, columns))).reshape(rows, columns, net.hyper)
    features = net.features(z)
    y = np.zeros((4 * rows, 4 * columns, net.latent), np.int64)
    width = net.latent // net.slices
    for k in range(2 * net.slices):
        slice_, parity = divmod(k, 2)
        channels = range(slice_ * width, (slice_ + 1) * width)
        places = [(r, s) for r in range(4 * rows) for s in range(4 * columns) if (r + s) % 2 == parity]
        index = net.indices(features, y, k, classes)
        flat = read_group(decoder, net, [int(index[r, s, c]) for r, s in places for c in range(width)])
        for (r, s), values in zip(places, np.array(flat).reshape(-1, width), strict=True):
            y[r, s, channels.start : channels.stop] = values
    decoder.finish()
    check = 0
    for part in (*([levels] if mapped else []), *(said(motion, kind) if moved else ()), z, y):
        check = zlib.crc32(part.astype("<i2").tobytes(), check)
    assert check & 0xFFFFFF == int.from_bytes(crc, "little")
    return levels, motion, z, y
