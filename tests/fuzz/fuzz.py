"""Coverage-guided fuzzing by hand, with atheris (`pip install atheris`):

python tests/fuzz/fuzz.py container -runs=1000000 -rss_limit_mb=4000
"""

import os
import sys
import tempfile
from pathlib import Path

import atheris

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "fuzz"), str(TESTS), str(TESTS.parent)]
os.environ["NICODEC_MODELS"] = str(TESTS / "golden" / "models")
os.environ["OMP_NUM_THREADS"] = "1"

with atheris.instrument_imports(include=["nicodec"]):
    import targets


def mutate(data, size, seed):
    """Now our own structure-aware change, now libFuzzer's."""
    import numpy as np

    random = np.random.default_rng(seed)
    return targets.mutated(data, random)[:size] if random.random() < 0.5 else atheris.Mutate(data, size)


def main():
    name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as corpus:
        for index, seed in enumerate(targets.seeds_of(name)):
            (Path(corpus) / str(index)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, *options], targets.TARGETS[name], custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
