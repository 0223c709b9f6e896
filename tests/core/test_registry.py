"""Models by name, and the manners that registering gives a builder."""

import warnings
from enum import auto
from typing import Any

import pytest
from torch import nn

import zoo_core
from support import toy_package
from zoo_core import catalog, registration, registry
from zoo_core.registry import (
    get_model,
    get_model_builder,
    get_model_weights,
    get_weight,
    list_models,
    register_model,
    weights_enums,
)
from zoo_core.weights import Weights, WeightsEnum


class Tiny_Weights(WeightsEnum):
    V1 = Weights(url="https://example.org/tiny-1.pth", transforms=nn.Identity, meta={"categories": ["a", "b"]})
    V2 = Weights(url="https://example.org/tiny-2.pth", transforms=nn.Identity, meta={"categories": ["a", "b"]})
    DEFAULT = V2


class Quick_Weights(WeightsEnum):
    INT8_V1 = auto()
    DEFAULT = INT8_V1


class Net(nn.Module):
    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments


@pytest.fixture
def registered(monkeypatch):
    """The registry of this process, which forgets what the test adds."""
    monkeypatch.setattr(registration, "_registered", dict(registration._registered))


@pytest.fixture
def tiny(registered):
    @register_model(name="zoo_test_tiny")
    def tiny(*, weights: Tiny_Weights | None = None, progress: bool = True, width: int = 1, **kwargs: Any) -> Net:
        """A builder that shows what it was given."""
        return Net(weights=weights, progress=progress, width=width, **kwargs)

    return tiny


@pytest.fixture
def segmenter(registered):
    @register_model
    def zoo_test_segmenter(
        *,
        weights: Tiny_Weights | None = None,
        progress: bool = True,
        num_classes: int | None = None,
        weights_backbone: Tiny_Weights | None = Tiny_Weights.V1,
    ) -> Net:
        return Net(weights=weights, weights_backbone=weights_backbone)

    return zoo_test_segmenter


@pytest.mark.parametrize("weights", [Tiny_Weights.V1, "V1", "Tiny_Weights.V1"], ids=repr)
def test_equivalent_forms_of_weights(tiny, weights):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in (tiny(weights=weights), get_model("zoo_test_tiny", weights=weights)):
            assert model.arguments == {"weights": Tiny_Weights.V1, "progress": True, "width": 1}


@pytest.mark.parametrize("weights", [Tiny_Weights.DEFAULT, "DEFAULT", "Tiny_Weights.DEFAULT", "V2"], ids=repr)
def test_equivalent_forms_of_default(tiny, weights):
    assert tiny(weights=weights, progress=False, width=3).arguments == {
        "weights": Tiny_Weights.V2,
        "progress": False,
        "width": 3,
    }


def test_no_weights(tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tiny().arguments["weights"] is None
        assert tiny(weights=None).arguments["weights"] is None


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((), {"pretrained": True}, Tiny_Weights.V1),
        ((), {"pretrained": False}, None),
        ((), {"pretrained": None}, None),
        ((), {"weights": True}, Tiny_Weights.V1),
        ((), {"weights": False}, None),
        ((), {"pretrained": "V2"}, Tiny_Weights.V2),
        ((), {"pretrained": Tiny_Weights.V2}, Tiny_Weights.V2),
        ((True,), {}, Tiny_Weights.V1),
        ((False,), {}, None),
        ((None,), {}, None),
        ((Tiny_Weights.V2,), {}, Tiny_Weights.V2),
        (("V2",), {}, Tiny_Weights.V2),
        ((True, False), {}, Tiny_Weights.V1),
        ((True,), {"progress": False}, Tiny_Weights.V1),
    ],
    ids=repr,
)
def test_deprecated_forms_work_and_warn(tiny, args, kwargs, expected):
    with pytest.warns(UserWarning, match="deprecated; write") as caught:
        model = tiny(*args, **kwargs)
    assert model.arguments["weights"] is expected
    assert model.arguments["progress"] is not (len(args) == 2 or "progress" in kwargs)
    assert all(str(w.filename) == __file__ for w in caught), "the warning points to the caller"


def test_what_the_warnings_say(tiny):
    with pytest.warns(
        UserWarning, match=r'pretrained=True is deprecated; write weights=Tiny_Weights\.V1 or weights="DEFAULT"'
    ):
        tiny(pretrained=True)
    with pytest.warns(UserWarning, match=r"pretrained=False is deprecated; write weights=None$"):
        tiny(pretrained=False)
    with pytest.warns(
        UserWarning, match=r"positional arguments of tiny\(\) are deprecated; write weights='V1', progress=False"
    ):
        tiny("V1", False)


def test_contradicting_arguments(tiny):
    with pytest.raises(TypeError, match=r"tiny\(\) got both weights and the deprecated pretrained; give weights"):
        tiny(weights=None, pretrained=True)
    with pytest.raises(TypeError, match=r"tiny\(\) got weights both by position and by name"):
        tiny(True, weights=None)
    with pytest.raises(TypeError, match=r"takes the arguments weights, progress, width by name, but 4 were given"):
        tiny(None, True, 2, 3)


def test_wrong_weights(tiny):
    with pytest.raises(ValueError, match=r"Tiny_Weights has no member 'V3'; there are V1, V2, DEFAULT"):
        tiny(weights="V3")
    with pytest.raises(ValueError, match=r"no weights 'Other_Weights\.V1'; there are Tiny_Weights\.V1, "):
        tiny(weights="Other_Weights.V1")
    with pytest.raises(TypeError, match=r"takes weights from Tiny_Weights, not Quick_Weights\.INT8_V1"):
        tiny(weights=Quick_Weights.INT8_V1)
    with pytest.raises(TypeError, match=r"must be a member of Tiny_Weights, its name or None, not 7"):
        tiny(weights=7)


def test_several_weights_arguments(segmenter):
    assert segmenter().arguments == {"weights": None, "weights_backbone": Tiny_Weights.V1}
    assert segmenter(weights="V1", weights_backbone=None).arguments == {
        "weights": Tiny_Weights.V1,
        "weights_backbone": None,
    }
    assert segmenter(weights_backbone="DEFAULT").arguments["weights_backbone"] is Tiny_Weights.V2
    with pytest.warns(UserWarning, match=r"pretrained_backbone=False is deprecated; write weights_backbone=None"):
        assert segmenter(pretrained_backbone=False).arguments["weights_backbone"] is None
    with pytest.warns(UserWarning, match=r"pretrained_backbone=True"):
        assert segmenter(pretrained_backbone=True).arguments["weights_backbone"] is Tiny_Weights.V1


def test_a_builder_of_two_enums(registered):
    """As the quantized models, whose weights depend on another argument."""

    @register_model
    def zoo_test_quick(*, weights: Quick_Weights | Tiny_Weights | None = None, quantize: bool = False) -> Net:
        return Net(weights=weights)

    assert weights_enums(zoo_test_quick) == (Quick_Weights, Tiny_Weights)
    assert get_model_weights("zoo_test_quick") is Quick_Weights
    assert zoo_test_quick(weights="INT8_V1").arguments["weights"] is Quick_Weights.INT8_V1
    assert zoo_test_quick(weights="V2").arguments["weights"] is Tiny_Weights.V2
    assert zoo_test_quick(weights="Tiny_Weights.DEFAULT").arguments["weights"] is Tiny_Weights.V2
    assert zoo_test_quick(weights=Tiny_Weights.V1).arguments["weights"] is Tiny_Weights.V1
    # Both enums have a member of that name: the builder is to choose.
    assert zoo_test_quick(weights="DEFAULT").arguments["weights"] == "DEFAULT"
    with pytest.raises(ValueError, match=r"no weights 'V9'; there are Quick_Weights\.INT8_V1, .*Tiny_Weights\.V1"):
        zoo_test_quick(weights="V9")


def test_names_under_which_builders_register(registered):
    @register_model
    def zoo_test_bare(*, weights: Tiny_Weights | None = None) -> Net:
        return Net()

    @register_model()
    def zoo_test_called(*, weights: Tiny_Weights | None = None) -> Net:
        return Net()

    @register_model("zoo_test_positional")
    def other(*, weights: Tiny_Weights | None = None) -> Net:
        return Net()

    assert get_model_builder("zoo_test_bare") is zoo_test_bare
    assert get_model_builder("ZOO_Test_Called") is zoo_test_called
    assert get_model_builder("zoo_test_positional") is other
    assert list_models(include="zoo_test_*") == ["zoo_test_bare", "zoo_test_called", "zoo_test_positional"]
    assert zoo_test_bare.__name__ == "zoo_test_bare"

    with pytest.raises(ValueError, match=r"'zoo_test_bare' is registered already, by .*; give this one another name"):

        @register_model(name="zoo_test_bare")
        def another(*, weights: Tiny_Weights | None = None) -> Net:
            return Net()


def test_a_module_may_be_run_again(registered):
    """As a notebook's cell, or importlib.reload."""
    code = "@register_model\ndef zoo_test_again(*, weights: Tiny_Weights | None = None): return Net(run=run)"
    for run in (1, 2):
        exec(code, globals() | {"run": run})
    assert get_model("zoo_test_again").arguments == {"run": 2}


def test_signature_stays_and_the_docstring_gets_the_common_arguments(tiny):
    import inspect

    assert tiny.__doc__.startswith("A builder that shows what it was given.\n\nArgs:\n    weights: ")
    assert list(inspect.signature(tiny).parameters) == ["weights", "progress", "width", "kwargs"]


def test_without_an_enum(registered):
    @register_model
    def zoo_test_plain(*, width: int = 1) -> Net:
        return Net(width=width)

    assert get_model("zoo_test_plain", width=2).arguments == {"width": 2}
    with pytest.raises(ValueError, match=r"has no parameter 'weights' annotated with a WeightsEnum"):
        get_model_weights("zoo_test_plain")


def test_get_weight_and_get_model_weights(tiny):
    assert get_weight("Tiny_Weights.V1") is Tiny_Weights.V1
    assert get_weight("Tiny_Weights.DEFAULT") is Tiny_Weights.V2
    assert get_model_weights("zoo_test_tiny") is get_model_weights(tiny) is Tiny_Weights
    for name in ("V1", "Tiny_Weights", "Tiny_Weights.", ""):
        with pytest.raises(ValueError, match=r"weights are named as in 'ResNet50_Weights\.IMAGENET1K_V1', not"):
            get_weight(name)
    with pytest.raises(
        ValueError, match=r"no installed package has the weights enum 'Tinny_Weights'; did you mean Tiny_Weights"
    ):
        get_weight("Tinny_Weights.V1")
    with pytest.raises(ValueError, match=r"Tiny_Weights has no member 'V3'; there are V1, V2, DEFAULT"):
        get_weight("Tiny_Weights.V3")
    with pytest.raises(KeyError):
        get_weight("Tiny_Weights.V3")


def test_unknown_models(tiny, monkeypatch):
    for function in (get_model, get_model_builder, get_model_weights):
        with pytest.raises(ValueError, match=r"unknown model 'zoo_test_tinny'; did you mean zoo_test_tiny"):
            function("zoo_test_tinny")
    monkeypatch.setattr(catalog, "published_models", lambda: {"zoo-elsewhere": ("elsewhere50",)})
    with pytest.raises(catalog.UnknownModelError, match=r"package that is not installed: pip install zoo-elsewhere$"):
        get_model("Elsewhere50")


def test_a_package_from_outside(tmp_path):
    toy_package.write(tmp_path)
    with toy_package.installed(tmp_path):
        assert "brightnet" in list_models()
        assert list_models(include=["bright*", "nothing*"]) == ["brightnet"]
        assert list_models(include="bright*", exclude="*net") == []
        model = get_model("BrightNet", weights="DEFAULT")
        assert model.fc.weight.tolist() == [[-10], [10]]

        import toyzoo
        from toyzoo import brightnet

        assert get_model_builder("brightnet") is brightnet.brightnet
        assert get_model_weights("brightnet") is brightnet.BrightNet_Weights
        assert get_weight("BrightNet_Weights.FILE_V1") is brightnet.BrightNet_Weights.FILE_V1
        assert list_models(toyzoo) == list_models(brightnet) == ["brightnet"]
        assert list_models(zoo_core) == []
        with pytest.raises(TypeError, match=r"takes a module first, not 'bright\*'; for a pattern write include="):
            list_models("bright*")  # type: ignore[arg-type]
        with pytest.warns(UserWarning, match=r"write weights=BrightNet_Weights\.HAND_V1"):
            assert brightnet.brightnet(pretrained=True).fc.weight.tolist() == [[-10], [10]]
    assert "brightnet" not in list_models()


def test_pretrained_stands_for_what_the_catalogue_says(tmp_path):
    toys = toy_package.write(tmp_path)
    file = toys.root / "catalog" / "brightnet.toml"
    file.write_text(file.read_text().replace('default = "HAND_V1"', 'default = "HAND_V1"\npretrained = "FILE_V1"'))
    warns = pytest.warns(UserWarning, match=r"write weights=BrightNet_Weights\.FILE_V1")
    with toy_package.installed(tmp_path), warns:
        get_model("brightnet", pretrained=True)


def test_names_at_the_top_of_zoo_core():
    for name in ("get_model", "list_models", "register_model", "get_weight", "get_model_weights", "get_model_builder"):
        assert getattr(zoo_core, name) is getattr(registry, name)
        assert name in dir(zoo_core)
    assert zoo_core.Weights is Weights
    assert zoo_core.WeightsEnum is WeightsEnum
    assert zoo_core.catalog is catalog
    with pytest.raises(AttributeError, match=r"module 'zoo_core' has no attribute 'resnet50'"):
        _ = zoo_core.resnet50
