"""Files that must decode for as long as their format version is read: symbols to the bit, pixels within one level."""

import hashlib
import json
import shutil
from itertools import product

import numpy as np
import pytest
import slow_container
import slow_decoder
from PIL import Image

import nicodec
from nicodec.conformance.golden import Golden, check_exact, check_pixels, golden_files, symbols_of
from nicodec.container.layout import Box, Colour, SectionType, Tune
from nicodec.container.reader import read_file
from nicodec.container.references import UNLIT, read_aligned, trust_of, what_blocks_say
from nicodec.errors import ConformanceError, NicodecError
from nicodec.image.drawn import cover
from nicodec.image.kept import unpack_blocks
from nicodec.zoo.store import packages

FILES = golden_files()
HEAD = 64  # bytes


def by_name(function):
    return pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)(function)


def test_golden_files_have_every_feature_that_we_write():
    """Of FOREIGN, JPEGs: other codecs' symbols are not promised to be the same on every machine."""
    files = [read_file(path.read_bytes()) for path in FILES]
    assert {kind for file in files for kind in file.sections} == set(SectionType)
    assert {file.header.colour for file in files if file.holds_jpeg} == set(Colour)
    assert methods(files, SectionType.ALPHA) == {0, 1, 2, 3}
    tokens = [Golden.read(path).structure["tokens"] for path in FILES]
    assert {(held["prior"], held["bits"]) for held in tokens if held} >= {("sq", 6), ("static", 6), ("sq", 3)}
    assert methods(files, SectionType.ICC) | methods(files, SectionType.XMP) == {0, 1}
    assert sum(file.header.hint is not None for file in files) == 1
    assert {(file.header.tune, file.header.mapped) for file in files} == set(product((None, *Tune), (False, True)))
    referring = [file for file in files if file.header.referring]
    named = [reference for file in referring for reference in read_aligned(file)]
    assert {reference.name is None for reference in named} == {False, True}
    assert {reference.alignment.light == UNLIT for reference in named} == {False, True}
    assert {(trust_of(file) is None, file.header.mapped) for file in referring} == set(product((False, True), repeat=2))
    assert {says for file in referring for says in enumerate(what_blocks_say(file))} == set(product((0, 1), (0, 1)))
    assert max(len(read_aligned(file)) for file in referring) > 1
    symbols = [np.frombuffer(tile, "<i2") for path in FILES for tile in symbols_of(path)]
    assert {max(tile.max() for tile in symbols), min(tile.min() for tile in symbols)} == {32767, -32768}  # escapes


@pytest.mark.parametrize("name", ["refers-and-shows", "refers-and-splits"])
def test_shown_blocks_are_the_slow_warp(name):
    path = FILES[0].parent / f"{name}.nic"
    data = path.read_bytes()
    header, sections = slow_container.parse(data)
    (reference,) = slow_container.read_references(header, sections[2])
    ((_, vectors, _, shown, _),) = slow_decoder.decode_motion(data, base_of(header))
    pixels = np.asarray(Image.open(path.parent / reference[1]).convert("RGB")).tolist()
    decoded = np.asarray(nicodec.decode(path, device="cpu"))
    places = np.argwhere(cover(shown > 0, decoded.shape[:2]))
    assert len(places) > 1000
    for row, column in places[::7].tolist():
        vector = vectors[row // 8, column // 8].tolist()
        assert decoded[row, column].tolist() == slow_container.warped(header, reference, pixels, vector, row, column)


def base_of(header):
    parts = (package.parts["base"] for package in packages())
    return next(part.read() for part in parts if part.id == header["base"])


def methods(files, kind):
    """First bytes of a section's payloads, which say how it is packed."""
    return {file.sections[kind].payload[0] for file in files if kind in file.sections}


@by_name
def test_the_decoder(path):
    golden = Golden.read(path)
    check_exact(golden)
    check_pixels(golden)


@by_name
def test_the_slow_decoder(path):
    data, golden = path.read_bytes(), Golden.read(path)
    parts = {(kind, part.id): part.read() for package in packages() for kind, part in package.parts.items()}
    header, sections = slow_container.parse(data)
    base, tiles = parts.get(("base", header["base"])), [b""] * golden.tiles
    if 9 in sections:
        held = slow_container.decode_drawn(header, sections[9])
        drawn = unpack_blocks(read_file(data))
        picture = np.zeros((header["height"], header["width"], header["channels"]), np.uint8)
        drawn.paint(picture, Box(0, 0, header["width"], header["height"]))
        assert all(picture[at].tolist() == colour for at, colour in held.items())
        assert len(held) == cover(drawn.mask, picture.shape[:2]).sum()
    if 3 in sections:
        decoded = slow_decoder.decode_symbols(data, base)
        if header["motion"]:
            motions = slow_decoder.decode_motion(data, base)
            parts_of = [slow_decoder.said(motion, header["kind"]) for motion in motions]
            decoded = [(*parts, *tile) for parts, tile in zip(parts_of, decoded, strict=True)]
        if header["mapped"]:
            decoded = [(m, *tile) for m, tile in zip(slow_decoder.decode_levels(data, base), decoded, strict=True)]
        tiles = [b"".join(np.asarray(part).astype("<i2").tobytes() for part in tile) for tile in decoded]
    for kind, number in (("vq", 5), ("texture", 10)):
        if number not in sections:
            continue
        tokens = slow_decoder.decode_tokens(data, base, parts[kind, sections[number][:8]])
        tiles = [tile + map_.astype("<u2").tobytes() for tile, map_ in zip(tiles, tokens, strict=True)]
    assert len(tiles) == golden.tiles
    assert hashlib.sha256(b"".join(tiles)).hexdigest() == golden.sha256["symbols"]


@by_name
def test_a_flipped_bit_in_any_byte_and_every_cut_are_refused_or_reported(path):
    """No silent wrong picture: strictly an error; with best effort, too, or at least one line about damage.

    In the head, which CRCs are the last to cover, every bit; then another one from byte to byte.
    """
    data = path.read_bytes()
    spoilt, head = bytearray(data), 8 * min(HEAD, len(data))
    for position in [*range(head), *range(head, 8 * len(data), 9)]:
        spoilt[position // 8] ^= 1 << position % 8
        assert noticed(bytes(spoilt))
        spoilt[position // 8] ^= 1 << position % 8
    assert all(noticed(data[:length]) for length in range(len(data)))


def noticed(data):
    with pytest.raises(NicodecError):
        read_file(data)
    damage = []
    try:
        read_file(data, damage)
    except NicodecError:
        return True
    return bool(damage)


@pytest.mark.parametrize(("field", "value"), [("tiles", 2), ("sha256", {"symbols": "0"}), ("structure", {"width": 95})])
def test_what_does_not_hold_is_found(tmp_path, field, value):
    source = next(path for path in FILES if path.stem == "rgb-96x80-q50")
    for suffix in (".nic", ".png"):
        shutil.copy(source.with_suffix(suffix), tmp_path)
    facts = json.loads(source.with_suffix(".json").read_text())
    (tmp_path / "rgb-96x80-q50.json").write_text(json.dumps({**facts, field: value}))
    with pytest.raises(ConformanceError, match="expected"):
        check_exact(Golden.read(tmp_path / source.name))


def test_other_pixels_are_found(tmp_path):
    source = next(path for path in FILES if path.stem == "rgb-96x80-q50")
    for suffix in (".nic", ".json"):
        shutil.copy(source.with_suffix(suffix), tmp_path)
    from PIL import Image

    with Image.open(source.with_suffix(".png")) as image:
        image.point(lambda level: max(0, level - 2)).save(tmp_path / "rgb-96x80-q50.png")
    with pytest.raises(ConformanceError, match="differs by 2 levels"):
        check_pixels(Golden.read(tmp_path / source.name))
