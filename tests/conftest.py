"""What tests of several packages use, and how property tests run.

Those run the same examples every time, few enough for a run of all tests.
``pytest --hypothesis-profile explore`` looks at more of them, and at others in each run.
"""

import functools

import pytest
from hypothesis import HealthCheck, settings

# Its tests are those of several modules, and its assertions are to say what they compared as theirs do.
pytest.register_assert_rewrite("support.recorded")

# The machine may be busy with other tests: none is too slow.
settings.register_profile(
    "repeatable",
    derandomize=True,
    max_examples=50,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", settings.get_profile("repeatable"), derandomize=False, max_examples=2000)
settings.load_profile("repeatable")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache that is not filled from the network."""
    # Tests of the repository as a whole run without torch.
    from support import cache

    cache.use(tmp_path / "home", monkeypatch)
    return tmp_path / "home"


@pytest.fixture
def publish(home):
    """Saves a state dict where the file of some weights would be cached: ``publish(weights, state_dict)``."""
    from support import cache

    return functools.partial(cache.publish, home)
