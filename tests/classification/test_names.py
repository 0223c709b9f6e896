"""The names of torchvision.models are in zoo_classification, and calls of them fit, old ones too."""

from support import reference, torchvision_names
from zoo_core import get_model_builder

LEFT_OUT = {
    "feature_extraction": "its functions are in zoo_core.features",
    "maxvit.SwapAxes": "a step of torchvision's attention, which ours takes without a module",
    "maxvit.WindowDepartition": "likewise",
    "maxvit.WindowPartition": "likewise",
    "swin_transformer.shifted_window_attention": "a step of torchvision's ShiftedWindowAttention; use the module",
}
CALLED_OTHERWISE = {
    "shufflenetv2.InvertedResidual.depthwise_conv": "a step of torchvision's constructor",
    **dict.fromkeys(
        (
            f"swin_transformer.ShiftedWindowAttention{version}.define_relative_position_{what}"
            for version in ("", "V2")
            for what in ("bias_table", "index")
        ),
        "a step of torchvision's constructor",
    ),
}


def test_names():
    torchvision_names.assert_names("torchvision.models", "zoo_classification", LEFT_OUT)


def test_calls():
    torchvision_names.assert_calls("torchvision.models", "zoo_classification", CALLED_OTHERWISE)


def test_weights():
    torchvision_names.assert_enums("torchvision.models", "zoo_classification")


def test_old_calls():
    builders = {name: get_model_builder(name) for name in reference.model_names("classification")}
    # Torchvision refuses these two, whose only weights are newer than such calls.
    refused = {"regnet_y_128gf": "regnet_y_128gf_swag-c8ce3e52.pth", "vit_h_14": "vit_h_14_swag-80465313.pth"}
    torchvision_names.assert_old_calls(builders, refused)
