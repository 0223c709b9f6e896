"""How property tests run: the same examples every time, few enough for a run of all tests.

``pytest --hypothesis-profile explore`` looks at more of them, and at others in each run.
"""

from hypothesis import HealthCheck, settings

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
