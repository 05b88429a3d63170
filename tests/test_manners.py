"""What a user meets at the terminal: errors that name their file, several files at once, names that are no text."""

import json

import numpy as np
import pictures
import pytest
from PIL import Image

from nicodec import errors
from nicodec.cli.messages import printable
from nicodec.container.layout import SectionType
from nicodec.container.reader import read_file

TINY = ("--model", "tiny", "--device", "cpu")


@pytest.fixture
def files(inside, tmp_path):
    """a.nic and b.nic, whole, and bad.nic, damaged."""
    for name in ("a", "b"):
        pictures.image(64, 48).save(tmp_path / f"{name}.png")
        assert inside("encode", f"{name}.png", "-o", f"{name}.nic", *TINY)[0] == 0
    data = bytearray((tmp_path / "a.nic").read_bytes())
    data[-8] ^= 1
    (tmp_path / "bad.nic").write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("call", [("info",), ("verify",), ("decode", "-o", "x.png", "--device", "cpu")])
def test_an_error_names_its_file(files, inside, call):
    code, _, err = inside(*call, "bad.nic")
    assert code == errors.CorruptFileError.exit_code
    assert err.startswith("nicodec: error: bad.nic: the ")
    assert err.count("\n") == 1
    said = json.loads(inside(*call, "bad.nic", "--json")[2])
    assert (said["input"], said["exit_code"]) == ("bad.nic", code)
    assert inside(*call, "nowhere.nic")[2] == "nicodec: error: cannot read nowhere.nic: No such file or directory\n"


def test_several_files_are_looked_at_and_a_bad_one_does_not_stop_the_rest(files, inside):
    code, out, err = inside("info", "a.nic", "bad.nic", "b.nic")
    assert code == errors.BatchError.exit_code
    assert [line.split(b":")[0] for line in out.splitlines()] == [b"a.nic", b"b.nic"]
    assert err.splitlines()[-1] == "nicodec: error: 1 of 3 files failed"
    code, _, err = inside("verify", "a.nic", "bad.nic", "b.nic")
    assert code == errors.BatchError.exit_code
    assert ["whole" in line for line in err.splitlines()] == [True, False, True, False]
    assert inside("verify", "a.nic", "b.nic")[0] == 0
    assert inside("info", "a.nic", "b.nic", "--bitmap", "x.png")[0] == errors.UsageError.exit_code


def test_what_info_lists_adds_up(files, inside):
    facts = json.loads(inside("info", "--json", "a.nic")[1])
    lines = inside("info", "-v", "a.nic")[1].decode().splitlines()
    sizes = [int(line.split()[-2]) for line in lines if line.endswith(" bytes")]
    assert sum(sizes) == facts["bytes"] == (files / "a.nic").stat().st_size


def test_a_bitmap_is_a_png(files, inside):
    code, _, err = inside("info", "a.nic", "--bitmap", "map.jpg")
    assert code == errors.UsageError.exit_code
    assert "expected OUT.png" in err
    assert not (files / "map.jpg").exists()


def test_names_do_not_steer_the_terminal(inside, tmp_path):
    name = "a\x1b[31m\n\x9b.png"
    pictures.image(20, 20).save(tmp_path / name)
    code, _, err = inside("encode", name, "-o", f"{name}.nic", *TINY)
    assert (code, err.count("\n")) == (0, 1)
    assert r"a\x1b[31m\n\x9b.png -> " in err
    assert printable("Bär \udcff") == r"Bär \udcff"


@pytest.mark.parametrize("output", ["/dev/stdout", "/dev/fd/1"])
def test_descriptors_are_written_to(shell, tmp_path, output):
    pictures.image(20, 20).save(tmp_path / "a.png")
    shell("sh", "-c", f"nicodec encode a.png -o {output} --model tiny --quiet | cat > a.nic")
    shell("sh", "-c", "nicodec encode a.png -o b.nic --model tiny --quiet")
    assert (tmp_path / "a.nic").read_bytes() == (tmp_path / "b.nic").read_bytes()


def test_what_is_drawn_has_one_size(inside, tmp_path):
    Image.fromarray(np.kron(np.eye(8), np.full((16, 16), 255)).astype(np.uint8)).save(tmp_path / "a.png")
    assert inside("encode", "a.png", "-o", "b.nic", *TINY)[0] == 0
    assert inside("verify", "b.nic")[2] == "b.nic: whole, all drawn, its pixels exact\n"
    code, _, err = inside("encode", "a.png", "-o", "a.nic", "--target-size", "40", *TINY)
    assert code == errors.TargetError.exit_code
    assert "at any quality it is" in err
    assert "kept exactly" in err


def test_advice_fits_the_command(files, inside):
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(files / "deep.png")
    assert "encode --allow-8bit" in inside("compare", "deep.png", "-o", "page.html")[2]
    assert "a .nic file, expected a picture; decode" in inside("encode", "a.nic", "-o", "c.nic", *TINY)[2]
    assert "no JPEG file, and only those can be restored" in inside("restore", "a.png", "-o", "c.png")[2]
    assert "--base-weights" in inside("encode", "a.png", "-o", "c.nic", "--base", "nope")[2]


@pytest.mark.parametrize(("call", "code", "said"), [
    (("encode", "a.png", "-o", "b.png"), 2, "a name for a picture"),
    (("encode", "a.png", "-o", "c.nic", "--drawn", "all", "-q", "30"), 2, "has no quality"),
    (("compare", "a.png", "small.png", "-o", "page.html"), 2, "these have 8x8, 64x48"),
    (("nowhere.png",), 3, "no file nowhere.png"),
    (("encode", "a.png", "-o", "c.nic", "--tune", "psnr"), 0, "has one tune: --tune psnr changes nothing"),
])  # fmt: skip
def test_what_would_surprise_is_said(files, inside, call, code, said):
    pictures.image(8, 8).save(files / "small.png")
    found, _, err = inside(*call, *(TINY if call[0] == "encode" else ()))
    assert (found, said in err) == (code, True), err


def test_a_file_of_which_nothing_is_left_is_no_grey_picture(files, inside):
    file = read_file((files / "a.nic").read_bytes())
    assert set(file.sections) <= {SectionType.SQ, SectionType.VQ, SectionType.TEXTURE}
    (files / "cut.nic").write_bytes((files / "a.nic").read_bytes()[: file.size // 3])
    code, _, err = inside("decode", "cut.nic", "-o", "x.png", "--best-effort", "--device", "cpu")
    assert code == errors.CorruptFileError.exit_code
    assert "nothing of the picture can be read" in err
    assert not (files / "x.png").exists()


@pytest.mark.parametrize(
    "named", [("-fo", "out.nic"), ("-f", "-oout.nic"), ("-f", "--output=out.nic"), ("-vfo", "out.nic")]
)
def test_without_a_command_an_output_that_is_named_is_the_only_one(files, inside, named):
    before = (files / "a.nic").read_bytes()
    assert inside("a.png", *named, "-q", "20", *TINY)[0] == 0
    assert (files / "a.nic").read_bytes() == before
    assert read_file((files / "out.nic").read_bytes()).header.width == 64
    (files / "-x.png").write_bytes((files / "b.png").read_bytes())
    assert inside("b.png", "-f", *TINY, "--", "./-x.png")[0] == 0
    assert (files / "-x.nic").read_bytes()[:4] == before[:4]


@pytest.mark.parametrize(
    "call", [("decode", "a.nic", "--scale", "3", "-o", "x.png"), ("encode", "a.png", "-q", "abc"), ("verify", "--no")]
)
def test_what_a_command_cannot_be_called_with_is_json_too(files, inside, call):
    code, _, err = inside(*call, "--json")
    said = json.loads(err)
    assert said["exit_code"] == code == errors.UsageError.exit_code
    assert said["error"]
    assert inside(*call)[2].startswith("Usage: ")


def test_all_commands_name_the_input_alike(files, inside):
    outputs = inside("info", "--json", "a.nic")[1], *(inside(*call, "--json")[2] for call in (
        ("verify", "a.nic"), ("decode", "a.nic", "-o", "c.png", "--device", "cpu"), ("info", "bad.nic")))  # fmt: skip
    assert [json.loads(said)["input"] for said in outputs] == ["a.nic", "a.nic", "a.nic", "bad.nic"]
