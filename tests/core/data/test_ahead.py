import itertools
import threading
import time

import pytest

from zoo_core.data.ahead import ahead


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_outcomes_come_in_the_order_of_the_items(workers):
    def slow_first(number):
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    found = [(item, outcome()) for item, outcome in ahead(slow_first, range(20), workers)]
    assert found == [(number, number * number) for number in range(20)]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_raised_is_raised_where_its_outcome_is_asked_for(workers):
    def function(number):
        if number == 1:
            raise ValueError("one")
        return number

    outcomes = [outcome for _, outcome in ahead(function, range(3), workers)]
    assert outcomes[0]() == 0
    with pytest.raises(ValueError, match="one"):
        outcomes[1]()
    assert outcomes[2]() == 2


def test_no_more_is_taken_than_fits():
    taken = []

    def items():
        for number in itertools.count():
            taken.append(number)
            yield number

    results = ahead(lambda number: number, items(), workers=2, depth=5)
    for expected in range(10):
        item, outcome = next(results)
        assert (item, outcome()) == (expected, expected)
        assert len(taken) <= expected + 5
    results.close()


def test_closing_waits_for_what_runs_and_begins_nothing_else():
    begun, second_begun, go_on = [], threading.Event(), threading.Event()

    def function(number):
        begun.append(number)
        if number == 1:
            second_begun.set()
            assert go_on.wait(timeout=60)
        return number

    results = ahead(function, range(100), workers=1, depth=10)
    assert next(results)[1]() == 0
    assert second_begun.wait(timeout=60)
    closer = threading.Thread(target=results.close)
    closer.start()
    time.sleep(0.05)
    assert closer.is_alive()  # it waits for item 1, which has begun
    go_on.set()
    closer.join(60)
    assert not closer.is_alive()
    assert begun == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_an_error_of_the_items_comes_through():
    def items():
        yield 1
        raise OSError("the list has ended badly")

    results = ahead(lambda number: number, items(), workers=2)
    with pytest.raises(OSError, match="ended badly"):
        list(results)


def test_fewer_than_no_workers_are_refused():
    with pytest.raises(ValueError, match="at least 0"):
        next(ahead(str, [1], -1))
