"""The names of torchvision.models.segmentation are in zoo_segmentation, and old calls of its builders work."""

from support import reference, torchvision_names
from zoo_core import get_model_builder

LEFT_OUT: dict[str, str] = {}


def test_names():
    torchvision_names.assert_names("torchvision.models.segmentation", "zoo_segmentation", LEFT_OUT)


def test_weights():
    torchvision_names.assert_enums("torchvision.models.segmentation", "zoo_segmentation")


def test_old_calls():
    builders = {name: get_model_builder(name) for name in reference.model_names("segmentation")}
    torchvision_names.assert_old_calls(builders)
