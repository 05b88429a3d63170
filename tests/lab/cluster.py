"""`nicodec batch` on a Ray cluster of two nodes on this machine, of which it loses a worker and a node.

python tests/lab/cluster.py [PICTURES]      2000 small ones by default; with the default model, at effort 1

First on this machine alone, for the bytes that are right and for the time that they take; then on the cluster, whole;
then with losses, a picture that kills its worker and one that is not there. Fails if anything is lost, wrong or twice.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import pictures

ROOT = Path(__file__).parents[2]
HOME = "_nicodec"
POISON = '''"""Files on this disk. It waits for what is not there yet; at a bad picture its driver crashes."""
import os, pathlib, signal, time
from fsspec import AbstractFileSystem
class Poison(AbstractFileSystem):
    protocol = "poison"
    def cat_file(self, path, start=None, end=None, **options):
        if path.endswith("bad.png"):
            os.kill(os.getpid(), signal.SIGSEGV)
        deadline = time.monotonic() + 200
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.05)
        return pathlib.Path(path).read_bytes()
'''
SIZES = {"num_cpus": 2, "object_store_memory": 80 << 20, "memory": 8 << 30}  # of a node


def make_poison(folder: Path) -> str:
    """A path for PYTHONPATH that brings the protocol `poison:`, whose objects kill who reads them, or come late."""
    (folder / "poison-1.dist-info").mkdir(parents=True)
    (folder / "poison_store.py").write_text(POISON)
    (folder / "poison-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1\n")
    (folder / "poison-1.dist-info" / "entry_points.txt").write_text("[fsspec.specs]\npoison = poison_store.Poison\n")
    return f"{ROOT}{os.pathsep}{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


def start_cluster() -> tuple[Any, Any]:
    """Two nodes, and the second of them. Their workers have this process's PYTHONPATH."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    running = Cluster(initialize_head=True, head_node_args={**SIZES, "include_dashboard": False})
    return running, running.add_node(**SIZES)


def processes(word: bytes) -> Iterator[tuple[int, int]]:
    """Processes with a word in their command line, and their parents."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if word in (stat.parent / "cmdline").read_bytes():
                yield int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended
            continue


def workers_of(node: Any) -> list[int]:
    """Processes of a node's actors."""
    (raylet,) = (process.process.pid for process in node.all_processes["raylet"])
    return [number for number, parent in processes(b"ray::Worker") if parent == raylet]


def outputs(folder: Path) -> dict[str, bytes]:
    """All files that are no ledger's, by their names."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(found.items()) if not name.startswith(HOME)}


def report(folder: Path) -> dict[str, Any]:
    """What `batch` says of a target."""
    return dict(json.loads((folder / HOME / "report.json").read_bytes()))


def start(folder: Path, *words: object) -> subprocess.Popen[str]:
    """The command as a process, whose stderr is text."""
    command = [sys.executable, "-m", "nicodec", "batch", "encode", *map(str, words), "-e", "1"]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)


class Memory(threading.Thread):
    """Peak resident MB of the pictures' processes, by process, second by second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: dict[int, list[float]] = {}
        self.start()

    def run(self) -> None:
        while True:
            for number, _ in processes(b"nicodec.scale.process"):
                try:
                    pages = int(Path(f"/proc/{number}/statm").read_bytes().split()[1])
                    self.seen.setdefault(number, []).append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
                except (OSError, IndexError):
                    continue
            time.sleep(1)


def measure(folder: Path, name: str, *words: object) -> float:
    """Pictures a second of an undisturbed run, as it says itself: without the driver's start."""
    process = start(folder, *words)
    _, err = process.communicate()
    assert process.returncode == 0, err
    found = report(folder / str(words[1]))
    print(f"| {name} | {found['done']} | {found['done'] / found['seconds']:.2f} |", flush=True)
    return float(found["seconds"])


def disturbed(folder: Path, right: dict[str, bytes], count: int, cluster: tuple[Any, Any]) -> None:
    """A run that loses a worker after a quarter, and a node after a half."""
    running, second = cluster
    process = start(folder, "all.jsonl", "lost", "--shard", "50", "--engine", "ray", "--address", running.address,
                    "--workers", "4", "--memory", "1500MB")  # fmt: skip
    shards = folder / "lost" / HOME / "shards"
    for share, end in ((0.25, lambda: os.kill(workers_of(running.head_node)[0], signal.SIGKILL)),
                       (0.5, lambda: running.remove_node(second, allow_graceful=False))):  # fmt: skip
        while not shards.is_dir() or 50 * len(list(shards.iterdir())) < share * count:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        end()
    _, err = process.communicate()
    assert process.returncode == 19, err
    found = report(folder / "lost")
    assert {failure["input"]: failure["exit_code"] for failure in found["failures"]} == {
        "poison://bucket/bad.png": 25, str(folder / "photos" / "gone.png"): 3,
    }, err  # fmt: skip
    assert (found["done"], found["pictures"], found["shards_unfinished"]) == (count, count + 2, 0)
    assert outputs(folder / "lost") == right, "an output is missing, wrong or too many"
    assert found["output_bytes"] == sum(map(len, right.values()))
    print(f"| ray, 4 workers, one and a node of two killed | {count} | {count / found['seconds']:.2f} |", flush=True)


def main(count: int) -> None:
    """Print a table of pictures a second, and what memory did."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        (folder / "photos").mkdir()
        for index in range(count):
            grain = np.asarray(pictures.grainy(64 + index % 33, 64 + index // 33 % 33)) * (0.6 + index % 101 / 250)
            Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(folder / "photos" / f"{index:05d}.png")
        names = [str(path) for path in sorted((folder / "photos").iterdir())]
        some = names[: count // 8]
        bad = [*names[:77], "poison://bucket/bad.png", str(folder / "photos" / "gone.png"), *names[77:]]
        for name, listed in (("right", names), ("some", some), ("all", bad)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps({"path": path}) + "\n" for path in listed))
        os.environ["PYTHONPATH"] = make_poison(folder / "site")
        print("| run | pictures | a second |\n|---|---|---|", flush=True)
        measure(folder, "local, 1 worker", "some.jsonl", "one", "--workers", "1", "--shard", "50")
        alone = measure(folder, "local, 2 workers", "some.jsonl", "two", "--workers", "2", "--shard", "50")
        memory = Memory()
        measure(folder, "local, 2 workers", "right.jsonl", "right", "--workers", "2", "--shard", "50")
        for number, seen in [*memory.seen.items()]:
            if len(seen) < 8:
                continue  # another's
            early, late = max(seen[: len(seen) // 4]), max(seen)
            print(
                f"| memory of process {number} | | {early:.0f} MB after a quarter, {late:.0f} at the end |", flush=True
            )
        cluster = start_cluster()
        try:
            on_ray = ("--engine", "ray", "--address", cluster[0].address, "--shard", "50", "--memory", "1500MB")
            together = measure(folder, "ray, 2 workers", "some.jsonl", "ray", "--workers", "2", *on_ray)
            print(f"| ray against local, 2 workers, their start included | | {together - alone:+.1f} s |")
            disturbed(folder, outputs(folder / "right"), count, cluster)
        finally:
            cluster[0].shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
