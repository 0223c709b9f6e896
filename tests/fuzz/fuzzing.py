"""How targets are run, and how files are damaged."""

import functools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES_A_ROUND = 100
SECONDS_AN_INPUT = 20

# Set by conftest.
seconds_a_target = 0.0
evidence_directory = Path("out/fuzz")


def fuzz(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a hypothesis test in rounds, each with another seed, until the time is up; at least one round."""
    settings = hypothesis.settings(
        max_examples=EXAMPLES_A_ROUND,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    bounded = settings(test)

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        ends_at = time.monotonic() + seconds_a_target
        first = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(2**32)))
        rounds = 0
        while rounds == 0 or time.monotonic() < ends_at:
            print(f"round {rounds + 1}: FUZZ_SEED={first + rounds}")
            hypothesis.seed(first + rounds)(bounded)(*args, **kwargs)
            rounds += 1

    run.fuzz_target = True  # type: ignore[attr-defined]
    return run


@contextmanager
def evidence(content: bytes, name: str = "input") -> Iterator[None]:
    """Keeps an input on disk while it is tried, for when the process dies of it; raises if it takes too long."""
    path = evidence_directory / f"{os.getpid()}-{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

    def stop(*args: object) -> None:
        raise AssertionError(f"not done after {SECONDS_AN_INPUT} s; the input is {path}")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS_AN_INPUT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    path.unlink()  # what raised stays


def corpus(target: str) -> list[bytes]:
    """The files of a target, the same order everywhere."""
    files = [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
    assert files, f"no corpus for {target}"
    return files


_SPECIAL = [bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x01", b"\x00", b"\xff" * 8, bytes(8)]


def damaged(target: str) -> st.SearchStrategy[bytes]:
    """Files of a target's corpus with bytes changed, cut out, repeated or put in; now and then as they are."""
    return damaged_bytes(corpus(target))


@st.composite
def damaged_bytes(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of several contents, damaged as :func:`damaged` does."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 16)))
        match draw(st.sampled_from(["flip", "special", "bytes", "cut", "repeat", "truncate", "splice"])):
            case "flip" if start < len(content):
                content[start] ^= 1 << draw(st.integers(0, 7))
            case "special":
                special = draw(st.sampled_from(_SPECIAL))
                content[start : start + len(special)] = special
            case "bytes":
                content[start:end] = draw(st.binary(max_size=16))
            case "cut":
                del content[start:end]
            case "repeat":
                content[start:start] = content[start:end] * draw(st.integers(1, 64))
            case "truncate":
                del content[start:]
            case "splice":
                other = draw(st.sampled_from(originals))
                content[start:] = other[draw(st.integers(0, len(other))) :]
    return bytes(content)
