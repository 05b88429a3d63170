"""What a file refers to is found beside it by every command, and what is wrong with a file is said of that one."""

import pictures
import pytest

import nicodec
from nicodec import errors

TINY = ("--model", "tiny", "--device", "cpu", "--drawn", "off")
MODEL = {"model": "tiny", "device": "cpu", "drawn": "off"}


@pytest.fixture
def pair(tmp_path):
    """b.nic, which refers to a.nic, and c.png."""
    (tmp_path / "a.nic").write_bytes(nicodec.encode(pictures.image(200, 150), quality=60, **MODEL))
    shot = nicodec.encode(pictures.another_shot(200, 150), references=[tmp_path / "a.nic"], **MODEL)
    (tmp_path / "b.nic").write_bytes(shot)
    pictures.image(64, 64).save(tmp_path / "c.png")
    return tmp_path


@pytest.mark.parametrize(
    "call",
    [
        ("compare", "b.nic", "-f", "-o", "page.html", "--device", "cpu"),
        ("desktop", "thumbnail", "b.nic", "small.png", "64"),
        ("decode", "b.nic", "-f", "-o", "b.png", "--device", "cpu"),
    ],
)
def test_what_a_file_refers_to_lies_beside_it(call, pair, inside):
    assert nicodec.read_info(pair / "b.nic")["refers_to"]
    assert inside(*call)[0] == 0
    (pair / "a.nic").rename(pair / "elsewhere.nic")
    code, _, err = inside(*call)
    assert code == errors.MissingReferenceError.exit_code
    assert err.startswith("nicodec: error: b.nic: ")


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"nothing of the kind", errors.NotNicodecError.exit_code, "bad.nicdict: not a dictionary"),
        (b"NICD\x01\x01 cut", errors.CorruptFileError.exit_code, "bad.nicdict: the dictionary is damaged"),
    ],
)
def test_a_dictionary_that_is_none_is_named(content, code, says, pair, inside):
    from nicodec.container.dictionary import DICTIONARY_MAGIC

    content = content.replace(b"NICD", DICTIONARY_MAGIC)
    (pair / "bad.nicdict").write_bytes(content)
    found = inside("encode", "c.png", "-o", "c.nic", "--dictionary", "bad.nicdict", *TINY)
    assert found[0] == code
    assert says in found[2]


def test_a_damaged_file_among_those_that_are_compared_is_named(pair, inside):
    data = bytearray((pair / "a.nic").read_bytes())
    data[-8] ^= 1
    (pair / "bad.nic").write_bytes(data)
    code, _, err = inside("compare", "a.nic", "bad.nic", "-o", "page.html", "--device", "cpu")
    assert code == errors.CorruptFileError.exit_code
    assert err.startswith("nicodec: error: bad.nic: ")


def test_jpegs_of_any_suffix_are_taken_from_folders(pair, inside):
    (pair / "photos").mkdir()
    for suffix in ("jpg", "jpe", "jfif", "JPEG"):
        (pair / "photos" / f"{suffix}.{suffix}").write_bytes(pictures.file_bytes(pictures.image(40, 30), "JPEG"))
    assert inside("encode", "-r", "photos", "-o", "coded", *TINY)[0] == 0
    assert sorted(path.name for path in (pair / "coded").iterdir()) == ["JPEG.nic", "jfif.nic", "jpe.nic", "jpg.nic"]
    assert inside("encode", "-r", "photos", "-o", "kept", "--base", "jpeg", "--keep-suffix")[0] == 0
    assert inside("decode", "-r", "kept", "-o", "back", "--keep-suffix")[0] == 0
    for photo in (pair / "photos").iterdir():
        assert (pair / "back" / photo.name).read_bytes() == photo.read_bytes()


def test_perception_without_tokens_takes_a_fuser(tmp_path, inside):
    """Of version 2, where nothing else leads the picture anywhere; `tiny-tunes` has none."""
    (tmp_path / "a.nic").write_bytes(nicodec.encode(pictures.image(64, 64), **{**MODEL, "model": "tiny-tunes"}))
    call = ("decode", "a.nic", "-o", "a.png", "--anchor", "perception", "--device", "cpu")
    code, _, err = inside(*call)
    assert code == errors.MissingPartError.exit_code
    assert "decode with --tau 0" in err
    assert inside(*call, "--tau", "0")[0] == 0


def test_a_trunk_without_what_measures_by_it_is_refused(pair, inside):
    code, _, err = inside("encode", "c.png", "-o", "c.nic", "--trunk", "c.png", *TINY)
    assert (code, "give that too, or leave it out" in err) == (errors.UsageError.exit_code, True)
