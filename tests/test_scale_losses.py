"""`nicodec batch` where something goes wrong on the way, on this machine, and on a cluster of two nodes."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pictures
import pytest
from lab import cluster
from lab.cluster import HOME, make_poison, report
from PIL import Image
from sharded import FAST, TINY, as_manifest, entries, failures, outputs

pytest.importorskip("fsspec")

from nicodec import errors
from nicodec.cli.batch import ENCODING, command
from nicodec.container.reader import read_file
from nicodec.scale.places import TEMPORARY
from nicodec.scale.shards import plan
from nicodec.scale.worker import Order, Worker


@pytest.fixture
def poison(tmp_path):
    """A PYTHONPATH with the protocol `poison:`."""
    return make_poison(tmp_path / "site")


def launched(folder, site, *words, **options):
    """A process of the command, which may be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "nicodec", "batch", *map(str, words)], cwd=folder, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": site}, **options,
    )  # fmt: skip


def finish(process):
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, err


def test_a_picture_that_kills_its_worker_is_set_aside(photos, tmp_path, poison):
    names = sorted(photos.rglob("*.png"))
    as_manifest(tmp_path / "list.jsonl", *names[:3], "poison://a/bad.png", *names[3:])
    code, err = finish(launched(tmp_path, poison, "encode", "list.jsonl", "coded", *TINY))
    assert code == errors.BatchError.exit_code, err
    assert "poison://a/bad.png: the worker's process died of it 2 times (SIGSEGV); it is set aside" in err
    assert failures(tmp_path / "coded") == {"bad.png": errors.WorkerDiedError.exit_code}
    assert len(outputs(tmp_path / "coded")) == report(tmp_path / "coded")["done"] == 10


def test_a_picture_that_takes_more_memory_than_there_is(inside, photos, tmp_path):
    Image.new("RGB", (12000, 9000)).save(photos / "huge.png")
    code, _, err = inside("batch", "encode", "photos", "coded", *TINY, "--memory", "400MiB")
    assert code == errors.BatchError.exit_code, err
    assert failures(tmp_path / "coded").keys() == {"huge.png"}
    assert {*failures(tmp_path / "coded").values()} <= {
        errors.OutOfMemoryError.exit_code, errors.WorkerDiedError.exit_code,
    }  # fmt: skip
    assert len(outputs(tmp_path / "coded")) == 10


def test_a_machine_without_the_model(photos, tmp_path, monkeypatch):
    """What all of its shards meet is no picture's fault: they are left for others."""
    given = command.commands["encode"].make_context("encode", ["photos", "coded", *TINY]).params
    options = {"do": "encode", **{name: given[name] for name in ENCODING}}
    worker = Worker(Order(options, str(tmp_path / "out"), tar=False, threads=1, memory=None))
    monkeypatch.setenv("NICODEC_MODELS", "")
    (shard,) = plan(str(photos), frozenset({".png"}), 10).shards
    *_, tally = worker.run(shard)
    assert "does not start: no model named 'tiny'" in tally.unfinished.error
    assert (tally.taken, (tmp_path / "out").exists()) == (0, False)


def test_a_target_that_takes_no_more(photos, tmp_path, poison):
    """A limit on the size of files stands in for the disk; where there is room again, the run goes on."""
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    Image.fromarray(noise).save(photos / "sub" / "noise.png")
    call = ("encode", "photos", "coded", *TINY, "--workers", "1", "--shard", "5")
    limit = [f"ulimit -f 4; exec {sys.executable} -m nicodec batch {' '.join(call)}"]
    done = subprocess.run(["bash", "-c", *limit], cwd=tmp_path, env={**os.environ, "PYTHONPATH": poison}, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == errors.OutputError.exit_code, done.stderr
    assert "the same command goes on from here" in done.stderr.splitlines()[-1]
    assert 5 <= len(outputs(tmp_path / "coded")) <= 10
    assert len(entries(tmp_path / "coded")) in (1, 2)
    code, err = finish(launched(tmp_path, poison, *call))
    assert code == 0, err
    assert (len(outputs(tmp_path / "coded")), report(tmp_path / "coded")["done"]) == (11, 11)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_driver_that_is_killed_goes_on_from_its_ledger(inside, tmp_path, poison, number, code):
    (tmp_path / "photos").mkdir()
    for index in range(40):
        pictures.image(160, 120 + index).save(tmp_path / "photos" / f"{index:02d}.png")
    call = ("encode", "photos", "coded", *TINY, *FAST)
    (tmp_path / "scratch").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path / "scratch"))
        process = launched(tmp_path, poison, *call, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    shards, deadline = tmp_path / "coded" / HOME / "shards", time.monotonic() + 60
    while not (shards.is_dir() and len(list(shards.glob("*.json"))) > 1) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    assert finish(process)[0] == code
    before = entries(tmp_path / "coded")
    assert 1 < len(before) < 10
    deadline = time.monotonic() + 20
    while list((tmp_path / "scratch").glob("nicodec-*")) and time.monotonic() < deadline:
        time.sleep(0.05)  # workers end with what they are at
    assert list((tmp_path / "scratch").glob("nicodec-*")) == []
    for name in outputs(tmp_path / "coded"):
        assert read_file((tmp_path / "coded" / name).read_bytes()).header.width == 160
    assert inside("batch", *call)[0] == 0
    after = entries(tmp_path / "coded")
    assert len(after) == 10
    assert before.items() <= after.items(), "what is done is not done again"
    assert report(tmp_path / "coded")["done"] == len(outputs(tmp_path / "coded")) == 40


# --- on a cluster


@pytest.fixture
def ray(tmp_path_factory):
    """Ray, for one test at a time: `--address auto` finds any cluster that runs on this machine."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with (tmp_path_factory.getbasetemp().parent / "ray.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def nodes(ray, poison):
    """Two nodes on this machine, of two workers each: the cluster, and the second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", poison)
        running, second = cluster.start_cluster()
        yield running, second
        running.shutdown()


def test_a_cluster_that_loses_a_worker_and_a_node(photos, tmp_path, poison, nodes):
    """While workers wait for pictures that are late, so that there is work to be lost."""
    running, second = nodes
    names, late = sorted(photos.rglob("*.png")), [photos / f"late{index}.png" for index in range(16)]
    for index in range(12):
        names.append(photos / f"more{index:02d}.png")
        pictures.image(200 + index, 200).save(names[-1])
    as_manifest(tmp_path / "list.jsonl", *names[:9], "poison://a/bad.png", photos / "gone.png", *names[9:],
                *(f"poison://{name}" for name in late))  # fmt: skip
    call = ("encode", "list.jsonl", "coded", *TINY, "--shard", "4", "--engine", "ray", "--address", running.address,
            "--memory", "1GiB", "--workers", "4")  # fmt: skip
    process = launched(tmp_path, poison, *call)
    try:
        shards, deadline = tmp_path / "coded" / HOME / "shards", time.monotonic() + 120
        while len([*shards.glob("*.json")]) < 6 or not all(map(cluster.workers_of, (running.head_node, second))):
            assert process.poll() is None, finish(process)
            assert time.monotonic() < deadline, "a node's workers have not begun"
            time.sleep(0.05)
        os.kill(cluster.workers_of(running.head_node)[0], signal.SIGKILL)
        running.remove_node(second, allow_graceful=False)
        for name in late:
            shutil.copy(names[-1], tmp_path / "copy.png")
            (tmp_path / "copy.png").rename(name)
        code, err = finish(process)
    finally:
        process.kill()
    names += late
    assert code == errors.BatchError.exit_code, err
    found = report(tmp_path / "coded")
    assert (found["pictures"], found["done"], found["failed"], found["shards_unfinished"]) == (40, 38, 2, 0)
    assert failures(tmp_path / "coded") == {
        "bad.png": errors.WorkerDiedError.exit_code, "gone.png": errors.InputError.exit_code,
    }  # fmt: skip
    whole = [name for name in outputs(tmp_path / "coded") if TEMPORARY not in name]  # what was killed may leave one
    made = {f"/{name.removesuffix('.nic')}": tmp_path / "coded" / name for name in whole}
    assert made.keys() == {str(name) for name in names}
    for name, path in made.items():
        header = read_file(path.read_bytes()).header
        assert (header.width, header.height) == Image.open(name).size
    assert found["output_bytes"] == sum(path.stat().st_size for path in made.values())


@pytest.mark.usefixtures("ray")
def test_a_cluster_that_is_not_there(inside, photos):
    for address in ("auto", "127.0.0.1:1"):
        code, _, err = inside("batch", "encode", "photos", "coded", *TINY, "--engine", "ray", "--address", address)
        assert code == errors.ClusterError.exit_code, err
        assert err.count("\n") == 1
