"""Old calls: what they mean, and that whoever wrote them sees the warning, at the line that they wrote."""

import subprocess
import sys
import textwrap
import warnings
from typing import Any

import pytest
from torch import nn

from zoo_core import registration, user_warnings
from zoo_core.registry import get_model, register_model, takes_old_calls
from zoo_core.weights import Weights, WeightsEnum


class Old_Weights(WeightsEnum):
    V1 = Weights(url="https://example.org/old-1.pth", transforms=nn.Identity, meta={"categories": ["a", "b"]})
    V2 = Weights(url="https://example.org/old-2.pth", transforms=nn.Identity, meta={"categories": ["a", "b"]})
    DEFAULT = V2


class Net(nn.Module):
    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments


@pytest.fixture
def old(monkeypatch):
    monkeypatch.setattr(registration, "_registered", dict(registration._registered))

    @register_model(name="zoo_test_old")
    def old(*, weights: Old_Weights | None = None, progress: bool = True, **kwargs: Any) -> Net:
        return Net(weights=weights, progress=progress, **kwargs)

    return old


class FakeBool:
    """Stands for numpy's, which core does not need."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value


FakeBool.__module__, FakeBool.__name__ = "numpy", "bool"


@pytest.mark.parametrize("flag", [True, 1, FakeBool(True)], ids=["bool", "int", "numpy"])
@pytest.mark.parametrize("parameter", ["weights", "pretrained"])
def test_flags_that_say_yes(old, flag, parameter):
    with pytest.warns(UserWarning, match=rf"{parameter}=.* is deprecated; write weights=Old_Weights\.V1 or weights="):
        assert old(**{parameter: flag}).arguments["weights"] is Old_Weights.V1


@pytest.mark.parametrize("flag", [False, 0, FakeBool(False)], ids=["bool", "int", "numpy"])
@pytest.mark.parametrize("parameter", ["weights", "pretrained"])
def test_flags_that_say_no(old, flag, parameter):
    with pytest.warns(UserWarning, match=rf"{parameter}=.* is deprecated; write weights=None$"):
        assert old(**{parameter: flag}).arguments["weights"] is None


@pytest.mark.parametrize("flag", [2, 1.0, "yes"])
def test_what_is_no_flag(old, flag):
    with pytest.raises((TypeError, ValueError), match=r"weights must be a member of Old_Weights|has no member 'yes'"):
        old(weights=flag)


def test_names_of_weights_in_the_old_place(old):
    with pytest.warns(UserWarning, match=r"pretrained='V2' is deprecated; write weights='V2'$"):
        assert old(pretrained="V2").arguments["weights"] is Old_Weights.V2


def test_functions_that_take_a_backbone_by_name(old):
    @takes_old_calls
    def backbone(*, backbone_name: str, weights: Old_Weights | None, width: int = 1, **kwargs: Any) -> nn.Module:
        """Says what it got."""
        return Net(backbone_name=backbone_name, weights=weights, width=width)

    assert backbone.__doc__ == "Says what it got."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backbone(backbone_name="x", weights="V1").arguments["weights"] == "V1"
    with pytest.warns(UserWarning, match="positional arguments of backbone"):
        by_position = backbone("zoo_test_old", None, 3)
    assert by_position.arguments == {"backbone_name": "zoo_test_old", "weights": None, "width": 3}
    for call in (
        lambda: backbone("zoo_test_old", True),
        lambda: backbone("zoo_test_old", pretrained=True),
        lambda: backbone(backbone_name="zoo_test_old", pretrained=True),
    ):
        with pytest.warns(UserWarning, match=r"is deprecated; write weights=Old_Weights\.V1"):
            assert call().arguments["weights"] is Old_Weights.V1
    with pytest.raises(TypeError, match="missing 2 required keyword-only arguments: 'backbone_name' and 'weights'"):
        backbone()
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'weights'"):
        backbone(backbone_name="zoo_test_old", pretrained_backbone=True)


def test_the_warning_is_at_the_users_line(old):
    def own_helper():
        return get_model("zoo_test_old", pretrained=False)

    for call in (lambda: old(False), lambda: old(pretrained=False), own_helper):
        with pytest.warns(UserWarning, match="is deprecated") as caught:
            call()
        assert {w.filename for w in caught} == {__file__}


@pytest.mark.parametrize("module", ["torch.hub", "zoo_classification.resnet", "zoo_core.registry"])
def test_our_own_lines_and_those_of_torch_hub_are_passed_over(module):
    namespace = {"__name__": module, "warn": user_warnings.warn}
    exec(compile("def load(): warn('look here')\ndef outer(): load()", "elsewhere.py", "exec"), namespace)
    with pytest.warns(UserWarning, match="look here") as caught:
        namespace["outer"]()
    assert [w.filename for w in caught] == [__file__]


def test_a_users_package_is_not_ours():
    namespace = {"__name__": "zoo_of_mine.models", "warn": user_warnings.warn}
    exec(compile("def load(): warn('look here')", "mine.py", "exec"), namespace)
    with pytest.warns(UserWarning, match="look here") as caught:
        namespace["load"]()
    assert [w.filename for w in caught] == ["mine.py"]


def test_python_shows_the_warnings_by_default(tmp_path):
    (tmp_path / "builders.py").write_text(
        textwrap.dedent(
            """
            from torch import nn
            from zoo_core.registry import register_model
            from zoo_core.weights import Weights, WeightsEnum

            class Mini_Weights(WeightsEnum):
                V1 = Weights(url="https://x.invalid/mini.pth", transforms=nn.Identity, meta={})

            @register_model
            def mini(*, weights: Mini_Weights | None = None, progress: bool = True) -> nn.Module:
                return nn.Identity()
            """
        )
    )
    script = tmp_path / "train.py"
    script.write_text("from builders import mini\n\nmini(pretrained=True)\nmini(None, True)\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert f"{script}:3: UserWarning: pretrained=True is deprecated; write weights=Mini_Weights.V1" in done.stderr
    assert f"{script}:4: UserWarning: positional arguments of mini() are deprecated" in done.stderr
