"""The worked examples in the docstrings, run."""

import pytest

from support.docstrings import modules_with_examples, run_examples


@pytest.mark.parametrize("module", modules_with_examples("zoo_video"))
def test_examples_give_what_they_say(module: str) -> None:
    results = run_examples(module)
    assert results.attempted > 0
    assert results.failed == 0
