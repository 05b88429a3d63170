"""Several models, threads and forked processes: each gets what it would get alone, and nobody waits for ever."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pictures
import pytest

import nicodec
from nicodec.engines import onnx
from nicodec.errors import MissingPartError, UsageError
from nicodec.zoo import load, store
from nicodec.zoo.model import Model
from nicodec.zoo.once import once

ROOT = Path(__file__).parents[1]
ENCODES = (
    {"model": "base1", "effort": 2}, {"model": "tiny-full"}, {"model": "tiny-references", "references": 2},
    {"model": "tiny-tunes", "tune": "psnr"}, {"model": "base2", "quality": 20}, {"model": "tiny"},
)  # fmt: skip
DECODES = ({}, {"tau": 0.6}, {"anchor": "perception"})


def files_and_pictures(index):
    """What one of ENCODES makes, and its file decoded in all ways that it has the means for."""
    data = nicodec.encode(pictures.image(150 + index, 130), device="cpu", drawn="off", **ENCODES[index])
    found = [data]
    for how in DECODES:
        try:
            found.append(np.asarray(nicodec.decode(data, device="cpu", **how)).tobytes())
        except nicodec.NicodecError as error:
            found.append(str(error).encode())
    return found


def test_threads_with_several_models_get_what_one_gets():
    """From a cold start: threads also load side by side."""
    alone = [files_and_pictures(index) for index in range(len(ENCODES))]
    for cached in (onnx.load_onnx, load.load_scales, load.load_prior, load.read_weights, store.read_part):
        cached.forget()
    order = [*range(len(ENCODES)), *reversed(range(len(ENCODES)))]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(files_and_pictures, order))
    for index, found in zip(order, together, strict=True):
        assert found == alone[index], ENCODES[index]


def test_models_share_what_their_parts_have_in_common_and_nothing_else():
    first, again, other = (Model.named(name, device="cpu") for name in ("tiny", "tiny-full", "tiny-tunes"))
    assert first.part("base").id == again.part("base").id
    assert first.part("base").path != again.part("base").path
    assert first.scales is Model.named("tiny").scales
    assert first.scales.tunes != other.scales.tunes
    file_names = Model.installed({"base": first.part("base").id})
    assert file_names.scales.latent == first.scales.latent
    assert file_names.mode is None, "without tokens"
    with pytest.raises(MissingPartError, match="0102030405060708"):
        Model.installed({"base": bytes(range(1, 9))}).part("base")


def test_threads_that_ask_at_once_wait_for_one():
    calls, ready = [], threading.Barrier(4)

    @once
    def load_slowly(name):
        calls.append(name)
        return object()

    def ask(name):
        ready.wait(10)
        return load_slowly(name)

    with ThreadPoolExecutor(4) as pool:
        a, b, c, d = pool.map(ask, ["x", "x", "y", "x"])
    assert a is b is d
    assert a is not c
    assert sorted(calls) == ["x", "y"]


def test_an_error_is_no_result():
    outcomes = [ValueError("not yet"), "there"]

    @once
    def load_at_last():
        if isinstance(found := outcomes.pop(0), Exception):
            raise found
        return found

    with pytest.raises(ValueError, match="not yet"):
        load_at_last()
    assert load_at_last() == load_at_last() == "there"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_wait_for_the_thread_that_was_loading():
    started, go_on = threading.Event(), threading.Event()

    @once
    def load_slowly(name):
        if name == "slow":
            started.set()
            go_on.wait(30)
        return name

    thread = threading.Thread(target=load_slowly, args=("slow",))
    thread.start()
    started.wait(10)
    child = os.fork()
    if child == 0:
        signal_after(20)
        os._exit(0 if load_slowly("other") == "other" else 1)
    go_on.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def signal_after(seconds):
    """End this process with SIGALRM if it is still there then."""
    import signal

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)


FORKED = """
import multiprocessing, sys, zlib
sys.path.insert(0, {tests!r})
import nicodec, pictures

def work(queue=None):
    how = dict(device="cpu", engine={engine!r})
    try:
        data = nicodec.encode(pictures.image(300, 290), model="tiny-full", drawn="off", **how)
        found = zlib.crc32(data), zlib.crc32(nicodec.decode(data, tau=0.5, **how).tobytes())
    except nicodec.NicodecError as error:
        found = str(error)
    return queue.put(found) if queue else found

expected = work()
context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
child = context.Process(target=work, args=(queue,))
child.start()
child.join(40)
if child.is_alive():
    child.kill()
    sys.exit("the child hangs")
found = queue.get()
print("equal" if found == expected else found, "|", work() == expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("engine", "says"), [("onnx", "equal"), ("torch", "method spawn, or use engine onnx")])
def test_a_child_of_a_process_that_encoded_works_or_says_why_not(engine, says):
    """With threads, which a child does not have; and the parent goes on."""
    script = FORKED.format(tests=str(ROOT / "tests"), engine=engine)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment, capture_output=True, text=True, check=False,
        timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, parent = done.stdout.strip().split(" | ")
    assert says in found
    assert "\n" not in found
    assert parent == "True"


def test_torch_says_so_in_its_own_class(monkeypatch):
    from nicodec.engines import torch as engine

    monkeypatch.setattr(engine, "LOADED_IN", -1)
    with pytest.raises(UsageError, match="spawn"):
        nicodec.encode(pictures.image(64, 64), model="tiny", engine="torch", device="cpu", drawn="off")
