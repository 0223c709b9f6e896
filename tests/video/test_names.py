"""The names of torchvision.models.video are in zoo_video, and calls of them fit, old ones too."""

from support import reference, torchvision_names
from zoo_core import get_model_builder

LEFT_OUT = {
    "swin_transformer.shifted_window_attention_3d": "a step of torchvision's ShiftedWindowAttention3d; use the module",
}
CALLED_OTHERWISE = {
    "mvit.MultiscaleAttention.forward": "says size where torchvision says thw",
    "mvit.MultiscaleBlock.forward": "likewise",
    "mvit.Pool": "has no activation, and no normalisation before pooling: no model has",
    "mvit.Pool.forward": "says size where torchvision says thw",
    "swin_transformer.ShiftedWindowAttention3d.define_relative_position_bias_table": "a step of its constructor",
    "swin_transformer.ShiftedWindowAttention3d.define_relative_position_index": "likewise",
}


def test_names():
    torchvision_names.assert_names("torchvision.models.video", "zoo_video", LEFT_OUT)


def test_calls():
    torchvision_names.assert_calls("torchvision.models.video", "zoo_video", CALLED_OTHERWISE)


def test_weights():
    torchvision_names.assert_enums("torchvision.models.video", "zoo_video")


def test_old_calls():
    builders = {name: get_model_builder(name) for name in reference.model_names("video")}
    torchvision_names.assert_old_calls(builders)
