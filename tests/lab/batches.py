"""Pictures a second of one batch against single calls and other encoders, and whether a batch's memory is flat.

python tests/lab/batches.py FOLDER [OPTIONS of `nicodec encode`]     PNGs in, a Markdown table out
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nicodec.errors import InputError

NICODEC = (sys.executable, "-m", "nicodec", "encode")


def measure(folder: Path, options: list[str]) -> tuple[dict[str, float], list[float]]:
    """Encode a folder's PNGs in every way, files in and files out, each at its default quality and effort.

    Returns:
        Pictures a second of each way, and the peak MB of the batch's process after a quarter and after all of them.

    Raises:
        InputError: no PNGs; JPEGs would not do, for cjxl repacks them.
        subprocess.CalledProcessError: an encoder failed.
    """
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise InputError(f"there is no .png in {folder}")
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as made:
        target = Path(made)
        ways: dict[str, Callable[[], object]] = {
            "nicodec, one batch": lambda: peaks.extend(_batch(paths, target / "batch", options)),
            "nicodec, one batch, -j 2": lambda: _batch(paths, target / "two", ["-j", "2", *options]),
            "nicodec, single calls": lambda: _each(paths, target, ".nic", [*NICODEC, *options, "--quiet"], "-o"),
            "cjxl": lambda: _each(paths, target, ".jxl", ["cjxl", "--quiet"]),
            "avifenc": lambda: _each(paths, target, ".avif", ["avifenc"]),
        }
        if shutil.which("cjxl") is None:
            del ways["cjxl"]
        if shutil.which("avifenc") is None:
            del ways["avifenc"]
            ways["AVIF (Pillow, speed 6)"] = lambda: _pillow_avif(paths, target)
        rates = {}
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            rates[name] = len(paths) / (time.perf_counter() - started)
    return rates, peaks


def _batch(paths: list[Path], target: Path, options: list[str]) -> list[float]:
    """One call for all. Its process's peak MB after a quarter and after all."""
    call = [*NICODEC, *map(str, paths), "-o", f"{target}/", "--json", *options]
    process = subprocess.Popen(call, stderr=subprocess.PIPE)
    assert process.stderr is not None
    peaks = [0.0]
    for _ in process.stderr:  # a line a file
        peaks.append(_peak_mb(process.pid) or peaks[-1])
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, call)
    return [peaks[-(-len(paths) // 4)], peaks[-1]]


def _peak_mb(process: int) -> float | None:
    """Peak resident memory of a running process, MB of 2^20 bytes; None where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{process}/status").read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return None


def _each(paths: list[Path], target: Path, suffix: str, call: list[str], before_output: str | None = None) -> None:
    """A process for each picture."""
    flag = [before_output] if before_output else []
    for path in paths:
        output = target / (path.stem + suffix)
        subprocess.run([*call, path, *flag, output], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _pillow_avif(paths: list[Path], target: Path) -> None:
    from PIL import Image

    for path in paths:
        with Image.open(path) as image:
            image.save(target / f"{path.stem}.avif", speed=6)


def main(folder: Path, options: list[str]) -> None:
    """Print the table."""
    rates, (early, late) = measure(folder, options)
    print("| way | pictures/s |\n|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.2f} |")
    print(f"\nPeak memory of the batch: {early:.0f} MB after a quarter of the pictures, {late:.0f} MB after all.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
