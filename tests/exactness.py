"""Decode files to symbols and pixels under this process's settings; print one hash of all symbols.

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

    digest = hashlib.sha256()
    with surroundings:
        for path in files:
            data = path.read_bytes()
            file = read_file(data)
            for held in decode_symbols(file, read_tokens(file)).values():
                digest.update(held.tobytes())
            if sloppy:
                decode_bytes(data, DecodeOptions(device="cpu"))
    print(digest.hexdigest())


if __name__ == "__main__":
    main(sys.argv[1:])
