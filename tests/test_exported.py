"""What is exported is what was trained."""

import json
from dataclasses import replace

import pictures
import pytest
import torch
from safetensors import safe_open
from toy_run import CPU, TOY, run

import nicodec
from nicodec.entropy.coder import estimate_bits
from nicodec.entropy.tables import gaussian_tables
from nicodec.errors import ExportError, TrainingRunError
from nicodec.rate.tile import TileRate
from nicodec.training.data import Pictures
from nicodec.training.export import export_base, integer_scales, load_run
from nicodec.training.sq import SQCodec
from nicodec.training.tables import latent_of, measure_tables
from nicodec.training.twin import compare

pytestmark = pytest.mark.xdist_group("exported")


@pytest.fixture(scope="session")  # tests of other modules may come between
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sq"
    run(data, folder, 8, start=100)
    return folder


def test_averaged_weights_are_kept_in_a_small_file_to_go_on_from(finished, data, tmp_path, inside):
    code, _, err = inside("train", "checkpoint", finished, "-o", "kept.safetensors")
    assert code == 0, err
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


def test_the_integer_path_is_the_trained_path(finished):
    codec = load_run(finished)
    model = integer_scales(codec.scales, TOY, (gaussian_tables(),))
    x = torch.from_numpy(pictures.scene(128, 192)).permute(2, 0, 1)[None] / 255
    for rate in (0, 20000, 65535):
        with torch.no_grad():
            expected = codec(x, torch.tensor([float(rate)])).bits.item()
        assert estimate_bits(model, latent_of(codec, x, TileRate(rate))) == pytest.approx(expected, rel=0.03)  # escapes


def test_an_exported_model_encodes_and_decodes(finished, data, tmp_path, monkeypatch):
    codec = load_run(finished)
    tables = measure_tables(codec, Pictures([data], CPU, 256), count=4)
    export_base(codec, tmp_path / "toy", "a toy", tables)
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    image = pictures.image(100, 70)
    data = nicodec.encode(image, quality=80, model="toy", device="cpu")
    assert nicodec.decode(data, device="cpu").size == image.size


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


def test_the_twin_comparison_runs_and_starts_even(finished, data):
    held_out = Pictures([data], CPU, 256)
    figures = compare(load_run(finished), held_out, held_out, steps=2, batch=1)
    assert figures["symbols"] == pytest.approx(figures["y_hat"], rel=0.05)
    assert figures["symbols"] > 0
