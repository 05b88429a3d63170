"""Decode files to symbols and pixels under this process's settings; print one hash of all symbols.

Two hashes, and no test would pass, if numpy's and torch's products disagreed.

    exactness.py [--sloppy-torch] FILE.nic...

Run under different thread counts, BLAS kernels and CPU capabilities by tests/test_matrix.py. With --sloppy-torch the
host program has lowered torch's precision and works inside autocast, as a careless one might.
"""

import hashlib
import sys
from contextlib import nullcontext
from pathlib import Path


def main(arguments):
    sloppy = "--sloppy-torch" in arguments
    files = [Path(name) for name in arguments if not name.startswith("--")]
    surroundings = nullcontext()
    if sloppy:
        import torch

        torch.set_float32_matmul_precision("medium")
        torch.use_deterministic_algorithms(False)
        surroundings = torch.autocast("cpu", torch.bfloat16)
    from nicodec.codec import decode_bytes
    from nicodec.container.reader import read_file, read_tokens
    from nicodec.options import DecodeOptions
    from nicodec.streams import decode_symbols

    hashes = []
    with surroundings:
        for product in ("numpy's", "torch's"):
            if product == "torch's":
                import nicodec.networks.tiling  # noqa: F401  it offers its product to the integer path
            digest = hashlib.sha256()
            for path in files:
                file = read_file(path.read_bytes())
                for held in decode_symbols(file, read_tokens(file)).values():
                    digest.update(held.tobytes())
            hashes.append(digest.hexdigest())
        if sloppy:
            for path in files:
                decode_bytes(path.read_bytes(), DecodeOptions(device="cpu"))
    print(*sorted(set(hashes)))


if __name__ == "__main__":
    main(sys.argv[1:])
