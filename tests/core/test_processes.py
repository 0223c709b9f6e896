"""Processes that find each other."""

import contextlib
import os

import pytest
import torch

from zoo_core import processes


@pytest.fixture
def chatty(monkeypatch):
    """Two processes, as this one sees them; native code says so on standard output when they meet."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    monkeypatch.setattr(torch.distributed, "init_process_group", meet)


def meet(*given, **named):
    with contextlib.suppress(OSError):
        os.write(1, b"connected to 1 peer\n")


def test_what_gloo_says_is_no_output(chatty, capfd):
    """Of the older torch: it would stand in front of a command's JSON."""
    print("{")
    with processes.joined() as found:
        assert found.size == 2
        print("}")
    assert capfd.readouterr() == ("{\n}\n", "connected to 1 peer\n")


def test_without_standard_output(chatty, capfd):
    kept = os.dup(1)
    os.close(1)
    try:
        with processes.joined() as found:
            assert found.is_first
    finally:
        os.dup2(kept, 1)
        os.close(kept)
