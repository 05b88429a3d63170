"""Training at toy length: the loop's manners, and that what is exported is what was trained."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pictures
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

import nicodec
from nicodec.entropy.coder import estimate_bits
from nicodec.entropy.tables import gaussian_tables
from nicodec.errors import ExportError, TrainingRunError, UsageError
from nicodec.networks.base import BaseConfig
from nicodec.rate.scale import lambda_from_rate
from nicodec.rate.tile import TileRate
from nicodec.training import stages
from nicodec.training.checkpoint import check_same
from nicodec.training.data import Pictures
from nicodec.training.drawn import drawn
from nicodec.training.export import export_base, integer_scales, load_run
from nicodec.training.loop import Run, Schedule
from nicodec.training.muon import Muon, orthogonal
from nicodec.training.ranks import launch
from nicodec.training.sq import SQCodec, SQStage, lambdas
from nicodec.training.tables import latent_of, measure_tables
from nicodec.training.twin import compare
from nicodec.zoo.store import find_package

ROOT = Path(__file__).parents[1]
TOY = BaseConfig(latent=16, hyper=4, wide_8=8, wide_16=8, depth_8=1, depth_16=1, context=8, scale_context=8)
CPU = torch.device("cpu")


def run(data, folder, steps, *, resume=False, of=8, crop=64, config=TOY, init=None, start=8, frozen=None):
    schedule = Schedule(steps=of, batch=2, crop=crop, warmup=2)
    torch.manual_seed(7)
    stage = SQStage(config)
    stage.start = lambda found: stage.module.start_from_klt(found, start)
    found = Pictures([data], CPU, 256)
    job = Run(stage, schedule, folder, CPU, found, None, resume=resume, init=init, quiet=True, frozen=frozen)
    while job.step < steps:
        job._one_step()
    job._save()
    job._write_config()
    return job


def weights(job):
    return {name: value.clone() for name, value in job.stage.module.state_dict().items()}


def test_a_resumed_run_is_the_same_run_to_the_step(data, tmp_path):
    whole = run(data, tmp_path / "a", 6)
    run(data, tmp_path / "b", 3)
    resumed = run(data, tmp_path / "b", 6, resume=True)
    for job in (whole, resumed):
        assert job.step == 6
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    for name, value in whole.ema.state_dict().items():
        assert torch.equal(value, resumed.ema.state_dict()[name]), name


def test_a_run_is_not_overwritten_and_an_empty_one_not_resumed(data, tmp_path):
    run(data, tmp_path / "a", 1)
    with pytest.raises(TrainingRunError, match="--resume"):
        run(data, tmp_path / "a", 1)
    with pytest.raises(TrainingRunError, match="no run to resume"):
        run(data, tmp_path / "b", 1, resume=True)


def test_the_spike_guard_goes_on_as_it_was(data, tmp_path):
    before = run(data, tmp_path, 3)
    assert before.usual_norm > 0
    assert run(data, tmp_path, 3, resume=True).usual_norm == before.usual_norm


def test_what_is_resumed_must_be_the_same_run(data, tmp_path):
    run(data, tmp_path / "a", 1)
    described = (tmp_path / "a" / "run.json").read_text()
    other = tmp_path / "other"
    shutil.copytree(data, other)
    pictures.image(300, 300).save(other / "more.png")
    for changed, said in (
        ({"crop": 128}, "crop was 64, is 128"), ({"config": replace(TOY, wide_8=16)}, "wide_8 was 8, is 16"),
        ({"data": other}, "training pictures"), ({"config": replace(TOY, wide_8=16, depth_8=2)}, "depth_8 was 1, is 2"),
    ):  # fmt: skip
        with pytest.raises(TrainingRunError, match=said) as refusal:
            run(**{"data": data, "folder": tmp_path / "a", "steps": 2, "resume": True, **changed})
        assert len(str(refusal.value)) < 400
        assert "\n" not in str(refusal.value)
        assert (tmp_path / "a" / "run.json").read_text() == described
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    assert run(moved, tmp_path / "a", 2, resume=True, of=9).step == 2


def test_a_stage_goes_on_only_on_the_parts_that_it_stands_on(data, tmp_path):
    run(data, tmp_path, 1, frozen={"base": "aa", "vq": "bb"})
    assert json.loads((tmp_path / "run.json").read_text())["frozen"] == {"base": "aa", "vq": "bb"}
    assert run(data, tmp_path, 2, resume=True, frozen={"base": "aa", "vq": "bb"}).step == 2
    for frozen, said in (
        ({"base": "cc", "vq": "bb"}, "frozen base was aa, is cc"), ({"base": "aa"}, "frozen vq was bb, is None"),
        ({"base": "aa", "vq": "bb", "fuser": "dd"}, "frozen fuser was None, is dd"),
    ):  # fmt: skip
        with pytest.raises(TrainingRunError, match=said):
            run(data, tmp_path, 2, resume=True, frozen=frozen)


def test_a_recipe_says_what_it_stands_on(toys, tmp_path):
    package = find_package("toy16")
    ids = {kind: part.id.hex() for kind, part in package.parts.items()}
    assert stages.sq({"latent": 16}).frozen == {}
    assert stages.vq(package, tmp_path, {}).frozen == {"base": ids["base"]}
    assert stages.mode(package, tmp_path).frozen == {kind: ids[kind] for kind in ("base", "vq", "fuser")}


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

    name, least, slow, muon = "fit", 64, (), ("inner",)

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


def test_crops_that_a_stage_cannot_use_are_refused(data, tmp_path):
    with pytest.raises(TrainingRunError, match="crops of 64 pixels are too small for this stage, expected at least 88"):
        run(data, tmp_path / "a", 1, config=replace(TOY, tunes=2))
    assert not (tmp_path / "a").exists()
    with pytest.raises(UsageError, match="crop is 100, expected a multiple of 64"):
        run(data, tmp_path / "a", 1, crop=100)


def test_a_checkpoint_is_one_file_and_a_cut_one_is_refused(data, tmp_path):
    run(data, tmp_path / "a", 1)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"run.json", "state.pt"}
    state = tmp_path / "a" / "state.pt"
    begun = run(data, tmp_path / "b", 0, init=state)
    for name, value in load_run(tmp_path / "a").state_dict().items():
        assert torch.equal(value, begun.ema.state_dict()[name])
    with pytest.raises(TrainingRunError, match="another network") as refusal:
        run(data, tmp_path / "c", 0, init=state, config=replace(TOY, wide_8=16))
    assert len(str(refusal.value)) < 400
    state.write_bytes(state.read_bytes()[:-500])
    for use in (lambda: run(data, tmp_path / "a", 2, resume=True), lambda: load_run(tmp_path / "a")):
        with pytest.raises(TrainingRunError, match=r"state\.pt") as refusal:
            use()
        assert len(str(refusal.value)) < 500


@pytest.mark.xdist_group("finished")
def test_averaged_weights_are_kept_in_a_small_file_to_go_on_from(finished, data, tmp_path, inside):
    assert inside("train", "checkpoint", finished, "-o", "kept.safetensors")[0] == 0
    kept = tmp_path / "kept.safetensors"
    assert kept.stat().st_size < 0.3 * (finished / "state.pt").stat().st_size
    with safe_open(kept, "pt") as file:
        header = file.metadata()
    assert header["step"] == "8"
    assert json.loads(header["run"])["config"]["latent"] == 16
    begun = run(data, tmp_path / "a", 0, init=kept)
    for name, value in load_run(finished).state_dict().items():
        assert torch.allclose(value, begun.ema.state_dict()[name], rtol=1e-3, atol=1e-7), name
    with pytest.raises(TrainingRunError, match="another network"):
        run(data, tmp_path / "b", 0, init=kept, config=replace(TOY, wide_8=16))
    for arguments, code in (((finished, "-o", "kept.safetensors"), 12), ((finished, "-o", "kept.pt"), 2),
                            ((tmp_path, "-o", "b.safetensors"), 15)):  # fmt: skip
        assert inside("train", "checkpoint", *arguments)[0] == code


def test_a_picture_that_cannot_be_read_is_left_out_and_named(data, tmp_path):
    """Among them one of 200 megapixels, which Pillow takes for an attack."""
    shutil.copytree(data, tmp_path / "data")
    Image.new("1", (20_000, 10_000)).save(tmp_path / "data" / "huge.png")
    (tmp_path / "data" / "cut.png").write_bytes((data / "0.png").read_bytes()[:300])
    held = Pictures([tmp_path / "data"], CPU, 256)
    assert len(held) == 4
    assert held.fingerprint == Pictures([data], CPU, 256).fingerprint
    for name, line in zip(("broken", "cut", "huge"), held.unreadable, strict=True):
        assert f"{name}.png is left out: " in line


def test_the_command_trains_checkpoints_on_sigterm_and_resumes(data, inside, tmp_path):
    widths = [f"--width={name}={value}" for name, value in vars(TOY).items()]
    call = ["train", "sq", "--data", data, "--out", tmp_path / "run", "--batch", "1", "--crop", "64", "--device", "cpu",
            *widths, "--steps"]  # fmt: skip
    record = tmp_path / "run" / "record.jsonl"

    def stop():
        deadline = time.monotonic() + 100
        while not record.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    stopper.start()
    code, _, err = inside(*call, "100000")
    stopper.join()
    assert code == 0, err
    entry = json.loads(record.read_text().splitlines()[0])
    assert {"step", "loss", "bpp", "psnr", "crops_per_s"} <= entry.keys()
    steps = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"]
    assert 1 <= steps < 100000
    code, _, err = inside(*call, steps + 2, "--resume")
    assert code == 0, err
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == steps + 2


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


def test_the_start_is_a_working_transform_codec(data):
    torch.manual_seed(0)
    codec = SQCodec(TOY).eval()
    codec.start_from_klt(Pictures([data], CPU, 256), batches=4)
    k = codec.base.g_a.klt.weight[:, :, 0, 0]
    assert torch.allclose(k @ k.T, torch.eye(TOY.latent), atol=1e-4)
    x = torch.from_numpy(pictures.scene(128, 128)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        low, high = (codec(x, torch.tensor([float(rate)])) for rate in (0, 65535))
        lapped = codec.base.g_a.lapping(x)
        assert not torch.allclose(lapped, x, atol=1e-2)
        assert torch.allclose(codec.base.g_s.lapping(lapped), x, atol=1e-5)
        blocks = nn.functional.pixel_unshuffle(codec.base.g_a.lapping(x - 0.5), 16).permute(0, 2, 3, 1)
    limit = ((blocks @ k.T @ k - blocks) ** 2).mean()
    assert (
        (high.x_hat - x) ** 2
    ).mean() < 1.2 * limit + 1e-3  # what 16 components can do; the lapping is not orthogonal
    assert low.bits < high.bits


@pytest.fixture(scope="session")  # of a group: other modules' tests may come between
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sq"
    run(data, folder, 8, start=100)
    return folder


@pytest.mark.xdist_group("finished")
def test_the_integer_path_is_the_trained_path(finished):
    codec = load_run(finished)
    model = integer_scales(codec.scales, TOY, (gaussian_tables(),))
    x = torch.from_numpy(pictures.scene(128, 192)).permute(2, 0, 1)[None] / 255
    for rate in (0, 20000, 65535):
        with torch.no_grad():
            expected = codec(x, torch.tensor([float(rate)])).bits.item()
        assert estimate_bits(model, latent_of(codec, x, TileRate(rate))) == pytest.approx(expected, rel=0.03)  # escapes


@pytest.mark.xdist_group("finished")
def test_an_exported_model_encodes_and_decodes(finished, data, tmp_path, monkeypatch):
    codec = load_run(finished)
    tables = measure_tables(codec, Pictures([data], CPU, 256), count=4)
    export_base(codec, tmp_path / "toy", "a toy", tables)
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    image = pictures.image(100, 70)
    data = nicodec.encode(image, quality=80, model="toy", device="cpu")
    assert nicodec.decode(data, device="cpu").size == image.size


@pytest.mark.xdist_group("finished")
def test_measured_tables_cost_less_than_gaussian_ones(finished, data):
    codec, held_out = load_run(finished), Pictures([data], CPU, 256)
    bits = []
    for tables in ((gaussian_tables(),), measure_tables(codec, held_out, count=6)):
        model = integer_scales(codec.scales, TOY, tables)
        torch.manual_seed(1)
        latents = [latent_of(codec, held_out.batch(1, 128), TileRate(rate)) for rate in (10000, 30000, 50000)]
        bits.append(sum(estimate_bits(model, latent) for latent in latents))
    assert bits[1] < bits[0]


def test_weights_that_do_not_fit_integers_are_refused():
    codec = SQCodec(TOY)
    codec.scales.hyper.embed.weight.data[0, 0] = 1e6
    with pytest.raises(ExportError, match="does not fit"):
        integer_scales(codec.scales.requires_grad_(False), TOY, (gaussian_tables(),))


@pytest.mark.xdist_group("finished")
def test_the_twin_comparison_runs_and_starts_even(finished, data):
    held_out = Pictures([data], CPU, 256)
    figures = compare(load_run(finished), held_out, held_out, steps=2, batch=1)
    assert figures["symbols"] == pytest.approx(figures["y_hat"], rel=0.05)
    assert figures["symbols"] > 0


def test_lambdas_agree():
    rates = torch.tensor([0.0, 30000.0, 65535.0])
    assert lambdas(rates).tolist() == pytest.approx([lambda_from_rate(rate) for rate in rates.tolist()], rel=1e-5)


def test_training_imports_neither_compressai_nor_constriction():
    script = (
        "import sys, nicodec.training.sq, nicodec.training.loop, nicodec.training.data\n"
        "assert not {'compressai', 'constriction', 'lpips'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_muon_turns_gradients_into_orthogonal_steps():
    torch.manual_seed(0)
    for shape in ((6, 20), (20, 6)):
        singular = torch.linalg.svdvals(orthogonal(torch.randn(*shape)))
        assert singular.min() > 0.5
        assert singular.max() < 1.3
    layer = nn.Conv2d(5, 8, 1, bias=False)
    before = layer.weight.detach().clone()
    layer(torch.ones(1, 5, 2, 2)).sum().backward()
    Muon([{"params": [layer.weight]}], lr=0.1).step()
    assert ((layer.weight - before) * layer.weight.grad).sum() < 0


def test_drawings_are_pictures_and_repeat_with_the_seed():
    torch.manual_seed(5)
    first = [drawn(64) for _ in range(20)]
    torch.manual_seed(5)
    for drawing in first:
        assert drawing.shape == (3, 64, 64)
        assert 0 <= drawing.min() <= drawing.max() <= 1
        assert torch.equal(drawing, drawn(64))
    assert len({drawing.sum().item() for drawing in first}) > 10
