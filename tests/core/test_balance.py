"""How many threads a model gets beside those that read ahead."""

import threading
import time

import pytest
import torch

from zoo_core.predicting import balance
from zoo_core.predicting.balance import Balance

CPU = torch.device("cpu")


@pytest.fixture
def eight_threads(monkeypatch):
    """Counts threads, without making any."""
    current = threading.local()
    monkeypatch.setattr(balance, "available_processors", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: getattr(current, "count", 8))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(current, "count", count))


@pytest.mark.parametrize(
    ("reading", "total", "threads"),
    [(0, 10, 8), (2, 10, 7), (5, 10, 4), (7, 10, 3), (9, 10, 1), (10, 10, 1), (11, 10, 1)],
)
def test_a_model_gets_its_part(eight_threads, monkeypatch, reading, total, threads):
    monkeypatch.setattr(time, "thread_time", lambda: 0.0)
    clock = iter([100.0])
    monkeypatch.setattr(time, "process_time", lambda: next(clock, 100.0 + total))
    found = Balance(CPU, 2)
    assert found.threads == 8
    with found.reading(), found.reading():
        assert found.threads == 6, "what others leave, as long as nobody knows"
    torch.set_num_threads(8)  # it was this thread that has read
    found._reading = reading
    for _ in range(2):
        with found.running():
            assert torch.get_num_threads() == 8
    with found.running():
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 8, "what comes after is as it was"


def test_readers_have_one_thread_each_and_are_timed(eight_threads):
    found = Balance(CPU, 2)
    seen = []

    def read():
        with found.reading():
            seen.append(torch.get_num_threads())
            deadline = time.thread_time() + 0.05
            while time.thread_time() < deadline:
                pass

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1, 1]
    assert torch.get_num_threads() == 8
    assert 0.1 <= found._reading < 0.2


@pytest.mark.parametrize(("device", "workers"), [(None, 2), (torch.device("cuda"), 2), (CPU, 0)])
def test_otherwise_nothing_is_changed(eight_threads, device, workers):
    found = Balance(device, workers)
    for _ in range(3):
        with found.reading(), found.running():
            assert torch.get_num_threads() == 8
