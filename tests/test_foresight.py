"""What is made of a tile while its symbols are read: the same as afterwards; and nobody waits for what is not there."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pictures
import pytest

import nicodec
from nicodec import ahead, errors
from nicodec.container.layout import Section, SectionType
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file
from nicodec.painters.foresight import Foresight

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture(params=[1, 2])
def threads(request, monkeypatch):
    """How many there may be."""
    monkeypatch.setattr(ahead, "thread_count", lambda: request.param)
    return request.param


@pytest.fixture(scope="module")
def files(tiny):
    """One that stands alone, one that refers to it: of one tile each."""
    options = {"model": "tiny", "device": "cpu", "drawn": "off"}
    first = nicodec.encode(pictures.image(200, 150), **options)
    second = nicodec.encode(pictures.another_shot(200, 150), **options, references=[first])
    return {"alone": (first, ()), "refers": (second, (first,))}


def decode(file, **options):
    data, references = file
    return np.asarray(nicodec.decode(data, device="cpu", references=references, **options))


@pytest.mark.parametrize("name", ["alone", "refers"])
def test_a_picture_is_the_same_as_from_all_symbols(files, name, threads, monkeypatch):
    foreseen = decode(files[name])
    used = []
    monkeypatch.setattr(Foresight, "y_hat", lambda self, latent: used.append(self))
    assert np.array_equal(decode(files[name]), foreseen)
    assert used


@pytest.mark.parametrize("name", ["alone", "refers"])
@pytest.mark.parametrize("words", [1, 2, 20])
def test_of_a_stream_that_breaks_off_no_thread_waits(files, name, words, threads):
    data, references = files[name]
    file, before = read_file(data), threading.active_count()
    short = Section(SectionType.SQ, file.payload(SectionType.SQ)[: -4 * words])
    others = [section for section in file.sections.values() if section.type is not SectionType.SQ]
    broken = write_file(file.header, [short, *others])
    with pytest.raises((errors.CorruptFileError, errors.InexactError)):
        decode((broken, references))
    until = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.mark.parametrize("name", ["alone", "refers"])
def test_where_there_is_no_further_thread_all_is_made_afterwards(files, name, monkeypatch):
    foreseen = decode(files[name])

    def refuse(*given):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    assert np.array_equal(decode(files[name]), foreseen)
