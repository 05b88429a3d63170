"""Blocks that show a reference's own pixels: exact where these are, in any crop and at any tau, and cheap."""

from dataclasses import replace

import numpy as np
import pictures
import pytest
from pictures import error_of
from PIL import Image

import nicodec as api
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.codec import library_of, verify_bytes
from nicodec.container.drawn import SIDE
from nicodec.container.layout import SectionType
from nicodec.container.reader import read_file
from nicodec.container.references import what_blocks_say
from nicodec.drawing import block_errors
from nicodec.image.drawn import cover
from nicodec.image.kept import unpack_blocks
from nicodec.options import DecodeOptions
from nicodec.references.library import Held

SCROLLED = 24  # rows


def encode(picture, *references, **options):
    return api.encode(picture, model="tiny", device="cpu", references=references or "off", **options)


def decode(data, *references, **options):
    return np.asarray(api.decode(data, device="cpu", references=references, **options)).astype(int)


def decoder_of(data, *references):
    file = read_file(data)
    library = library_of(file, DecodeOptions(references=tuple(map(Held.of, references))))
    return OwnDecoder(file, library=library)


def shown_in(data, *references):
    """Which pixels of a file's picture are shown."""
    decoder = decoder_of(data, *references)
    ((tile, held),) = decoder.symbols().items()
    return cover(held.latent.motion.shown > 0, (tile.height, tile.width))


@pytest.fixture(scope="module")
def earlier():
    """A picture file of something with much detail."""
    return pictures.file_bytes(pictures.grainy(256, 224))


@pytest.fixture(scope="module")
def later():
    """What has scrolled on, with a part that is new."""
    pixels = np.asarray(pictures.grainy(256, 224)).copy()
    pixels[:-SCROLLED] = pixels[SCROLLED:]
    pixels[100:120, 40:90] = 255 - pixels[100:120, 40:90]
    return pixels[:-SCROLLED]


@pytest.fixture(scope="module")
def data(earlier, later):
    """The file of the later one, at a low quality, which the networks could not make much of."""
    return encode(later, earlier, quality=20, drawn="off")


def test_what_a_reference_has_comes_out_as_it_is(earlier, later, data):
    shown, decoded = shown_in(data, earlier), decode(data, earlier)
    assert what_blocks_say(read_file(data)).shown
    assert shown.mean() > 0.6
    assert np.array_equal(decoded[shown], later[shown])
    alone = encode(later, quality=20, drawn="off")
    assert len(data) < 0.5 * len(alone)
    assert error_of(later, decoded) < 0.3 * error_of(later, decode(alone))
    assert verify_bytes(data).symbols > 0


def test_what_is_new_is_not_shown(earlier, data):
    shown = shown_in(data, earlier)
    assert not shown[96:128, 32:96].any()


def test_neither_crops_nor_tau_change_what_is_shown(earlier, later, data):
    shown, whole = shown_in(data, earlier), decode(data, earlier)
    natural = decode(data, earlier, tau=1)
    assert np.array_equal(natural[shown], later[shown])
    assert np.abs(natural - whole)[~shown].max() > 1
    for left, top, width, height in ((0, 0, 256, 200), (17, 9, 100, 60), (SIDE, SIDE, SIDE, SIDE), (255, 199, 1, 1)):
        crop = decode(data, earlier, crop=(left, top, width, height))
        expected = whole[top : top + height, left : left + width]
        assert np.abs(crop - expected).max() <= 1
        inside = shown[top : top + height, left : left + width]
        assert np.array_equal(crop[inside], expected[inside])


def test_blocks_are_shown_where_that_is_nearer_to_the_picture(earlier, later, data):
    shown, decoder = shown_in(data, earlier), decoder_of(data, earlier)
    ((tile, held),) = decoder.symbols().items()
    hidden = replace(held, latent=replace(held.latent, motion=replace(held.latent.motion, shown=None)))
    (coded,) = decoder.synthesise({tile: hidden}, tile)
    with_it, without = (block_errors(later, each, 1.0) for each in (decode(data, earlier), coded))
    blocks = shown[::SIDE, ::SIDE]
    assert 0 < blocks.mean() < 1
    assert (with_it[blocks] < without[blocks]).all()
    assert np.allclose(with_it[~blocks], without[~blocks])


def test_what_is_new_may_be_drawn_over_it():
    """Text that scrolled, with a word that is new: exact throughout."""
    pixels = np.asarray(pictures.captioned(256, 224))
    before = pictures.file_bytes(Image.fromarray(pixels))
    after = pixels.copy()
    after[:-SCROLLED] = pixels[SCROLLED:]
    same = after.copy()
    after[96:112, 64:120] = np.where(np.arange(56) // 3 % 2, 255, 0)[:, None]
    data, alone = (encode(after, *references, quality=60) for references in ((before,), ()))
    file, decoded = read_file(data), decode(data, before)
    assert {SectionType.REFERENCES, SectionType.DRAWN} <= file.sections.keys()
    drawn = cover(unpack_blocks(file).mask, after.shape[:2])
    assert np.array_equal(decoded[drawn], after[drawn])
    assert drawn[100, 90]
    assert len(data) < len(alone)
    assert error_of(after, decoded) <= error_of(after, decode(alone))
    without = read_file(encode(same, before, quality=60))
    assert len(file.payload(SectionType.SQ)) < 1.1 * len(without.payload(SectionType.SQ)), "it is not coded twice"


def test_two_tiles_of_which_one_shows_something(earlier):
    """A crop across the seam is the whole picture's."""
    wide = np.asarray(pictures.grainy(1100, 64))
    after = wide.copy()
    after[:, :1024] = wide[::-1, 1023::-1]
    reference = pictures.file_bytes(Image.fromarray(wide))
    data = encode(after, reference, quality=20, drawn="off")
    shown = [held.latent.motion.shown.any() for held in decoder_of(data, reference).symbols().values()]
    assert shown == [False, True]
    whole, crop = decode(data, reference), decode(data, reference, crop=(990, 5, 100, 50))
    assert np.abs(crop - whole[5:55, 990:1090]).max() <= 1


@pytest.mark.parametrize("options", [{"mode": "L"}, {"roi": np.eye(9, dtype=np.uint8) * 255}], ids=["grey", "mapped"])
def test_grey_pictures_and_quality_maps(earlier, later, options):
    mode, how = options.get("mode", "RGB"), {name: value for name, value in options.items() if name != "mode"}
    picture = np.asarray(Image.fromarray(later).convert(mode))
    data = encode(picture, earlier, quality=20, drawn="off", **how)
    shown = shown_in(data, earlier)
    assert shown.mean() > 0.3
    assert np.abs(decode(data, earlier)[shown] - picture[shown]).max() <= 1  # grey of colours is rounded


def test_a_file_may_refer_to_one_that_shows(earlier, later, data):
    """What it sees of that has the shown blocks in it."""
    third = encode(later, data, earlier, quality=20, drawn="off")
    assert read_file(third).header.referring
    assert np.array_equal(decode(third, data, earlier)[:64], decode(data, earlier)[:64])
