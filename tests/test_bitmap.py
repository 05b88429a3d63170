"""Where the bits went."""

import io
import json

import numpy as np
import pictures
import pytest
from PIL import Image

import nicodec
from nicodec.bitmap import bit_costs, draw
from nicodec.container.layout import SectionType
from nicodec.container.payloads import read_tiles, read_tokens
from nicodec.container.reader import read_file

pytestmark = pytest.mark.usefixtures("toys")


@pytest.mark.parametrize("size", [(150, 90), (1100, 70)])
@pytest.mark.parametrize("options", [{}, {"robust": True}, {"streams": "sq"}])
def test_costs_sum_to_the_payload(size, options):
    file = read_file(nicodec.encode(pictures.image(*size), model="toy32", device="cpu", drawn="off", **options))
    costs = bit_costs(file)
    tiles = {"sq": read_tiles(file.payload(SectionType.SQ), file.header, "it")}
    if (streams := read_tokens(file)) is not None:
        tiles["vq"] = streams.tiles
    assert costs.keys() == tiles.keys()
    for name, bodies in tiles.items():
        coded = sum(8 * len(stream) for _, stream in bodies)
        assert costs[name].sum() == pytest.approx(coded, abs=64 * len(bodies) + 0.002 * coded)


def test_bits_are_where_the_picture_is_busy():
    pixels = np.full((128, 256, 3), 128, np.uint8)
    pixels[:, 128:] = np.random.default_rng(0).integers(0, 256, (128, 128, 3))
    file = read_file(nicodec.encode(pixels, model="toy32", device="cpu", streams="sq"))
    costs = bit_costs(file)["sq"]
    assert costs.shape == (8, 16)
    assert costs[:, 9:].mean() > 1.3 * costs[:, :7].mean()  # the tiny model is no great one
    drawn = np.asarray(Image.open(io.BytesIO(draw({"sq": costs}, file.header)))).astype(int)
    assert drawn.shape == (128, 256, 3)
    assert drawn[:, 144:].mean() > drawn[:, :112].mean()


def test_the_command_draws(inside, tmp_path):
    (tmp_path / "a.nic").write_bytes(nicodec.encode(pictures.image(100, 80), model="toy32", device="cpu"))
    code, out, err = inside("info", "-v", "a.nic", "--bitmap", "map.png")
    assert code == 0, err
    assert b"by their exact costs" in out
    assert b"white in map.png: " in out
    assert Image.open(tmp_path / "map.png").size == (100, 80)
    assert inside("info", "a.nic", "--bitmap", "map.png")[0] == 12
    code, _, err = inside("info", "a.nic", "--bitmap", "small.png", "--max-pixels", "7999")
    assert code == 8, err
    assert "--max-pixels" in err
    code, out, err = inside("info", "--json", "a.nic", "--bitmap", "map-{stream}.png")
    assert code == 0, err
    facts, costs = json.loads(out), bit_costs(read_file((tmp_path / "a.nic").read_bytes()))
    for name in ("sq", "vq"):
        inside_it = costs[name][:5, :7]  # 100x80; the grid goes on to the next 64
        assert facts["white_bpp"][f"map-{name}.png"] == pytest.approx(inside_it.max() / 256, abs=1e-3)
        assert facts["bits"][name] == pytest.approx(costs[name].sum(), abs=0.1)
        drawn = np.asarray(Image.open(tmp_path / f"map-{name}.png"))
        assert drawn.min(2).max() == 255, "its own dearest square is white, whatever the other stream costs"
