"""Seconds by stage, and seconds and memory by size; next to what the machine itself can do."""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from nicodec.bases.own_decoder import OwnDecoder
from nicodec.bases.own_encoder import OwnEncoder
from nicodec.bench.summary import machine
from nicodec.bench.worker import peak_mb
from nicodec.codec import decode_bytes
from nicodec.container.layout import Box
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file
from nicodec.image.files import read_picture, write_picture
from nicodec.options import DEFAULT_MODEL, DEFAULT_QUALITY, DecodeOptions, EncodeOptions
from nicodec.rate.scale import rate_from_quality
from nicodec.rate.tile import TileRate
from nicodec.streams import decode_symbols
from nicodec.zoo.model import Model

REPEATS = 9
MEGAPIXELS = (0.1, 0.4, 1, 4, 12, 50)
WAYS = (
    ("sq", "fidelity", 0.0, 4), ("sq", "fidelity", 1.0, 1), ("sq", "fidelity", 1.0, 4), ("sq", "fidelity", 1.0, 8),
    ("sq+vq", "fidelity", 0.0, 4), ("sq+vq", "perception", 0.0, 4), ("sq+vq", "perception", 0.7, 4),
)  # fmt: skip
T = TypeVar("T")


def measure_speed(path: Path) -> tuple[str, dict[str, Any]]:
    """Time the default model on one picture, in process and cold, and over sizes made from it by resizing.

    Returns:
        A Markdown page, and the figures: `machine`, `matmul_gflops`, `stages` (median seconds), `network_gflop` and
        `matmul_share` a direction, `ways` (seconds of whole decodes by anchor, tau and steps), `cold` (seconds of
        a process), `sizes` (megapixels, seconds, peak MB).
    """
    rate_of_machine = matmul_gflops()
    stages, flops = time_stages(path)
    shares = {side: gflop / stages[f"{side}: networks"] / rate_of_machine for side, gflop in flops.items()}
    figures = {
        "machine": machine(),
        "picture": path.name,
        "matmul_gflops": rate_of_machine,
        "stages": stages,
        "network_gflop": flops,
        "matmul_share": shares,
        "ways": time_ways(path),
        "cold": time_processes(path),
        "sizes": time_sizes(path),
    }
    return _markdown(figures), figures


def matmul_gflops() -> float:
    """GFLOP/s of a 2048x2048 float32 matrix product, the better of several."""
    a = torch.randn(2048, 2048)
    return max(2 * 2048**3 / _seconds(lambda: a @ a) / 1e9 for _ in range(5))


def time_stages(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each stage at default quality, and GFLOP of the networks of each direction."""
    times = {name: statistics.median(_seconds(call) for _ in range(REPEATS)) for name, call in stages(path).items()}
    counted, flops = stages(path, "torch"), {}
    for side in ("encode", "decode"):
        with FlopCounterMode(display=False) as counter:
            counted[f"{side}: networks"]()
        flops[side] = counter.get_total_flops() / 1e9
    return times, flops


def stages(path: Path, engine: str = "auto") -> dict[str, Callable[[], Any]]:
    """Each stage of the way to a file and back at default quality, to be called on its own."""
    data, rate = path.read_bytes(), rate_from_quality(DEFAULT_QUALITY)
    picture = read_picture(data)
    model = Model.named(DEFAULT_MODEL, engine, "cpu")
    encoder = OwnEncoder(model, EncodeOptions(device="cpu", verify=False, engine=engine))
    analysed = encoder.analyse(picture, keep=True)
    coded = encoder.code(analysed, rate, keep=True)
    file = read_file(write_file(coded.header, coded.sections))
    base, whole = OwnDecoder(file, engine, "cpu"), Box(0, 0, picture.width, picture.height)
    parsed, referred = decode_symbols(file, model, None), encoder.refer(picture, rate)
    base.synthesise(parsed, whole)
    return {
        "encode: read": lambda: read_picture(data),
        "encode: references": lambda: encoder.refer(picture, rate),
        "encode: networks": lambda: list(encoder.symbols(encoder.analyse(picture).tiles, referred, TileRate(rate))),
        "encode: entropy": lambda: encoder.sections(coded.symbols),
        "encode: verify": lambda: base.symbols(),
        "encode: container": lambda: write_file(coded.header, coded.sections),
        "decode: container": lambda: read_file(write_file(coded.header, coded.sections)),
        "decode: entropy": lambda: decode_symbols(file, model, None),
        "decode: networks": lambda: base.synthesise(parsed, whole),
        "decode: write": lambda: write_picture(picture, ".png"),
    }


def time_ways(path: Path) -> dict[str, float]:
    """Median seconds of whole decodes in process, from bytes to pixels, for each anchor, tau and number of steps."""
    from nicodec import encode

    files = {streams: encode(path, streams=streams, device="cpu") for streams in ("sq", "sq+vq")}
    seconds = {}
    for streams, anchor, tau, steps in WAYS:
        options = DecodeOptions(anchor=anchor, taus=(tau,), steps=steps, device="cpu")
        call = partial(decode_bytes, files[streams], options)
        name = f"{streams}, {anchor}, tau {tau:g}" + (f", {steps} steps" if tau else "")
        seconds[name] = statistics.median(_seconds(call) for _ in range(REPEATS))
    return seconds


def time_processes(path: Path) -> dict[str, float]:
    """Median seconds of whole processes, start and imports included."""
    with tempfile.TemporaryDirectory() as folder:
        nic, out = str(Path(folder) / "a.nic"), str(Path(folder) / "a.png")
        calls = {
            "encode": ["encode", str(path), "-o", nic, "-f", "--quiet"],
            "decode": ["decode", nic, "-o", out, "-f", "--quiet"],
            "verify": ["verify", nic, "--quiet"],
            "info": ["info", nic],
        }
        cold = {}
        for name, call in calls.items():
            command = [sys.executable, "-m", "nicodec", *call]
            times = [_seconds(lambda c=command: subprocess.run(c, check=True, capture_output=True)) for _ in range(3)]  # type: ignore[misc]
            cold[name] = statistics.median(times)
        return cold


def time_sizes(path: Path) -> list[dict[str, float | None]]:
    """Seconds and peak memory of encode and decode over sizes, each direction of each size in a process of its own."""
    rows = []
    for megapixels in MEGAPIXELS:
        row: dict[str, float | None] = {"megapixels": megapixels}
        with tempfile.TemporaryDirectory() as folder:
            for side in ("encode", "decode"):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as worker:
                    seconds, peak = worker.submit(_code_once, side, path, megapixels, Path(folder) / "a.nic").result()
                row |= {f"{side}_s": seconds, f"{side}_peak_mb": peak}
        rows.append(row)
    return rows


def _code_once(side: str, path: Path, megapixels: float, nic: Path) -> tuple[float, float | None]:
    """In a worker: one direction of one picture, weights loaded before the clock starts; seconds and peak MB."""
    import nicodec

    small = nicodec.encode(Image.new("RGB", (64, 64)), device="cpu")
    nicodec.decode(small, device="cpu")
    if side == "encode":
        image = _resized(path, megapixels)
        started = time.perf_counter()
        data = nicodec.encode(image, device="cpu")
        seconds = time.perf_counter() - started
        nic.write_bytes(data)
    else:
        seconds = _seconds(lambda: nicodec.decode(nic, device="cpu"))
    return seconds, peak_mb()


def _resized(path: Path, megapixels: float) -> Image.Image:
    with Image.open(path) as image:
        factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        return Image.fromarray(np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)))


def _seconds(call: Callable[[], T]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _markdown(figures: dict[str, Any]) -> str:
    facts = figures["machine"]
    lines = [
        f"Machine: {facts['processor']}, {facts['cores']} cores, {facts['threads']} threads; float32 matrix product "
        f"{figures['matmul_gflops']:.0f} GFLOP/s. Picture: {figures['picture']}.",
        "",
        "| stage | median seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.4f} |" for name, seconds in figures["stages"].items()),
    ]
    for side in ("encode", "decode"):
        total = sum(seconds for name, seconds in figures["stages"].items() if name.startswith(side))
        lines.append(
            f"| {side}: all, in process (networks: {figures['network_gflop'][side]:.1f} GFLOP at "
            f"{100 * figures['matmul_share'][side]:.0f} % of the matrix rate) | {total:.3f} |"
        )
    lines += [f"| decode {name} | {seconds:.3f} |" for name, seconds in figures["ways"].items()]
    lines += [f"| {name}: a process, cold | {seconds:.2f} |" for name, seconds in figures["cold"].items()]
    lines += [
        "",
        "| megapixels | encode s | s/MP | peak MB | decode s | s/MP | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures["sizes"]:
        size = row["megapixels"]
        cells = [f"{size:g}"]
        for side in ("encode", "decode"):
            seconds, peak = row[f"{side}_s"], row[f"{side}_peak_mb"]
            cells += [f"{seconds:.2f}", f"{seconds / size:.2f}", "-" if peak is None else f"{peak:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
