import io
import itertools
from functools import partial

import numpy as np
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import nicodec
from nicodec import errors
from nicodec.image.alpha import pack_alpha, unpack_alpha
from nicodec.latents.geometry import cut
from nicodec.metrics.psnr import psnr
from nicodec.rate.scale import lambda_from_rate, rate_from_quality

SIZES = [(1, 1), (1, 70), (70, 1), (63, 64), (64, 63), (65, 64), (129, 2)]
MODES = ["L", "LA", "RGB", "RGBA"]


def tiny_encode(image, **options):
    """With nothing drawn (tests/test_drawn.py): what is tested here are the networks' streams."""
    return nicodec.encode(image, model="tiny", device="cpu", drawn="off", **options)


@pytest.mark.parametrize(("size", "mode"), list(itertools.product(SIZES, MODES)))
def test_sizes_and_modes(size, mode):
    image = pictures.image(*size, mode)
    back = nicodec.decode(tiny_encode(image, quality=90), device="cpu")
    assert back.size == image.size
    assert back.mode == mode
    if mode.endswith("A"):
        assert np.array_equal(np.asarray(back)[..., -1], np.asarray(image)[..., -1])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 140), st.integers(1, 140), st.sampled_from(MODES), st.floats(0, 100))
def test_any_size_mode_and_quality(width, height, mode, quality):
    image = pictures.image(width, height, mode)
    back = nicodec.decode(tiny_encode(image, quality=quality), device="cpu")
    assert (back.size, back.mode) == (image.size, mode)


def test_the_picture_is_recognisable():
    image = pictures.image(200, 150)
    scores = [
        psnr(np.asarray(image), np.asarray(nicodec.decode(tiny_encode(image, quality=q), device="cpu")))
        for q in (0, 50, 100)
    ]
    assert scores == sorted(scores)
    assert scores[0] > 15
    assert scores[2] > 19  # stripes and noise, and the tiny model keeps 32 of 768 components


def test_bytes_rise_with_quality():
    image = pictures.image(128, 128)
    sizes = [len(tiny_encode(image, quality=quality)) for quality in range(0, 101, 5)]
    assert sizes[0] < sizes[10] < sizes[20]
    assert np.all(np.diff(sizes) >= 0)


def test_a_decode_is_repeatable_to_the_bit():
    data = tiny_encode(pictures.image(100, 90))
    first, second = (np.asarray(nicodec.decode(data, device="cpu")) for _ in range(2))
    assert np.array_equal(first, second)


def test_an_encode_is_repeatable_to_the_bit():
    assert tiny_encode(pictures.image(100, 90)) == tiny_encode(pictures.image(100, 90))


@pytest.mark.parametrize("mode", ["inference_mode", "no_grad"])
def test_the_host_programs_mode_does_not_matter(mode):
    import torch

    from nicodec.engines.torch import load_torch
    from nicodec.zoo.load import load_base

    image = pictures.image(100, 90)
    expected = tiny_encode(image, effort=4, engine="torch")
    for cached in (load_base, load_torch):
        cached.forget()
    with getattr(torch, mode)():
        assert tiny_encode(image, effort=4, engine="torch") == expected
    assert tiny_encode(image, effort=4, engine="torch") == expected


def test_inputs_of_the_api(tmp_path):
    image = pictures.image(40, 30)
    path = tmp_path / "a.png"
    image.save(path)
    data = tiny_encode(image)
    assert tiny_encode(path) == tiny_encode(str(path)) == tiny_encode(path.read_bytes()) == data
    nic = tmp_path / "a.nic"
    nic.write_bytes(data)
    assert nicodec.decode(nic, device="cpu").tobytes() == nicodec.decode(data, device="cpu").tobytes()
    info = nicodec.read_info(nic)
    assert info == nicodec.read_info(data)
    assert (info["width"], info["height"], info["bytes"], info["colour"]) == (40, 30, len(data), "rgb")
    assert info["quality"] == pytest.approx(60, abs=0.01)
    with pytest.raises(errors.InputError):
        nicodec.encode(tmp_path / "missing.png")


def test_pictures_beyond_the_limits_are_refused():
    with pytest.raises(errors.LimitError):
        tiny_encode(Image.new("L", ((1 << 20) + 1, 1)))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3), st.integers(0, 10**6))
def test_alpha_without_loss(height, width, kind, seed):
    random = np.random.RandomState(seed)
    plane = [np.full((height, width), seed % 256), random.randint(0, 256, (height, width)),
             np.add.outer(np.arange(height), np.arange(width) * 5), np.zeros((height, width))][kind]  # fmt: skip
    plane = plane.astype(np.uint8)
    packed = pack_alpha(plane)
    assert np.array_equal(unpack_alpha(packed, height, width), plane)
    if kind in (0, 3):
        assert len(packed) == 2


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0ab", b"\x01", b"\x04abc", pack_alpha(pictures.alpha(9, 9))])
def test_broken_alpha_is_refused(payload):
    with pytest.raises(errors.CorruptFileError):
        unpack_alpha(payload, 9, 8)


def test_cutting_repeats_the_edges():
    padded = cut(pictures.scene(65, 3), slice(0, 64), slice(0, 128))
    assert padded.shape == (64, 128, 3)
    assert (padded[2:] == padded[2]).all()
    assert (padded[:, 64:] == padded[:, 64:65]).all()


@pytest.mark.parametrize("size", [(1025, 30), (1100, 1030), (1, 2049)])
def test_tiles_leave_no_seam(size, monkeypatch):
    """Pictures of several tiles; what the transforms do is the same as with one huge tile, up to rounding."""
    image = pictures.image(*size)
    data = tiny_encode(image, quality=80)
    decoded = np.asarray(nicodec.decode(data, device="cpu")).astype(int)
    assert decoded.shape == np.asarray(image).shape
    monkeypatch.setattr("nicodec.container.layout.TILE", 4096)
    whole = np.asarray(nicodec.decode(tiny_encode(image, quality=80), device="cpu")).astype(int)
    error, reference = ((np.asarray(image) - pixels) ** 2 for pixels in (decoded, whole))
    if size[0] > 1024:
        seam = slice(1016, min(1032, size[0]))
        assert error[:, seam].mean() < 1.1 * reference[:, seam].mean() + 1
    assert error.mean() == pytest.approx(reference.mean(), rel=0.02)


@pytest.mark.parametrize(
    "crop", [(0, 0, 1, 1), (1000, 3, 90, 40), (300, 69, 724, 1), (1024, 0, 76, 70), (0, 0, 1100, 70)]
)
def test_a_crop_is_that_part_of_the_picture(crop):
    """Of two tiles; what lies beyond the halo is not decoded, so that the last bit of a float may differ."""
    data = tiny_encode(pictures.image(1100, 70, "RGBA"), quality=80)
    left, top, width, height = crop
    whole = np.asarray(nicodec.decode(data, device="cpu"))[top : top + height, left : left + width].astype(int)
    part = np.asarray(nicodec.decode(data, crop=crop, device="cpu")).astype(int)
    assert part.shape == whole.shape
    assert abs(part - whole).max() <= 1


@pytest.mark.parametrize("crop", [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, 31, 20), (30, 0, 1, 1), (0, 19, 1, 2)])
def test_crops_outside_are_refused(crop):
    data = tiny_encode(pictures.image(30, 20))
    with pytest.raises(errors.UsageError, match="crop"):
        nicodec.decode(data, crop=crop, device="cpu")


def test_effort_lowers_the_cost_that_training_meant():
    image = pictures.image(150, 100)
    costs = []
    for effort in (1, 2, 3, 5, 9):
        data = tiny_encode(image, quality=60, effort=effort)
        assert data == tiny_encode(image, quality=60, effort=effort)
        error = np.asarray(nicodec.decode(data, device="cpu")).astype(float) - np.asarray(image)
        costs.append(lambda_from_rate(rate_from_quality(60)) * (error**2).mean() + 8 * len(data) / (150 * 100))
    assert costs[1] < 1.001 * costs[0]  # rounding alone gains little
    assert max(costs[2:]) < min(costs[:2])
    assert costs[4] < 1.001 * costs[2]


@pytest.mark.parametrize("effort", [0, 10])
def test_efforts_out_of_range_are_refused(effort):
    with pytest.raises(errors.UsageError, match="effort"):
        tiny_encode(pictures.image(8, 8), effort=effort)


def test_the_halo_covers_what_the_transforms_see():
    """Pixels further away than the halo do not change the latent, nor latents the pixels."""
    import torch

    from nicodec.latents.geometry import HALO
    from nicodec.networks.base import Base, BaseConfig

    torch.manual_seed(0)
    base = Base(BaseConfig(latent=16, hyper=4, wide_8=8, wide_16=8, context=8, scale_context=8)).eval()
    for layer in (base.g_s.head, base.g_s.look):
        torch.nn.init.normal_(layer.weight)  # zero at the start of training, and then nothing would be seen
    for lapping in (base.g_a.lapping, base.g_s.lapping):
        torch.nn.init.normal_(lapping.taps)
    size = 2 * HALO + 8
    rate = torch.tensor([30000.0])
    with torch.no_grad():
        for net, near, far in (
            (base.g_a, torch.rand(1, 3, 16 * size, 16 * size), slice(0, 16 * HALO)),
            (partial(base.g_s, rate=rate), torch.rand(1, 16, size, size), slice(0, HALO)),
        ):
            changed = near.clone()
            changed[..., far, :] = 0
            first, second = net(near), net(changed)
            edge = first.shape[2] * 2 * HALO // size
            assert not torch.equal(first[..., : edge // 2, :], second[..., : edge // 2, :])
            assert torch.equal(first[..., edge:, :], second[..., edge:, :])


def test_another_machine_would_be_told_from_a_damaged_file():
    """The symbols' CRC of a whole file is made wrong, and the section's CRC right again."""
    from nicodec.container.layout import Section, SectionType
    from nicodec.container.reader import read_file
    from nicodec.container.writer import write_file

    file = read_file(tiny_encode(pictures.image(30, 30)))
    payload = bytearray(file.sections[SectionType.SQ].payload)
    payload[0] ^= 1
    with pytest.raises(errors.InexactError):
        nicodec.decode(write_file(file.header, [Section(SectionType.SQ, bytes(payload))]))


def test_missing_and_damaged_parts(tmp_path, monkeypatch, tiny):
    data = bytearray(tiny_encode(pictures.image(30, 30)))
    from dataclasses import replace

    from nicodec.container.reader import read_file
    from nicodec.container.writer import write_file

    file = read_file(bytes(data))
    other = write_file(replace(file.header, base_id=b"\x01" * 8), list(file.sections.values()))
    with pytest.raises(errors.MissingPartError, match=r"0101010101010101.*looked in"):
        nicodec.decode(other)
    with pytest.raises(errors.MissingPartError, match="no model named 'nope'"):
        nicodec.encode(pictures.image(3, 3), model="nope")
    folder = tmp_path / "broken"
    folder.mkdir()
    manifest = (tiny.path.parent / "model.toml").read_text().replace('name = "tiny"', 'name = "broken"')
    (folder / "model.toml").write_text(manifest)
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    with pytest.raises(errors.DamagedPartError):
        nicodec.encode(pictures.image(3, 3), model="broken")
    content = bytearray(tiny.path.read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "base.safetensors").write_bytes(content)
    with pytest.raises(errors.DamagedPartError, match="has id"):
        nicodec.encode(pictures.image(3, 3), model="broken")
    (folder / "model.toml").write_text("name = 3")
    with pytest.raises(errors.DamagedPartError):
        nicodec.encode(pictures.image(3, 3), model="broken")


def test_to_pillow_gives_savable_images():
    buffer = io.BytesIO()
    nicodec.decode(tiny_encode(pictures.image(20, 20, "LA")), device="cpu").save(buffer, "PNG")
    assert Image.open(buffer).mode == "LA"


def graphics():
    """Pictures that photographs are not."""
    rows, columns = np.indices((128, 192))
    random = np.random.default_rng(0)
    return {
        "stripes": np.repeat((columns // 8 % 2 * 255)[..., None], 3, 2),
        "checks": np.repeat(((rows + columns) % 2 * 255)[..., None], 3, 2),
        "noise": random.integers(0, 256, (128, 192, 3)),
        "red": np.broadcast_to([255, 0, 0], (128, 192, 3)),
    }


@pytest.mark.parametrize("name", graphics())
@pytest.mark.parametrize("quality", [0, 30, 100])
def test_the_shipped_model_takes_graphics(name, quality, monkeypatch):
    """Products of products in the networks once overflowed on what training had never seen."""
    monkeypatch.delenv("NICODEC_MODELS")
    image = Image.fromarray(graphics()[name].astype(np.uint8))
    data = nicodec.encode(image, quality=quality, device="cpu")
    assert nicodec.decode(data, device="cpu").size == image.size
    assert len(data) < 3 * 128 * 192 or name == "checks"  # which the transform cannot hold, see the card


def test_blocks_are_bounded():
    import torch

    from nicodec.networks.layers import FEATURE_MAX, stack

    torch.manual_seed(0)
    out = stack(8, 6)(1e4 * torch.randn(1, 8, 9, 9))
    assert out.isfinite().all()
    assert out.abs().max() <= FEATURE_MAX
