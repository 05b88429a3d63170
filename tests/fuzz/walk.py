"""A long, repeatable walk over broken files by hand: figures as a line of JSON, failing inputs as files.

    python tests/fuzz/walk.py container 1000000 FOUND [--first SEED]

Input number n is made from golden file n by one to three of targets.py's mutations, with numpy's generator seeded n.
"""

import argparse
import json
import signal
import sys
import time
import traceback
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "fuzz"), str(TESTS), str(TESTS.parent)]

import targets  # noqa: E402

from nicodec.bench.worker import peak_mb  # noqa: E402
from nicodec.conformance.golden import use_golden_models  # noqa: E402

HANG_SECONDS = 60


class HangError(BaseException):
    """No `except Exception` may swallow it."""


def hang(*_):
    raise HangError


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=["container", "whole"])
    parser.add_argument("count", type=int)
    parser.add_argument("found", type=Path)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    use_golden_models()
    signal.signal(signal.SIGALRM, hang)
    arguments.found.mkdir(parents=True, exist_ok=True)
    figures = {"target": arguments.target, "inputs": 0, "crashes": 0, "hangs": 0, "slowest_s": 0.0, "slowest": None}
    targets.TARGETS[arguments.target](targets.seeds()[0])  # loading libraries and weights is not what is timed
    started = time.perf_counter()
    for seed in range(arguments.first, arguments.first + arguments.count):
        data = targets.walked(seed)
        begun = time.process_time()
        signal.alarm(HANG_SECONDS)
        try:
            targets.TARGETS[arguments.target](data)
        except BaseException as error:
            signal.alarm(0)
            if isinstance(error, KeyboardInterrupt):
                raise
            figures["hangs" if isinstance(error, HangError) else "crashes"] += 1
            (arguments.found / f"{arguments.target}-{seed}.nic").write_bytes(data)
            traceback.print_exc()
        signal.alarm(0)
        figures["inputs"] += 1
        if (seconds := time.process_time() - begun) > figures["slowest_s"]:
            figures |= {"slowest_s": round(seconds, 3), "slowest": seed}
        if figures["inputs"] % 10_000 == 0 or seed == arguments.first + arguments.count - 1:
            figures |= {"seconds": round(time.perf_counter() - started), "peak_mb": round(peak_mb())}
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
