"""No anchor runs away on hard edges: a painted picture stays near the linear synthesis of its latents."""

import numpy as np
import pytest
import torch
from PIL import Image

import nicodec
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.container.layout import Box
from nicodec.container.reader import read_file
from nicodec.networks.bounded import bounded
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import Synthesis
from nicodec.training import drawn
from nicodec.trials import block_areas, block_errors

UNSEEN = 255**2 / 10**4  # mean squared error in levels: 40 dB; texture of two levels, which tau is for, is no fault
SIDE = 128
KINDS = ("_cells", "_shapes", "_text", "_waves")
NATURAL = ({"tau": 1.0}, {"anchor": "perception", "tau": 0.7})


def checks(cell, phase):
    rows, columns = (np.indices((SIDE, SIDE)) + phase) // cell
    return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, 2)


def generated(seeds):
    """Drawings by name: checks of several sizes and phases, and those of `KINDS`, some for each seed."""
    yield from (
        (f"checks of {cell} at {phase}", checks(cell, phase))
        for cell, phase in ((1, 0), (3, 0), (8, 0), (8, 5), (16, 0), (21, 8), (32, 0))
    )
    for seed in seeds:
        for kind in KINDS:
            pixels = np.asarray(getattr(drawn, kind)(SIDE, np.random.default_rng(seed))).astype(np.uint8)
            yield f"{kind} {seed}", pixels


@pytest.fixture(scope="module", autouse=True)
def shipped():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NICODEC_MODELS")
        yield


def linear_synthesis(data):
    """That of a file's latents, which may be those that lie under drawn blocks."""
    file = read_file(data)
    decoder = OwnDecoder(file, device="cpu")
    linear = Synthesis(file.header, Experts(decoder.model.base, linear=True))
    return linear.paint(decoder.symbols(), Box(0, 0, file.header.width, file.header.height))[0]


def below(found, linear, pixels):
    """How far the blocks of a picture are below those of another, in dB; 0 for those that are good enough."""
    error, least = (block_errors(picture, pixels) / block_areas(SIDE, SIDE) for picture in (found, linear))
    return np.where(error <= UNSEEN, 0, 10 * np.log10(np.maximum(error, 1e-9) / np.maximum(least, 1e-9)))


def decoded(data, **options):
    return np.asarray(nicodec.decode(data, **options).convert("RGB"))


@pytest.mark.parametrize(("model", "quality"), [
    ("base1", 5), ("base1", 60), ("base2", 5), ("base2", 40), ("base2", 80),
])  # fmt: skip
def test_no_block_of_a_drawing_is_far_below_the_linear_synthesis(model, quality):
    """By the decoder alone: without drawn blocks, and without the encoder's own look, which leaves out what does harm.

    Of 1536 blocks of such drawings, 14 are 1 to 2 dB below by the fidelity anchor, and 4 are 3 to 3.4 dB below by the
    natural ones; most of these are here. In the 14, g_s adds a tenth of the energy of quantisation noise, as it does on
    photographs, and as much in proportion to what the symbols hold: a decoder cannot tell them from photographs, and a
    bound that mends them would take away what g_s mends there.
    """
    losses = []
    for name, pixels in generated(range(4, 6)):
        data = nicodec.encode(pixels, model=model, quality=quality, effort=1, drawn="off", verify=False)
        linear = linear_synthesis(data)
        losses.append(below(decoded(data), linear, pixels))
        assert losses[-1].max() <= 2.0, name
        for options in NATURAL if model == "base2" else NATURAL[:1]:  # base1 has no tokens
            assert below(decoded(data, **options), linear, pixels).max() <= 3.5, (name, options)
    assert (np.array(losses) > 1.0).mean() <= 0.05


@pytest.mark.parametrize(("quality", "options"), [
    (10, {}), (60, {}), (30, {"model": "base1", "drawn": "off"}), (60, {"drawn": "off"}),
])  # fmt: skip
def test_no_block_of_a_drawing_that_is_encoded_as_it_comes_is_far_below_the_linear_synthesis(quality, options):
    """By default most are drawn, and exact; what is not, or is not to be, the encoder itself has looked at."""
    exact = 0
    for name, pixels in generated(range(4, 6) if options else range(4)):
        data = nicodec.encode(pixels, quality=quality, effort=1, **options)
        found = decoded(data)
        if np.array_equal(found, pixels):
            exact += 1
            continue
        linear = linear_synthesis(data)
        assert below(found, linear, pixels).max() <= 1.0, name
        assert below(decoded(data, tau=1.0), linear, pixels).max() <= 3.0, name
    if not options:
        assert exact >= 15


def test_what_is_not_finite_or_far_away_is_left_out_and_the_rest_stays():
    linear = torch.rand(1, 3, 64, 64)
    step = torch.full((1, 320, 1, 1), 0.1)
    near = linear + 0.001
    assert torch.equal(bounded(near, linear, step, 1.0), linear + (near - linear))
    for wild in (torch.nan, torch.inf, 3.0):
        far = near.clone()
        far[:, :, :16, :16] += wild
        found = bounded(far, linear, step, 1.0)
        assert torch.equal(found[:, :, :16, :16], linear[:, :, :16, :16])
        assert torch.allclose(found[:, :, 48:, 48:], near[:, :, 48:, 48:])


def test_a_plain_decode_of_checks_is_no_garbage(tmp_path):
    Image.fromarray(checks(8, 0)).save(tmp_path / "checks.png")
    data = nicodec.encode(tmp_path / "checks.png", references="off", drawn="off")
    error = (block_errors(decoded(data), checks(8, 0)) / block_areas(SIDE, SIDE)).mean()
    assert 10 * np.log10(255**2 / error) > 25
