"""Files that must decode for as long as their format version is read: symbols to the bit, pixels within one level."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import slow_decoder
from PIL import Image

import nicodec
from nicodec.container.reader import read_file, read_tokens
from nicodec.streams import decode_symbols

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("*.nic"))


def test_there_are_golden_files():
    assert len(FILES) >= 8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_file(path, tiny):
    data = path.read_bytes()
    expected = json.loads(path.with_suffix(".json").read_text())
    file = read_file(data)
    fast = [held.tobytes() for held in decode_symbols(file, read_tokens(file)).values()]
    slow = [
        z.astype("<i2").tobytes() + y.astype("<i2").tobytes() for z, y in slow_decoder.decode_symbols(data, tiny.read())
    ]
    assert len(fast) == len(slow) == expected["tiles"]
    for symbols in (fast, slow):
        assert hashlib.sha256(b"".join(symbols)).hexdigest() == expected["symbols_sha256"]
    image, reference = nicodec.decode(data, device="cpu"), Image.open(path.with_suffix(".png"))
    assert image.mode == reference.mode
    difference = np.asarray(image).astype(int) - np.asarray(reference).astype(int)
    assert np.abs(difference).max() <= 1
