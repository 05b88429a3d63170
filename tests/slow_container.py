"""The executable specification: the container, drawn blocks and the warp of references, in plain integers.

Shares no code with nicodec. What is entropy-coded is `slow_decoder`'s.
"""

import binascii
import io
import zlib

import numpy as np
from PIL import Image


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def parse(data):
    """Header fields and a dict of payloads by section type."""
    assert data[:4] == b"\x8eNIC"
    version, more = data[4] >> 4, data[4] >> 3 & 1
    assert version in (1, 2)
    width, at = varint(data, 5)
    height, at = varint(data, at)
    rate, base = int.from_bytes(data[at : at + 2], "little"), data[at + 2 : at + 10]
    at += 10
    settings = 0
    if version == 1:
        at += more  # the hint
    elif more:
        settings = data[at]
        assert settings != 0
        assert settings & 0xE0 == 0
        at += 1 + (settings >> 3 & 1)
    assert int.from_bytes(data[at : at + 2], "little") == binascii.crc_hqx(data[:at], 0xFFFF)
    at += 2
    sections = {}
    while True:
        start, tag = at, data[at]
        length, at = varint(data, at + 1)
        payload, at = data[at : at + length], at + length
        assert len(payload) == length
        assert zlib.crc32(data[start:at]) == int.from_bytes(data[at : at + 4], "little")
        at += 4
        assert (tag & 63) > max(sections, default=0)
        sections[tag & 63] = payload
        if tag & 64:
            assert at == len(data)
            assert version == 1 or 5 not in sections
            assert version == 1 or (2 in sections) == bool(settings & 16)
            assert version == 2 or not {9, 10} & sections.keys()
            assert 3 in sections or 10 not in sections
            assert settings & 3 < 3
            tune, mapped = settings & 3, settings >> 2 & 1
            header = {"width": width, "height": height, "rate": rate, "base": base, "tune": tune, "mapped": mapped}
            header["channels"], header["motion"] = 3 if data[4] & 1 else 1, settings >> 4 & 1
            header["kind"] = sections[2][0] if header["motion"] else 0  # of references
            return header, sections


def signed(data, at):
    value, at = varint(data, at)
    return (value >> 1 if value % 2 == 0 else -(value + 1 >> 1)), at


def read_references(header, payload):
    """Of each: id, name or index, corners (top left, top right, bottom left, bottom right; x and y), light."""
    kind, count, at, found = payload[0], payload[1], 5 if payload[0] & 4 else 2, []
    assert kind < 8
    assert 1 <= count <= 8
    for _ in range(count):
        form, id_, at = payload[at], payload[at + 1 : at + 9], at + 9
        assert form < 4
        if form & 2:
            where, at = varint(payload, at)
        else:
            where, at = payload[at + 1 : at + 1 + payload[at]].decode(), at + 1 + payload[at]
        numbers = []
        for _ in range(14 if form & 1 else 8):
            number, at = signed(payload, at)
            numbers.append(number)
        x, y = numbers[:2]
        corners = [(x, y)] + [(x + numbers[i], y + numbers[i + 1]) for i in (2, 4, 6)]
        light = [(1024 + g, o) for g, o in zip(numbers[8::2], numbers[9::2], strict=True)] or [(1024, 0)] * 3
        found.append((id_, where, corners, light))
    assert at == len(payload)
    return found


def corner(header, corners, i, j):
    """Where corner (row i, column j) of the blocks lies, in 64ths of a pixel: row, column."""
    across, down = -(-header["width"] // 32), -(-header["height"] // 32)
    places = ((0, 0), (across, 0), (0, down), (across, down))
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (
        (512 * x + dx, 512 * y + dy) for (x, y), (dx, dy) in zip(places, corners, strict=True)
    )
    rx, ry, bx, by, kx, ky = x1 - x3, y1 - y3, x2 - x3, y2 - y3, x0 - x1 + x3 - x2, y0 - y1 + y3 - y2
    d, g, h = bx * ry - rx * by, bx * ky - kx * by, kx * ry - rx * ky
    assert min(d, d + g, d + h, d + g + h) > 0
    under = g * down * j + h * across * i + d * across * down
    found = []
    for v0, v1, v2 in ((y0, y1, y2), (x0, x1, x2)):
        over = (d * (v1 - v0) + g * v1) * down * j + (d * (v2 - v0) + h * v2) * across * i + d * v0 * across * down
        found.append(min(max((8 * over + under) // (2 * under), -(1 << 30)), 1 << 30))
    return found


def taps(f):
    before, after = 128 * f * f - f**3 - 4096 * f + 2048 >> 12, 256 * f * f - 3 * f**3 + 4096 * f + 2048 >> 12
    last = f**3 - 64 * f * f + 2048 >> 12
    return before, 128 - before - after - last, after, last


def warped(header, reference, pixels, vector, row, column):
    """The colour of pixel (row, column) of the picture in a reference, whose pixels are lists of lists of samples."""
    _, _, corners, light = reference
    (i, p), (j, q) = divmod(row, 32), divmod(column, 32)
    a, b = 2 * p + 1, 2 * q + 1
    weights = ((64 - a) * (64 - b), (64 - a) * b, a * (64 - b), a * b)
    four = [corner(header, corners, i + down, j + right) for down, right in ((0, 0), (0, 1), (1, 0), (1, 1))]
    at = [sum(w * c[k] for w, c in zip(weights, four, strict=True)) + 2048 >> 12 for k in (0, 1)]
    at = [place + 16 * part - 32 for place, part in zip(at, vector, strict=True)]
    rows, columns = (
        [min(max((place >> 6) + k, 0), size - 1) for k in range(-1, 3)]
        for place, size in zip(at, (len(pixels), len(pixels[0])), strict=True)
    )
    down, right = taps(at[0] & 63), taps(at[1] & 63)
    colour = []
    for channel in range(len(pixels[0][0])):
        s = sum(down[m] * right[n] * pixels[rows[m]][columns[n]][channel] for m in range(4) for n in range(4))
        gain, offset = light[channel]
        colour.append(min(max((s + 512 >> 10) * gain + 4096 * offset + 8192 >> 14, 0), 255))
    return colour


def inflated(data):
    unpacker = zlib.decompressobj(-15)
    plain = unpacker.decompress(data)
    assert unpacker.eof
    assert not unpacker.unused_data
    return plain


def decode_drawn(header, payload):
    """The drawn pixels of a file, by (row, column): a colour each, which is a list of samples."""
    width, height, channels = header["width"], header["height"], header["channels"]
    rows, columns = -(-height // 32), -(-width // 32)
    form, crc, at = payload[0], int.from_bytes(payload[1:4], "little"), 4
    assert form in (0x00, 0x01, 0x10, 0x11)
    bits, mask = b"", [[True] * columns for _ in range(rows)]
    if form & 16:
        length, at = varint(payload, at)
        bits, at = inflated(payload[at : at + length]), at + length
        assert len(bits) == -(-rows * columns // 8)
        flags = [bits[i // 8] >> (7 - i % 8) & 1 == 1 for i in range(8 * len(bits))]
        assert not any(flags[rows * columns :])
        mask = [flags[columns * row :][:columns] for row in range(rows)]
        assert 0 < sum(map(sum, mask)) < rows * columns
    down = [r for r in range(height) if any(mask[r // 32])]
    across = [c for c in range(width) if any(row[c // 32] for row in mask)]
    sheet = (decode_webp if form & 1 else decode_palette)(payload[at:], len(down), len(across), channels)
    plain = bytes(sample for row in sheet for colour in row for sample in colour)
    assert zlib.crc32(bits + plain) & 0xFFFFFF == crc
    places = [(i, r, j, c) for i, r in enumerate(down) for j, c in enumerate(across)]
    return {(r, c): sheet[i][j] for i, r, j, c in places if mask[r // 32][c // 32]}


def decode_palette(stream, height, width, channels):
    count, plain = stream[0] + 1, inflated(stream[1:])
    table = [list(plain[channels * i :][:channels]) for i in range(count)]
    bits = 0
    while 1 << bits < count:
        bits = 2 * bits or 1
    stride = -(-width * bits // 8)
    assert len(plain) == channels * count + height * stride
    sheet = []
    for r in range(height):
        line = plain[channels * count + r * stride :][:stride]
        indices = [
            (line[c * bits // 8] >> (8 - bits - c * bits % 8) & ((1 << bits) - 1) if bits else 0) for c in range(width)
        ]
        sheet.append([table[i] for i in indices])
    return sheet


def decode_webp(stream, height, width, channels):
    """Of one part; the bitstream is the library's business."""
    assert max(height, width) <= 4096
    stream = b"\x2f" + (width - 1 | height - 1 << 14).to_bytes(4, "little") + stream
    body = b"WEBPVP8L" + len(stream).to_bytes(4, "little") + stream + b"\0" * (len(stream) % 2)
    pixels = np.asarray(Image.open(io.BytesIO(b"RIFF" + len(body).to_bytes(4, "little") + body)).convert("RGB"))
    assert pixels.shape == (height, width, 3)
    return pixels[:, :, -channels:].tolist()


def tiles(header, payload):
    """(rows, columns) of z and the body of each tile."""
    width, height = header["width"], header["height"]
    sizes = [
        (min(1024, height - top), min(1024, width - left))
        for top in range(0, height, 1024)
        for left in range(0, width, 1024)
    ]
    grids = [(-(-h // 64), -(-w // 64)) for h, w in sizes]
    if len(grids) == 1:
        return [(grids[0], payload)]
    at, table = 0, []
    for _ in grids:
        length, at = varint(payload, at)
        table.append((length, payload[at : at + 4]))
        at += 4
    bodies = []
    for length, crc in table:
        bodies.append(payload[at : at + length])
        assert zlib.crc32(bodies[-1]) == int.from_bytes(crc, "little")
        at += length
    assert at == len(payload)
    return list(zip(grids, bodies, strict=True))
