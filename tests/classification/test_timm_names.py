"""State dicts of timm for the architectures that both have. `tools/timm_parity.py` compares the outputs, and writes the
names that are read here.
"""

import functools
import gzip
import json
import random
from collections import Counter

import pytest
import torch

import zoo_core
from support import reference
from zoo_classification.foreign import translated
from zoo_core.builders import without_storage
from zoo_core.checkpoints import StateDictError, save_safetensors
from zoo_core.specs import find

REFUSED = {"maxvit_t", "mnasnet1_3"}
ASSET = reference.ASSETS.parent / "timm_names.json.gz"
COUNTERS = "num_batches_tracked"
FILLED_IN = ("relative_position_index", "relative_coords_table")


@functools.cache
def names():
    with gzip.open(ASSET) as file:
        return json.load(file)


def built(name):
    with without_storage():
        return zoo_core.get_model(name, **({"aux_logits": False} if name == "inception_v3" else {}))


def timm_state(name, device="meta", seed=0):
    """As a file has it, in any order."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in names()[name].items():
        if key.endswith(COUNTERS):
            state[key] = torch.zeros(shape, dtype=torch.int64, device=device)
        elif device == "meta":
            state[key] = torch.empty(shape, device=device)
        else:
            state[key] = torch.rand(shape, generator=generator) * 0.1 + 0.01
    keys = list(state)
    random.Random(seed).shuffle(keys)
    return {key: state[key] for key in keys}


def translate(name, state):
    return translated(name, state, lambda: built(name), "file.pth")


NAMES = [
    name
    for name in reference.model_names("classification")
    if not name.startswith(("alexnet", "googlenet", "shufflenet", "squeezenet", *REFUSED, "regnet_y_128gf"))
]


@pytest.mark.filterwarnings("ignore:.*begins with tf_")
@pytest.mark.parametrize("name", NAMES)
def test_all_that_a_model_has_is_there(name):
    found = translate(name, timm_state(name))
    expected = built(name).state_dict()
    assert {key: tuple(value.shape) for key, value in found.items()} == {
        key: tuple(value.shape) for key, value in expected.items()
    }


# What a name of timm's means, by hand.
MEANT = {
    "convnext_tiny": {
        "stages.1.downsample.1.weight": "features.2.1.weight",
        "stages.3.blocks.2.mlp.fc2.bias": "features.7.2.block.5.bias",
        "head.norm.weight": "classifier.0.weight",
    },
    "vit_b_32": {
        "blocks.11.attn.qkv.bias": "encoder.layers.encoder_layer_11.self_attention.in_proj_bias",
        "blocks.3.mlp.fc1.weight": "encoder.layers.encoder_layer_3.mlp.0.weight",
        "norm.bias": "encoder.ln.bias",
    },
    "swin_t": {
        "layers.2.downsample.reduction.weight": "features.4.reduction.weight",
        "layers.2.blocks.5.attn.relative_position_bias_table": "features.5.5.attn.relative_position_bias_table",
    },
    "regnet_y_400mf": {
        "s3.b2.conv2.bn.running_var": "trunk_output.block3.block3-1.f.b.1.running_var",
        "s1.b1.downsample.conv.weight": "trunk_output.block1.block1-0.proj.0.weight",
        "s2.b1.se.fc1.bias": "trunk_output.block2.block2-0.f.se.fc1.bias",
    },
    "efficientnet_b0": {
        "blocks.0.0.conv_dw.weight": "features.1.0.block.0.0.weight",
        "blocks.2.1.se.conv_expand.weight": "features.3.1.block.2.fc2.weight",
        "blocks.6.0.conv_pwl.weight": "features.7.0.block.3.0.weight",
        "bn2.running_mean": "features.8.1.running_mean",
    },
    "mobilenet_v3_small": {
        "conv_head.bias": "classifier.0.bias",
        "blocks.0.0.bn2.weight": "features.1.block.2.1.weight",
        "blocks.5.0.conv.weight": "features.12.0.weight",
    },
    "mobilenet_v2": {"blocks.1.0.bn2.bias": "features.2.conv.1.1.bias", "classifier.weight": "classifier.1.weight"},
}


@pytest.mark.filterwarnings("ignore:.*begins with tf_")
@pytest.mark.parametrize("name", MEANT)
def test_each_value_is_where_it_is_meant_to_be(name):
    state = timm_state(name, "cpu")
    found = translate(name, state)
    for theirs, ours in MEANT[name].items():
        assert torch.equal(found[ours], state[theirs].view(found[ours].shape)), theirs
    # Each of the others is somewhere, once.
    sums = (
        Counter(round(float(value.double().sum()), 6) for key, value in values.items() if not skipped(key))
        for values in (state, found)
    )
    assert next(sums) == next(sums)


def skipped(key):
    return key.endswith((COUNTERS, *FILLED_IN, "running_var"))


@pytest.mark.parametrize(("name", "differs"), [("mobilenet_v3_small", True), ("mobilenet_v2", False)])
def test_variance_and_what_is_added_to_it_give_the_same(name, differs):
    state = timm_state(name, "cpu")
    path, variance = "features.0.1", state["bn1.running_var"]
    found = translate(name, state)[f"{path}.running_var"]
    eps = built(name).get_submodule(path).eps
    torch.testing.assert_close(found + eps, variance + 1e-5)
    assert (eps != 1e-5) == differs


def test_a_file_is_opened_by_the_name_of_our_model(tmp_path):
    state = timm_state("mobilenet_v3_small", "cpu")
    state["classifier.weight"], state["classifier.bias"] = torch.rand(7, 1024), torch.rand(7)
    torch.save({"state_dict": state}, tmp_path / "timm.pth")
    spec = find("mobilenet_v3_small", checkpoint=tmp_path / "timm.pth")
    assert spec.arguments == {"num_classes": 7}
    model = zoo_core.get_model("mobilenet_v3_small", checkpoint=tmp_path / "timm.pth").eval()
    assert torch.equal(model.classifier[3].weight, state["classifier.weight"])
    assert torch.equal(model.classifier[0].weight, state["conv_head.weight"].flatten(1))
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "regnet_y_400mf", "resnet18"])
def test_files_of_training_scripts(name, tmp_path):
    """Wrapped models, averages of weights, and safetensors; each for other classes than ImageNet's."""
    state = timm_state(name, "cpu")
    head = {"mobilenet_v3_small": "classifier", "regnet_y_400mf": "head.fc", "resnet18": "fc"}[name]
    state[f"{head}.weight"], state[f"{head}.bias"] = torch.rand(7, state[f"{head}.weight"].shape[1]), torch.rand(7)
    expected = translate(name, state)
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "a.pth")
    torch.save({"model": {f"_orig_mod.{key}": value for key, value in state.items()}}, tmp_path / "b.pth")
    torch.save({"state_dict_ema": state, "arch": name}, tmp_path / "c.pth")
    save_safetensors(state, tmp_path / "d.safetensors", metadata={"architecture": name})
    for file in sorted(tmp_path.iterdir()):
        spec = find(name, checkpoint=file)
        assert spec.arguments["num_classes"] == 7
        found = zoo_core.get_model(name, checkpoint=file).state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items()), file


def test_other_architectures_are_refused():
    with pytest.raises(StateDictError, match="MaxViT, whose stem, shortcuts and head differ"):
        translate("maxvit_t", timm_state("not maxvit_t"))
    with pytest.raises(StateDictError, match="parts that VisionTransformer does not have: dist_token"):
        translate("vit_b_32", timm_state("vit_b_32") | {"dist_token": torch.empty(1, 1, 768)})
    state = timm_state("mobilenet_v2")
    with pytest.raises(StateDictError, match="layers, where MobileNetV3 has"):
        translate("mobilenet_v3_small", state)


@pytest.mark.parametrize("name", ["mnasnet1_3", "regnet_x_400mf"])
def test_other_widths_do_not_fit(name, tmp_path):
    """timm's regnetx_004 is not the architecture of torchvision; its regnetx_004_tv is."""
    torch.save(timm_state(f"not {name}", "cpu"), tmp_path / "timm.pth")
    with pytest.raises(StateDictError, match="of another shape"):
        zoo_core.get_model(name, checkpoint=tmp_path / "timm.pth")


def test_padding_cannot_be_told():
    with pytest.warns(UserWarning, match="a model whose name begins with tf_ has the same, but pads"):
        translate("efficientnet_b0", timm_state("efficientnet_b0"))


def test_our_own_names_stay():
    state = built("efficientnet_b0").state_dict()
    assert translate("efficientnet_b0", state) is state
