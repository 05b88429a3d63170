"""What goes wrong around the program: disks, memory, signals, models, other processes: one line, never half a file.

SECURITY.md holds the table of what is shown here.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pictures
import pytest
from PIL import Image

import nicodec as package
from nicodec import errors
from nicodec.bitmap import bit_costs, draw
from nicodec.cli import streams
from nicodec.conformance.golden import golden_folder
from nicodec.container.reader import read_file

ROOT = Path(__file__).parents[1]
NIC = golden_folder() / "rgb-96x80-q50.nic"
OTHER = golden_folder() / "tokens-1100x70.nic"
DRAW = f"info {OTHER} --bitmap"  # writes as decode does, and needs no torch
COMMAND = [sys.executable, "-m", "nicodec"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def shell(script, folder):
    """Exit code and stderr of a line of bash in a folder; NICODEC stands for the command."""
    done = subprocess.run(
        ["bash", "-c", script.replace("NICODEC", " ".join(COMMAND))], cwd=folder, env=ENVIRONMENT,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stderr


def one_line(err):
    return err.startswith("nicodec: error: ") and err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("call", ["decode {nic} > /dev/full", "info {nic} > /dev/full"])
def test_a_full_disk_under_stdout(tmp_path, call):
    code, err = shell(f"NICODEC {call.format(nic=NIC)}", tmp_path)
    assert code == errors.OutputError.exit_code, err
    assert one_line(err)
    assert "No space left" in err


def test_a_disk_that_takes_no_more(tmp_path):
    """A limit on the size of files stands in for the disk: the write fails midway, as it does on a full one."""
    code, err = shell(f"ulimit -f 1; NICODEC {DRAW} a.png", tmp_path)
    assert (code, list(tmp_path.iterdir())) == (errors.OutputError.exit_code, []), err
    assert one_line(err)


def test_a_disk_that_takes_no_more_leaves_what_was_there(tmp_path):
    (tmp_path / "a.png").write_bytes(b"precious")
    code, err = shell(f"ulimit -f 1; NICODEC {DRAW} a.png -f", tmp_path)
    assert code == errors.OutputError.exit_code, err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"precious"}


def test_a_folder_that_must_not_be_written_to(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o500)
    without = "setpriv --bounding-set=-dac_override --inh-caps=-dac_override" if os.geteuid() == 0 else ""
    if without and shutil.which("setpriv") is None:
        pytest.skip("root writes anywhere, and there is no setpriv to take that right away")
    code, err = shell(f"{without} NICODEC {DRAW} a/b.png", tmp_path)
    assert (code, list((tmp_path / "a").iterdir())) == (errors.OutputError.exit_code, [])
    assert one_line(err)
    assert "Permission denied" in err


def test_a_reader_that_goes_away(tmp_path):
    for call in (f"decode {NIC}", f"info {NIC}"):
        assert shell(f"NICODEC {call} | true; exit ${{PIPESTATUS[0]}}", tmp_path) == (141, "")


def test_sigterm_leaves_whole_files_only(tmp_path):
    for index in range(40):
        pictures.image(64, 64).save(tmp_path / f"{index}.png")
    process = subprocess.Popen(
        [*COMMAND, "encode", "-r", str(tmp_path), "-o", str(tmp_path / "out"), "--model", "tiny", "--device", "cpu"],
        env=ENVIRONMENT, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    out = tmp_path / "out"
    while process.poll() is None and not (out.is_dir() and any(out.glob("*.nic"))):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    written = list(out.iterdir())
    assert 0 < len(written) < 40
    for path in written:
        assert path.suffix == ".nic"
        read_file(path.read_bytes())


def test_memory_that_runs_out(tmp_path):
    """The limit is set once all is loaded, a little above what is in use: torch's allocator is what fails."""
    (tmp_path / "a.nic").write_bytes(
        package.encode(Image.new("RGB", (1500, 1000)), model="tiny", effort=1, drawn="off", device="cpu")
    )
    script = (
        "import resource, sys\n"
        "import nicodec.engines.onnx, nicodec.painters.synthesis, nicodec.codec, PIL.PngImagePlugin\n"
        "from nicodec.cli.main import run\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (20 << 20), -1))\n"
        "sys.argv = ['nicodec', 'decode', 'a.nic', '-o', 'b.png', '--device', 'cpu']\n"
        "run()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True,
                          check=False, timeout=120)  # fmt: skip
    assert done.returncode == errors.OutOfMemoryError.exit_code, done.stderr
    assert one_line(done.stderr)
    assert "memory" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.nic"]


def spoil(path, how):
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[:-100], "empty": b"",
                          "altered": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]}[how])  # fmt: skip


@pytest.mark.parametrize(("call", "how"), [
    *(("verify", how) for how in ("truncated", "altered", "empty", "missing")), ("decode", "altered"),
    ("encode", "truncated"),
])  # fmt: skip
def test_a_model_file_that_is_not_whole(nicodec, tmp_path, tiny, how, call):
    shutil.copytree(tiny.path.parent, tmp_path / "models" / "tiny")
    spoil(tmp_path / "models" / "tiny" / "base.safetensors", how)
    pictures.image(8, 8).save(tmp_path / "a.png")
    rest = {"decode": (NIC, "-o", "b.png"), "verify": (NIC,), "encode": ("a.png", "-o", "b.nic", "--model", "tiny")}
    code, _, err = nicodec(call, *rest[call], environment={"NICODEC_MODELS": str(tmp_path / "models")})
    assert code == errors.DamagedPartError.exit_code, err
    assert one_line(err)
    assert not list(tmp_path.glob("b.*"))


def test_a_manifest_that_is_not_whole(nicodec, tmp_path, tiny):
    shutil.copytree(tiny.path.parent, tmp_path / "models" / "tiny")
    manifest = tmp_path / "models" / "tiny" / "model.toml"
    manifest.write_text(manifest.read_text()[:-30])
    code, _, err = nicodec("verify", NIC, environment={"NICODEC_MODELS": str(tmp_path / "models")})
    assert code == errors.DamagedPartError.exit_code
    assert one_line(err)


@pytest.mark.parametrize("force", [False, True])
def test_two_processes_and_one_output(tmp_path, force):
    """One picture, whole; without -f, exactly one of the two is told that it came too late."""
    calls = [[*COMMAND, "info", str(path), "--bitmap", "a.png", *["-f"] * force] for path in (NIC, OTHER)]
    both = [
        subprocess.Popen(call, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for call in calls
    ]
    codes = sorted(process.wait(60) for process in both)
    assert codes == ([0, 0] if force else [0, errors.OutputExistsError.exit_code])
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    files = [read_file(path.read_bytes()) for path in (NIC, OTHER)]
    assert (tmp_path / "a.png").read_bytes() in [draw(bit_costs(file), file.header) for file in files]


def test_what_another_process_wrote_meanwhile_is_kept(tmp_path, monkeypatch):
    """Between the check and the rename: the window that two processes cannot be made to hit."""
    (tmp_path / "a").write_bytes(b"quicker")
    monkeypatch.setattr(streams, "refuse_existing", lambda *_: None)
    with pytest.raises(errors.OutputExistsError, match="meanwhile"):
        streams.write_output(str(tmp_path / "a"), b"slower", force=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"quicker"}
    streams.write_output(str(tmp_path / "a"), b"slower", force=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"slower"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("owner", "name"), [(tempfile, "mkstemp"), (os, "link"), (Path, "unlink")])
def test_signals_wait_until_a_file_is_whole(tmp_path, monkeypatch, number, owner, name):
    """A signal that comes as the temporary file is made, named, or removed, which takes microseconds."""
    real = getattr(owner, name)

    def interrupted(*arguments, **named):
        os.kill(os.getpid(), number)
        return real(*arguments, **named)

    def end(*_):
        raise SystemExit(143)

    monkeypatch.setattr(owner, name, interrupted)
    before = signal.signal(number, end)
    try:
        with pytest.raises(SystemExit):
            streams.write_output(str(tmp_path / "a"), b"all of it", force=False)
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"all of it"}
