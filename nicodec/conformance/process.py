"""Check all golden files under this process's settings; `matrix` starts this.

    python -m nicodec.conformance.process [--careless-host]

With --careless-host torch paints every picture first, in a program that has lowered its precision and works inside
autocast; what the pixels are is not looked at.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import nicodec
from nicodec.conformance.golden import Golden, check_exact, golden_files
from nicodec.errors import NicodecError

CARELESS = "--careless-host"


def main() -> None:
    """Exit with the code of the first error, its message on stderr."""
    careless = CARELESS in sys.argv
    try:
        with _careless_torch() if careless else nullcontext():
            for path in golden_files():
                if careless:
                    nicodec.decode(path, device="cpu", engine="torch")
                check_exact(Golden.read(path))
    except NicodecError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _careless_torch() -> AbstractContextManager[Any]:
    import torch

    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(False)
    torch.set_flush_denormal(True)
    return torch.autocast("cpu", torch.bfloat16)


if __name__ == "__main__":
    main()
