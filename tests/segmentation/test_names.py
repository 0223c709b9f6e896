"""The names of torchvision.models.segmentation are in zoo_segmentation, and calls of them fit, old ones too."""

from support import reference, torchvision_names
from zoo_core import get_model_builder

LEFT_OUT: dict[str, str] = {}
CALLED_OTHERWISE: dict[str, str] = {}


def test_names():
    torchvision_names.assert_names("torchvision.models.segmentation", "zoo_segmentation", LEFT_OUT)


def test_calls():
    torchvision_names.assert_calls("torchvision.models.segmentation", "zoo_segmentation", CALLED_OTHERWISE)


def test_weights():
    torchvision_names.assert_enums("torchvision.models.segmentation", "zoo_segmentation")


def test_old_calls():
    builders = {name: get_model_builder(name) for name in reference.model_names("segmentation")}
    torchvision_names.assert_old_calls(builders)
