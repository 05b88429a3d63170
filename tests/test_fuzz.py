"""A short, repeatable walk over broken inputs; fuzz/walk.py is the long one, fuzz/fuzz.py the guided one.

Found cases are kept in refused/.
"""

import sys
from pathlib import Path

import numpy as np
import pictures
import pytest

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import targets


@pytest.mark.parametrize(("name", "count"), [("container", 20_000), ("whole", 150)])
def test_broken_files_are_refused_or_decoded(name, count):
    for seed in range(count):
        targets.TARGETS[name](targets.walked(seed))


def test_any_words_are_refused_or_decoded():
    for seed in range(300):
        random = np.random.default_rng(seed)
        targets.entropy(bytes([seed % 8]) + random.bytes(2 + 4 * int(random.integers(40))))


def test_broken_dictionaries_are_refused_or_read():
    (data,) = targets.seeds_of("dictionary")
    for seed in range(1000):
        targets.dictionary(targets._changed(data, np.random.default_rng(seed)))


@pytest.mark.parametrize("kind", targets.PICTURES)
def test_broken_pictures_are_refused_or_read(kind):
    data = pictures.file_bytes(pictures.image(40, 30), kind)
    for seed in range(150):
        targets.picture(targets._changed(data, np.random.default_rng(seed)))
