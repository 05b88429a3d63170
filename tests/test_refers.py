"""Pictures that refer to others: what is coded, found, refused, and what a wrong reference does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pictures
import pytest
import slow_decoder
from PIL import Image

import nicodec as api
from nicodec import errors
from nicodec.bases.own import OwnDecoder
from nicodec.codec import decode_taus, encode_picture, verify_bytes
from nicodec.container.drawn import SIDE
from nicodec.container.layout import Section, SectionType
from nicodec.container.limits import DEFAULT_MAX_PIXELS
from nicodec.container.reader import read_file
from nicodec.container.references import GAIN, Alignment, Reference, read_aligned, write_aligned
from nicodec.container.writer import write_file
from nicodec.entropy.coder import motion_bits
from nicodec.entropy.motion import CLASSES, Motion, walk
from nicodec.image.arrays import from_array
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.references.align import align
from nicodec.references.build import clusters
from nicodec.references.library import MAX_CHAIN, Held, Library
from nicodec.references.look import look
from nicodec.references.refer import agree
from nicodec.references.warp import Aligned, warp

GOLDEN = Path(__file__).parent / "golden"
MODEL = {"model": "tiny", "device": "cpu"}
TINY = ("--model", "tiny", "--device", "cpu", "--drawn", "off")


def encode(picture, *references, **options):
    return api.encode(picture, **{**MODEL, "drawn": "off", "references": references or "off", **options})


def decode(data, *references, **options):
    return np.asarray(api.decode(data, device="cpu", references=references, **options)).astype(int)


def error_of(picture, decoded):
    return np.square(np.asarray(picture).astype(int) - decoded).mean()


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
    named = Section(SectionType.REFERENCES, write_aligned((replace(held, id=Held.of(other).id),)))
    file = read_file(second)
    changed = write_file(file.header, [named, file.sections[SectionType.SQ]])
    right, wrong = (list(OwnDecoder(read_file(data)).symbols().values()) for data in (second, changed))
    assert [tile.tobytes() for tile in right] == [tile.tobytes() for tile in wrong]
    assert verify_bytes(changed).symbols == verify_bytes(second).symbols
    assert np.abs(decode(changed, other) - decode(second, first)).mean() > 20


def test_crops_and_tiles_are_the_whole_picture(first):
    wide = np.asarray(pictures.image(1100, 90))
    earlier = encode(wide, quality=70)
    data = encode(pictures.another_shot(1100, 90), earlier, quality=50)
    whole = decode(data, earlier)
    for left, top, width, height in ((960, 10, 120, 70), (1030, 0, 50, 90), (0, 5, 30, 20)):
        crop = decode(data, earlier, crop=(left, top, width, height))
        assert np.abs(crop - whole[top : top + height, left : left + width]).max() <= 1


def random_motion(random, height, width):
    motion = Motion.none(height, width)
    motion.sources[:] = random.integers(0, 3, motion.sources.shape)
    motion.vectors[:] = random.integers(-8192, 8192, motion.vectors.shape) * (motion.sources > 0)[..., None]
    taken = motion.sources.repeat(2, 0).repeat(2, 1) > 0
    motion.classes[:] = random.integers(0, CLASSES, motion.classes.shape) * taken
    return motion


def test_the_walk_reads_what_it_wrote():
    motion, written = random_motion(np.random.default_rng(1), 3, 5), []

    def write(weights, entry):
        assert sum(weights) == 1 << 24
        assert min(weights) > 0
        written.append(entry)
        return entry

    walk(motion, write)
    read = Motion.none(3, 5)
    walk(read, lambda weights, _: written.pop(0))
    assert read.tobytes() == motion.tobytes()
    assert motion_bits(motion) > 0


def test_a_vector_out_of_its_range_is_refused():
    entries = iter([1, 15, *[1] * 14])
    with pytest.raises(errors.CorruptFileError, match="vector"):
        walk(Motion.none(1, 1), lambda weights, _: next(entries, 0))


@pytest.mark.parametrize("light", [((GAIN, 0),) * 3, ((1100, -30), (900, 44), (1024, 3))])
def test_the_warp_is_the_slow_one(light):
    """Turned, seen from elsewhere, out of the picture, with vectors of all lengths."""
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (50, 70, 3), np.uint8)
    corners = ((37, -90), (-400, 211), (150, -333), (-77, 5))
    motion = random_motion(random, 2, 2)
    motion.vectors[:] //= 40
    aligned = [Aligned(pixels, Alignment(corners, light), 90, 100), Aligned(pixels, Alignment(), 90, 100)]
    found = warp(aligned, motion, (slice(0, 8), slice(0, 8)))
    header, plain = {"width": 90, "height": 100}, pixels.astype(int).tolist()
    said = [(b"", "", list(each.alignment.corners), each.alignment.light) for each in aligned]
    for row, column in random.integers(0, 128, (300, 2)).tolist():
        block = row // SIDE, column // SIDE
        source, vector = max(1, int(motion.sources[block])), motion.vectors[block].tolist()
        assert found[row, column].tolist() == slow_decoder.warped(
            header, said[source - 1], plain, vector, row, column
        ), (row, column)


def test_what_lies_as_it_is_stays_as_it_is():
    pixels = pictures.scene(100, 70)
    same = warp([Aligned(pixels, Alignment(), 100, 70)], Motion.none(2, 2), (slice(0, 8), slice(0, 8)))
    assert np.array_equal(same[:70, :100], pixels)


def test_a_turned_and_darker_shot_is_found():
    """The alignment, by the error of what it predicts."""
    image = Image.fromarray(pictures.scene(400, 320))
    turned = image.transform((400, 320), Image.Transform.AFFINE, (0.995, -0.02, 9, 0.02, 0.995, -6), Image.BICUBIC)
    picture = np.round(np.asarray(turned) * 0.8 + 10).astype(np.uint8)[64:-64, 64:-64]
    pixels = np.asarray(image)[64:-64, 64:-64]
    found = Aligned(pixels, align(picture, pixels), picture.shape[1], picture.shape[0])
    seen = warp([found], Motion.none(3, 5), (slice(0, 12), slice(0, 20)))[: len(picture), : picture.shape[1]]
    inner = (slice(32, -32), slice(32, -32))
    assert error_of(picture[inner], seen[inner].astype(int)) < 0.2 * error_of(picture[inner], pixels[inner].astype(int))


def test_a_camera_that_stood_still_copies_without_interpolation():
    pixels = pictures.scene(300, 200)
    noise = np.random.default_rng(0).normal(0, 2, pixels.shape)
    assert align(np.clip(pixels + noise, 0, 255).round().astype(np.uint8), pixels) == Alignment()


def test_a_reference_of_one_colour_does_no_harm(shot):
    grey = np.full((150, 200, 3), 128, np.uint8)
    with np.errstate(all="raise"):
        align(np.asarray(shot), grey)
        align(grey, np.asarray(shot))
        align(grey, grey)
    assert len(encode(shot, pictures.file_bytes(Image.fromarray(grey)))) <= len(encode(shot))


def test_what_was_searched_in_vain_is_not_tried():
    random = np.random.default_rng(0)
    pixels, other = (
        np.asarray(Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8)).resize((400, 300), Image.BICUBIC))
        for _ in range(2)
    )
    moved = pixels[9:, 14:]
    for reference, expected in ((pixels, True), (other, False)):
        aligned = Aligned(reference, align(moved, reference), moved.shape[1], moved.shape[0])
        assert agree(moved, aligned) is expected


# --- what is found and refused


def test_references_are_found_beside_the_file_by_name_and_content(first, shot, tmp_path, inside):
    (tmp_path / "a.nic").write_bytes(first)
    shot.save(tmp_path / "b.png")
    assert inside("encode", "b.png", "--reference", "a.nic", "-o", "b.nic", *TINY)[0] == 0
    assert inside("decode", "b.nic", "-o", "back.png")[0] == 0
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
    (picture,) = decode_taus(cut, DecodeOptions(best_effort=True, device="cpu"))
    assert picture.damage
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
        named = Section(SectionType.REFERENCES, write_aligned((Reference(held[-1].id, ""),)))
        held.append(Held.of(write_file(file.header, [named, file.sections[SectionType.SQ]])))
    return held


def test_chains_have_an_end():
    held = chain_of(MAX_CHAIN + 1)
    assert decode(held[MAX_CHAIN].data, *[each.data for each in held]).shape == (80, 96, 3)
    with pytest.raises(errors.LimitError, match=str(MAX_CHAIN)):
        decode(held[-1].data, *[each.data for each in held])


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
    named = Section(SectionType.REFERENCES, write_aligned((replace(held, id=Held.of(bare).id),)))
    own = read_file(data)
    renamed = write_file(own.header, [named, own.sections[SectionType.SQ]])
    assert np.array_equal(decode(data, with_tokens), decode(renamed, bare))


def test_the_page_shows_a_file_that_refers(first, second, tmp_path):
    from nicodec.container.layout import Box
    from nicodec.look.session import Session

    held = Held.of(first, "a.nic")
    (reference,) = read_aligned(read_file(second))
    named = Section(SectionType.REFERENCES, write_aligned((replace(reference, name="a.nic", id=held.id),)))
    file = read_file(second)
    data = write_file(file.header, [named, file.sections[SectionType.SQ]])
    (tmp_path / "a.nic").write_bytes(first)
    session = Session(data, "cpu", beside=tmp_path)
    shown = session.render("fidelity", 0.0, 1, Box(0, 0, 200, 150))
    assert np.abs(shown.astype(int) - decode(second, first)).max() <= 1
    with pytest.raises(errors.MissingReferenceError):
        Session(data, "cpu")


# --- many pictures


def test_a_series_refers_to_earlier_pictures_and_info_shows_the_chain(tmp_path, inside):
    (tmp_path / "in").mkdir()
    for number in range(7):
        pictures.another_shot(160, 120, across=number).save(tmp_path / "in" / f"{number}.png")
    call = ("encode", "-r", "in", "-o", "out", "--series", "-q", 50, *TINY)
    code, _, message = inside(*call)
    assert code == 0, message
    chains = {}
    for number in range(7):
        facts = api.read_info(tmp_path / "out" / f"{number}.nic")
        named = facts["refers_to"] or []
        assert all(int(each["name"][0]) < number for each in named)
        chains[f"{number}.nic"] = max((chains[each["name"]] + 1 for each in named), default=0)
        assert api.decode(tmp_path / "out" / f"{number}.nic", device="cpu").size == (160, 120)
    assert 1 <= max(chains.values()) <= 4
    last = max(chains, key=lambda name: chains[name])
    _, out, _ = inside("info", "-v", f"out/{last}")
    assert out.decode().count("refers to ") >= chains[last]
    facts = json.loads(inside("info", f"out/{last}", "--json")[1])
    assert facts["refers_to"]
    for wrong in (("-j", "2"), ()):
        source = ("-r", "in") if wrong else ("in/0.png",)
        assert inside("encode", *source, "-o", "other" if wrong else "o.nic", "--series", *wrong, *TINY)[0] == 2


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


def test_clusters_are_of_what_looks_alike():
    scenes = [pictures.scene(90, 70), pictures.scene(90, 70)[::-1], pictures.scene(90, 70)[:, ::-1]]
    looks = [look(np.clip(pixels * gain, 0, 255).astype(np.uint8)) for pixels in scenes for gain in (1.0, 0.9, 1.05)]
    found = clusters(looks, 3)
    assert sorted(cluster.index // 3 for cluster in found) == [0, 1, 2]
    assert [cluster.members for cluster in found] == [3, 3, 3]
    assert len(clusters(looks[:2], 5)) <= 2


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
