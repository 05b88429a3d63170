"""The second stream: tokens, their prior, and the anchors."""

from dataclasses import asdict

import numpy as np
import pictures
import pytest
import slow_decoder
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import nicodec
from nicodec import errors
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.codec import decode_taus
from nicodec.container.layout import Anchor, SectionType
from nicodec.container.reader import read_file
from nicodec.engines.torch import TorchNetworks
from nicodec.entropy.tokens import decode_tokens, encode_tokens, estimate_token_bits
from nicodec.latents.codebook import TokenPath
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import HALO
from nicodec.networks.base import Base, BaseConfig
from nicodec.networks.mode import MoDE
from nicodec.networks.vq import VQConfig, VQExpert
from nicodec.options import DecodeOptions
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import LEAD_REACH
from nicodec.zoo.load import load_prior
from nicodec.zoo.store import find_package

pytestmark = pytest.mark.usefixtures("toys")


def encode(image, model="toy16", **options):
    return nicodec.encode(image, model=model, device="cpu", **options)


def decode(data, **options):
    return np.asarray(nicodec.decode(data, device="cpu", **options)).astype(int)


@pytest.mark.parametrize("model", ["toy16", "toy32"])
@pytest.mark.parametrize("options", [{}, {"streams": "vq"}, {"robust": True}, {"token_bits": 3}])
def test_the_slow_decoder_reads_the_same_tokens(model, options):
    data = encode(pictures.image(90, 70), model, quality=30, **options)
    file, parts = read_file(data), find_package(model).parts
    fast = [held.tokens for held in OwnDecoder(file).symbols().values()]
    slow = slow_decoder.decode_tokens(data, parts["base"].read(), parts["vq"].read())
    assert all(np.array_equal(a, b) for a, b in zip(fast, slow, strict=True))
    assert len({token for tokens in fast for token in tokens.ravel().tolist()}) > 2


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_tokens_round_trip_and_cost_what_the_prior_says(height, width, depth, seed):
    prior = load_prior(find_package("toy16").parts["vq"])
    tokens = np.random.default_rng(seed).integers(0, 1 << depth, (height, width)).astype(np.uint16)
    stream = encode_tokens(prior, tokens, depth, None)
    assert np.array_equal(decode_tokens(prior, stream, (height, width), depth, None), tokens)
    assert 8 * len(stream) <= estimate_token_bits(prior, tokens, depth, None) + 64


def test_a_cut_or_longer_token_stream_is_refused():
    prior = load_prior(find_package("toy16").parts["vq"])
    tokens = np.random.default_rng(1).integers(0, 64, (20, 20)).astype(np.uint16)
    stream = encode_tokens(prior, tokens, 6, None)
    for broken in (stream[:-1], stream + bytes(8)):
        with pytest.raises(errors.CorruptFileError):
            decode_tokens(prior, broken, (20, 20), 6, None)


def test_streams_are_what_was_asked_for():
    image = pictures.image(80, 80)
    sections = {streams: set(read_file(encode(image, streams=streams)).sections) for streams in (None, "sq", "vq")}
    assert sections[None] == {SectionType.SQ, SectionType.VQ}
    assert sections["sq"] == {SectionType.SQ}
    assert sections["vq"] == {SectionType.VQ}
    assert encode(image, streams="sq") == encode(image, model="tiny")


@pytest.mark.parametrize("model", ["toy16", "toy32"])
def test_each_anchor_paints_another_picture_and_tokens_matter(model):
    image = pictures.image(100, 80)
    low = {"quality": 5}  # where random experts stay within what quantisation explains
    both, sq = encode(image, model, **low), encode(image, model, streams="sq", **low)
    painted = [decode(both), decode(both, anchor="perception"), decode(sq), decode(encode(image, model, streams="vq"))]
    for index, first in enumerate(painted):
        distances = [np.abs(first - second).mean() for second in painted[:index]]
        assert all(distance > 0.1 for distance in distances), distances
    coarse = decode(encode(image, model, token_bits=1, **low), anchor="perception")
    assert np.abs(coarse - painted[1]).max() > 0


@pytest.mark.parametrize("anchor", ["fidelity", "perception"])
@pytest.mark.parametrize("model", ["toy16", "toy32"])
def test_a_crop_is_cut_out_of_the_whole(model, anchor):
    data = encode(pictures.image(1300, 150), model, quality=20)
    whole = decode(data, anchor=anchor)
    part = decode(data, anchor=anchor, crop=(900, 30, 200, 60))
    assert np.abs(whole[30:90, 900:1100] - part).max() <= 1


@pytest.mark.parametrize(("tau", "halo"), [(0.0, HALO), (1.0, HALO + LEAD_REACH)])
@pytest.mark.parametrize("stride", [16, 32])
def test_the_halo_covers_what_mode_sees(stride, tau, halo):
    torch.manual_seed(0)
    base = Base(BaseConfig(latent=16, hyper=4, wide_8=8, wide_16=8, context=8, scale_context=8))
    vq = VQExpert(VQConfig.beside(base.config, stride=stride, code=4))
    mode = MoDE.between(base, vq)
    for parameter in (*base.parameters(), *vq.parameters(), *mode.parameters()):
        torch.nn.init.normal_(parameter, std=0.5)
    side, size = stride // 16, 4 * halo
    random = np.random.default_rng(0)
    near = [random.standard_normal((1, c, length, length), np.float32) for c, length in ((16, size), (4, size // side))]
    far = [maps.copy() for maps in near]
    far[0][:, :, :halo] = 0
    far[1][:, :, : halo // side] = 0
    of_base, of_vq, of_mode = (
        TorchNetworks(kind, module.requires_grad_(False), "cpu")
        for kind, module in {"base": base, "vq": vq, "mode": mode}.items()
    )
    experts = Experts(FloatPath.of(of_base, asdict(base.config)), TokenPath(of_vq, 4, side), of_mode)
    rate = np.array([30000], np.float32)
    for anchor in Anchor:
        first, second = (
            experts.paint(anchor, *given, rate, given[0] if tau else None, (tau,))[0] for given in (near, far)
        )
        assert not np.array_equal(first[:, :, : 16 * halo], second[:, :, : 16 * halo])
        assert np.array_equal(first[:, :, 32 * halo :], second[:, :, 32 * halo :])


def test_info_tells_of_tokens():
    facts = nicodec.read_info(encode(pictures.image(80, 80), token_bits=4))
    assert facts["tokens"] == {"vq": find_package("toy16").parts["vq"].id.hex(), "prior": "sq", "bits": 4}
    assert facts["sections"]["vq"] > 10


def test_what_cannot_be_done_is_said():
    image = pictures.image(30, 30)
    with pytest.raises(errors.MissingStreamError, match="--streams"):
        nicodec.decode(encode(image, streams="sq"), anchor="perception", device="cpu")
    with pytest.raises(errors.MissingPartError, match="no vq part; encode without"):
        encode(image, model="tiny", streams="sq+vq")
    with pytest.raises(errors.UsageError, match=r"1\.\.6"):
        encode(image, token_bits=7)
    with pytest.raises(errors.UsageError):
        encode(image, streams="qs")


def test_a_reader_without_the_vq_part_still_has_the_fidelity_picture(toys, tiny, monkeypatch):
    data, alone = encode(pictures.image(60, 50)), encode(pictures.image(60, 50), streams="sq")
    monkeypatch.setenv("NICODEC_MODELS", str(tiny.path.parents[1]))
    assert np.array_equal(decode(data), decode(alone))
    with pytest.raises(errors.MissingPartError):
        decode(data, anchor="perception")


def spoil(data, section, at=0.5):
    """The file with one byte of a section's payload changed."""
    payload = read_file(data).sections[section].payload
    place = data.index(payload) + int(at * len(payload))
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


@pytest.mark.parametrize("anchor", ["fidelity", "perception"])
def test_tokens_with_a_static_prior_outlive_the_sq_stream(nicodec_decode, anchor):
    image = pictures.image(80, 80)
    robust = encode(image, robust=True)
    code, painted, message = nicodec_decode(spoil(robust, SectionType.SQ), "--best-effort", "--anchor", anchor)
    assert code == 18
    assert "damaged" in message
    assert np.abs(painted - decode(encode(image, streams="vq"))).max() <= 1
    code, painted, message = nicodec_decode(spoil(encode(image), SectionType.SQ), "--best-effort")
    assert (code, painted) == (7, None), "grey would be no picture"
    assert "nothing of the picture can be read: the SQ section (type 3) is damaged" in message


def test_without_best_effort_damage_is_refused(nicodec_decode):
    code, painted, _ = nicodec_decode(spoil(encode(pictures.image(80, 80)), SectionType.SQ))
    assert (code, painted) == (7, None)


def test_tiles_fail_alone(nicodec_decode):
    image = pictures.image(1100, 70)
    data = encode(image, streams="sq", quality=20)
    whole = decode(data)
    code, painted, _ = nicodec_decode(spoil(data, SectionType.SQ, 0.4), "--best-effort")
    assert code == 18
    assert (painted[:, :1024] == 128).all()
    assert np.abs(painted - whole)[:, 1024 + 128 :].max(initial=0) <= 1
    assert (painted[:, 1024:] != 128).any()


def test_tiles_in_threads_say_what_tiles_in_turn_say(monkeypatch):
    data = bytearray(encode(pictures.image(3500, 40), streams="sq", quality=20, drawn="off"))
    for share in (0.4, 0.8):
        data[int(share * len(data))] ^= 255
    found = []
    for threads in (1, 4):
        monkeypatch.setattr("nicodec.ahead.thread_count", lambda count=threads: count)
        (picture,) = decode_taus(bytes(data), DecodeOptions(best_effort=True, device="cpu"))
        found.append((picture.damage, picture.pixels.tobytes()))
    assert found[0] == found[1]
    assert len(found[0][0]) == 3  # the section, and two of its four tiles


def test_a_cut_file_gives_what_is_left(nicodec_decode):
    data = encode(pictures.image(1100, 70), quality=20)
    for share in (0.3, 0.6):
        code, painted, _ = nicodec_decode(data[: int(share * len(data))], "--best-effort")
        assert (code, painted) == (7, None), "the first tile, which is nearly all, is not whole"
    code, painted, _ = nicodec_decode(data[: int(0.95 * len(data))], "--best-effort")
    assert (code, painted.shape) == (18, (70, 1100, 3))


def test_a_whole_file_needs_no_effort(nicodec_decode):
    data = encode(pictures.image(80, 80))
    code, painted, _ = nicodec_decode(data, "--best-effort")
    assert code == 0
    assert np.array_equal(painted, decode(data))


@pytest.fixture
def nicodec_decode(nicodec, tmp_path):
    """Decode bytes as a process: exit code, pixels or None, stderr."""

    def call(data, *options):
        (tmp_path / "a.nic").write_bytes(data)
        (tmp_path / "a.png").unlink(missing_ok=True)
        code, _, err = nicodec("decode", "a.nic", "-o", "a.png", "-f", "--device", "cpu", *options)
        target = tmp_path / "a.png"
        return code, np.asarray(Image.open(target)).astype(int) if target.exists() else None, err

    return call
