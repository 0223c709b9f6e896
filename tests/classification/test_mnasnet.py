"""What is particular to MNASNet: state dicts of the module's first version."""

import warnings
from collections import OrderedDict

import pytest
import torch
from torch import nn

from support import reference
from zoo_classification import MNASNet, mnasnet0_5, mnasnet1_0
from zoo_classification.mnasnet import InvertedResidual
from zoo_core.checkpoints import assign_state_dict

# The stem of version 1: 32 channels, 16 after the depthwise separable convolution, whatever alpha.
STEM_OF_VERSION_1 = {
    "layers.0.weight": (32, 3, 3, 3),
    "layers.1": 32,
    "layers.3.weight": (32, 1, 3, 3),
    "layers.4": 32,
    "layers.6.weight": (16, 32, 1, 1),
    "layers.7": 16,
    "layers.8.0.layers.0.weight": (48, 16, 1, 1),
    "layers.8.0.layers.1": 48,
    "layers.8.0.layers.3.weight": (48, 1, 3, 3),
    "layers.8.0.layers.4": 48,
    "layers.8.0.layers.6.weight": (16, 48, 1, 1),
}


def old_state_dict(counters=True):
    """A state dict of mnasnet0_5 as version 1 of the module saved it, filled at random."""
    state_dict = OrderedDict(mnasnet0_5().state_dict())
    for name, shape in STEM_OF_VERSION_1.items():
        if name.endswith("weight"):
            state_dict[name] = torch.randn(shape) * 0.2
            continue
        for statistic in ("weight", "bias", "running_mean", "running_var"):
            state_dict[f"{name}.{statistic}"] = torch.rand(shape) + 0.5
    if not counters:
        state_dict = OrderedDict((k, v) for k, v in state_dict.items() if not k.endswith("num_batches_tracked"))
    return state_dict


def stem_output_of_version_1(state_dict, x):
    """The first stage's input, computed from the tensors alone."""

    def norm(name, x):
        return nn.functional.batch_norm(
            x, *(state_dict[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        )

    x = norm("layers.1", nn.functional.conv2d(x, state_dict["layers.0.weight"], stride=2, padding=1)).relu()
    x = norm("layers.4", nn.functional.conv2d(x, state_dict["layers.3.weight"], padding=1, groups=32)).relu()
    return norm("layers.7", nn.functional.conv2d(x, state_dict["layers.6.weight"]))


@pytest.mark.parametrize("has_version", [True, False], ids=["version", "plain"])
@pytest.mark.parametrize("counters", [True, False], ids=["counters", "no_counters"])
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "stream"])
def test_file_of_version_1(tmp_path, has_version, counters, is_zip):
    saved = old_state_dict(counters)
    if has_version:
        saved._metadata = OrderedDict({"": {"version": 1}})
    torch.save(saved, tmp_path / "old.pth", _use_new_zipfile_serialization=is_zip)
    loaded = torch.load(tmp_path / "old.pth", weights_only=True)

    model = mnasnet0_5().double().eval()
    with pytest.warns(UserWarning, match="version 1 of MNASNet, whose stem has 32 and 16 channels"):
        model.load_state_dict(loaded)
    for name, value in saved.items():
        assert torch.equal(model.state_dict()[name], value.double() if value.is_floating_point() else value), name
    assert not model.layers[8][0].training
    x = torch.rand(2, 3, 40, 32, dtype=torch.float64)
    expected = stem_output_of_version_1({name: value.double() for name, value in saved.items()}, x)
    torch.testing.assert_close(model.layers[:8](x), expected)
    assert model(x).shape == (2, 1000)


def test_model_of_version_1_goes_on_as_such():
    model = mnasnet0_5()
    with pytest.warns(UserWarning, match="version 1"):
        model.load_state_dict(old_state_dict())
    saved = model.state_dict()
    assert saved._metadata[""]["version"] == 1
    other = mnasnet0_5()
    with pytest.warns(UserWarning, match="version 1"):
        other.load_state_dict(saved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_state_dict(saved)
    with pytest.warns(UserWarning, match="version 2 of MNASNet, whose stem has 16 and 8 channels"):
        model.load_state_dict(mnasnet0_5().state_dict())
    assert reference.manifest_of(model) == reference.manifest("mnasnet0_5")
    assert mnasnet0_5().state_dict()._metadata[""]["version"] == 2, "other models are as they were"


def test_version_1_into_a_model_without_storage():
    """As builders load."""
    with torch.device("meta"):
        model = mnasnet0_5()
    saved = old_state_dict(counters=False)
    with pytest.warns(UserWarning, match="version 1"):
        assign_state_dict(model, saved, source="old file")
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in saved.items())
    assert model.eval()(torch.rand(1, 3, 40, 40)).shape == (1, 1000)


def test_version_1_inside_another_model():
    model = nn.Sequential(nn.Identity(), mnasnet0_5())
    with pytest.warns(UserWarning, match="version 1"):
        model.load_state_dict({f"1.{name}": value for name, value in old_state_dict().items()})
    assert model[1].layers[0].out_channels == 32


def test_version_1_of_full_width_is_as_today():
    model = mnasnet1_0()
    saved = model.state_dict()
    saved._metadata[""]["version"] = 1
    stem = model.layers[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_state_dict(saved)
        model.load_state_dict(dict(saved))
    assert model.layers[0] is stem


def test_state_dict_of_another_width_is_refused():
    model = mnasnet0_5()
    with pytest.raises(RuntimeError, match=r"size mismatch for layers\.0\.weight"):
        model.load_state_dict(dict(mnasnet1_0().state_dict()))
    assert model.layers[0].out_channels == 16


def test_unknown_version():
    saved = mnasnet0_5().state_dict()
    saved._metadata[""]["version"] = 3
    with pytest.raises(ValueError, match="versions 1 and 2, not of version 3"):
        mnasnet0_5().load_state_dict(saved)


def test_impossible_arguments():
    with pytest.raises(ValueError, match="alpha must be more than 0, not 0"):
        MNASNet(0.0)
    with pytest.raises(ValueError, match="stride of 1 or 2, not 3"):
        InvertedResidual(8, 8, 3, 3, 6)
    with pytest.raises(ValueError, match="kernel_size of 3 or 5, not 7"):
        InvertedResidual(8, 8, 7, 1, 6)
