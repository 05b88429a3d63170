"""Many files in one call, as processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pictures
import pytest

from nicodec import errors
from nicodec.container.reader import read_file

ROOT = Path(__file__).parents[1]
TINY = ("--model", "tiny", "--device", "cpu")


@pytest.fixture
def tree(tmp_path):
    """Three pictures in a tree, and a file that is none."""
    for index, name in enumerate(("a.png", "sub/b.png", "sub/deep/c.jpg")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.image(40 + index, 30).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path


def hear_ctrl_c():
    """In a child: as from a terminal, even where the tests run in the background, deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_folder_is_mirrored_and_comes_back(nicodec, tree, jobs):
    code, out, err = nicodec("encode", "-r", "photos", "-o", "coded", "-j", jobs, *TINY)
    assert (code, out) == (0, b""), err
    assert written(tree / "coded") == ["a.nic", "sub/b.nic", "sub/deep/c.nic"]
    assert err.count(" bpp, ") == 3
    assert "3 of 3 files" in err
    code, _, err = nicodec("decode", "-r", "coded", "-o", "back", "--format", "ppm", "-j", jobs)
    assert code == 0, err
    assert written(tree / "back") == ["a.ppm", "sub/b.ppm", "sub/deep/c.ppm"]
    assert pictures.Image.open(tree / "back/sub/deep/c.ppm").size == (42, 30)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_bad_file_does_not_stop_the_rest(nicodec, tree, jobs):
    (tree / "photos" / "bad.png").write_bytes(b"no picture")
    code, _, err = nicodec("encode", "-r", "photos", "-o", "coded", "--json", "-j", jobs, *TINY)
    assert code == errors.BatchError.exit_code
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    failed = [line for line in lines if "error" in line]
    assert len(lines) == 4
    assert [(line["input"], line["exit_code"]) for line in failed] == [("photos/bad.png", errors.InputError.exit_code)]
    assert len(written(tree / "coded")) == 3
    assert err.splitlines()[-1] == "nicodec: error: 1 of 4 files failed; all others are done"


def test_names_from_a_list_and_what_exists_is_skipped(nicodec, tree):
    names = "photos/a.png\nphotos/sub/b.png\n"
    code, _, err = nicodec("encode", "--files-from", "-", "-o", "coded", *TINY, stdin=names.encode())
    assert code == 0, err
    assert written(tree / "coded") == ["photos/a.nic", "photos/sub/b.nic"]
    first = (tree / "coded/photos/a.nic").stat().st_mtime_ns
    (tree / "coded/photos/sub/b.nic").unlink()
    names = names.replace("\n", "\0")  # find -print0
    code, _, err = nicodec("encode", "--files-from", "-", "-o", "coded", "--skip-existing", *TINY, stdin=names.encode())
    assert code == 0, err
    assert "1 of 2 files" in err
    assert "1 skipped" in err
    assert (tree / "coded/photos/a.nic").stat().st_mtime_ns == first
    assert (tree / "coded/photos/sub/b.nic").is_file()
    code, _, err = nicodec("encode", "photos/a.png", "photos/sub/b.png", "-o", "coded/photos", *TINY)
    assert code == errors.BatchError.exit_code
    assert "use -f" in err


def test_patterns_that_the_shell_left_alone(nicodec, tree):
    code, _, err = nicodec("encode", "photos/**/*.png", "-o", "coded", *TINY)
    assert code == 0, err
    assert written(tree / "coded") == ["a.nic", "b.nic"]


@pytest.mark.parametrize(("call", "error", "says"), [
    (("encode", "photos", "-o", "coded"), errors.InputError, "use -r"),
    (("encode", "photos/a.png", "photos/sub/b.png"), errors.UsageError, "-o DIR"),
    (("encode", "photos/a.png", "other/a.jpg", "-o", "coded"), errors.UsageError, "would both become"),
    (("encode", "-r", "empty", "-o", "coded"), errors.InputError, "no files found"),
    (("encode", "-r", "photos", "-o", "photos/a.png/x"), errors.OutputError, "cannot make the folder"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is(nicodec, tree, call, error, says):
    (tree / "empty").mkdir()
    (tree / "other").mkdir()
    pictures.image(9, 9).save(tree / "other" / "a.jpg")
    before = written(tree)
    code, _, err = nicodec(*call, *TINY)
    assert code == error.exit_code
    assert says in err
    assert written(tree) == before


def test_a_file_alone_is_enough(nicodec, tree):
    code, _, err = nicodec("photos/sub/b.png", *TINY)
    assert code == 0, err
    assert "files" not in err
    assert (tree / "photos/sub/b.nic").is_file()
    code, _, err = nicodec("photos/sub/b.nic")
    assert code == errors.OutputExistsError.exit_code
    (tree / "photos/sub/b.png").unlink()
    assert nicodec("photos/sub/b.nic")[0] == 0
    assert pictures.Image.open(tree / "photos/sub/b.png").size == (41, 30)


def test_times_and_metadata_as_asked(nicodec, tree):
    exif = pictures.Image.Exif()
    exif[0x010F] = "a maker"
    pictures.image(20, 20).save(tree / "m.png", exif=exif.tobytes(), icc_profile=b"profile" * 9)
    os.utime(tree / "m.png", (1e9, 1e9))
    assert nicodec("encode", "m.png", "-o", "m.nic", "--preserve-time", *TINY)[0] == 0
    assert (tree / "m.nic").stat().st_mtime == 1e9
    code, _, err = nicodec("encode", "m.png", "-o", "s.nic", "--strip", "exif", "--strip", "icc", *TINY)
    assert code == 0
    assert "taken for sRGB" in err
    assert (tree / "s.nic").stat().st_size < (tree / "m.nic").stat().st_size
    assert nicodec("decode", "s.nic", "-o", "s.png")[0] == 0
    assert not {"exif", "icc_profile"} & set(pictures.Image.open(tree / "s.png").info)
    assert nicodec("decode", "m.nic", "-o", "all.png", "--strip", "all", "--preserve-time")[0] == 0
    assert "exif" not in pictures.Image.open(tree / "all.png").info
    assert (tree / "all.png").stat().st_mtime == 1e9


def test_lossless_is_refused_with_advice(nicodec, tree):
    code, _, err = nicodec("encode", "photos/a.png", "-o", "a.nic", "--lossless")
    assert code == errors.UsageError.exit_code
    assert "lossy at any quality" in err


@pytest.mark.parametrize(("jobs", "number"), [
    ("1", signal.SIGINT), ("1", signal.SIGKILL), ("2", signal.SIGINT), ("2", signal.SIGTERM),
])  # fmt: skip
def test_an_interrupted_batch_leaves_whole_files_and_can_go_on(nicodec, tmp_path, number, jobs):
    (tmp_path / "photos").mkdir()
    for index in range(60):
        pictures.image(200, 150 + index).save(tmp_path / "photos" / f"{index}.png")
    call = ("encode", "-r", "photos", "-o", "coded", "-j", jobs, *TINY)
    process = subprocess.Popen(
        [sys.executable, "-m", "nicodec", *call], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("coded/*.nic"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    if number is signal.SIGKILL:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert b"Traceback" not in err
    done = list(tmp_path.glob("coded/*.nic"))
    assert 3 <= len(done) < 60
    if number is not signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        assert sorted(done) == sorted((tmp_path / "coded").iterdir()), "nothing half-written is left"
    assert nicodec(*call, "--skip-existing")[0] == 0
    coded = list(tmp_path.glob("coded/*.nic"))
    assert len(coded) == 60
    assert {read_file(path.read_bytes()).header.width for path in coded} == {200}
