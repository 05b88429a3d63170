"""Tunes and quality maps: what version 2 adds to the SQ stream, on a model of two tunes made of random numbers."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slow_decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from scales import part_of, random_latent, random_scales

import nicodec
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.bitmap import bit_costs
from nicodec.codec import verify_bytes
from nicodec.container.layout import Colour, Header, Section, SectionType, Tune
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file, write_tiles
from nicodec.entropy import coder
from nicodec.entropy.coder import cost_map, decode_latent, encode_latent, estimate_bits, groups
from nicodec.entropy.integer import interpolate
from nicodec.entropy.levels import rebuild, residuals
from nicodec.entropy.scales import ScaleModel, ScaleWalk
from nicodec.entropy.tables import SCALE_LEVELS
from nicodec.errors import CorruptFileError
from nicodec.rate.scale import KNOTS, LEVEL_MAX, LEVEL_MIN, LEVEL_STEP, RATE_MAX, TUNE_SPACING
from nicodec.rate.tile import TileRate
from nicodec.streams import code_latent
from nicodec.zoo.load import load_scales
from nicodec.zoo.store import find_part

MODEL = random_scales(2)
PART = part_of(MODEL)


@st.composite
def maps(draw, largest=3):
    """Levels of a tile: smooth, noisy, flat or of extremes alone."""
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    values = draw(st.sampled_from([(LEVEL_MIN, LEVEL_MAX), (-1, 1), (3, 3)]))
    random = np.random.RandomState(draw(st.integers(0, 10**6)))
    levels = random.randint(values[0], values[1] + 1, (height, width))
    if draw(st.booleans()):
        levels = np.where(levels > levels.mean(), values[1], values[0])
    return levels.astype(np.int16)


rates, tunes = st.integers(0, RATE_MAX), st.integers(0, 1)


@given(maps(largest=16))
def test_levels_come_back_from_their_residuals(levels):
    coded = residuals(levels)
    assert np.abs(coded.astype(int)).max() <= LEVEL_MAX - LEVEL_MIN
    assert np.array_equal(rebuild(coded, *levels.shape), levels)


def test_levels_are_predicted_from_west_north_and_their_plane():
    assert residuals(np.array([[5, 6, 6], [7, 9, 4]], np.int16)).tolist() == [5, 1, 0, 2, 2, -5]
    ramp = np.add.outer(np.arange(4), np.arange(5)).astype(np.int16)
    assert residuals(ramp).reshape(4, 5)[1:, 1:].tolist() == [[1] * 4] * 3


@pytest.mark.parametrize("coded", [[16, 0], [15, 1], [-17, 0], [-16, -1], [32767, 0], [0, -32768]])
def test_levels_out_of_range_are_refused(coded):
    with pytest.raises(CorruptFileError, match=r"level -?\d+, expected -16..15"):
        rebuild(np.array(coded, np.int16), 1, 2)


def test_knots_are_rates_with_the_tunes_one_after_the_other():
    levels = np.array([[0, 15], [-16, 1]], np.int16)
    assert TUNE_SPACING == KNOTS * 8192
    assert TileRate(40000).knots() == 40000
    assert TileRate(40000, 1).knots(4) == 40000 + 73728
    rate = TileRate(40000, 1, levels)
    expected = np.array([[40000, 65535], [7232, 42048]]) + 73728
    assert np.array_equal(rate.knots(), expected)
    assert np.array_equal(rate.knots(2), np.kron(expected, np.ones((2, 2), int)))
    mask = np.random.RandomState(0).rand(8, 8) < 0.5
    assert np.array_equal(rate.knots(4, mask), np.kron(expected, np.ones((4, 4), int))[mask])


def test_interpolation_does_not_blend_one_tune_with_the_next():
    table = np.arange(18, dtype=np.int64)[:, None] * 1000
    assert int(interpolate(table, TileRate(RATE_MAX).knots())[0]) == 8000
    assert int(interpolate(table, TileRate(0, 1).knots())[0]) == 9000
    assert int(interpolate(table, TileRate(RATE_MAX, 1).knots())[0]) == 17000
    at = np.array([[0, 4096], [73728, 4096]])
    assert interpolate(table, at)[:, :, 0].tolist() == [[0, 500], [9000, 500]]


@settings(max_examples=40, deadline=None)
@given(maps(), st.integers(0, 10**6), st.sampled_from([0, 0.3, 3, 300, 10000]), rates, tunes)
def test_any_symbols_under_any_map_round_trip(levels, seed, spread, rate, tune):
    latent = random_latent(MODEL, *levels.shape, seed, spread, TileRate(rate, tune, levels))
    stream = encode_latent(MODEL, latent)
    back = decode_latent(MODEL, stream, *levels.shape, TileRate(rate, tune), mapped=True)
    assert np.array_equal(back.rate.levels, levels)
    assert np.array_equal(back.z_hat, latent.z_hat)
    assert np.array_equal(back.symbols, latent.symbols)
    assert back.crc() == latent.crc()
    assert -1 <= 8 * (len(stream) - 1) - estimate_bits(MODEL, latent) <= 80


@settings(max_examples=12, deadline=None)
@given(st.none() | maps(2), st.sampled_from([0.5, 200]), rates, tunes, st.integers(0, 10**6))
def test_the_slow_decoder_reads_the_same_levels_and_symbols(levels, spread, rate, tune, seed):
    shape = (1, 2) if levels is None else levels.shape
    latent = random_latent(MODEL, *shape, seed, spread, TileRate(rate, tune, levels))
    data = file_of(latent)
    ((z, y),) = slow_decoder.decode_symbols(data, PART)
    assert np.array_equal(z, latent.z_hat)
    assert np.array_equal(y, latent.symbols)
    if levels is not None:
        assert np.array_equal(slow_decoder.decode_levels(data, PART)[0], levels)


def file_of(latent):
    """A file of version 2 with one tile."""
    rate, (height, width, _) = latent.rate, latent.z_hat.shape
    header = Header(
        64 * width, 64 * height, Colour.RGB, 8, rate.rate, bytes(range(8)), version=2, tune=Tune(rate.tune),
        mapped=rate.levels is not None,
    )  # fmt: skip
    tile = latent.crc(), encode_latent(MODEL, latent)
    return write_file(header, [Section(SectionType.SQ, write_tiles([tile]))])


@settings(max_examples=40, deadline=None)
@given(maps(), st.integers(0, 10**6), rates, tunes)
def test_every_position_reads_the_rate_of_its_own_block(levels, seed, rate, tune):
    """Layer by layer against the slow integers, which look up one position at a time."""
    mapped = TileRate(rate, tune, levels)
    latent = random_latent(MODEL, *levels.shape, seed, 3.0, mapped)
    slow = slow_decoder.Integers(PART, rate, tune)
    slow.use(levels.tolist())
    assert MODEL.z_indices(*levels.shape, mapped).ravel().tolist() == slow.z_indices(*levels.shape)
    expected = slow.features(latent.z_hat.astype(np.int64))
    assert np.array_equal(MODEL.features(latent.z_hat, mapped), expected)
    walk, y = ScaleWalk(MODEL, latent.z_hat, mapped), np.zeros(latent.symbols.shape, np.int64)
    unreferred = np.zeros(y.shape[:2], np.int64)
    for step in [*MODEL.passes, *MODEL.passes]:  # a second walk forgets the first
        if step.index == 0:
            y[:] = 0
        mask, part = walk.mask(step), slice(step.start, step.stop)
        assert np.array_equal(walk.indices(step), slow.indices(expected, y, step.index, unreferred)[mask])
        y[mask, part] = latent.symbols[mask, part]
        walk.tell(step, latent.symbols[mask, part])


@settings(max_examples=60, deadline=None)
@given(st.integers(LEVEL_MIN, LEVEL_MAX), rates, tunes, st.integers(0, 10**6))
def test_a_constant_map_is_a_shift_of_the_rate(level, rate, tune, seed):
    shifted = min(max(rate + level * LEVEL_STEP, 0), RATE_MAX)
    plain = random_latent(MODEL, 2, 2, seed, 3.0, TileRate(shifted, tune))
    mapped = replace(plain, rate=TileRate(rate, tune, np.full((2, 2), level, np.int16)))
    for (one, _), (other, _) in zip(groups(MODEL, plain), groups(MODEL, mapped), strict=True):
        assert np.array_equal(one, other)


def test_maps_and_tunes_matter():
    """What the tests above compare is not the same everywhere to begin with."""
    levels = np.array([[-9, 0], [3, 9]], np.int16)
    kinds = [TileRate(30000), TileRate(30000, 1), TileRate(30000, 0, levels), TileRate(30000, 1, levels)]
    latents = [random_latent(MODEL, 2, 2, 1, 3.0, rate) for rate in kinds]
    indices = [np.concatenate([group for group, _ in groups(MODEL, latent)]) for latent in latents]
    for first in range(len(kinds)):
        for second in range(first):
            assert (indices[first] != indices[second]).mean() > 0.3
    assert len({encode_latent(MODEL, latent) for latent in latents}) == len(kinds)


def test_each_tune_codes_with_its_own_tables():
    latent = random_latent(MODEL, 1, 1, 4, 3.0, TileRate(30000, 1))
    swapped = replace(MODEL, tables=MODEL.tables[::-1])
    assert encode_latent(MODEL, latent) != encode_latent(swapped, latent)
    assert encode_latent(replace(MODEL, tables=(MODEL.tables[1],) * 2), latent) == encode_latent(MODEL, latent)


def test_models_of_several_tunes_are_stored_and_loaded():
    arrays = MODEL.to_arrays()
    assert (arrays["tables.limits"].shape, arrays["z_index"].shape) == ((128,), (18, MODEL.hyper))
    back = ScaleModel.from_arrays(arrays, MODEL.latent, MODEL.hyper, MODEL.slices, 2)
    assert back.tunes == 2
    latent = random_latent(MODEL, 1, 2, 4, 3.0, TileRate(30000, 1, np.array([[2, -3]], np.int16)))
    assert encode_latent(back, latent) == encode_latent(MODEL, latent)
    for wrong in (1, 3, 0, -2):
        with pytest.raises(ValueError, match="tunes"):
            ScaleModel.from_arrays(arrays, MODEL.latent, MODEL.hyper, MODEL.slices, wrong)
    arrays["1.mix.bias"] = arrays["1.mix.bias"][:9]
    with pytest.raises(ValueError, match="rows"):
        ScaleModel.from_arrays(arrays, MODEL.latent, MODEL.hyper, MODEL.slices, 2)


def test_the_cheapest_table_codes_the_map_and_its_bits_are_shared_by_the_blocks():
    levels = np.array([[0, 0, 0], [0, 0, 9]], np.int16)
    latent = random_latent(MODEL, 2, 3, 5, 1.0, TileRate(30000, 1, levels))
    bits = map_bits(MODEL, levels, 1)
    assert encode_latent(MODEL, latent)[0] == np.argmin(bits.sum(1))
    own = sum(coder._costs(MODEL.tables[1], *group).sum() for group in groups(MODEL, latent))
    assert estimate_bits(MODEL, latent) == pytest.approx(own + bits.sum(1).min())

    flat = replace(latent, rate=TileRate(30000, 1, 0 * levels))
    shares = cost_map(MODEL, flat) - cost_map(MODEL, replace(latent, rate=TileRate(30000, 1)))
    one = map_bits(MODEL, 0 * levels, 1).min()
    assert np.allclose(shares, one / 16)
    assert shares.shape == (8, 12)


def map_bits(model, levels, tune):
    """What each table would take for each level."""
    values = residuals(levels).astype(int)
    tables = model.tables[tune]
    rows = []
    for index in range(SCALE_LEVELS):
        limit = int(tables.limits[index])
        escaped = np.abs(values) > limit
        rows.append(tables.bits(index)[np.where(escaped, 2 * limit + 1, values + limit)] + 16 * escaped)
    return np.array(rows)


def test_a_table_number_above_63_and_streams_of_no_words_are_refused():
    latent = random_latent(MODEL, 1, 1, 4, 3.0, TileRate(30000, 0, np.array([[2]], np.int16)))
    stream = encode_latent(MODEL, latent)
    for number in (64, 128, 255):
        with pytest.raises(CorruptFileError, match=f"table {number}, expected 0..63"):
            decode_latent(MODEL, bytes([number]) + stream[1:], 1, 1, TileRate(30000), mapped=True)
    for broken in (b"", b"\5", stream[:-1], stream + bytes(8)):
        with pytest.raises(CorruptFileError):
            decode_latent(MODEL, broken, 1, 1, TileRate(30000), mapped=True)


def test_a_map_out_of_range_is_refused_whatever_coded_it():
    for level in (-17, 16, 400, -32768):
        latent = random_latent(MODEL, 2, 1, 4, 3.0, TileRate(30000, 0, np.array([[0], [level]], np.int16)))
        with pytest.raises(CorruptFileError, match=f"level {level}, expected"):
            decode_latent(MODEL, encode_latent(MODEL, latent), 2, 1, TileRate(30000), mapped=True)


def test_the_crc_covers_the_levels():
    latent = random_latent(MODEL, 1, 2, 4, 3.0, TileRate(60000, 0, np.array([[15, 15]], np.int16)))
    other = replace(latent, rate=replace(latent.rate, levels=np.array([[14, 15]], np.int16)))
    assert latent.crc() != other.crc()
    assert latent.tobytes()[:4] == b"\x0f\0\x0f\0"


def test_golden_words_of_two_tunes():
    """The very bytes, so that a change of tune, map or order cannot pass as a round trip."""
    levels = np.array([[0, 3, -16], [15, 3, 3]], np.int16)
    found = []
    for tune in (0, 1):
        for rate in (TileRate(20000, tune), TileRate(20000, tune, levels)):
            stream = encode_latent(MODEL, random_latent(MODEL, 2, 3, 5, 2.0, rate))
            found.append((len(stream), zlib.crc32(stream)))
    assert found == GOLDEN_WORDS


GOLDEN_WORDS = [(468, 2253572849), (477, 3649770922), (488, 2413405581), (497, 4070203937)]


GOLDEN = Path(__file__).parent / "golden"


def read(name):
    return read_file((GOLDEN / f"{name}.nic").read_bytes())


def with_maps(file, random):
    """The file with a quality map in each tile, its symbols as they were."""
    scales, tiles_ = load_scales(find_part("base", file.header.base_id)), []
    for held in OwnDecoder(file).symbols().values():
        levels = random.randint(-3, 4, held.latent.z_hat.shape[:2]).astype(np.int16)
        tiles_.append(code_latent(scales, replace(held.latent, rate=replace(held.latent.rate, levels=levels)), True))
    sections = [Section(SectionType.SQ, write_tiles(tiles_))]
    return write_file(replace(file.header, version=2, mapped=True), sections)


def test_a_file_of_version_2_with_nothing_more_to_say_decodes_as_one_of_version_1():
    file = read("rgb-96x80-q50")
    second = write_file(replace(file.header, version=2), list(file.sections.values()))
    assert len(second) == file.size
    first = nicodec.decode(GOLDEN / "rgb-96x80-q50.nic", device="cpu")
    assert nicodec.decode(second, device="cpu").tobytes() == first.tobytes()


def test_every_tile_has_its_own_map(tmp_path, inside):
    file, random = read("rgb-1100x70-q20"), np.random.RandomState(2)
    data = with_maps(file, random)
    tiles_ = OwnDecoder(read_file(data)).symbols().values()
    assert [held.latent.rate.levels.shape for held in tiles_] == [(2, 16), (2, 2)]
    assert all(len(np.unique(held.latent.rate.levels)) > 1 for held in tiles_)
    assert verify_bytes(data).symbols == sum(held.size for held in tiles_)
    costs = bit_costs(read_file(data))["sq"].sum()
    assert costs == pytest.approx(8 * len(read_file(data).payload(SectionType.SQ)), abs=400)

    (tmp_path / "a.nic").write_bytes(data)
    code, lines, _ = inside("info", "-v", "a.nic")
    assert code == 0
    assert b"tune" not in lines  # of a base that has one
    for line in (b"format version: 2", b"quality map: a level for each block of 64x64 pixels"):
        assert line in lines
    facts = nicodec.read_info(data)
    assert (facts["format_version"], facts["tune"], facts["quality_map"]) == (2, None, True)
    facts = nicodec.read_info(GOLDEN / "rgb-1100x70-q20.nic")
    assert (facts["format_version"], facts["tune"], facts["quality_map"]) == (1, None, False)
