"""Stage `restorer`: it sees JPEGs as a decoder sees them, and becomes a part that restores them."""

import io
import json
import shutil

import numpy as np
import pictures
import pytest
import torch
from PIL import Image

import nicodec
from nicodec.codec import decode_bytes
from nicodec.networks.base import BaseConfig
from nicodec.networks.restorer import Restorer, RestorerConfig
from nicodec.options import DecodeOptions
from nicodec.training.critic import Critic
from nicodec.training.restorer import GREY, KINDS, RestorerStage, compress
from nicodec.zoo.load import load_base


def crops(count=1):
    samples = np.stack([pictures.scene(64 + 64 * index, 128)[:128, -64:] for index in range(count)])
    return torch.from_numpy(samples).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_it_sees_what_a_decoder_sees(kind):
    (x,) = crops()
    batch = compress(x[None], [23], [kind])
    image = Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy())
    image, options = (image.convert("L"), {}) if kind == GREY else (image, {"subsampling": kind})
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=23, **options)
    kept = decode_bytes(nicodec.encode(buffer.getvalue(), base="jpeg"), DecodeOptions())
    planes = torch.from_numpy(kept.pixels.copy()).permute(2, 0, 1).expand(3, -1, -1)
    assert torch.equal((batch.x_hat[0] * 255).round().byte(), planes)
    assert np.array_equal(batch.quantised[0].numpy(), kept.jpeg.quantised)
    original = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)
    assert torch.equal((batch.x[0] * 255).round().byte(), original)


def test_a_part_has_four_megabytes_at_most():
    """In fp16, with the widths of the bases that are shipped, and more blocks than any has."""
    restorer = Restorer(RestorerConfig.on(BaseConfig(eased=4.0)))
    stored = sum(value.numel() * (2 if value.ndim == 4 else 4) for value in restorer.state_dict().values())
    assert stored < 4e6


def test_steps_on_one_batch_bring_both_pictures_closer(tiny, trunk):
    """And the loss reaches every weight."""
    base = load_base(tiny, "cpu")
    torch.manual_seed(0)
    stage = RestorerStage(RestorerConfig.on(base.config, depth_16=1, depth_8=2), base, Critic(trunk))
    stage.start(None)
    optimizer = torch.optim.Adam(stage.module.parameters(), lr=4e-3)
    x, seen = crops(2), []
    for _ in range(6):
        torch.manual_seed(1)  # the same JPEGs, the same noise
        loss, figures = stage.loss(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(figures)
    assert seen[-1]["psnr_close"] > seen[0]["psnr_close"] + 0.03
    assert seen[-1]["likeness"] + seen[-1]["texture"] < 0.95 * (seen[0]["likeness"] + seen[0]["texture"])
    assert [name for name, weight in stage.module.named_parameters() if not weight.grad.abs().max() > 0] == []


def test_from_pictures_to_a_part_that_restores(tiny, trunk, inside, tmp_path, monkeypatch):
    shutil.copytree(tiny.path.parent, tmp_path / "models" / "tiny")
    (tmp_path / "data").mkdir()
    pictures.image(540, 520).save(tmp_path / "data" / "a.png")
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path / "models"))
    code, _, said = inside(
        "train", "restorer", "--model", "tiny", "--trunk", trunk, "--data", "data", "--out", "run", "--device", "cpu",
        "--validation", "data", "--steps", "2", "--batch", "2", "--crop", "64", "--quiet", "--width", "depth_16=1",
        "--width", "depth_8=2",
    )  # fmt: skip
    assert code == 0, said
    (figures,) = map(json.loads, (tmp_path / "run" / "validation.jsonl").read_text().splitlines())
    plain, close = figures["plain"], figures["close"]
    assert [len(row) for row in plain] == [3, 3, 3]
    assert plain[0][0] < plain[1][0] < plain[2][0]
    assert len(close) == len(figures["natural"]) == 3
    code, _, said = inside("models", "export", "run", "-o", "models/tiny")
    assert code == 0, said
    encoded = nicodec.encode(pictures.file_bytes(pictures.image(80, 70), "JPEG", quality=20), base="jpeg")
    found = [np.asarray(nicodec.decode(encoded, tau=1, engine=engine)).astype(int) for engine in ("onnx", "torch")]
    assert np.abs(found[0] - found[1]).max() <= 1
    code, _, said = inside("train", "restorer", "--model", "tiny", "--trunk", trunk, "--data", "data", "--out", "other",
                           "--width", "wide_8=4")  # fmt: skip
    assert (code, "depth_16, depth_8" in said) == (2, True)
