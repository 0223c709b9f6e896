"""The names of torchvision.models.video are in zoo_video, and old calls of its builders work."""

from support import reference, torchvision_names
from zoo_core import get_model_builder

LEFT_OUT = {
    "swin_transformer.shifted_window_attention_3d": "a step of torchvision's ShiftedWindowAttention3d; use the module",
}


def test_names():
    torchvision_names.assert_names("torchvision.models.video", "zoo_video", LEFT_OUT)


def test_weights():
    torchvision_names.assert_enums("torchvision.models.video", "zoo_video")


def test_old_calls():
    builders = {name: get_model_builder(name) for name in reference.model_names("video")}
    torchvision_names.assert_old_calls(builders)
