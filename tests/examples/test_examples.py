"""The examples of the documentation, page by page: see tools/docs/examples.py for what runs and what is compared."""

import pytest

from tools.distributions import ROOT
from tools.docs import examples


@pytest.mark.parametrize("path", examples.pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples(path, tmp_path, record_property):
    # A cache of its own: what other pages put there, one on work offline must not find.
    outcome = examples.run_page(path, tmp_path / "page", tmp_path / "cache")
    record_property("ran", outcome.ran)
    for where, reason in outcome.not_run:
        record_property("not run", f"  {where}: {reason}")
    assert not outcome.failures, "\n" + "\n".join(outcome.failures)
