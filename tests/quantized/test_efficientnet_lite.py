"""Int8 EfficientNet-Lite0: the file that ships, photographs by it, and the form that is quantized."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo_classification
from support import reference
from tools.efficientnet_lite_parity import lively
from zoo_core import checkpoints
from zoo_core.cli import main
from zoo_core.images import open_image
from zoo_quantized import (
    EfficientNet_Lite0_QuantizedWeights,
    convert,
    efficientnet_lite0,
    prepare_qat,
    quantize_model,
)

INT8 = EfficientNet_Lite0_QuantizedWeights.IMAGENET1K_FBGEMM_V1
PHOTOGRAPHS = Path(zoo_classification.__file__).parent / "photographs"
SHOWN = {"cat": {"tiger cat", "Egyptian cat", "tabby"}, "coffee": {"espresso"}, "photographer": {"tripod"}}


@pytest.fixture(scope="module")
def int8():
    return efficientnet_lite0(weights=INT8, quantize=True)


@pytest.fixture(scope="module")
def floating():
    """The float model with parameters by which its output depends on its input."""
    model = efficientnet_lite0()
    model.load_state_dict(lively("efficientnet_lite0").state_dict())
    return model.eval()


def test_the_file():
    path = Path(checkpoints.locate(INT8.url))
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(INT8.sha256_prefix)
    assert INT8.meta["_file_size"] == round(path.stat().st_size / 2**20, 3) < 5
    floating = zoo_classification.EfficientNet_Lite0_Weights.IMAGENET1K_V1
    assert INT8.transforms.keywords == floating.transforms.keywords
    assert INT8.meta["num_params"] == floating.meta["num_params"]
    assert str(INT8.meta["unquantized"]) == str(floating)


@pytest.mark.parametrize("name", SHOWN)
def test_labels_of_photographs(int8, name):
    with torch.inference_mode():
        scores = int8(INT8.transforms()(open_image(PHOTOGRAPHS / f"{name}.jpg"))[None])[0]
    assert INT8.meta["categories"][int(scores.argmax())] in SHOWN[name]


def test_predict_a_photograph(capsys):
    assert main(["predict", "quantized_efficientnet_lite0", str(PHOTOGRAPHS / "coffee.jpg"), "--topk", "1"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("espresso")


def test_the_float_form_computes_the_same(floating):
    x = reference.image(1, 1, 3, 97, 64)
    with torch.inference_mode():
        torch.testing.assert_close(floating(x), lively("efficientnet_lite0")(x))


def test_int8_output_is_near_the_float_one(floating):
    x = reference.image(1, 4, 3, 96, 97)
    quantized = quantize_model(floating, [x])
    with torch.inference_mode():
        output, expected = quantized(x), floating(x)
        assert (output - expected).norm() < 0.25 * expected.norm()
        # No layer that cuts off at 6 gives more.
        largest = []
        for module in quantized.modules():
            if isinstance(module, torch.ao.nn.quantized.ReLU6):
                module.register_forward_hook(lambda _, __, y: largest.append(float(y.dequantize().max())))
        quantized(10 * x)
    assert len(largest) == 33
    assert max(largest) <= 6.05
    assert not any(isinstance(module, nn.BatchNorm2d | nn.Conv2d) for module in quantized.modules())


def test_through_a_file(floating, tmp_path):
    quantized = quantize_model(floating, [reference.image(1, 1, 3, 64, 64)])
    torch.save(quantized.state_dict(), tmp_path / "int8.pth")
    again = efficientnet_lite0(quantize=True)
    again.load_state_dict(torch.load(tmp_path / "int8.pth", weights_only=True))
    x = reference.image(2, 1, 3, 65, 64)
    with torch.inference_mode():
        assert torch.equal(quantized(x), again(x))


def test_training_with_rounding_errors(floating):
    model = prepare_qat(floating, backend="qnnpack")
    loss = model(reference.image(1, 2, 3, 64, 64)).square().mean()
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert convert(model)(reference.image(1, 1, 3, 64, 64)).shape == (1, 1000)


def test_the_float_weights_are_those_of_the_extra():
    with pytest.raises(TypeError, match="are float weights, and quantize=True takes"):
        efficientnet_lite0(weights=zoo_classification.EfficientNet_Lite0_Weights.DEFAULT, quantize=True)
