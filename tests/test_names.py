"""Names of files: long ones, lists of them, what is made of them, and what becomes of the file that has one already."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image

import nicodec
from nicodec import errors
from nicodec.cli import streams

ROOT = Path(__file__).parents[1]
CASES = Path(__file__).parent / "cases"
NIC = Path(__file__).parent / "golden" / "rgb-96x80-q50.nic"
TINY = ("--model", "tiny", "--device", "cpu")


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def pair(tmp_path):
    """Two pictures that differ in their suffixes alone."""
    (tmp_path / "photos").mkdir()
    for name, width in (("x.jpg", 40), ("x.png", 41)):
        pictures.image(width, 30).save(tmp_path / "photos" / name)
    return tmp_path


# --- long ones


@pytest.mark.parametrize("length", [246, 255])
def test_a_name_as_long_as_the_system_allows(inside, tmp_path, length):
    name = "n" * (length - 4)
    pictures.image(9, 9).save(tmp_path / f"{name}.png")
    for _ in range(2):  # a new file, and one that is overwritten
        assert inside("encode", f"{name}.png", "-o", f"{name}.nic", "-f", *TINY)[0] == 0
    assert inside("decode", f"{name}.nic", "-o", "back/" if (tmp_path / "back").mkdir() else "back")[0] == 0
    assert written(tmp_path) == sorted([f"back/{name}.png", f"{name}.nic", f"{name}.png"])


LONG = "n" * 300


@pytest.mark.parametrize(("error", "call"), [
    (errors.InputError, ("encode", f"{LONG}.png", "-o", "b.nic", *TINY)), (errors.InputError, ("info", LONG)),
    (errors.InputError, ("decode", LONG, "-o", "b.png")), (errors.InputError, ("compare", LONG, "-o", "a.html")),
    (errors.InputError, ("encode", "--files-from", LONG, "-o", "out")),
    (errors.OutputError, ("decode", "a.nic", "-o", f"{LONG}.png")),
    (errors.OutputError, ("encode", "a.png", "-o", f"{LONG}.nic", *TINY)),
    (errors.OutputError, ("info", "a.nic", "--bitmap", f"{LONG}.png")),
    (errors.OutputError, ("encode", "-r", ".", "-o", LONG, *TINY)),
    (errors.OutputError, ("decode", "a.nic", "-o", "n" * 250 + "{tau}.png", "--tau", "0,0.5")),
    (errors.UsageError, (LONG,)),
])  # fmt: skip
def test_a_longer_one_is_refused_in_one_line(inside, tmp_path, error, call):
    shutil.copy(NIC, tmp_path / "a.nic")
    pictures.image(9, 9).save(tmp_path / "a.png")
    code, out, err = inside(*call)
    assert (code, out) == (error.exit_code, b""), err
    assert "internal error" not in err
    assert written(tmp_path) == ["a.nic", "a.png"]
    if error is not errors.UsageError:
        assert "File name too long" in err
        assert err.count("\n") == 1


def test_a_longer_one_in_a_batch_does_not_stop_the_rest(inside, tmp_path):
    for name in ("n" * 252, "ok"):
        shutil.copy(NIC, tmp_path / name)
    code, _, err = inside("decode", "n" * 252, "ok", "-o", "out", "--skip-existing")
    assert code == errors.BatchError.exit_code, err
    assert err.count("File name too long") == 1
    assert written(tmp_path / "out") == ["ok.png"]


def test_a_link_that_leads_to_itself(inside, tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    code, _, err = inside("decode", NIC, "-o", "loop.png")
    assert code == errors.OutputError.exit_code, err
    assert "internal error" not in err


# --- lists


def test_a_list_with_a_mark_at_its_start_and_ends_of_windows(inside, tmp_path):
    pictures.image(9, 9).save(tmp_path / "a.png")
    pictures.image(9, 9).save(tmp_path / "b.png")
    listed = (CASES / "bom_list.txt").read_bytes()
    assert listed == b"\xef\xbb\xbfa.png\r\n"
    (tmp_path / "list.txt").write_bytes(listed + b"\r\nb.png")
    code, _, err = inside("encode", "--files-from", "list.txt", "-o", "out", *TINY)
    assert code == 0, err
    assert written(tmp_path / "out") == ["a.nic", "b.nic"]


def test_a_list_of_names_that_end_in_nul_is_taken_as_it_is(inside, tmp_path):
    pictures.image(9, 9).save(tmp_path / "a\r.png")
    shutil.copy(tmp_path / "a\r.png", tmp_path / "b\r")
    code, _, err = inside("encode", "--files-from", "-", "-o", "out", *TINY, stdin=b"\xef\xbb\xbfa\r.png\0b\r\0")
    assert code == 0, err
    assert written(tmp_path / "out") == ["a\r.nic", "b\r.nic"]


def test_a_list_in_utf_16_is_named_as_such(inside, tmp_path):
    (tmp_path / "list.txt").write_bytes("a.png\r\n".encode("utf-16"))
    code, _, err = inside("encode", "--files-from", "list.txt", "-o", "out", *TINY)
    assert code == errors.InputError.exit_code
    assert "UTF-16" in err


# --- what is overwritten


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_an_overwritten_file_keeps_its_permissions(inside, tmp_path, mode):
    (tmp_path / "a.png").write_bytes(b"old")
    (tmp_path / "a.png").chmod(mode)
    assert inside("decode", NIC, "-o", "a.png", "-f")[0] == 0
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode
    assert Image.open(tmp_path / "a.png").size == (96, 80)


def test_links(inside, tmp_path):
    """A symbolic link stays one, and its file's rights hold; a hard link's other name keeps the old content."""
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "real.png").chmod(0o600)
    (tmp_path / "link.png").symlink_to("real.png")
    (tmp_path / "other").hardlink_to(tmp_path / "real.png")
    assert inside("decode", NIC, "-o", "link.png", "-f")[0] == 0
    assert (tmp_path / "link.png").readlink() == Path("real.png")
    assert stat.S_IMODE((tmp_path / "real.png").stat().st_mode) == 0o600
    assert (tmp_path / "real.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "other").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_group_stay(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    os.chown(tmp_path / "a", 1234, 2345)
    (tmp_path / "a").chmod(0o4750)
    streams.write_output(str(tmp_path / "a"), b"new", force=True)
    found = (tmp_path / "a").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 2345, 0o4750)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv")
def test_another_group_gets_no_rights_of_the_old_one(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    os.chown(tmp_path / "a", 1234, 2345)
    (tmp_path / "a").chmod(0o4664)
    tmp_path.chmod(0o777)
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=4321", "--regid=5432", "--clear-groups"]
    script = "import sys; from nicodec.cli import streams; streams.write_output(sys.argv[1], b'new', force=True)"
    parents = [folder for folder in tmp_path.parents if folder.stat().st_uid == 0 and folder.name.startswith("pytest")]
    before = {folder: folder.stat().st_mode for folder in parents}
    for folder in parents:
        folder.chmod(0o755)  # pytest's folders are private
    done = subprocess.run([*without, sys.executable, "-c", script, str(tmp_path / "a")], cwd="/", capture_output=True,
                          env={"PYTHONPATH": str(ROOT)}, text=True, check=False)  # fmt: skip
    for folder, mode in before.items():
        folder.chmod(mode)
    if "ModuleNotFoundError" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("another user cannot read the program here")
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "a").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4321, 5432, 0o644)


# --- suffixes


def test_pictures_that_differ_in_their_suffix_alone(inside, pair):
    code, _, err = inside("encode", "-r", "photos", "-o", "coded", *TINY)
    assert code == errors.UsageError.exit_code
    assert "would both become coded/x.nic; use --keep-suffix" in err
    assert inside("encode", "-r", "photos", "-o", "coded", "--keep-suffix", *TINY)[0] == 0
    assert written(pair / "coded") == ["x.jpg.nic", "x.png.nic"]
    assert inside("decode", "-r", "coded", "-o", "plain")[0] == 0
    assert {name: Image.open(pair / "plain" / name).width for name in written(pair / "plain")} == {
        "x.jpg.png": 40, "x.png.png": 41,
    }  # fmt: skip
    assert inside("decode", "-r", "coded", "-o", "back", "--keep-suffix")[0] == 0
    assert {name: Image.open(pair / "back" / name).format for name in written(pair / "back")} == {
        "x.jpg": "JPEG", "x.png": "PNG",
    }  # fmt: skip
    assert inside("decode", "-r", "coded", "-o", "webp", "--keep-suffix", "--format", "png")[0] == 0
    assert written(pair / "webp") == ["x.jpg.png", "x.png"]


@pytest.mark.parametrize(("name", "picture"), [
    ("a.nic", "a.png"), ("a.gif.nic", "a.gif.png"), ("a.JPEG.nic", "a.JPEG"), ("a.v2.nic", "a.v2.png"),
    ("a.tiff.nic", "a.tiff"),
])  # fmt: skip
def test_suffixes_that_no_picture_is_written_with(inside, tmp_path, name, picture):
    shutil.copy(NIC, tmp_path / name)
    code, _, err = inside("decode", name, "-o", "out/", "--keep-suffix")
    assert code == 0, err
    assert written(tmp_path / "out") == [picture]


@pytest.mark.parametrize(("names", "option", "advice"), [
    (("a.nic", "a.png.nic"), "--keep-suffix", "leave --keep-suffix out"),
    (("one/a.nic", "two/a.nic"), "--quiet", "take a folder that holds both, with -r"),
])  # fmt: skip
def test_the_advice_helps(inside, tmp_path, names, option, advice):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(NIC, tmp_path / name)
    code, _, err = inside("decode", *names, "-o", "out", option)
    assert code == errors.UsageError.exit_code
    assert advice in err
    assert inside("decode", *(names if option == "--keep-suffix" else ("-r", ".")), "-o", "out")[0] == 0
    assert len(written(tmp_path / "out")) == 2


# --- {tau} and {stream}


@pytest.fixture
def nic(toys):
    return nicodec.encode(pictures.image(40, 30), model="toy16", device="cpu")


def test_tau_in_an_inputs_name_stays(inside, tmp_path):
    """`a-{tau}.nic` once became `a-0.png`, which `a-0.nic` became as well, and one of them was lost."""
    for name, width in (("a-{tau}.nic", 40), ("a-0.nic", 41)):
        (tmp_path / name).write_bytes(nicodec.encode(pictures.image(width, 30), model="tiny", device="cpu"))
    code, _, err = inside("decode", "a-{tau}.nic", "a-0.nic", "-o", "out", "-f")
    assert code == 0, err
    assert {name: Image.open(tmp_path / "out" / name).width for name in written(tmp_path / "out")} == {
        "a-{tau}.png": 40, "a-0.png": 41,
    }  # fmt: skip
    (tmp_path / "in-{tau}").mkdir()
    shutil.copy(tmp_path / "a-0.nic", tmp_path / "in-{tau}" / "b.nic")
    assert inside("in-{tau}/b.nic")[0] == 0
    assert written(tmp_path / "in-{tau}") == ["b.nic", "b.png"]


def test_tau_in_inputs_and_outputs(inside, tmp_path, nic):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a{tau}.nic").write_bytes(nic)
    assert inside("decode", "-r", "in", "-o", "out", "--tau", "0,1")[0] == 0
    assert written(tmp_path / "out") == ["a{tau}-0.png", "a{tau}-1.png"]
    assert inside("decode", "-r", "in", "-o", "by-{tau}", "--tau", "0,1")[0] == 0
    assert sorted(path.name for path in tmp_path.glob("by-*")) == ["by-0", "by-1"]
    assert written(tmp_path / "by-1") == ["a{tau}.png"]
    assert (tmp_path / "by-1/a{tau}.png").read_bytes() == (tmp_path / "out/a{tau}-1.png").read_bytes()


def test_taus_that_are_nearly_one_have_two_names(inside, tmp_path, nic):
    (tmp_path / "a.nic").write_bytes(nic)
    assert inside("decode", "a.nic", "-o", "a-{tau}.png", "--tau", "0.1,0.1234567,0.12345671")[0] == 0
    assert written(tmp_path) == ["a-0.1.png", "a-0.1234567.png", "a-0.12345671.png", "a.nic"]


def test_stream_in_a_folders_name(inside, tmp_path, nic):
    (tmp_path / "a{stream}.nic").write_bytes(nic)
    for name in ("sq", "vq"):
        (tmp_path / name).mkdir()
    code, _, err = inside("info", "a{stream}.nic", "--bitmap", "{stream}/map.png")
    assert code == 0, err
    assert written(tmp_path) == ["a{stream}.nic", "sq/map.png", "vq/map.png"]
    maps = [np.asarray(Image.open(tmp_path / name / "map.png")) for name in ("sq", "vq")]
    assert not np.array_equal(*maps)
