"""Changes with given parameters give what torchvision's transforms v2 gave for tests/assets/transforms.json."""

import json

import PIL
import pytest

from tools import transform_cases

CASES = transform_cases.cases()
ASSET = json.loads(transform_cases.ASSET.read_text(encoding="utf-8"))


def test_every_case_was_written() -> None:
    assert set(CASES) == set(ASSET) - {"about"}
    assert len(CASES) > 200


@pytest.mark.parametrize("kind", sorted({name.split()[0] for name in CASES}))
def test_a_change_is_torchvisions(kind: str) -> None:
    names = [name for name in CASES if name.split()[0] == kind]
    differ = {}
    for name in names:
        found = transform_cases.as_tensor(CASES[name].ours())
        difference = transform_cases.difference(found, transform_cases.unpacked(ASSET[name]))
        # Pillow 11 rounds otherwise where it makes an image much flatter, in torchvision's hands too.
        allowed = max(CASES[name].allowed, int(PIL.__version__ < "12" and "crop resized" in name))
        if difference > allowed:
            differ[name] = difference
    assert differ == {}
