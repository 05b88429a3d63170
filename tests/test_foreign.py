"""Other people's codecs as bases: CompressAI's own strings in our container, and tau on top. Random weights."""

import numpy as np
import pictures
import pytest
import torch
from compressai.zoo import image_models

import nicodec
from nicodec import errors
from nicodec.codec import verify_bytes
from nicodec.container.layout import Section, SectionType
from nicodec.container.reader import read_file, read_foreign
from nicodec.container.writer import write_file, write_foreign
from nicodec.networks.adapters import ARCHITECTURES, fill
from nicodec.networks.fuser import Denoiser, FuserConfig
from nicodec.training.export import export_fuser
from nicodec.zoo.fetch import fetch
from nicodec.zoo.store import find_package


@pytest.fixture(scope="module", params=["bmshj2018-factorized", "mbt2018-mean", "cheng2020-anchor"])
def base(request, tmp_path_factory):
    """A fetched package of one architecture: its name, folder and the model."""
    torch.manual_seed(0)
    model = image_models[request.param](quality=1, metric="mse", pretrained=False).eval()
    folder = tmp_path_factory.mktemp("foreign")
    torch.save(model.state_dict(), folder / "published.pth.tar")
    fetch(f"compressai:{request.param}-q1", folder / "mine", folder / "published.pth.tar")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", str(folder))
        model.update()
        yield f"compressai:{request.param}-q1", folder / "mine", model


def encode(base, image):
    return nicodec.encode(image, base=base[0], base_weights=base[1] / "base.safetensors", device="cpu")


def decode(data, **options):
    return np.asarray(nicodec.decode(data, device="cpu", **options)).astype(int)


@pytest.mark.parametrize("size", [(64, 64), (70, 30)])
def test_the_strings_are_compressais_own_and_so_is_the_picture(base, size):
    name, _, model = base
    image = pictures.image(*size)
    data = encode(base, image)
    foreign = read_foreign(read_file(data))
    x = fill(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255)
    with torch.inference_mode():
        out = model.compress(x)
        expected = model.decompress(out["strings"], out["shape"])["x_hat"][0, :, : size[1], : size[0]]
    assert foreign.name == name
    assert foreign.strings == [string for (string,) in out["strings"]]
    assert np.abs(decode(data) - (expected * 255).round().permute(1, 2, 0).numpy()).max() <= 1
    assert np.array_equal(decode(data, crop=(5, 7, 20, 10)), decode(data)[7:17, 5:25])
    assert nicodec.encode(image, model="mine", device="cpu") == data


def test_alpha_grey_and_metadata_are_as_with_our_own_base(base):
    image = pictures.image(64, 64, "LA")
    image.info["icc_profile"] = b"profile" * 9
    back = nicodec.decode(encode(base, image), device="cpu")
    assert back.mode == "LA"
    assert np.array_equal(np.asarray(back)[..., 1], np.asarray(image)[..., 1])
    assert back.info["icc_profile"] == b"profile" * 9


def test_tau_on_another_codecs_latent(base):
    """Also: a fuser belongs to just these weights."""
    data = encode(base, pictures.image(64, 64))
    with pytest.raises(errors.MissingPartError, match="no fuser"):
        decode(data, tau=0.5)
    channels = nicodec.zoo.load.load_foreign(find_package("mine").parts["base"], "cpu").channels
    fuser = Denoiser(FuserConfig(channels, 8, 8, 1, 1))
    torch.nn.init.normal_(fuser.g_s.head.weight, std=0.5)
    export_fuser(fuser, base[1])
    plain = decode(data)
    far = [np.abs(decode(data, tau=tau) - plain).mean() for tau in (0, 0.5, 1)]
    assert far[0] == 0
    assert 0 < far[1] < far[2]


def test_what_cannot_be_done_is_said(base, tmp_path, monkeypatch):
    name, folder, _ = base
    data = encode(base, pictures.image(64, 64))
    with pytest.raises(errors.UsageError, match="no tokens"):
        decode(data, anchor="perception")
    with pytest.raises(errors.UsageError, match="holds"):
        nicodec.encode(pictures.image(9, 9), base="compressai:mbt2018-q2", base_weights=folder / "base.safetensors")
    with pytest.raises(errors.UsageError, match="go together"):
        nicodec.encode(pictures.image(9, 9), base=name)
    with pytest.raises(errors.LimitError):
        encode(base, pictures.Image.new("RGB", (8192, 2049)))
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    with pytest.raises(errors.MissingPartError, match="--base-weights"):
        decode(data)
    assert decode(data, base_weights=folder / "base.safetensors").shape == (64, 64, 3)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(errors.DamagedPartError):
        decode(data, base_weights=tmp_path / "junk")


def test_damaged_strings_are_refused_or_another_picture(base):
    """Every CRC holds here, so only the strings' own structure can tell."""
    data = encode(base, pictures.image(64, 64))
    file = read_file(data)
    foreign = read_foreign(file)
    for shape in ((1 << 20, 1), (0, 1)):
        broken = type(foreign)(foreign.name, foreign.weights_id, shape, foreign.strings)
        with pytest.raises(errors.CorruptFileError):
            decode(write_file(file.header, [Section(SectionType.FOREIGN, write_foreign(broken))]))
    few = type(foreign)(foreign.name, foreign.weights_id, foreign.shape, [])
    with pytest.raises(errors.CorruptFileError):
        decode(write_file(file.header, [Section(SectionType.FOREIGN, write_foreign(few))]))


def test_info_and_verify_say_what_it_is(base):
    data = encode(base, pictures.image(64, 64))
    info = nicodec.read_info(data)
    assert info["foreign"]["name"] == base[0]
    assert verify_bytes(data).symbols == 0
    with pytest.raises(errors.CorruptFileError):
        verify_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_all_six_are_known_by_name(tmp_path):
    assert len(ARCHITECTURES) == 6
    with pytest.raises(errors.UsageError, match="known: compressai:"):
        fetch("compressai:nothing-q1", tmp_path, None)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(errors.InputError):
        fetch("compressai:mbt2018-q1", tmp_path / "x", tmp_path / "junk")
