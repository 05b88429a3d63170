"""A short, repeatable walk over broken inputs; tests/fuzz/fuzz.py is the long one. Found cases are kept in refused/."""

import sys
from pathlib import Path

import numpy as np
import pictures
import pytest

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import targets

pytestmark = pytest.mark.usefixtures("toys")


@pytest.mark.parametrize(("name", "count"), [("container", 20_000), ("whole", 150)])
def test_broken_files_are_refused_or_decoded(name, count):
    for seed in range(count):
        random = np.random.default_rng(seed)
        data = targets.seeds()[seed % len(targets.seeds())]
        for _ in range(int(random.integers(1, 4))):
            data = targets.mutated(data, random)
        targets.TARGETS[name](data)


def test_any_words_are_refused_or_decoded():
    for seed in range(300):
        random = np.random.default_rng(seed)
        targets.entropy(random.bytes(3 + 4 * int(random.integers(40))))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "AVIF"])
def test_broken_pictures_are_refused_or_read(kind):
    data = pictures.file_bytes(pictures.image(40, 30), kind)
    for seed in range(150):
        targets.picture(targets._changed(data, np.random.default_rng(seed)))
