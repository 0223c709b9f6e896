"""The Python of the guide of training, run as it stands there."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo_core import specs

GUIDE = Path(__file__).parents[2] / "packages" / "zoo-classification" / "docs" / "training.md"


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    for split, count in (("train", 4), ("val", 2)):
        for label, color in (("rose", "red"), ("iris", "blue")):
            (tmp_path / "flowers" / split / label).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (32, 32), color).save(tmp_path / "flowers" / split / label / f"{number}.png")
    monkeypatch.chdir(tmp_path)


def test_its_examples_run(flowers, capsys):
    examples = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(examples) == 2
    names = {}
    for example in examples:
        exec(example, names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "('iris', 'rose') 8 4"
    assert [line.split()[0] for line in lines[2:]] == ["1", "2"]
    assert specs.find("run/best.pth").labels == ("iris", "rose")
    assert torch.isfinite(torch.tensor(float(lines[-1].split()[1])))
