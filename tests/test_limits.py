"""What a file may ask for: pixels, memory, time; and what the program never asks of anyone: a network, a pickle."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pictures
import pytest
from PIL import Image

import nicodec as package
from nicodec import errors
from nicodec.codec import verify_bytes
from nicodec.conformance.golden import golden_folder
from nicodec.container.layout import Box, Section
from nicodec.container.limits import DEFAULT_MAX_PIXELS, FREE_PIXELS, PIXELS_A_BYTE, check_declared, coded_pixels
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file
from nicodec.memory import estimate_memory
from nicodec.options import DecodeOptions

ROOT = Path(__file__).parents[1]
NIC = golden_folder() / "rgb-96x80-q50.nic"


def sized(width, height):
    """A file whose header lies about the size, its CRCs intact."""
    file = read_file(NIC.read_bytes())
    sections = [Section(kind, section.payload) for kind, section in file.sections.items()]
    return write_file(replace(file.header, width=width, height=height), sections)


def test_a_small_file_cannot_ask_for_a_large_picture_unless_allowed(nicodec, tmp_path):
    (tmp_path / "a.nic").write_bytes(sized(9000, 9000))
    for call in (("decode", "a.nic", "-o", "a.png"), ("verify", "a.nic"), ("info", "a.nic", "--bitmap", "a.png")):
        code, _, err = nicodec(*call)
        assert code == errors.LimitError.exit_code, call
        assert "--max-pixels" in err
    assert nicodec("info", "a.nic")[0] == 0
    for call in (("decode", "a.nic", "-o", "a.png"), ("verify", "a.nic")):
        assert nicodec(*call, "--max-pixels", 9000 * 9000)[0] == errors.CorruptFileError.exit_code


def test_what_is_allowed_by_default():
    file = read_file(NIC.read_bytes())
    for width, height, size, refused in (
        (1024, 1024, 20, False), (1025, 1024, 0, True), (8000, 8000, 35_000, False), (8000, 8000, 7_000, True),
        (1, 1 << 20, 100_000, False), (1, 1 << 20, 5_000, True), (1 << 14, (1 << 13) + 1, 1 << 20, True),
    ):  # fmt: skip
        declared = replace(file, header=replace(file.header, width=width, height=height), size=size)
        if refused:
            with pytest.raises(errors.LimitError):
                check_declared(declared, None)
        else:
            check_declared(declared, None)
        check_declared(declared, width * height)
        with pytest.raises(errors.LimitError):
            check_declared(declared, width * height - 1)
    assert (DEFAULT_MAX_PIXELS, FREE_PIXELS, PIXELS_A_BYTE) == (1 << 27, 1 << 20, 1 << 13)
    assert coded_pixels(1, 65) == 2 * 64 * 64


@pytest.mark.parametrize(
    "options", [{"drawn": "off", "streams": "sq", "quality": 0}, {"streams": "vq", "token_bits": 1}]
)
def test_flat_pictures_stay_far_from_the_bound(options):
    data = package.encode(Image.new("RGB", (1100, 1030), (128, 128, 128)), model="tiny-full", device="cpu", **options)
    assert coded_pixels(1100, 1030) < PIXELS_A_BYTE * len(data) / 4
    assert package.decode(data, device="cpu").size == (1100, 1030)


def test_time_is_linear_in_the_declared_size():
    """Of what arithmetic there is before pixels. Twice as slow by the pixel would be far from square or worse."""
    per_pixel = []
    for side in (256, 1024):
        data = package.encode(Image.new("L", (side, side), 90), model="tiny-full", verify=False, effort=1, device="cpu")
        started = time.process_time()
        verify_bytes(data)
        per_pixel.append((time.process_time() - started) / side**2)
    assert per_pixel[1] < 2 * per_pixel[0]


def test_memory_limit(nicodec, tmp_path):
    (tmp_path / "a.nic").write_bytes(NIC.read_bytes())
    code, _, err = nicodec("decode", "a.nic", "-o", "a.png", "--memory-limit", "100MiB")
    assert code == errors.LimitError.exit_code
    assert "--memory-limit" in err
    assert not (tmp_path / "a.png").exists()
    assert nicodec("decode", "a.nic", "-o", "a.png", "--memory-limit", "240MiB")[0] == 0
    with pytest.raises(errors.LimitError):
        package.decode(NIC, memory_limit=100 << 20)


def test_memory_is_estimated_from_what_is_asked_for():
    small, large, tokens = sized(300, 300), sized(6000, 6000), (golden_folder() / "tokens-90x70.nic").read_bytes()

    def estimate(data, crop=None, **options):
        file = read_file(data)
        whole = Box(0, 0, file.header.width, file.header.height)
        return estimate_memory(file, DecodeOptions(**options), crop or whole)

    assert estimate(sized(90, 70)) < estimate(tokens) == estimate(tokens, taus=(1.0,)) < estimate(large)
    assert estimate(small) < estimate(small, taus=(1.0,)) < estimate(large)
    assert estimate(large, crop=Box(3000, 3000, 100, 100)) < estimate(large) / 2
    assert estimate(large, taus=(0.0,)) < estimate(large, taus=(0.5, 1.0)) < estimate(large, taus=(0.2, 0.5, 1.0))


WAYS = [
    ("sq", {}), ("sq+vq", {}), ("sq+vq", {"anchor": "perception", "tau": 0.7}), ("sq", {"scale": 8}),
    ("sq", {"engine": "torch"}),
]  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's own peak")
@pytest.mark.parametrize(("streams", "asked"), WAYS)
def test_the_estimate_is_neither_too_low_nor_double(streams, asked, tmp_path):
    """Peak memory of a whole process that decodes with the shipped model."""
    Image.open(ROOT / "examples" / "scene.png").resize((768, 512)).save(tmp_path / "a.png")
    data = package.encode(tmp_path / "a.png", effort=1, streams=streams, verify=False, device="cpu", drawn="off")
    (tmp_path / "a.nic").write_bytes(data)
    script = (
        "import nicodec\n"
        "from pathlib import Path\n"
        f"nicodec.decode('a.nic', **{asked!r})\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True,
                           capture_output=True, text=True)  # fmt: skip
    options = DecodeOptions(**{"taus" if name == "tau" else name: (value,) if name == "tau" else value
                               for name, value in asked.items()})  # fmt: skip
    estimate = estimate_memory(read_file(data), options, Box(0, 0, 768, 512))
    assert estimate / 2 < int(ended.stdout) << 10 < estimate


AUDITED = """
import json, sys
seen = set()
def hook(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "pickle.")) and event != "socket.__new__":
        seen.add(event)
sys.addaudithook(hook)
import pickle, nicodec
from nicodec.codec import verify_bytes
def refuse(*_, **__): raise AssertionError("a pickle")
pickle.load = pickle.loads = pickle.Unpickler = refuse
import torch
torch.load = refuse
for options in ({}, {"robust": True}, {"streams": "vq"}):
    data = nicodec.encode("a.png", model="tiny-full", device="cpu", **options)
    verify_bytes(data)
    for how in ({}, {"anchor": "perception"}, {"tau": 1.0} if "streams" not in options else {}):
        nicodec.decode(data, device="cpu", **how)
print(json.dumps(sorted(seen)))
"""


def test_no_network_and_no_pickle_on_any_path(tmp_path):
    """The interpreter's own audit events: whatever library opens a socket or unpickles a class is seen."""
    pictures.image(70, 64, "RGBA").save(tmp_path / "a.png")
    environment = {"PYTHONPATH": str(ROOT), "NICODEC_MODELS": str(golden_folder() / "models")}
    done = subprocess.run(
        [sys.executable, "-c", AUDITED], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_audit_would_see_them(tmp_path):
    script = AUDITED.split("import pickle, nicodec")[0] + (
        "import pickle, socket, pathlib\n"
        "pickle.loads(pickle.dumps(pathlib.Path('a')))\n"
        "try: socket.create_connection(('127.0.0.1', 9), timeout=1)\n"
        "except OSError: pass\n"
        "print(json.dumps(sorted(seen)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"pickle.find_class", "socket.connect"} <= set(json.loads(done.stdout))
