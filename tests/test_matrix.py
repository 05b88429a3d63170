"""One hash of the symbols over everything that makes floats differ between machines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MATRIX = {
    "plain": {},
    "one thread": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
    "BLAS for Prescott (SSE3)": {"OPENBLAS_CORETYPE": "Prescott"},
    "BLAS for Haswell (AVX2)": {"OPENBLAS_CORETYPE": "Haswell"},
    "BLAS for Zen": {"OPENBLAS_CORETYPE": "Zen"},
    "ATen without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN for SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "oneDNN in bf16": {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"},
}


def run(setting, *arguments):
    """Hash of the golden files' symbols under a setting."""
    files = sorted((TESTS / "golden").glob("*.nic"))
    finished = subprocess.run(
        [sys.executable, TESTS / "exactness.py", *arguments, *files],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), **setting}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return finished.stdout.strip()


@pytest.fixture(scope="module")
def plain():
    return run({})


@pytest.mark.parametrize("name", MATRIX)
def test_symbols_do_not_depend_on(name, plain):
    assert run(MATRIX[name]) == plain


@pytest.mark.parametrize("name", ["plain", "ATen without vectors", "oneDNN in bf16"])
def test_symbols_do_not_depend_on_the_host_program(name, plain):
    assert run(MATRIX[name], "--sloppy-torch") == plain
