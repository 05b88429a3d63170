"""Check all golden files under this process's settings; `matrix` starts this.

    python -m nicodec.conformance.process [--sloppy-torch]

With --sloppy-torch the host program has lowered torch's precision and works inside autocast, as a careless one might,
and pixels are decoded as well (what they are is not looked at: in bf16 they may be other ones).
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from nicodec.conformance.golden import Golden, check_exact, golden_files
from nicodec.errors import NicodecError

SLOPPY = "--sloppy-torch"


def main() -> None:
    """Exit with the code of the first error, its message on stderr.

    Every file is read twice: with numpy's product, then with torch's.
    """
    sloppy, files = SLOPPY in sys.argv, golden_files()
    try:
        with _sloppy_torch() if sloppy else nullcontext():
            _check(files)
            import nicodec.engines.torch

            _check(files)
            for path in files if sloppy else []:
                nicodec.decode(path, device="cpu")
    except NicodecError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _check(files: list[Path]) -> None:
    for path in files:
        check_exact(Golden.read(path))


def _sloppy_torch() -> AbstractContextManager[Any]:
    import torch

    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(False)
    return torch.autocast("cpu", torch.bfloat16)


if __name__ == "__main__":
    main()
