import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))
os.environ["NICODEC_MODELS"] = str(TESTS / "golden" / "models")


@pytest.fixture(scope="session")
def tiny():
    """The base part of the tiny frozen model."""
    from nicodec.zoo.store import find_package

    return find_package("tiny").parts["base"]


@pytest.fixture
def nicodec(tmp_path):
    """Run the command as a process in an empty folder: returns exit code, stdout (bytes) and stderr (text)."""

    def call(*arguments, stdin=b"", environment=None):
        finished = subprocess.run(
            [sys.executable, "-m", "nicodec", *map(str, arguments)],
            input=stdin, capture_output=True, cwd=tmp_path, timeout=120, check=False,
            env={**os.environ, "PYTHONPATH": str(TESTS.parent), **(environment or {})},
        )  # fmt: skip
        return finished.returncode, finished.stdout, finished.stderr.decode()

    return call
