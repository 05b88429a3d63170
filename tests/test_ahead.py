"""Work in threads: results in order, few of them ahead, errors where they belong."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nicodec import ahead
from nicodec.ahead import in_threads


@pytest.fixture(params=[1, 2, 16])
def threads(request, monkeypatch):
    monkeypatch.setattr(ahead, "thread_count", lambda: request.param)
    return min(request.param, ahead.MOST_THREADS)


def test_results_come_in_order(threads):
    assert list(in_threads(lambda number: number * number, range(50))) == [number * number for number in range(50)]
    assert list(in_threads(str, [])) == []


def test_few_are_made_before_they_are_taken(threads):
    made, lock = [], threading.Lock()

    def work(number):
        with lock:
            made.append(number)
        return number

    results = in_threads(work, range(100))
    for taken in range(10):
        assert next(results) == taken
        assert len(made) <= taken + 1 + threads
    results.close()
    assert len(made) <= 10 + threads


def test_an_error_comes_where_its_result_would(threads):
    results = in_threads(lambda number: 1 // (3 - number), range(6))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_without_room_for_threads_the_caller_works_alone(threads):
    names = set()
    results = in_threads(lambda number: names.add(threading.current_thread()) or number, range(5), each=1 << 60)
    assert list(results) == [0, 1, 2, 3, 4]
    assert names == {threading.current_thread()}


def test_where_no_thread_is_to_be_had_the_caller_works_itself(threads, monkeypatch):
    def refuse(*given):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    results = in_threads(lambda number: 1 // (3 - number), range(6))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
