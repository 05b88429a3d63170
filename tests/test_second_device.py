"""Training where the networks are on another device than the CPU: no operation may mix the two."""

import os
import subprocess
import sys
from pathlib import Path

import pictures
import pytest
import torch
from torch.utils import backend_registration
from torchvision.models import squeezenet1_1

TESTS = Path(__file__).parent


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"), reason="an older torch knows no way"
)
def test_every_stage_trains_on_a_second_device(tmp_path):
    """In a process of its own: a device, once made, stays."""
    pictures.image(192, 128).save(tmp_path / "a.png")
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "trunk.pth")
    done = subprocess.run(
        [sys.executable, str(TESTS / "second_device.py"), str(tmp_path)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
    )  # fmt: skip
    assert done.stdout.split("\n") == [
        "two devices: refused",
        *(f"{stage}: done" for stage in ("sq", "vq", "mode", "aux", "fuser", "restorer", "trust", "clc")), "",
    ], done.stderr[-3000:]  # fmt: skip
