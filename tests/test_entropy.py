import zlib

import numpy as np
import pytest
import slow_decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from scales import random_latent

from nicodec.entropy import integer
from nicodec.entropy.coder import decode_latent, encode_latent, estimate_bits
from nicodec.entropy.integer import EXACT_LIMIT, Layer, interpolate, matmul, matmul_int64, pixel_shuffle
from nicodec.entropy.order import checkerboard, passes
from nicodec.entropy.tables import SCALE_LEVELS, WEIGHT_TOTAL, gaussian_tables
from nicodec.errors import CorruptFileError
from nicodec.rate.tile import TileRate
from nicodec.zoo.load import load_scales


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6), st.sampled_from([0, 0.3, 3, 300, 10000]),
       st.integers(0, 65535))  # fmt: skip
def test_any_symbols_round_trip(tiny, height, width, seed, spread, rate):
    model = load_scales(tiny)
    latent = random_latent(model, height, width, seed, spread, TileRate(rate))
    stream = encode_latent(model, latent)
    back = decode_latent(model, stream, height, width, TileRate(rate))
    assert np.array_equal(back.z_hat, latent.z_hat)
    assert np.array_equal(back.symbols, latent.symbols)
    assert back.crc() == latent.crc()
    estimate = estimate_bits(model, latent)
    assert -1 <= 8 * len(stream) - estimate <= 80


@pytest.mark.parametrize("spread", [0.5, 200])
@pytest.mark.parametrize("rate", [0, 8191, 30000, 65535])
def test_the_slow_integer_decoder_reads_the_same_symbols(tiny, spread, rate):
    from nicodec.container.layout import Colour, Header, Section, SectionType
    from nicodec.container.writer import write_file, write_tiles

    model = load_scales(tiny)
    latent = random_latent(model, 1, 2, rate, spread, TileRate(rate))
    payload = write_tiles([(latent.crc(), encode_latent(model, latent))])
    header = Header(128, 64, Colour.RGB, 8, rate, tiny.id)
    ((z, y),) = slow_decoder.decode_symbols(write_file(header, [Section(SectionType.SQ, payload)]), tiny.read())
    assert np.array_equal(z, latent.z_hat)
    assert np.array_equal(y, latent.symbols)


def test_golden_words(tiny):
    """The very bytes, so that a change of coder, tables or order cannot pass as a round trip."""
    model = load_scales(tiny)
    stream = encode_latent(model, random_latent(model, 1, 1, 5, 2.0, TileRate(20000)))
    assert (len(stream), zlib.crc32(stream)) == GOLDEN_WORDS


GOLDEN_WORDS = (488, 2675711677)


def test_words_left_over_and_bytes_missing_are_refused(tiny):
    model = load_scales(tiny)
    latent = random_latent(model, 1, 1, 1, 3.0, TileRate(1000))
    stream = encode_latent(model, latent)
    with pytest.raises(CorruptFileError, match="left over"):
        decode_latent(model, stream + b"\1\2\3\4" * 3, 1, 1, latent.rate)
    with pytest.raises(CorruptFileError, match="multiple of 4"):
        decode_latent(model, stream[:-1], 1, 1, latent.rate)


def test_damaged_streams_never_pass_unnoticed(tiny):
    model = load_scales(tiny)
    latent = random_latent(model, 1, 1, 2, 3.0, TileRate(1000))
    stream = encode_latent(model, latent)
    for position in range(0, 8 * len(stream), 5):
        damaged = bytearray(stream)
        damaged[position // 8] ^= 1 << position % 8
        try:
            back = decode_latent(model, bytes(damaged), 1, 1, latent.rate)
        except CorruptFileError:
            continue
        # The last word holds some bits that no symbol needs.
        assert back.crc() != latent.crc() or position // 8 >= len(stream) - 8


def test_tables_have_the_weights_that_format_says(tiny):
    """Decode every entry of a table at its borders with the slow range coder."""
    import constriction

    from nicodec.entropy.coder import categorical

    (tables,) = load_scales(tiny).tables
    for index in range(0, SCALE_LEVELS, 9):
        counts = tables.table(index)
        symbols = np.arange(len(counts), dtype=np.int32)
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(symbols, categorical(counts))
        slow = slow_decoder.RangeDecoder(encoder.get_compressed().astype("<u4").tobytes())
        weights = (counts + 1).tolist()
        assert sum(weights) == WEIGHT_TOTAL
        assert [slow.decode(weights) for _ in symbols] == symbols.tolist()
        slow.finish()


def test_gaussian_tables_cost_what_a_gaussian_costs():
    tables = gaussian_tables()
    for index in range(SCALE_LEVELS):
        bits = tables.bits(index)
        limit = int(tables.limits[index])
        assert np.allclose(bits[:limit], bits[2 * limit : limit : -1], atol=1e-3)  # symmetric
        assert np.all(np.diff(bits[limit : 2 * limit]) >= -1e-9)  # falling


@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 20))
def test_products_are_exact(seed, depth, rows):
    random = np.random.RandomState(seed)
    a = random.randint(-(1 << 15), 1 << 15, (rows, depth)).astype(float)
    b = random.randint(-(1 << 15), 1 << 15, (depth, 7)).astype(float)
    assert np.array_equal(matmul(a, b), matmul_int64(a, b))


product = np.matmul


def rounded(a, b):
    """What a library does that computes in float32 on the quiet."""
    return product(a.astype(np.float32), b.astype(np.float32)).astype(np.float64)


@pytest.fixture
def products():
    """The product is chosen anew, now and afterwards."""
    integer._product.cache_clear()
    yield
    integer._product.cache_clear()


def test_int64_takes_over_where_no_product_is_exact(tiny, monkeypatch, products):
    model = load_scales(tiny)
    latent = random_latent(model, 1, 2, 3, 3.0, TileRate(12345))
    stream = encode_latent(model, latent)
    monkeypatch.setattr(integer.np, "matmul", rounded)
    integer._product.cache_clear()
    assert integer._product() is matmul_int64
    assert encode_latent(model, latent) == stream
    assert decode_latent(model, stream, 1, 2, latent.rate).crc() == latent.crc()


def test_only_an_exact_product_is_taken(products, monkeypatch):
    assert integer._product() is np.matmul
    monkeypatch.setattr(integer.np, "matmul", rounded)
    assert integer._product() is product, "found out once"
    integer._product.cache_clear()
    assert integer._product() is matmul_int64


def layer(weight, bias, shift, **limits):
    biases = np.tile(np.array(bias, np.int64), (9, 1))
    return Layer(np.array(weight, float), biases, np.array(shift, np.int64), **limits)


def test_bounds_are_checked():
    assert layer([[1, -2]], [3], [1]).check_bound() == 3 * integer.ACTIVATION_MAX + 3 + 1
    for broken in (
        layer([[1]], [EXACT_LIMIT], [1]), layer([[32768]], [0], [1]), layer([[1]], [0], [0]), layer([[1]], [0], [41]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="integer layer"):
            broken.check_bound()


def test_requantisation_rounds_half_up_and_clips():
    net = layer([[1]], [0], [1], low=-3, high=3)
    x = np.array([-9.0, -3, -2, -1, 0, 1, 2, 3, 9])[:, None]
    assert net.pointwise(x, 0)[:, 0].tolist() == [-3, -1, -1, 0, 0, 1, 1, 2, 3]


def test_depthwise_sees_zeros_outside():
    net = layer(np.arange(9).reshape(1, 3, 3), [0], [1])
    x = np.full((2, 2, 1), 2.0)
    assert net.depthwise(x, 0)[:, :, 0].tolist() == [[24, 20], [12, 8]]
    assert net.depthwise(x, 0, 0)[:, 0].tolist() == [24, 8]
    assert net.depthwise(x, 0, 1)[:, 0].tolist() == [20, 12]


def test_interpolation_hits_the_knots_and_rounds():
    knots = np.arange(9, dtype=np.int64)[:, None] * 1000
    assert [int(interpolate(knots, k << 13)[0]) for k in range(8)] == [k * 1000 for k in range(8)]
    assert int(interpolate(knots, 4096)[0]) == 500
    assert int(interpolate(knots, 65535)[0]) == 8000


def test_pixel_shuffle_is_torchs():
    import torch

    x = np.arange(2 * 3 * 8, dtype=float).reshape(2, 3, 8)
    expected = torch.nn.functional.pixel_shuffle(torch.from_numpy(x).permute(2, 0, 1), 2).permute(1, 2, 0)
    assert np.array_equal(pixel_shuffle(x), expected.numpy())


def test_passes_cover_every_symbol_once():
    seen = np.zeros((5, 7, 12), int)
    for step in passes(12, 3):
        seen[checkerboard(5, 7, step.parity), step.start : step.stop] += 1
    assert (seen == 1).all()
