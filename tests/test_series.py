"""Series: in which order pictures are coded, what they refer to, and how good they are."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pictures
from hypothesis import given
from hypothesis import strategies as st

import nicodec as api
from nicodec.image.arrays import from_array
from nicodec.options import LONGEST_CHAIN, EncodeOptions
from nicodec.references.series import BETTER, GROUP, Place, Series, coding_order, distance_of, turns

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
        if turn.ahead is not None:
            assert when[turn.ahead] > when[turn.index]
            assert turn.ahead - turn.index == distance_of(turn.ahead) < distance
    assert [turn.index for turn in turns([Path("one") / f"{index}.nic" for index in range(count)])] == order


def test_each_folder_is_a_series_of_its_own():
    outputs = [Path(name) for name in ("a/0", "b/0", "a/1", "b/1", "a/2")]
    assert [(turn.index, turn.distance, turn.ahead) for turn in turns(outputs)] == [
        (0, 16, 4), (4, 2, None), (2, 1, None), (1, 16, 3), (3, 1, None),
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


def in_series(shown, tmp_path, *, planned):
    """Qualities of the files of a series of pixels, and the names that each refers to."""
    outputs = [tmp_path / f"{number}.nic" for number in range(len(shown))]
    ordered = turns(outputs)
    places = {
        outputs[turn.index]: Place(turn.distance, turn.ahead and partial(from_array, shown[turn.ahead]))
        for turn in ordered
    }  # fmt: skip
    series, options = Series(places if planned else {}), EncodeOptions(device="cpu", **PLAIN)
    for index in [turn.index for turn in ordered] if planned else range(len(shown)):
        outputs[index].write_bytes(series.encode(from_array(shown[index]), options, outputs[index]))
    facts = [api.read_info(output) for output in outputs]
    named = [{each["name"] for each in fact["refers_to"] or []} for fact in facts]
    return [round(fact["quality"]) for fact in facts], named


def test_pictures_of_a_series_are_coded_better_for_others_where_that_pays(tmp_path):
    shots = [np.asarray(pictures.grainy(160, 128 + number))[number:] for number in range(6)]
    qualities, named = in_series(shots, tmp_path, planned=True)
    assert qualities == [40 + BETTER[distance] for distance in (16, 1, 2, 1, 4, 1)]
    assert not named[0]
    assert all(named[1:])
    rng = np.random.default_rng(0)
    others = [rng.integers(0, 256, (16, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(3)]
    assert in_series(others, tmp_path, planned=True) == ([40] * 3, [set()] * 3)


def test_where_nobody_can_look_ahead_a_series_finds_out_as_it_goes(tmp_path):
    """As in a tar, whose members come in order."""
    shots = [np.asarray(pictures.grainy(160, 128 + number))[number:] for number in range(5)]
    qualities, named = in_series(shots, tmp_path, planned=False)
    assert qualities == [40, 40, 40 + BETTER[2], 40, 40 + BETTER[4]]
    assert named == [set(), {"0.nic"}, {"0.nic"}, {"2.nic"}, {"0.nic"}]
