"""Pictures that refer to others: what is coded, found, refused, and what a wrong reference does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pictures
import pytest
from pictures import error_of
from PIL import Image

import nicodec as api
from nicodec import errors
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.codec import decode_taus, encode_picture, verify_bytes
from nicodec.container.layout import Section, SectionType
from nicodec.container.limits import DEFAULT_MAX_PIXELS
from nicodec.container.reader import read_file
from nicodec.container.references import Reference, Says, read_aligned, what_blocks_say, write_aligned
from nicodec.container.writer import write_file
from nicodec.image.arrays import from_array
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.references.align import align
from nicodec.references.library import MAX_CHAIN, Held, Library

GOLDEN = Path(__file__).parent / "golden"
MODEL = {"model": "tiny", "device": "cpu"}
PLAIN = {"model": "tiny", "quality": 40, "drawn": "off"}
TINY = ("--model", "tiny", "--device", "cpu", "--drawn", "off")


def encode(picture, *references, **options):
    return api.encode(picture, **{**MODEL, "drawn": "off", "references": references or "off", **options})


def decode(data, *references, **options):
    return np.asarray(api.decode(data, device="cpu", references=references, **options)).astype(int)


def naming(reference, data):
    """The REFERENCES section of a file that names another picture in place of its own."""
    payload = write_aligned((reference,), what_blocks_say(read_file(data)))
    return Section(SectionType.REFERENCES, payload)


@pytest.fixture(scope="module")
def first():
    """The file of a picture."""
    return encode(pictures.image(200, 150), quality=60)


@pytest.fixture(scope="module")
def shot():
    """Another picture of its scene."""
    return pictures.another_shot(200, 150)


@pytest.fixture(scope="module")
def second(first, shot):
    """Its file, which refers to the first."""
    return encode(shot, first, quality=40)


# --- what is coded


def test_a_reference_saves_bytes_and_error(first, shot, second):
    alone = encode(shot, quality=40)
    assert len(second) < 0.7 * len(alone)
    assert error_of(shot, decode(second, first)) < 1.05 * error_of(shot, decode(alone))
    assert api.read_info(second)["refers_to"] == [{"id": Held.of(first).id.hex(), "name": ""}]
    assert api.read_info(alone)["refers_to"] is None


def test_a_picture_file_can_be_referred_to(shot):
    png = pictures.file_bytes(pictures.image(200, 150))
    data = encode(shot, png, quality=40)
    assert read_file(data).header.referring
    assert error_of(shot, decode(data, png)) < 1.05 * error_of(shot, decode(encode(shot, quality=40)))


def test_what_does_not_help_leaves_the_file_as_it_is_to_the_byte(shot):
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    assert encode(shot, encode(noise)) == encode(shot, references="auto")


def test_references_that_nothing_is_taken_of_are_left_out(first, shot):
    noise = encode(np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8))
    data = encode(shot, noise, first, quality=40)
    assert [held.id for held in read_aligned(read_file(data))] == [Held.of(first).id]


@pytest.mark.parametrize(
    "options", [{"effort": 1}, {"quality": 95}, {"roi": np.eye(9, dtype=np.uint8) * 255}], ids=list
)
def test_round_trips(first, shot, options):
    data = encode(shot, first, **options)
    assert read_file(data).header.referring
    assert verify_bytes(data).symbols > 0
    assert error_of(shot, decode(data, first)) < 1.05 * error_of(shot, decode(encode(shot, **options)))


@pytest.mark.parametrize("options", [
    {"streams": "sq+vq"}, {"token_bits": 2}, {"robust": True}, {"drawn": "all"}, {"references": ()},
    {"references": (Held.of(b"it"),) * 9},
], ids=lambda options: " ".join(options))  # fmt: skip
def test_options_that_exclude_references_are_refused(options):
    with pytest.raises(errors.UsageError):
        EncodeOptions(**{"references": (Held.of(b"it"),), **options})


# --- exactness


def test_a_wrong_reference_gives_another_picture_of_the_same_symbols(first, second):
    """The symbols do not depend on pixels: parsing and `verify` take no reference."""
    other = encode(pictures.image(200, 150).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    (held,) = read_aligned(read_file(second))
    named = naming(replace(held, id=Held.of(other).id), second)
    file = read_file(second)
    changed = write_file(file.header, [named, file.sections[SectionType.SQ]])
    right, wrong = (list(OwnDecoder(read_file(data)).symbols().values()) for data in (second, changed))
    assert [tile.tobytes() for tile in right] == [tile.tobytes() for tile in wrong]
    assert verify_bytes(changed).symbols == verify_bytes(second).symbols
    assert [verify_bytes(data).refers_to for data in (first, second)] == [0, 1]
    assert np.abs(decode(changed, other) - decode(second, first)).mean() > 20


def test_crops_and_tiles_are_the_whole_picture(first):
    wide = np.asarray(pictures.image(1100, 90))
    earlier = encode(wide, quality=70)
    data = encode(pictures.another_shot(1100, 90), earlier, quality=50)
    whole = decode(data, earlier)
    for left, top, width, height in ((960, 10, 120, 70), (1030, 0, 50, 90), (0, 5, 30, 20)):
        crop = decode(data, earlier, crop=(left, top, width, height))
        assert np.abs(crop - whole[top : top + height, left : left + width]).max() <= 1


def test_a_reference_of_one_colour_does_no_harm(shot):
    grey = np.full((150, 200, 3), 128, np.uint8)
    with np.errstate(all="raise"):
        align(np.asarray(shot), grey)
        align(grey, np.asarray(shot))
        align(grey, grey)
    assert len(encode(shot, pictures.file_bytes(Image.fromarray(grey)))) <= len(encode(shot))


# --- what is found and refused# --- what is found and refused


def test_references_are_found_beside_the_file_by_name_and_content(first, shot, tmp_path, inside):
    (tmp_path / "a.nic").write_bytes(first)
    shot.save(tmp_path / "b.png")
    assert inside("encode", "b.png", "--reference", "a.nic", "-o", "b.nic", *TINY)[0] == 0
    assert inside("decode", "b.nic", "-o", "back.png")[0] == 0
    assert inside("verify", "b.nic")[2].strip().endswith("; it takes 1 other picture to decode it")
    assert json.loads(inside("verify", "b.nic", "--json")[2])["refers_to"] == 1
    assert api.decode(tmp_path / "b.nic", device="cpu").size == (200, 150)
    api.register_pillow_plugin()
    with Image.open(tmp_path / "b.nic") as image:
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(tmp_path / "back.png")))
    (tmp_path / "a.nic").rename(tmp_path / "elsewhere.nic")
    assert inside("decode", "b.nic", "--reference", "elsewhere.nic", "-o", "again.png")[0] == 0
    code, _, message = inside("decode", "b.nic", "-o", "c.png")
    assert code == errors.MissingReferenceError.exit_code
    assert "a.nic" in message
    assert Held.of(first).id.hex() in message
    assert not (tmp_path / "c.png").exists()
    (tmp_path / "a.nic").write_bytes(encode(pictures.image(64, 64)))
    code, _, message = inside("decode", "b.nic", "-o", "c.png")
    assert code == errors.MissingReferenceError.exit_code
    assert "is another file" in message


def test_a_missing_reference_is_refused_before_any_network_is_loaded(second, monkeypatch):
    monkeypatch.setenv("NICODEC_MODELS", "/nowhere")
    with pytest.raises(errors.MissingReferenceError):
        api.decode(second)


def test_a_lost_section_is_reported_with_best_effort(second):
    at = second.index(Held.of(b"").id[:0] + read_aligned(read_file(second))[0].id)
    damaged = second[:at] + bytes([second[at] ^ 1]) + second[at + 1 :]
    with pytest.raises(errors.CorruptFileError):
        api.decode(damaged)
    with pytest.raises(errors.MissingReferenceError):  # the id is now another
        decode_taus(damaged, DecodeOptions(best_effort=True, device="cpu"))
    file = read_file(second)
    cut = write_file(file.header, [Section(SectionType.REFERENCES, b"\0"), file.sections[SectionType.SQ]])
    with pytest.raises(errors.CorruptFileError, match="nothing of the picture can be read"):
        decode_taus(cut, DecodeOptions(best_effort=True, device="cpu"))
    assert verify_refused(cut)


def verify_refused(data):
    with pytest.raises(errors.CorruptFileError):
        verify_bytes(data)
    return True


def chain_of(length):
    """Files that refer to one another in a row, each to the one before: little but their headers."""
    file = read_file((GOLDEN / "refers-96x80.nic").read_bytes())
    held = [Held.of((GOLDEN / "rgb-96x80-q50.nic").read_bytes())]
    for _ in range(length):
        named = Section(SectionType.REFERENCES, write_aligned((Reference(held[-1].id, ""),), Says()))
        held.append(Held.of(write_file(file.header, [named, file.sections[SectionType.SQ]])))
    return held


def test_chains_have_an_end():
    held = chain_of(MAX_CHAIN + 1)
    assert decode(held[MAX_CHAIN].data, *[each.data for each in held]).shape == (80, 96, 3)
    with pytest.raises(errors.LimitError, match=str(MAX_CHAIN)):
        decode(held[-1].data, *[each.data for each in held])


@pytest.mark.parametrize("name", ["refers-1100x70", "refers-96x80"])
def test_where_it_is_lost_what_a_file_refers_to_that_is_damage(name):
    """Even if a tile takes nothing of it."""
    file = read_file((GOLDEN / f"{name}.nic").read_bytes())
    kept = [section for kind, section in file.sections.items() if kind is not SectionType.REFERENCES]
    data = write_file(file.header, kept)
    with pytest.raises(errors.CorruptFileError):
        decode(data)
    with pytest.raises(errors.CorruptFileError, match="nothing of the picture"):
        decode_taus(data, DecodeOptions(best_effort=True, device="cpu"))


def test_all_that_references_declare_counts_together():
    held = chain_of(3)
    library = Library(lambda data, library: np.zeros((1, 1, 3), np.uint8), held, max_pixels=2 * 96 * 80)
    library.check(read_file(held[2].data))
    library = Library(lambda data, library: np.zeros((1, 1, 3), np.uint8), held, max_pixels=2 * 96 * 80)
    with pytest.raises(errors.LimitError):
        library.check(read_file(held[3].data))
    assert DEFAULT_MAX_PIXELS > 2 * 96 * 80


def test_a_reference_of_a_reference_lies_beside_it(tmp_path):
    shutil.copy(GOLDEN / "refers-96x80.nic", tmp_path)
    shutil.copy(GOLDEN / "rgb-96x80-q50.nic", tmp_path)
    data = encode(pictures.another_shot(96, 80), tmp_path / "refers-96x80.nic", quality=60)
    assert decode(data, tmp_path / "refers-96x80.nic").shape == (80, 96, 3)


def test_tokens_and_experts_do_not_change_what_a_reference_is(shot):
    """They may get better, and files that refer to it stay."""
    with_tokens = encode(pictures.image(200, 150), quality=60, model="tiny-full")
    data = encode(shot, with_tokens, quality=40, streams="sq")
    assert read_file(data).header.referring
    file = read_file(with_tokens)
    bare = write_file(file.header, [file.sections[SectionType.SQ]])
    (held,) = read_aligned(read_file(data))
    named = naming(replace(held, id=Held.of(bare).id), data)
    own = read_file(data)
    renamed = write_file(own.header, [named, own.sections[SectionType.SQ]])
    assert np.array_equal(decode(data, with_tokens), decode(renamed, bare))


def test_the_page_shows_a_file_that_refers(first, second, tmp_path):
    from nicodec.container.layout import Box
    from nicodec.look.session import Session

    held = Held.of(first, "a.nic")
    (reference,) = read_aligned(read_file(second))
    named = naming(replace(reference, name="a.nic", id=held.id), second)
    file = read_file(second)
    data = write_file(file.header, [named, file.sections[SectionType.SQ]])
    (tmp_path / "a.nic").write_bytes(first)
    session = Session(data, "cpu", beside=tmp_path)
    shown = session.render("fidelity", 0.0, 1, Box(0, 0, 200, 150))
    assert np.abs(shown.astype(int) - decode(second, first)).max() <= 1
    with pytest.raises(errors.MissingReferenceError):
        Session(data, "cpu")


def test_a_reference_that_cannot_be_read_is_named(tmp_path, inside, first):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.nic").write_bytes(first[:-9])
    pictures.image(64, 64).save(tmp_path / "a.png")
    for name, code in (("empty.png", errors.InputError), ("cut.nic", errors.CorruptFileError)):
        found, _, message = inside("encode", "a.png", "--reference", name, "-o", "a.nic", *TINY)
        assert (found, f"reference {name}" in message) == (code.exit_code, True), message


# --- many pictures


def test_a_dictionary_is_built_searched_and_found(tmp_path, inside, monkeypatch):
    (tmp_path / "many").mkdir()
    scenes = [np.asarray(pictures.image(160, 120)), pictures.scene(160, 120)[::-1], pictures.scene(160, 120)[:, ::-1]]
    for number, pixels in enumerate(scenes):
        for copy in range(2):
            Image.fromarray(np.clip(pixels + 3 * copy, 0, 255).astype(np.uint8)).save(
                tmp_path / "many" / f"{number}{copy}.png"
            )
    (tmp_path / "many" / "none.png").write_bytes(b"no picture")
    build = ("dictionary", "build", "--data", "many", "--size", 3, "-o", "mine.nicdict", "--model", "tiny")
    code, _, message = inside(*build)
    assert code == 0, message
    assert "3 of 6 pictures" in message
    assert inside(*build)[0] == errors.OutputExistsError.exit_code
    facts = json.loads(inside("dictionary", "info", "mine.nicdict", "--json")[1])
    assert [picture["width"] for picture in facts["pictures"]] == [160] * 3
    pictures.another_shot(160, 120, across=1, down=1).save(tmp_path / "b.png")
    assert inside("encode", "b.png", "--dictionary", "mine.nicdict", "-o", "b.nic", *TINY)[0] == 0
    named = api.read_info(tmp_path / "b.nic")["refers_to"]
    assert {each["id"] for each in named} == {facts["id"]}
    assert inside("decode", "b.nic", "-o", "b2.png", "--dictionary", "mine.nicdict")[0] == 0
    code, _, message = inside("decode", "b.nic", "-o", "b3.png")
    assert code == errors.MissingReferenceError.exit_code
    assert facts["id"] in message
    monkeypatch.setenv("NICODEC_DICTIONARIES", str(tmp_path))
    assert inside("decode", "b.nic", "-o", "b3.png")[0] == 0
    unlike = pictures.drawing(160, 120)
    unlike.save(tmp_path / "c.png")
    assert inside("encode", "c.png", "--dictionary", "mine.nicdict", "-o", "c.nic", *TINY)[0] == 0
    assert inside("encode", "c.png", "-o", "c2.nic", *TINY)[0] == 0
    assert (tmp_path / "c.nic").read_bytes() == (tmp_path / "c2.nic").read_bytes()


def test_encoding_at_a_target_refers_too(first, shot, tmp_path, inside):
    (tmp_path / "a.nic").write_bytes(first)
    shot.save(tmp_path / "b.png")
    code, _, message = inside("encode", "b.png", "--reference", "a.nic", "-o", "b.nic", "--target-size", "900", *TINY)
    assert code == 0, message
    data = (tmp_path / "b.nic").read_bytes()
    assert len(data) <= 900
    assert read_file(data).header.referring


def test_encode_picture_takes_what_the_api_takes(first, shot):
    options = EncodeOptions(quality=40, model="tiny", device="cpu", drawn="off", references=(Held.of(first),))
    assert encode_picture(from_array(np.asarray(shot)), options) == encode(shot, first, quality=40)


@pytest.mark.parametrize("scale", [2, 16])
def test_a_small_picture_is_the_full_one_averaged(first, second, scale):
    from nicodec.image.shrink import averaged

    small, full = (decode(second, first, scale=each) for each in (scale, 1))
    assert np.abs(small - averaged(full.astype(np.uint8), scale)).max() <= 1
