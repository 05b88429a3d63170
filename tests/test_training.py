"""Training at toy length: the loop's manners."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pictures
import pytest
import torch
from PIL import Image
from torch import nn
from toy_run import CPU, TOY, run

from nicodec.errors import TrainingRunError, UsageError
from nicodec.rate.scale import lambda_from_rate
from nicodec.training import stages
from nicodec.training.data import Pictures
from nicodec.training.drawn import drawn
from nicodec.training.export import load_run
from nicodec.training.muon import Muon, orthogonal
from nicodec.training.sq import SQCodec, lambdas
from nicodec.zoo.store import find_package

ROOT = Path(__file__).parents[1]


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
    assert stages.vq(package, [tmp_path], {}).frozen == {"base": ids["base"]}
    assert stages.mode(package, [tmp_path]).frozen == {kind: ids[kind] for kind in ("base", "vq", "fuser")}


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
