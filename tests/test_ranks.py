"""Several processes that train as one."""

import json
import os
import signal
import time
from collections import OrderedDict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toy_run import run

from nicodec.errors import TrainingRunError
from nicodec.training.checkpoint import check_same
from nicodec.training.loop import Run, Schedule
from nicodec.training.ranks import launch


def test_a_run_goes_on_in_another_number_of_processes_that_share_the_batch(tmp_path):
    path = tmp_path / "run.json"
    begun = {"stage": "sq", "config": {}, "schedule": {"batch": 8}, "data": "", "processes": 2, "frozen": {}}
    path.write_text(json.dumps(begun))
    check_same(path, {**begun, "schedule": {"batch": 16}, "processes": 1})
    with pytest.raises(TrainingRunError, match="batch was 16, is 8"):
        check_same(path, {**begun, "processes": 1})
    del begun["processes"], begun["frozen"]
    path.write_text(json.dumps(begun))  # before they were written down
    check_same(path, {**begun, "processes": 2, "frozen": {}})


class Fit:
    """A stage without any chance in its loss."""

    name, least, slow, quick, muon = "fit", 64, (), (), ("inner",)

    def __init__(self, folder):
        torch.manual_seed(1)
        self.module = nn.Sequential(OrderedDict(first=nn.Conv2d(3, 4, 3), inner=nn.Conv2d(4, 4, 3)))
        self.losses = folder / f"losses-{os.environ.get('RANK', '0')}.txt"

    def start(self, pictures):
        self.losses.write_text("")

    def config(self):
        return {}

    def loss(self, x):
        loss = (self.module(x) - x.mean((1, 2, 3), keepdim=True) ** 2).square().mean()
        with self.losses.open("a") as file:
            file.write(f"{loss.item()}\n")
        return loss, {"mean": x.mean().item()}


class Share:
    """Crops that are this process's share of a batch for all, in as many parts as it takes them."""

    fingerprint = "shares"

    def __init__(self, parts):
        self.rank, self.count = (int(os.environ.get(name, other)) for name, other in (("RANK", 0), ("WORLD_SIZE", 1)))
        self.parts, self.taken = parts, 0

    def batch(self, count, size):
        step, part = divmod(self.taken, self.parts)
        self.taken += 1
        shape = (count * self.count * self.parts, 3, size, size)
        whole = (
            torch.rand(shape, generator=torch.Generator().manual_seed(step))
            * torch.arange(1, shape[0] + 1)[:, None, None, None]
        )
        return whole[(self.rank * self.parts + part) * count :][:count]


def fit(folder, batch, accumulate=1):
    """Train in one process or in one of several."""
    schedule = Schedule(steps=12, batch=batch, accumulate=accumulate, crop=64, doublings=(), warmup=3,
                        learning_rate=1e-2)  # fmt: skip
    folder.mkdir(exist_ok=True)
    job = Run(Fit(folder), schedule, folder, torch.device("cpu"), Share(accumulate), None, resume=False, init=None,
              quiet=True)  # fmt: skip
    job.autocast = False  # where the CPU is quicker in bf16, its rounding would hide what is compared
    job.train()


def test_batches_on_two_processes_or_one_after_the_other_are_one_batch(tmp_path):
    launch(2, fit, tmp_path / "two", 2)
    fit(tmp_path / "one", 4)
    fit(tmp_path / "parts", 2, accumulate=2)
    one, parts, first, second = (np.loadtxt(path) for path in sorted(tmp_path.glob("*/losses-*.txt")))
    assert np.abs(first - second).min() > 0.01, "each has crops of its own"
    np.testing.assert_allclose((first + second) / 2, one, rtol=1e-4)
    np.testing.assert_allclose(np.stack([first, second], 1).ravel(), parts, rtol=1e-4)
    assert one[-1] < 0.9 * one[0]
    states, records = {}, {}
    for name in ("one", "two", "parts"):
        states[name] = torch.load(tmp_path / name / "state.pt", weights_only=True)["module"]
        records[name] = json.loads((tmp_path / name / "record.jsonl").read_text().splitlines()[0])
    for other in ("two", "parts"):
        for name, weight in states["one"].items():
            torch.testing.assert_close(states[other][name], weight, rtol=1e-3, atol=1e-4)
        for figure in ("loss", "mean"):
            assert records["one"][figure] == pytest.approx(records[other][figure], rel=1e-4), "of the whole batch"


def test_a_rank_stops_only_where_all_ranks_know(data, tmp_path):
    """A signal after the ranks have spoken holds from their next word on; a rank that went alone would strand them."""
    job = run(data, tmp_path / "run", 1)
    spoken, average = [], job.ranks.average

    def interrupted(parameters, *figures):
        agreed = average(parameters, *figures)
        spoken.append(agreed[0])
        if len(spoken) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return agreed

    job.ranks.average = interrupted
    job.train()
    assert spoken == [False, True]
    assert (job.step, torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"]) == (3, 3)


def wait_for_ever(folder):
    (folder / f"{os.environ['RANK']}-{os.getpid()}").touch()
    time.sleep(600)


def is_there(process):
    """Whether it runs; one that has ended may still be listed, as nobody has asked for its exit code."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="it asks Linux which processes there are")
def test_ranks_end_with_a_parent_that_is_killed(tmp_path):
    parent = get_context("spawn").Process(target=launch, args=(2, wait_for_ever, tmp_path))
    parent.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert parent.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ranks = [int(path.name.partition("-")[2]) for path in tmp_path.iterdir()]
    assert all(map(is_there, ranks))
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 30
    while any(map(is_there, ranks)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
