"""Many files in one call; as processes where that is the point: workers, pipes, signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pictures
import pytest
from lab.batches import measure

import nicodec
from nicodec import errors
from nicodec.container.reader import read_file
from nicodec.engines import onnx
from nicodec.zoo import load, store
from nicodec.zoo.manifest import Part

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


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_is_mirrored_and_a_bad_file_does_not_stop_the_rest(request, inside, tree, jobs):
    (tree / "photos" / "bad.png").write_bytes(b"no picture")
    code, out, err = inside("encode", "-r", "photos", "-o", "coded", *TINY)
    assert (code, out) == (errors.BatchError.exit_code, b"")
    assert written(tree / "coded") == ["a.nic", "sub/b.nic", "sub/deep/c.nic"]
    assert err.count(" bpp, ") == 3
    assert "nicodec: error: photos/bad.png: the input is not a picture" in err
    assert "3 of 4 files in " in err
    assert err.splitlines()[-1] == "nicodec: error: 1 of 4 files failed; all others are done"
    assert "/4 [" not in err, "progress is for terminals"
    (tree / "coded/sub/bad.nic").write_bytes((tree / "coded/a.nic").read_bytes()[:-3])
    call = inside if jobs == 1 else request.getfixturevalue("nicodec")  # two jobs are processes of a process
    code, _, err = call("decode", "-r", "coded", "-o", "back", "--format", "ppm", "-j", jobs)
    assert code == errors.BatchError.exit_code
    assert "nicodec: error: coded/sub/bad.nic: " in err
    assert "3 of 4 files in " in err
    assert written(tree / "back") == ["a.ppm", "sub/b.ppm", "sub/deep/c.ppm"]
    assert pictures.Image.open(tree / "back/sub/deep/c.ppm").size == (42, 30)


def test_reports_as_json_lines(inside, tree):
    (tree / "photos" / "bad.png").write_bytes(b"no picture")
    frames = [pictures.image(20, 20), pictures.image(20, 20).rotate(90)]
    frames[0].save(tree / "photos" / "two.webp", save_all=True, append_images=frames[1:])
    code, _, err = inside("encode", "-r", "photos", "-o", "coded", "--json", "--target-size", "2KB", *TINY)
    assert code == errors.BatchError.exit_code
    *files, last = [json.loads(line) for line in err.splitlines()]
    assert last == {"error": "1 of 5 files failed; all others are done", "exit_code": errors.BatchError.exit_code}
    failed = [line for line in files if "error" in line]
    assert [(line["input"], line["exit_code"]) for line in failed] == [("photos/bad.png", errors.InputError.exit_code)]
    fine = {line["input"]: line for line in files if "error" not in line}
    assert fine.keys() == {"photos/a.png", "photos/sub/b.png", "photos/sub/deep/c.jpg", "photos/two.webp"}
    for line in fine.values():
        assert line["reached"] == line["bytes"] == (tree / line["output"]).stat().st_size
        assert (line["target"], line["asked"]) == ("bytes", 2000)
        assert ("2 pictures" in str(line.get("warnings"))) == (line["input"] == "photos/two.webp")


def test_names_from_a_list_and_what_exists_is_skipped(inside, tree):
    (tree / "photos/a.png").rename(tree / "photos/two\nlines\u2028.png")
    names = "photos/two\nlines\u2028.png\0photos/sub/b.png\0"  # find -print0
    code, _, err = inside("encode", "--files-from", "-", "-o", "coded", *TINY, stdin=names.encode())
    assert code == 0, err
    assert written(tree / "coded") == ["photos/sub/b.nic", "photos/two\nlines\u2028.nic"]
    first = (tree / "coded/photos/two\nlines\u2028.nic").stat().st_mtime_ns
    (tree / "coded/photos/sub/b.nic").unlink()
    code, _, err = inside("encode", "--files-from", "-", "-o", "coded", "--skip-existing", *TINY, stdin=names.encode())
    assert code == 0, err
    assert "1 of 2 files" in err
    assert "1 skipped" in err
    assert (tree / "coded/photos/two\nlines\u2028.nic").stat().st_mtime_ns == first
    assert (tree / "coded/photos/sub/b.nic").is_file()
    code, _, err = inside("encode", "photos/sub/b.png", "photos/sub/deep/c.jpg", "-o", "coded/photos/sub", *TINY)
    assert code == errors.BatchError.exit_code
    assert "use -f" in err
    assert (tree / "coded/photos/sub/c.nic").is_file()


@pytest.mark.parametrize(("pattern", "found"), [
    ("photos/**/*.png", ["a.nic", "sub/b.nic"]), ("photos/*/b.png", ["sub/b.nic"]), ("p*/a.png", ["photos/a.nic"]),
    ("photos/sub/b.pn[g]", ["b.nic"]),
])  # fmt: skip
def test_patterns_that_the_shell_left_alone(inside, tree, pattern, found):
    """The tree below the part without signs is mirrored; folders that match are no files."""
    (tree / "photos" / "folder.png").mkdir()
    code, _, err = inside("encode", pattern, "-o", "coded", *TINY)
    assert code == 0, err
    assert written(tree / "coded") == found


def test_the_model_is_read_once_for_all(inside, tree, monkeypatch):
    for cached in (onnx.load_onnx, load.load_scales, store.read_part):
        cached.forget()
    read, plain = [], Part.read
    monkeypatch.setattr(Part, "read", lambda part: read.append(part.kind) or plain(part))
    assert inside("encode", "-r", "photos", "-o", "coded", *TINY)[0] == 0
    assert read == ["base"]


def test_progress_on_a_terminal(tree, shell):
    call = f"nicodec encode -r photos -o coded {' '.join(TINY)}"
    seen = shell("script", "-qec", f"stty cols 100 rows 30; {call}", "/dev/null")
    assert re.search(r"1/3 \[\d\d:\d\d<\d\d:\d\d", seen), "done, of all, the time so far and the time left"


def test_pipes_and_xargs(toys, tree, shell):
    """Also: lists of names through a pipe, in test_examples.py."""
    shell(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        """
        cat photos/a.png | nicodec encode - -o - --model toy16 \\
            | nicodec decode - -o - --anchor perception --tau 0.7 > b.png
        find photos -name '*.png' -print0 | xargs -0 nicodec encode -o coded --model toy16
    """,
    )
    assert written(tree / "coded") == ["a.nic", "b.nic"]
    piped = np.asarray(pictures.Image.open(tree / "b.png")).astype(int)
    api = np.asarray(nicodec.decode(tree / "coded/a.nic", anchor="perception", tau=0.7)).astype(int)
    assert np.abs(piped - api).max() <= 1


@pytest.mark.parametrize(("call", "error", "says"), [
    (("encode", "photos", "-o", "coded"), errors.InputError, "use -r"),
    (("encode", "photos/a.png", "photos/sub/b.png"), errors.UsageError, "-o DIR"),
    (("encode", "photos/a.png", "other/a.jpg", "-o", "coded"), errors.UsageError, "would both become"),
    (("encode", "-r", "empty", "-o", "coded"), errors.InputError, "no files found"),
    (("encode", "-r", "photos", "-o", "photos/a.png/x"), errors.OutputError, "cannot make the folder"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is(inside, tree, call, error, says):
    (tree / "empty").mkdir()
    (tree / "other").mkdir()
    pictures.image(9, 9).save(tree / "other" / "a.jpg")
    before = written(tree)
    code, _, err = inside(*call, *TINY)
    assert code == error.exit_code
    assert says in err
    assert written(tree) == before


def test_several_taus_are_skipped_where_they_exist(inside, toys, tree):
    nic = nicodec.encode(pictures.image(40, 30), model="toy16", device="cpu")
    (tree / "coded").mkdir()
    for name in ("coded/a.nic", "coded/b.nic"):
        (tree / name).write_bytes(nic)
    call = ("decode", "-r", "coded", "-o", "back", "--tau", "0,1,0", "--skip-existing")
    assert inside(*call)[0] == 0
    assert written(tree / "back") == ["a-0.png", "a-1.png", "b-0.png", "b-1.png"]
    kept = {name: (tree / "back" / name).stat().st_mtime_ns for name in ("a-0.png", "a-1.png", "b-0.png")}
    (tree / "back/b-1.png").rename(tree / "gone.png")
    code, _, err = inside(*call)
    assert code == 0, err
    assert "1 of 2 files" in err
    assert "b-0.png" not in err
    assert {name: (tree / "back" / name).stat().st_mtime_ns for name in kept} == kept
    assert (tree / "back/b-1.png").read_bytes() == (tree / "gone.png").read_bytes()
    code, _, err = inside("decode", "coded/a.nic", "-o", "back/a-{tau}.png", "--tau", "0,1", "--skip-existing")
    assert (code, err) == (0, "")


def test_a_file_alone_is_enough(inside, tree):
    code, _, err = inside("photos/sub/b.png", *TINY)
    assert code == 0, err
    assert "files" not in err
    assert (tree / "photos/sub/b.nic").is_file()
    for spelling in (["-oelse.nic"], ["--output=else.nic", "-f"]):
        assert inside("photos/sub/b.png", *spelling, *TINY)[0] == 0
        assert (tree / "else.nic").is_file()
    code, _, err = inside("photos/sub/b.nic")
    assert code == errors.OutputExistsError.exit_code
    (tree / "photos/sub/b.png").unlink()
    assert inside("photos/sub/b.nic")[0] == 0
    assert pictures.Image.open(tree / "photos/sub/b.png").size == (41, 30)


def test_times_and_metadata_as_asked(inside, tree):
    exif = pictures.Image.Exif()
    exif[0x010F] = "a maker"
    pictures.image(20, 20).save(tree / "m.png", exif=exif.tobytes(), icc_profile=b"profile" * 9)
    os.utime(tree / "m.png", (1e9, 1e9))
    assert inside("encode", "m.png", "-o", "m.nic", "--preserve-time", *TINY)[0] == 0
    assert (tree / "m.nic").stat().st_mtime == 1e9
    code, _, err = inside("encode", "m.png", "-o", "s.nic", "--strip", "exif", "--strip", "icc", *TINY)
    assert code == 0
    assert "taken for sRGB" in err
    assert (tree / "s.nic").stat().st_size < (tree / "m.nic").stat().st_size
    assert inside("decode", "s.nic", "-o", "s.png")[0] == 0
    assert not {"exif", "icc_profile"} & set(pictures.Image.open(tree / "s.png").info)
    assert inside("decode", "m.nic", "-o", "all.png", "--strip", "all", "--preserve-time")[0] == 0
    assert "exif" not in pictures.Image.open(tree / "all.png").info
    assert (tree / "all.png").stat().st_mtime == 1e9


def test_lossless_is_refused_with_advice(inside, tree):
    code, _, err = inside("encode", "photos/a.png", "-o", "a.nic", "--lossless")
    assert code == errors.UsageError.exit_code
    assert "--drawn all" in err


@pytest.mark.parametrize(("jobs", "number"), [
    ("1", signal.SIGINT), ("1", signal.SIGKILL), ("2", signal.SIGINT), ("2", signal.SIGTERM),
])  # fmt: skip
def test_an_interrupted_batch_leaves_whole_files_and_can_go_on(inside, tmp_path, number, jobs):
    (tmp_path / "photos").mkdir()
    for index in range(24):
        pictures.image(200, 150 + index).save(tmp_path / "photos" / f"{index}.png")
    call = ("encode", "-r", "photos", "-o", "coded", "-j", jobs, *TINY)
    process = subprocess.Popen(
        [sys.executable, "-m", "nicodec", *call], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("coded/*.nic"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    if number is signal.SIGTERM:
        process.send_signal(number)
    else:  # a terminal's Ctrl-C reaches the workers as well
        os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert b"Traceback" not in err
    done = list(tmp_path.glob("coded/*.nic"))
    assert 3 <= len(done) < 24
    if number is not signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        assert sorted(done) == sorted((tmp_path / "coded").iterdir()), "nothing half-written is left"
    code, _, err = inside("encode", "-r", "photos", "-o", "coded", "--skip-existing", *TINY)
    assert code == 0, err
    assert f"{24 - len(done)} of 24 files" in err, "what is done is not done again"
    coded = list(tmp_path.glob("coded/*.nic"))
    assert len(coded) == 24
    assert {read_file(path.read_bytes()).header.width for path in coded} == {200}


def test_batches_are_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for index in range(2):
        pictures.image(40 + index, 30).save(tmp_path / f"{index}.png")
    rates, (early, late) = measure(tmp_path, list(TINY))
    assert {"nicodec, one batch", "nicodec, one batch, -j 2", "nicodec, single calls"} < rates.keys()
    assert any("avif" in name.lower() for name in rates)
    assert min(rates.values()) > 0
    assert 50 < early <= late, "MB of a process with torch"
    with pytest.raises(subprocess.CalledProcessError):
        measure(tmp_path, ["--no-such-option"])
    with pytest.raises(errors.InputError):
        measure(tmp_path / "nowhere", [])
