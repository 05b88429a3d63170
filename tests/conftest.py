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


@pytest.fixture(scope="session")
def toy_folder(tiny, tmp_path_factory):
    """Toy packages `toy16` and `toy32` with all parts, tokens of 16 and of 32 pixels."""
    import toy

    folder = tmp_path_factory.mktemp("models")
    for stride in (16, 32):
        toy.make_model(folder, f"toy{stride}", tiny, stride=stride)
    return folder


@pytest.fixture(scope="module")
def toys(toy_folder, tiny):
    """The toy packages and the tiny model are the ones to be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", f"{toy_folder}:{tiny.path.parents[1]}")
        yield toy_folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of training pictures, and one file that is none."""
    import pictures

    folder = tmp_path_factory.mktemp("data")
    for index in range(4):
        pictures.image(290 + 10 * index, 280).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


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
