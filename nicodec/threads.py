"""How many threads numeric libraries have. Imports none of them, for they ask the environment when they are loaded."""

from __future__ import annotations

import os


def thread_count() -> int:
    """As many threads as the caller allows numeric libraries, or else as this process may use cores."""
    try:
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    except (KeyError, ValueError):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_limits(threads: int) -> dict[str, str]:
    """What the environment says where numeric libraries are to have so many threads."""
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
