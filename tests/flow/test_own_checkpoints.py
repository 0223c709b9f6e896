import pytest

from support.own_checkpoints import check_fits
from zoo_core import specs


def test_a_model_without_classes(tmp_path):
    check_fits(tmp_path, "raft_small")
    with pytest.raises(ValueError, match="raft_small has no classes that could be named"):
        specs.find("raft_small", checkpoint=tmp_path / "last.pth", labels=("a", "b"))
    with pytest.raises(ValueError, match="raft_small has no classes that could be named"):
        specs.find("raft_small", labels=("a", "b"))
