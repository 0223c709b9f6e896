"""Quantizing float models after training, and training with the rounding errors."""

import ast
import copy
import inspect
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import zoo_classification
import zoo_quantized
from support import reference
from zoo_core.inference import optimize_for_inference
from zoo_quantized import convert, prepare_qat, quantize_model

X = reference.image(3, 2, 3, 64, 64)
FLOAT = zoo_classification.ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1
INT8 = zoo_quantized.ShuffleNet_V2_X0_5_QuantizedWeights.FASHIONMNIST_FBGEMM_V1


@pytest.fixture(scope="module")
def clothes(samples):
    """The ten sample pictures, preprocessed, and their classes."""
    preprocess = FLOAT.transforms()
    pictures = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in samples])
    names = [label.lower().replace("/", "-").replace(" ", "-") for label in FLOAT.meta["categories"]]
    return pictures, torch.tensor([names.index(path.stem) for path in samples])


def moved(pictures, classes, seed):
    """Four copies of each picture, moved by up to 3 pixels: training data of a kind."""
    generator = torch.Generator().manual_seed(seed)
    copies = [
        pictures.roll(tuple(torch.randint(-3, 4, (2,), generator=generator).tolist()), dims=(2, 3)) for _ in range(4)
    ]
    return torch.cat(copies), classes.repeat(4)


def right(model, pictures, classes):
    with torch.inference_mode():
        return int((model(pictures).argmax(1) == classes).sum())


# After training


def test_embedded_int8_weights(clothes):
    """They agree with the float model that they were made of."""
    pictures, classes = clothes
    model = zoo_quantized.shufflenet_v2_x0_5(weights=INT8, quantize=True)
    floating = zoo_quantized.shufflenet_v2_x0_5(weights=INT8.meta["unquantized"]).eval()
    assert right(model, pictures, classes) >= 9
    with torch.inference_mode():
        ours, expected = model(pictures).softmax(1), floating(pictures).softmax(1)
    assert (ours - expected).abs().max() < 0.1
    assert torch.equal(ours.argmax(1), expected.argmax(1))


def test_quantize_the_embedded_float_model(clothes):
    pictures, classes = clothes
    model = zoo_quantized.shufflenet_v2_x0_5(weights=FLOAT)
    before = copy.deepcopy(model.state_dict())
    int8 = quantize_model(model, pictures.split(4))
    assert right(int8, pictures, classes) >= 9
    assert not int8.training
    # The float model is as it was.
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_are_rounded_by_hand():
    """First convolution of ResNet: normalisation folded in, symmetric, a scale for each channel."""
    with reference.no_random_init():
        model = reference.fill_parameters(zoo_quantized.resnet18())
    int8 = quantize_model(model, [X])
    norm = model.bn1
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = (model.conv1.weight * factor[:, None, None, None]).detach()
    stored = int8.conv1.weight()
    scales = folded.abs().amax((1, 2, 3)) / 127.5
    torch.testing.assert_close(stored.q_per_channel_scales().float(), scales, rtol=1e-5, atol=0)
    assert stored.q_per_channel_zero_points().eq(0).all()
    rounded = (folded / scales[:, None, None, None]).round().clamp(-128, 127)
    # Ties may go either way.
    differing = stored.int_repr() != rounded
    assert differing.float().mean() < 1e-3
    assert (stored.int_repr() - rounded).abs().max() <= 1
    torch.testing.assert_close(int8.conv1.bias(), norm.bias - norm.running_mean * factor)


def test_ranges_are_those_of_the_data():
    """The stub at the entrance: unsigned, over the range that it saw, by 7 bits, as fbgemm's products need it."""
    with reference.no_random_init():
        model = reference.fill_parameters(zoo_quantized.resnet18())
    data = [X * 2 - 1, X * 4 - 1]
    int8 = quantize_model(model, data)
    scale, zero_point = int8.quant.scale.item(), int8.quant.zero_point.item()
    low, high = -zero_point * scale, (127 - zero_point) * scale
    assert low == pytest.approx(-1, abs=0.05)
    assert 2.2 < high <= 3.05


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return X[index % 2], index


def test_a_data_loader_for_calibration():
    torch.manual_seed(0)
    model = zoo_quantized.shufflenet_v2_x0_5(num_classes=3)
    loader = torch.utils.data.DataLoader(Pairs(), batch_size=2)
    from_loader, from_list = quantize_model(model, loader), quantize_model(model, [X, X])
    with torch.inference_mode():
        assert torch.equal(from_loader(X), from_list(X))


def test_no_data():
    with pytest.raises(ValueError, match="data is empty"):
        quantize_model(zoo_quantized.resnet18(), [])


def test_inplace():
    model = zoo_quantized.shufflenet_v2_x0_5(num_classes=3)
    assert quantize_model(model, [X], inplace=True) is model
    model = zoo_quantized.shufflenet_v2_x0_5(num_classes=3)
    assert prepare_qat(model, inplace=True) is model
    model(X)
    assert convert(model) is not model
    assert convert(model, inplace=True) is model


def test_models_that_cannot_be_quantized():
    for function in (lambda model: quantize_model(model, [X]), prepare_qat):
        with pytest.raises(TypeError, match=r"ResNet cannot be quantized: it has no fuse_model.*zoo_quantized"):
            function(zoo_classification.resnet18())


def test_models_that_are_quantized_already():
    model = zoo_quantized.shufflenet_v2_x0_5(num_classes=3)
    fused = copy.deepcopy(model).eval()
    fused.fuse_model()
    prepared, int8 = prepare_qat(model), quantize_model(model, [X])
    for function in (lambda model: quantize_model(model, [X]), prepare_qat):
        with pytest.raises(ValueError, match=r"QuantizableShuffleNetV2 is prepared already: .* convert"):
            function(prepared)
        for other in (int8, fused, optimize_for_inference(copy.deepcopy(model))):
            with pytest.raises(ValueError, match=r"no batch normalisation: it is an int8 model already, or was fused"):
                function(other)
        with pytest.raises(TypeError, match=r"parameters of torch.bfloat16; call model.float\(\)"):
            function(copy.deepcopy(model).bfloat16())


def test_what_cannot_be_converted():
    model = zoo_quantized.shufflenet_v2_x0_5(num_classes=3)
    for other in (model, quantize_model(model, [X])):
        with pytest.raises(ValueError, match=r"QuantizableShuffleNetV2 is not prepared.*prepare_qat.*quantize_model"):
            convert(other)
    prepared = prepare_qat(model)
    with pytest.raises(ValueError, match="has seen no data"):
        convert(prepared)
    prepared(X)
    with torch.inference_mode():
        assert convert(prepared)(X).shape == (2, 3)


def test_batches_that_are_no_tensors():
    with pytest.raises(TypeError, match=r"Tensor\[N, 3, H, W\], or sequences whose first element is one, not dict"):
        quantize_model(zoo_quantized.shufflenet_v2_x0_5(num_classes=3), [{"image": X}])


def test_models_are_packed_for_what_they_were_prepared_for():
    """Whatever engine another model needed meanwhile: fbgemm's products could overflow with inputs of 8 bits."""
    prepared = prepare_qat(zoo_quantized.shufflenet_v2_x0_5(num_classes=3), backend="qnnpack")
    prepared(X)
    quantize_model(zoo_quantized.shufflenet_v2_x0_5(num_classes=3), [X], backend="fbgemm")
    convert(copy.deepcopy(prepared), inplace=True)
    assert torch.backends.quantized.engine == "qnnpack"


def test_the_default_device_does_not_matter():
    """As on a machine with a GPU, where scripts set it."""
    prepared = prepare_qat(zoo_quantized.shufflenet_v2_x0_5(num_classes=3))
    prepared(X)
    with torch.device("meta"):
        models = [
            zoo_quantized.shufflenet_v2_x0_5(weights=INT8, quantize=True),
            zoo_quantized.shufflenet_v2_x0_5(num_classes=3, quantize=True),
            convert(prepared),
        ]
    with torch.inference_mode():
        for model, classes in zip(models, (10, 3, 3), strict=True):
            assert model(X).isfinite().all()
            assert model(X).shape == (2, classes)


def test_input_is_checked_before_it_is_quantized():
    int8 = quantize_model(zoo_quantized.shufflenet_v2_x0_5(num_classes=3), [X])
    with pytest.raises(ValueError, match="unsqueeze"):
        int8(X[0])
    with pytest.raises(TypeError, match="uint8"):
        int8(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


# Fusing


BUILDERS = [
    "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_large", "resnet18", "resnet50", "shufflenet_v2_x0_5",
]  # fmt: skip


@pytest.mark.parametrize("name", BUILDERS)
def test_fused_models_compute_the_same(name):
    """And no normalisation is left."""
    with reference.no_random_init():
        model = reference.fill_parameters(getattr(zoo_quantized, name)(**extra(name)))
    x = reference.image(4, 1, 3, 96, 96)
    with torch.inference_mode():
        expected = model(x)
        model.fuse_model()
        torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", BUILDERS)
def test_fused_for_training(name):
    """Normalisation stays, inside of the fused layers, and learns."""
    model = getattr(zoo_quantized, name)(num_classes=4, **extra(name))
    prepared = prepare_qat(model, backend="fbgemm")
    assert prepared.training
    x = reference.image(5, 2, 3, 299 if name == "inception_v3" else 64, 299 if name == "inception_v3" else 64)
    output = prepared(x)
    loss = sum(part.square().mean() for part in ([output] if isinstance(output, torch.Tensor) else output))
    loss.backward()
    unlearnt = [key for key, parameter in prepared.named_parameters() if parameter.grad is None]
    assert not unlearnt
    int8 = convert(prepared)
    with torch.inference_mode():
        assert int8(x).shape == (2, 4)
    assert not any(isinstance(module, nn.BatchNorm2d | nn.Conv2d) for module in int8.modules())


def extra(name):
    return {"init_weights": True} if name in ("googlenet", "inception_v3") else {}


def test_fusing_in_the_wrong_mode():
    with pytest.raises(ValueError, match=r"fuse_model\(is_qat=False\) takes a model in eval mode; call model.eval\(\)"):
        zoo_quantized.resnet18().fuse_model(is_qat=False)
    with pytest.raises(ValueError, match=r"is_qat=True\) takes a model in train mode"):
        zoo_quantized.mobilenet_v2().eval().fuse_model(is_qat=True)


# While training


def train(model, pictures, classes, steps, learning_rate):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for step in range(steps):
        x, truth = moved(pictures, classes, seed=step)
        loss = F.cross_entropy(model(x), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_go_on_training_the_embedded_model(clothes):
    pictures, classes = clothes
    model = prepare_qat(zoo_quantized.shufflenet_v2_x0_5(weights=FLOAT), backend="fbgemm")
    train(model, pictures, classes, steps=6, learning_rate=1e-4)
    int8 = convert(model)
    assert right(int8, pictures, classes) >= 9


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large"])
def test_mobilenets_learn_with_rounding_errors(name, clothes):
    """From nothing, float, then quantization-aware, to an int8 model that knows what it learnt."""
    pictures, classes = clothes
    torch.manual_seed(0)
    model = getattr(zoo_quantized, name)(num_classes=10, dropout=0.0, width_mult=0.25)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3  # statistics are to keep up with so few steps
    train(model, pictures, classes, steps=30, learning_rate=5e-3)
    prepared = prepare_qat(model)
    loss = train(prepared, pictures, classes, steps=20, learning_rate=1e-3)
    assert loss < 0.2
    int8 = convert(prepared)
    assert torch.backends.quantized.engine == "qnnpack"
    x, truth = moved(pictures, classes, seed=0)
    assert right(int8, x, truth) >= 36
    # Nearly what training computed with its fake rounding.
    with torch.inference_mode():
        expected = prepared.eval()(x)
        assert (int8(x) - expected).norm() < 0.2 * expected.norm()


# Where torch.ao is used


def test_one_file_uses_torch_ao():
    package = Path(inspect.getfile(zoo_quantized)).parent
    users = set()
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [ast.unparse(node)] if isinstance(node, ast.Attribute) else []
            if any(name.startswith(("torch.ao", "torch.quantization", "torch.nn.quantized")) for name in named):
                users.add(path.name)
    assert users == {"quantization.py"}
