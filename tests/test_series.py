"""Series: in which order pictures are coded, what they refer to, and how good they are."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nicodec as api
from nicodec import errors
from nicodec.image.arrays import from_array
from nicodec.options import LONGEST_CHAIN, EncodeOptions
from nicodec.references.recent import Recent
from nicodec.references.series import BETTER, GROUP, Place, Series, Turn, coding_order, distance_of, turns

PLAIN = {"model": "tiny", "quality": 40, "drawn": "off"}
TINY = ("--model", "tiny", "--device", "cpu", "--drawn", "off")


@given(count=st.integers(0, 300))
def test_a_series_is_coded_from_far_apart_to_close_together(count):
    order = list(coding_order(count))
    assert sorted(order) == list(range(count))
    when = {index: turn for turn, index in enumerate(order)}
    for turn in turns([Path("one") / f"{index}.nic" for index in range(count)]):
        distance = turn.distance
        assert distance in {1 << level for level in range(LONGEST_CHAIN + 1)}
        for index in {turn.index - distance, turn.index + distance} & when.keys():
            assert distance == GROUP or when[index] < when[turn.index]
        assert turn.reach == distance or (turn.index == 0 and turn.reach < 2 * count)
        if turn.ahead is not None:
            assert when[turn.ahead] > when[turn.index]
            assert turn.ahead - turn.index == distance_of(turn.ahead) < distance
    assert [turn.index for turn in turns([Path("one") / f"{index}.nic" for index in range(count)])] == order


def test_each_folder_is_a_series_of_its_own():
    outputs = [Path(name) for name in ("a/0", "b/0", "a/1", "b/1", "a/2")]
    assert turns(outputs) == [
        Turn(0, 16, 4, 4), Turn(4, 2, 2, None), Turn(2, 1, 1, None), Turn(1, 16, 2, 3), Turn(3, 1, 1, None),
    ]  # fmt: skip


def test_a_series_refers_from_close_to_far_and_info_shows_the_chain(tmp_path, inside):
    (tmp_path / "in").mkdir()
    for number in range(7):
        pictures.another_shot(160, 120, across=number).save(tmp_path / "in" / f"{number}.png")
    call = ("encode", "-r", "in", "-o", "out", "--series", "-q", 50, *TINY)
    code, _, message = inside(*call)
    assert code == 0, message
    chains = {}
    for number in coding_order(7):
        facts = api.read_info(tmp_path / "out" / f"{number}.nic")
        named = facts["refers_to"] or []
        assert all(distance_of(int(each["name"][0])) > distance_of(number) for each in named)
        chains[f"{number}.nic"] = max((chains[each["name"]] + 1 for each in named), default=0)
        assert api.decode(tmp_path / "out" / f"{number}.nic", device="cpu").size == (160, 120)
    assert 1 <= max(chains.values()) <= LONGEST_CHAIN
    last = max(chains, key=lambda name: chains[name])
    _, out, _ = inside("info", "-v", f"out/{last}")
    assert out.decode().count("refers to ") >= chains[last]
    facts = json.loads(inside("info", f"out/{last}", "--json")[1])
    assert facts["refers_to"]
    for wrong in (("-j", "2"), ()):
        source = ("-r", "in") if wrong else ("in/0.png",)
        assert inside("encode", *source, "-o", "other" if wrong else "o.nic", "--series", *wrong, *TINY)[0] == 2


def in_series(shown, tmp_path, *, planned, exif=None):
    """Qualities of the files of a series of pixels, and the names that each refers to."""
    shown = [replace(from_array(pixels), exif=exif) for pixels in shown]
    outputs = [tmp_path / f"{number}.nic" for number in range(len(shown))]
    ordered = turns(outputs)
    places = {
        outputs[turn.index]: Place(turn.distance, turn.reach, turn.ahead and partial(shown.__getitem__, turn.ahead))
        for turn in ordered
    }  # fmt: skip
    series, options = Series(places if planned else {}), EncodeOptions(device="cpu", **PLAIN)
    for index in [turn.index for turn in ordered] if planned else range(len(shown)):
        outputs[index].write_bytes(series.encode(shown[index], options, outputs[index]))
    facts = [api.read_info(output) for output in outputs]
    named = [{each["name"] for each in fact["refers_to"] or []} for fact in facts]
    return [round(fact["quality"]) for fact in facts], named


def test_pictures_of_a_series_are_coded_better_for_others_where_that_pays(tmp_path):
    shots = [np.asarray(pictures.grainy(160, 128 + number))[number:] for number in range(6)]
    for exif in (None, b"Exif\0\0" + bytes(20000)):  # whose bytes no reference saves
        qualities, named = in_series(shots, tmp_path, planned=True, exif=exif)
        assert qualities == [40 + BETTER[reach] for reach in (8, 1, 2, 1, 4, 1)]
        assert not named[0]
        assert all(named[1:])
    rng = np.random.default_rng(0)
    assert in_series(shots[:2], tmp_path, planned=True)[0] == [40 + BETTER[2], 40], "only one refers to the key"
    others = [rng.integers(0, 256, (16, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(3)]
    assert in_series(others, tmp_path, planned=True) == ([40] * 3, [set()] * 3)


def test_where_nobody_can_look_ahead_a_series_finds_out_as_it_goes(tmp_path):
    """As in a tar, whose members come in order."""
    shots = [np.asarray(pictures.grainy(160, 128 + number))[number:] for number in range(5)]
    qualities, named = in_series(shots, tmp_path, planned=False)
    assert qualities == [40, 40, 40 + BETTER[2], 40, 40 + BETTER[4]]
    assert named == [set(), {"0.nic"}, {"0.nic"}, {"2.nic"}, {"0.nic"}]


# --- what is there already


CALL = ("encode", "-r", "in", "-o", "out", "--series", "-q", 50, "--quiet", *TINY)


@pytest.fixture
def seven(tmp_path, inside):
    """The files of a series of seven, by name."""
    (tmp_path / "in").mkdir()
    for number in range(7):
        pictures.another_shot(160, 120, across=number).save(tmp_path / "in" / f"{number}.png")
    assert inside(*CALL)[0] == 0
    return files_in(tmp_path / "out")


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("gone", ["1.nic", "4.nic", "6.nic"])
def test_a_series_goes_on_where_it_was_stopped(tmp_path, inside, seven, gone):
    """Whatever is missing; and what is there can be referred to."""
    (tmp_path / "out" / gone).unlink()
    assert inside(*CALL, "--skip-existing")[0] == 0
    assert files_in(tmp_path / "out") == seven
    pictures.another_shot(160, 120, across=7).save(tmp_path / "in" / "7.png")
    assert inside(*CALL, "--skip-existing")[0] == 0
    assert {name: data for name, data in files_in(tmp_path / "out").items() if name != "7.nic"} == seven
    assert api.read_info(tmp_path / "out" / "7.nic")["refers_to"]


def test_what_refers_to_a_file_that_is_another_one_now_is_made_anew(tmp_path, inside, seven):
    """As after a stop in the middle of `--force`."""
    pictures.grainy(160, 120).save(tmp_path / "other.png")
    assert inside("encode", "other.png", "-o", "out/4.nic", "-f", *TINY)[0] == 0
    referred = {name for name in seven if any(each["name"] == "4.nic" for each in referring(tmp_path / "out" / name))}
    assert referred
    assert inside(*CALL, "--skip-existing")[0] == 0
    assert referred <= {name for name, data in files_in(tmp_path / "out").items() if data != seven[name]}
    assert inside("decode", "-r", "out", "-o", "back", "--quiet", "--device", "cpu")[0] == 0


def test_what_is_no_file_of_ours_is_left_alone(tmp_path, inside, seven):
    (tmp_path / "out" / "1.nic").write_bytes(b"mine")
    assert inside(*CALL, "--skip-existing")[0] == 0
    assert files_in(tmp_path / "out") == {**seven, "1.nic": b"mine"}


def referring(path):
    return api.read_info(path)["refers_to"] or []


@pytest.mark.parametrize("wrong", [("--drawn", "all"), ("--token-bits", "2"), ("--robust",)])
def test_what_refers_to_no_pictures_is_no_series(tmp_path, inside, wrong):
    """Said once, before anything is made."""
    (tmp_path / "in").mkdir()
    pictures.image(64, 64).save(tmp_path / "in" / "0.jpg")
    for call in (("encode", "-r", "in", "-o", "out"), ("batch", "encode", "in", "out")):
        code, _, message = inside(*call, "--series", *wrong, "--model", "tiny", "--device", "cpu")
        assert code == errors.UsageError.exit_code, message
        assert "refers to" in message
        assert not list(tmp_path.glob("out/**/*.nic"))
    assert inside("encode", "-r", "in", "-o", "out", "--series", "--base", "jpeg")[0] == errors.UsageError.exit_code


def test_pixels_that_are_kept_are_the_last_and_no_more_than_the_limit():
    made = []

    def make(key):
        made.append(key)
        return np.zeros(40, np.uint8)

    recent = Recent(100)
    for key in "abacab":
        assert not recent.get(key, partial(make, key)).flags.writeable
    assert made == list("abcb")
    assert recent.get("large", lambda: np.zeros(101, np.uint8)).size == 101
    recent.get("a", partial(make, "a"))
    assert made == list("abcba")
