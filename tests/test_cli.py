"""The command as a process: files, pipes, exit codes, and nothing left behind by a failure."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pictures
import pytest

from nicodec import errors
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
NIC = GOLDEN / "rgb-96x80-q50.nic"
TINY = ("--model", "tiny", "--device", "cpu")


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_in_files_out(nicodec, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.file_bytes(pictures.image(90, 60)))
    code, out, err = nicodec("encode", "a.png", "-o", "a.nic", *TINY)
    assert (code, out) == (0, b"")
    assert re.fullmatch(r"a\.png -> a\.nic: 90x60, \d+ -> \d+ bytes, \d+\.\d+ bpp, quality 60, \d+\.\d+ s\n", err)
    code, out, err = nicodec("decode", "a.nic", "-o", "b.png", "--json")
    assert (code, out) == (0, b"")
    assert json.loads(err)["width"] == 90
    code, _, _ = nicodec("decode", "a.nic", "-o", "c.png", "--crop", "10,20,30,40", "--quiet")
    assert code == 0
    assert pictures.Image.open(tmp_path / "c.png").size == (30, 40)
    assert left(tmp_path) == ["a.nic", "a.png", "b.png", "c.png"]
    assert pictures.Image.open(tmp_path / "b.png").size == (90, 60)
    assert (tmp_path / "b.png").stat().st_mode & 0o777 == (tmp_path / "a.png").stat().st_mode & 0o777


def test_pipes_need_no_names(nicodec):
    source = pictures.file_bytes(pictures.image(30, 20))
    code, data, err = nicodec("encode", *TINY, "--quiet", stdin=source)
    assert (code, err) == (0, "")
    code, named, _ = nicodec("encode", "-", "-o", "-", *TINY, stdin=source)
    assert named == data
    code, picture, err = nicodec("decode", "--quiet", stdin=data)
    assert (code, err, picture[:4]) == (0, "", b"\x89PNG")
    code, out, _ = nicodec("info", stdin=data)
    assert code == 0
    assert b"30x20 RGB, 8 bits, quality 60" in out


def test_outputs_are_not_overwritten_unless_asked(nicodec, tmp_path):
    (tmp_path / "b.png").write_bytes(b"precious")
    code, _, err = nicodec("decode", NIC, "-o", "b.png")
    assert (code, (tmp_path / "b.png").read_bytes()) == (errors.OutputExistsError.exit_code, b"precious")
    assert "use -f" in err
    assert nicodec("decode", NIC, "-o", "b.png", "-f")[0] == 0
    assert (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"
    assert left(tmp_path) == ["b.png"]


def damaged():
    data = bytearray(NIC.read_bytes())
    data[60] ^= 1
    return bytes(data)


def limits():
    from dataclasses import replace

    file = read_file(NIC.read_bytes())
    return write_file(replace(file.header, width=1 << 31), list(file.sections.values()))


def orphan():
    from dataclasses import replace

    file = read_file(NIC.read_bytes())
    return write_file(replace(file.header, base_id=b"\x07" * 8), list(file.sections.values()))


def inexact():
    from nicodec.container.layout import Section, SectionType

    file = read_file(NIC.read_bytes())
    payload = file.sections[SectionType.SQ].payload
    return write_file(file.header, [Section(SectionType.SQ, bytes([payload[0] ^ 1]) + payload[1:])])


FILES = {
    "empty.png": b"", "text.png": b"hello", "cut.png": pictures.file_bytes(pictures.image(80, 80))[:900],
    "deep.png": pictures.deep_png(), "fine.png": pictures.file_bytes(pictures.image(8, 8)),
    "alpha.nic": (GOLDEN / "rgba-50x90-q40.nic").read_bytes(), "fine.nic": NIC.read_bytes(),
    "cut.nic": NIC.read_bytes()[:70],
    "version.nic": NIC.read_bytes()[:4] + b"\x33" + NIC.read_bytes()[5:], "damaged.nic": damaged(),
    "limits.nic": limits(), "orphan.nic": orphan(), "inexact.nic": inexact(),
}  # fmt: skip

FAILURES = [
    (errors.UsageError, ("encode", "fine.png", "-o", "o", "-q", "101")),
    (errors.UsageError, ("encode", "fine.png", "-o", "o", "-q", "nan")),
    (errors.UsageError, ("encode", "fine.png", "-o", "o", "-e", "10")),
    (errors.UsageError, ("encode", "--no-such-option")),
    (errors.UsageError, ("decode", "fine.nic", "-o", "o.png", "--crop", "1,2,3")),
    (errors.UsageError, ("decode", "fine.nic", "-o", "o.png", "--crop", "0,0,9999,1")),
    (errors.UsageError, ("decode", "fine.nic", "-o", "o.png", "--device", "cuda")),
    (errors.InputError, ("encode", "missing.png", "-o", "o")),
    (errors.InputError, ("encode", ".", "-o", "o")),
    (errors.InputError, ("encode", "-", "-o", "o")),
    (errors.InputError, ("encode", "empty.png", "-o", "o")),
    (errors.InputError, ("encode", "text.png", "-o", "o")),
    (errors.InputError, ("encode", "cut.png", "-o", "o")),
    (errors.InputError, ("decode", "missing.nic", "-o", "o.png")),
    (errors.UnsupportedPictureError, ("encode", "deep.png", "-o", "o")),
    (errors.NotNicodecError, ("decode", "fine.png", "-o", "o.png")),
    (errors.NotNicodecError, ("info", "text.png")),
    (errors.UnsupportedVersionError, ("decode", "version.nic", "-o", "o.png")),
    (errors.CorruptFileError, ("decode", "cut.nic", "-o", "o.png")),
    (errors.CorruptFileError, ("verify", "damaged.nic")),
    (errors.LimitError, ("info", "limits.nic")),
    (errors.MissingPartError, ("decode", "orphan.nic", "-o", "o.png")),
    (errors.MissingPartError, ("encode", "fine.png", "-o", "o", "--model", "nope")),
    (errors.InexactError, ("verify", "inexact.nic")),
    (errors.OutputExistsError, ("decode", "fine.nic", "-o", "fine.png")),
    (errors.OutputError, ("decode", "fine.nic", "-o", "o.gif")),
    (errors.OutputError, ("decode", "fine.nic", "-o", "no/such/folder/o.png")),
    (errors.OutputError, ("decode", "alpha.nic", "-o", "o.jpg")),
    (errors.DamagedPartError, ("models", "show", "broken")),
    (errors.TrainingDataError, ("train", "sq", "--data", ".", "--out", "run")),
    (errors.TrainingRunError, ("models", "export", ".", "-o", "o")),
]


@pytest.mark.parametrize(("error", "call"), FAILURES, ids=[" ".join(call) for _, call in FAILURES])
def test_failures_say_why_in_one_line_and_leave_nothing(nicodec, tmp_path, error, call):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    models = tmp_path / "models" / "broken"
    models.mkdir(parents=True)
    (models / "model.toml").write_text("name = 1")
    before = left(tmp_path)
    setting = {"NICODEC_MODELS": str(models.parent)} if "broken" in call else {}
    code, out, err = nicodec(*call, environment=setting)
    assert code == error.exit_code, err
    assert out == b""
    assert "Traceback" not in err
    assert left(tmp_path) == before
    if error is not errors.UsageError:
        assert err.startswith("nicodec: error: ")
        assert err.count("\n") == 1


def test_every_error_class_has_its_own_exit_code_and_a_test():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and c is not errors.NicodecError]
    classes = [c for c in classes if issubclass(c, errors.NicodecError)]
    assert len({c.exit_code for c in classes}) == len(classes)
    elsewhere = {
        errors.ExportError,  # tests/test_exported.py
        errors.MissingStreamError,  # tests/test_streams.py
        errors.PartialPictureError,  # tests/test_streams.py
        errors.BatchError,  # tests/test_batch.py
        errors.TargetError,  # tests/test_target.py
        errors.OutOfMemoryError,  # tests/test_faults.py
        errors.ConformanceError,  # tests/test_matrix.py
        errors.MissingPackageError,  # tests/test_engines.py
        errors.MissingReferenceError,  # tests/test_refers.py
        errors.ClusterError,  # tests/test_scale_losses.py
        errors.WorkerDiedError,  # tests/test_scale_losses.py
    }
    tested = {error for error, _ in FAILURES} | elsewhere
    assert set(classes) == tested


def test_terminals_get_a_usage_error():
    """Under a pseudo-terminal neither stdin nor stdout may be used for binary data."""
    import os
    import pty

    for call in (["decode"], ["encode"], ["decode", str(NIC)], ["info"]):
        master, slave = pty.openpty()
        process = subprocess.run(
            [sys.executable, "-m", "nicodec", *call], stdin=slave, stdout=slave, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
        )  # fmt: skip
        os.close(slave)
        os.close(master)
        assert process.returncode == 2
        assert b"no input" in process.stderr or b"no output" in process.stderr


def test_info_and_help_start_without_torch():
    script = (
        "import sys; sys.argv = ['nicodec', *sys.argv[1:]]\n"
        "from nicodec.cli.main import run\n"
        "try: run()\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "heavy = {'torch', 'numpy', 'PIL', 'constriction', 'compressai', 'lpips'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    calls = "info FILE", "--help", "encode --help", "decode -h", "--version", "models list"
    for call in ([str(NIC) if word == "FILE" else word for word in call.split()] for call in calls):
        subprocess.run([sys.executable, "-c", script, *call], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_inputs_links_and_devices(nicodec, tmp_path):
    (tmp_path / "a.nic").write_bytes(NIC.read_bytes())
    code, _, err = nicodec("decode", "a.nic", "-o", "a.nic", "-f")
    assert (code, (tmp_path / "a.nic").read_bytes()) == (errors.OutputError.exit_code, NIC.read_bytes())
    assert "never overwritten" in err
    assert nicodec("decode", "a.nic", "-o", "/dev/null", "-f")[0] == 0
    assert Path("/dev/null").is_char_device()
    assert nicodec("decode", "a.nic", "-o", "/dev/full")[0] == errors.OutputError.exit_code
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("real.png")
    assert nicodec("decode", "a.nic", "-o", "link.png", "-f")[0] == 0
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes()[:4] == b"\x89PNG"


def test_verify_needs_no_torch():
    script = (
        "import sys; sys.argv = ['nicodec', *sys.argv[1:]]\n"
        "from nicodec.cli.main import run\n"
        "try: run()\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "assert not {'torch', 'compressai', 'lpips'} & set(sys.modules)\n"
    )
    for path in (NIC, GOLDEN / "tokens-90x70.nic"):
        call = [sys.executable, "-c", script, "verify", str(path)]
        done = subprocess.run(call, check=True, cwd=ROOT, capture_output=True, text=True)
        assert "whole" in done.stderr


def test_info_says_what_the_file_is(nicodec):
    code, out, _ = nicodec("info", "--json", NIC)
    facts = json.loads(out)
    assert code == 0
    assert facts["bytes"] == NIC.stat().st_size
    assert facts["bpp"] == pytest.approx(8 * facts["bytes"] / (96 * 80), abs=1e-4)
    parts = facts["sections"]["sq"] + facts["header_bytes"]
    assert facts["bytes"] - parts <= 8  # tag, length, CRC
    assert "section sq" in nicodec("info", "-v", NIC)[1].decode()


def test_a_closed_pipe_ends_quietly():
    shell = f"{sys.executable} -m nicodec decode {NIC} | head -c 1 > /dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_models_list_and_show(nicodec, tiny):
    code, out, _ = nicodec("models", "list")
    assert code == 0
    assert f"tiny: base {tiny.id.hex()}" in out.decode()
    code, out, _ = nicodec("models", "show", "tiny")
    assert code == 0
    assert "content as its id says" in out.decode()


@pytest.mark.parametrize(
    ("words", "expected"), [("nicodec enc", "encode"), ("nicodec encode --target-s", "--target-size")]
)
def test_shells_complete(words, expected):
    """The protocol of click's completion for bash."""
    script = "import sys; sys.argv = ['nicodec']; from nicodec.cli.main import run; run()"
    environment = {"_NICODEC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    finished = subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True,
                              check=False)  # fmt: skip
    assert f"plain,{expected}" in finished.stdout.split(), finished.stderr
