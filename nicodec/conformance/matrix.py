"""The exactness matrix: the same symbols whatever makes floats differ between machines."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nicodec
from nicodec.conformance.process import CARELESS
from nicodec.errors import ConformanceError


@dataclass(frozen=True)
class Setting:
    """Environment variables of a process, and whether its host program uses torch, and carelessly."""

    environment: dict[str, str] = field(default_factory=dict)
    careless: bool = False


MATRIX = {
    "as it is": Setting(),
    "one thread": Setting({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}),
    "two threads": Setting({"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}),
    "BLAS for Prescott (SSE3)": Setting({"OPENBLAS_CORETYPE": "Prescott"}),
    "BLAS for Haswell (AVX2)": Setting({"OPENBLAS_CORETYPE": "Haswell"}),
    "BLAS for Zen": Setting({"OPENBLAS_CORETYPE": "Zen"}),
    "careless host, ATen without vectors": Setting({"ATEN_CPU_CAPABILITY": "default"}, careless=True),
    "careless host, oneDNN for SSE4.1": Setting({"ONEDNN_MAX_CPU_ISA": "SSE41"}, careless=True),
    "careless host, oneDNN in bf16": Setting({"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}, careless=True),
}


def check_under(setting: Setting) -> str:
    """Check all golden files exactly, in a process under a setting; says what holds.

    Raises:
        ConformanceError: a file does not hold there, or the process died; says what it said last.
    """
    finished = subprocess.run(
        [sys.executable, "-m", "nicodec.conformance.process", *([CARELESS] if setting.careless else [])],
        env={**os.environ, "PYTHONPATH": str(Path(nicodec.__file__).parents[1]), **setting.environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if finished.returncode:
        last = finished.stderr.strip().splitlines()[-1:] or [f"it ended with {finished.returncode}"]
        raise ConformanceError(last[0])
    return "the same symbols"
