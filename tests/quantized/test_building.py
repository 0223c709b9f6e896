"""What `weights`, `quantize` and the other arguments of a builder do together, and files from older years."""

import pytest
import torch
from torch import nn

import zoo_classification
import zoo_core
import zoo_quantized
from support import reference
from zoo_core.checkpoints import CheckpointError
from zoo_core.checkpoints.errors import StateDictError
from zoo_quantized import (
    Inception_V3_QuantizedWeights,
    MobileNet_V2_QuantizedWeights,
    MobileNet_V3_Large_QuantizedWeights,
    QuantizableResNet,
    ResNet18_QuantizedWeights,
    ResNet50_QuantizedWeights,
    prepare_qat,
    quantization,
    quantize_model,
)
from zoo_quantized.resnet import QuantizableBottleneck

from . import published

NAMES = reference.model_names("quantized")
X = reference.image(3, 2, 3, 64, 64)


def filled(builder, **arguments):
    with reference.no_random_init():
        return reference.fill_parameters(builder(**arguments))


@pytest.fixture(scope="module")
def resnet18():
    """An int8 ResNet-18, and what it puts out."""
    model = quantize_model(filled(zoo_quantized.resnet18), [X])
    with torch.inference_mode():
        return model, model(X)


# Files from older years


@pytest.mark.parametrize(
    ("form", "options"),
    [
        (lambda state_dict: published.with_old_linear(state_dict, "fc", version=1), {}),
        (lambda state_dict: published.with_old_linear(state_dict, "fc", version=2), {}),
        (published.without_metadata, {}),
        (lambda state_dict: state_dict, {"_use_new_zipfile_serialization": False}),
        (
            lambda state_dict: published.with_old_linear(state_dict, "fc", version=1),
            {"_use_new_zipfile_serialization": False},
        ),
        (lambda state_dict: {"model": state_dict, "epoch": 3}, {}),
    ],
    ids=["linear-1", "linear-2", "no-metadata", "stream-format", "linear-1-stream", "nested"],
)
def test_files_from_older_years(form, options, resnet18, publish):
    model, output = resnet18
    publish(ResNet18_QuantizedWeights.DEFAULT, form(model.state_dict()), **options)
    loaded = zoo_quantized.resnet18(weights="DEFAULT", quantize=True)
    with torch.inference_mode():
        assert torch.equal(loaded(X), output)
    published.assert_same(loaded.state_dict(), model.state_dict())


@pytest.fixture(scope="module")
def prepared():
    """MobileNetV3 prepared for quantization-aware training, as published, and the int8 model that it converts to."""
    torch.manual_seed(0)
    model = prepare_qat(filled(zoo_quantized.mobilenet_v3_large, num_classes=1000))
    with torch.no_grad():
        for _ in range(2):
            model(torch.rand(4, 3, 64, 64))
    converted = zoo_quantized.convert(model)
    with torch.inference_mode():
        return model.state_dict(), converted(X)


def observers_of_scale_activation(state_dict):
    return {key for key in state_dict if ".scale_activation.activation_post_process." in key}


def test_the_published_mobilenet_v3_is_prepared_for_training(prepared, publish):
    """Its 21.6 MB are float weights; they are converted when they are loaded."""
    state_dict, output = prepared
    path = publish(MobileNet_V3_Large_QuantizedWeights.DEFAULT, state_dict)
    assert path.stat().st_size / 2**20 == pytest.approx(21.554, rel=0.05)
    model = zoo_quantized.mobilenet_v3_large(weights="DEFAULT", quantize=True)
    assert torch.backends.quantized.engine == "qnnpack"
    assert not model.training
    assert published.manifest_of(model.state_dict()) == published.manifest("quantized_mobilenet_v3_large")
    with torch.inference_mode():
        assert torch.equal(model(X), output)


@pytest.mark.parametrize("has_metadata", [True, False])
def test_version_1_of_mobilenet_v3(prepared, publish, has_metadata):
    """It lacked the observer after the hard sigmoid, and its batch counters may be missing."""
    state_dict, output = prepared
    lacking = observers_of_scale_activation(state_dict)
    assert len(lacking) > 8
    counters = {key for key in state_dict if key.endswith("num_batches_tracked")}
    assert counters
    old = published.copied(state_dict, drop=lacking | counters)
    for path, facts in old._metadata.items():
        if path.endswith("block.2"):
            facts["version"] = 1
    if not has_metadata:
        del old._metadata
    publish(MobileNet_V3_Large_QuantizedWeights.DEFAULT, old)
    model = zoo_quantized.mobilenet_v3_large(weights="DEFAULT", quantize=True)
    with torch.inference_mode():
        assert torch.equal(model(X), output)


def test_version_2_of_mobilenet_v3_must_have_all_observers(prepared, publish):
    state_dict, _ = prepared
    broken = published.copied(state_dict, drop=observers_of_scale_activation(state_dict))
    publish(MobileNet_V3_Large_QuantizedWeights.DEFAULT, broken)
    with pytest.raises(StateDictError, match=r"missing from the checkpoint: .*scale_activation"):
        zoo_quantized.mobilenet_v3_large(weights="DEFAULT", quantize=True)


@pytest.mark.parametrize("has_head", [True, False])
def test_inception_with_and_without_auxiliary_head(has_head, publish):
    """The published file lacks it: 23.1 MB are too few for the parameters of both."""
    model = quantize_model(
        filled(zoo_quantized.inception_v3, transform_input=True), [reference.image(1, 1, 3, 299, 299)]
    )
    state_dict = model.state_dict()
    head = {key for key in state_dict if key.startswith("AuxLogits.")}
    file = state_dict if has_head else published.copied(state_dict, drop=head)
    publish(Inception_V3_QuantizedWeights.DEFAULT, file)
    loaded = zoo_quantized.inception_v3(weights="DEFAULT", quantize=True)
    assert loaded.transform_input
    assert (loaded.AuxLogits is not None) == loaded.aux_logits == has_head
    with torch.inference_mode():
        x = reference.image(2, 2, 3, 80, 80)
        assert torch.equal(loaded(x), model(x))
    without = zoo_quantized.inception_v3(weights="DEFAULT", quantize=True, aux_logits=False)
    assert without.AuxLogits is None


def test_googlenet_with_weights(publish):
    """The heads in the file are left out, and images are taken in ImageNet's range."""
    plain = filled(zoo_quantized.googlenet, init_weights=True, transform_input=True)
    model = quantize_model(plain, [reference.image(1, 1, 3, 64, 64)])
    weights = zoo_quantized.GoogLeNet_QuantizedWeights.DEFAULT
    publish(weights, model.state_dict())
    loaded = zoo_quantized.googlenet(weights=weights, quantize=True)
    assert loaded.aux1 is loaded.aux2 is None
    with torch.inference_mode():
        assert torch.equal(loaded(X), model(X))
    with pytest.warns(UserWarning, match="never trained") as caught:
        with_heads = zoo_quantized.googlenet(weights=weights, quantize=True, aux_logits=True)
    assert caught[0].filename == __file__
    assert with_heads.aux1 is not None
    published.assert_same(with_heads.state_dict(), model.state_dict())


# Files that do not fit


def test_a_file_of_another_model(resnet18, publish):
    model, _ = resnet18
    publish(ResNet50_QuantizedWeights.DEFAULT, model.state_dict())
    with pytest.raises(StateDictError, match=r"ResNet50_QuantizedWeights.IMAGENET1K_FBGEMM_V2 does not fit"):
        zoo_quantized.resnet50(weights="DEFAULT", quantize=True)


def test_a_float_file(publish):
    model = filled(zoo_quantized.mobilenet_v2)
    publish(MobileNet_V2_QuantizedWeights.DEFAULT, model.state_dict())
    with pytest.raises(StateDictError, match="does not fit QuantizableMobileNetV2"):
        zoo_quantized.mobilenet_v2(weights="DEFAULT", quantize=True)


def tiny_resnext(groups, num_classes=5):
    arguments = {"groups": groups, "width_per_group": 64 // groups, "num_classes": num_classes}
    return filled(QuantizableResNet, block=QuantizableBottleneck, layers=(1, 1, 1, 1), **arguments)


def test_weights_of_another_shape():
    """int8 layers would take them, and fail when they run, or not even then."""
    state_dict = quantize_model(tiny_resnext(groups=4), [X]).state_dict()
    with pytest.raises(
        StateDictError,
        match=r"hand-made does not fit QuantizableResNet:\s+4 entries of another shape: layer1.0.conv2.weight "
        r"\(checkpoint \[64, 16, 3, 3\], model \[64, 32, 3, 3\]\)",
    ):
        quantization.load_quantized(
            tiny_resnext(groups=2), state_dict, made_for="fbgemm", backend="fbgemm", source="hand-made"
        )
    with pytest.raises(StateDictError, match=r"fc.weight \(checkpoint \[5, 2048\], model \[6, 2048\]\)"):
        quantization.load_quantized(
            tiny_resnext(4, num_classes=6), state_dict, made_for="fbgemm", backend="fbgemm", source="hand-made"
        )


@pytest.mark.parametrize(
    "key", ["conv1.weight", "conv1.scale", "layer1.0.add_relu.scale", "fc._packed_params._packed_params", "quant.scale"]
)
def test_a_missing_entry(key, resnet18, publish):
    model, _ = resnet18
    publish(ResNet18_QuantizedWeights.DEFAULT, published.copied(model.state_dict(), drop={key}))
    with pytest.raises(StateDictError, match=key.rpartition("._packed_params")[0] or key):
        zoo_quantized.resnet18(weights="DEFAULT", quantize=True)


def test_an_unknown_entry(resnet18, publish):
    model, _ = resnet18
    extended = published.copied(model.state_dict(), **{"layer5.scale": torch.tensor(1.0)})
    publish(ResNet18_QuantizedWeights.DEFAULT, extended)
    with pytest.raises(StateDictError, match=r"unknown to the model: layer5\.scale"):
        zoo_quantized.resnet18(weights="DEFAULT", quantize=True)


# Which weights are meant


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quantize", [True, False])
def test_default_weights_follow_quantize(name, quantize, home):
    float_name = name.removeprefix("quantized_")
    weights = zoo_core.get_model_weights(name if quantize else float_name)["DEFAULT"]
    with pytest.raises(CheckpointError, match=weights.url.rpartition("/")[2]):
        zoo_core.get_model(name, weights="DEFAULT", quantize=quantize, progress=False)


@pytest.mark.parametrize(
    ("quantize", "file"), [({"quantize": True}, "resnet50_fbgemm_bf931d71.pth"), ({}, "resnet50-0676ba61.pth")]
)
def test_pretrained_as_torchvision_deprecated_it(quantize, file, home):
    with pytest.warns(UserWarning, match="V1"), pytest.raises(CheckpointError, match=file):
        zoo_quantized.resnet50(pretrained=True, **quantize)


def test_weights_of_the_other_form():
    floating = zoo_classification.ResNet50_Weights.IMAGENET1K_V1
    with pytest.raises(TypeError, match=r"float weights.*takes those of ResNet50_QuantizedWeights.*quantize_model"):
        zoo_quantized.resnet50(weights=floating, quantize=True)
    with pytest.raises(TypeError, match=r"int8 model.*those of ResNet50_Weights.*ResNet50_Weights.IMAGENET1K_V1"):
        zoo_quantized.resnet50(weights=ResNet50_QuantizedWeights.IMAGENET1K_FBGEMM_V1)
    with pytest.raises(TypeError, match="ResNet50_QuantizedWeights or ResNet50_Weights"):
        zoo_quantized.resnet50(weights=ResNet18_QuantizedWeights.DEFAULT)
    with pytest.raises(ValueError, match="IMAGENET1K_FBGEMM_V2"):
        zoo_quantized.resnet50(weights="IMAGENET1K_V9", quantize=True)


def test_float_weights_in_the_float_model(publish):
    """The same tensors as in zoo_classification; `new_head` too."""
    weights = zoo_classification.ResNet18_Weights.DEFAULT
    original = filled(zoo_classification.resnet18)
    publish(weights, original.state_dict())
    model = zoo_quantized.resnet18(weights=weights)
    assert model.training
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, original.state_dict()[key]), key
    with pytest.warns(UserWarning, match="new, for 3 classes"):
        tuned = zoo_quantized.resnet18(weights="IMAGENET1K_V1", num_classes=3, new_head=True)
    assert tuned.fc.out_features == 3
    assert torch.equal(tuned.conv1.weight, original.conv1.weight)


def test_arguments_that_contradict(home):
    with pytest.raises(ValueError, match="num_classes=1000, not 5"):
        zoo_quantized.resnet18(weights="DEFAULT", quantize=True, num_classes=5)
    with pytest.raises(ValueError, match=r"new_head=True: an int8 model cannot be trained.*prepare_qat"):
        zoo_quantized.resnet18(weights="DEFAULT", quantize=True, num_classes=5, new_head=True)
    with pytest.raises(TypeError, match="widht"):
        zoo_quantized.mobilenet_v2(quantize=True, widht=0.5)


def test_own_classes_there_and_back(tmp_path):
    """An int8 model without weights takes a state dict of its own shape, by torch's own means."""
    torch.manual_seed(1)
    trained = quantize_model(zoo_quantized.shufflenet_v2_x0_5(num_classes=7), [X])
    torch.save(trained.state_dict(), tmp_path / "own.pth")
    model = zoo_quantized.shufflenet_v2_x0_5(num_classes=7, quantize=True)
    assert not model.training
    with torch.inference_mode():
        assert not torch.equal(model(X), trained(X))
        model.load_state_dict(torch.load(tmp_path / "own.pth", weights_only=True))
        assert torch.equal(model(X), trained(X))


# Engines


def test_missing_engine(resnet18, publish, monkeypatch):
    model, _ = resnet18
    publish(ResNet18_QuantizedWeights.DEFAULT, model.state_dict())
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["none", "qnnpack", "onednn"])
    with pytest.raises(
        RuntimeError,
        match=r"ResNet18_QuantizedWeights.IMAGENET1K_FBGEMM_V1 needs the quantized engine fbgemm or x86.*"
        r"it has qnnpack, onednn\..*backend=.*quantize_model",
    ):
        zoo_quantized.resnet18(weights="DEFAULT", quantize=True)


def test_x86_runs_what_was_made_for_fbgemm(resnet18, publish, monkeypatch):
    model, output = resnet18
    publish(ResNet18_QuantizedWeights.DEFAULT, model.state_dict())
    if "x86" not in torch.backends.quantized.supported_engines:
        pytest.fail("this machine's torch lacks the engine x86")
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["x86"])
    loaded = zoo_quantized.resnet18(weights="DEFAULT", quantize=True)
    assert torch.backends.quantized.engine == "x86"
    with torch.inference_mode():
        assert (loaded(X) - output).norm() < 0.02 * output.norm()


@pytest.mark.parametrize("backend", ["x86", "qnnpack", "onednn"])
def test_weights_on_another_engine(backend, resnet18, publish):
    model, output = resnet18
    publish(ResNet18_QuantizedWeights.DEFAULT, model.state_dict())
    loaded = zoo_quantized.resnet18(weights="DEFAULT", quantize=True, backend=backend)
    assert torch.backends.quantized.engine == backend
    published.assert_same(loaded.state_dict(), model.state_dict())
    with torch.inference_mode():
        assert (loaded(X) - output).norm() < 0.03 * output.norm()


def test_prepared_weights_on_another_engine(prepared, publish, monkeypatch):
    """Also where their own is missing."""
    state_dict, output = prepared
    publish(MobileNet_V3_Large_QuantizedWeights.DEFAULT, state_dict)
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["onednn"])
    loaded = zoo_quantized.mobilenet_v3_large(weights="DEFAULT", quantize=True, backend="onednn")
    assert torch.backends.quantized.engine == "onednn"
    with torch.inference_mode():
        assert (loaded(X) - output).norm() < 0.1 * output.norm()


def test_weights_on_an_engine_that_would_overflow(home):
    with pytest.raises(ValueError, match=r"cannot run on fbgemm: it was quantized for qnnpack with inputs of 8 bits"):
        quantization.load_quantized(nn.Identity(), {}, made_for="qnnpack", backend="fbgemm", source="these")
    with pytest.raises(ValueError, match="backend='onednn' goes with quantize=True"):
        zoo_quantized.resnet18(backend="onednn")


def test_random_int8_model_on_another_engine():
    zoo_quantized.mobilenet_v2(quantize=True, width_mult=0.25, backend="onednn")
    assert torch.backends.quantized.engine == "onednn"


@pytest.mark.parametrize("backend", ["fbgemm", "x86", "qnnpack", "onednn"])
def test_every_backend(backend):
    model = filled(zoo_quantized.resnet18)
    with torch.inference_mode():
        expected = model(X)
        int8 = quantize_model(model, [X], backend=backend)
        assert torch.backends.quantized.engine == backend
        assert (int8(X) - expected).norm() < 0.05 * expected.norm()


def test_unknown_backend():
    with pytest.raises(ValueError, match="backend must be one of fbgemm, x86, qnnpack, onednn, not 'cuda'"):
        zoo_quantized.select_engine("cuda")


@pytest.mark.parametrize("name", ["quantized_googlenet", "quantized_resnet18", "quantized_shufflenet_v2_x0_5"])
def test_what_hooks_keep_of_a_float_model_is_not_changed(name):
    """No ReLU works in place: as in torchvision, what a normalisation gave can be looked at later."""
    kwargs = {"init_weights": False} if "googlenet" in name else {}
    model = zoo_core.get_model(name, weights=None, **kwargs).eval()
    kept = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *given: kept.append((given[2], given[2].clone())))
    with torch.no_grad():
        model(X)
    assert len(kept) > 10
    # A sum is added in place to what the last normalisation of a block of ResNet gave.
    unchanged = [torch.equal(*pair) for pair in kept]
    assert sum(unchanged) >= len(kept) - 8
    assert any(now.min() < 0 for now, _ in kept)
