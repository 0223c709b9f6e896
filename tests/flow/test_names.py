"""The names of torchvision.models.optical_flow are in zoo_flow, and calls of them fit, old ones too."""

from support import reference, torchvision_names
from zoo_core import get_model_builder

LEFT_OUT: dict[str, str] = {}
CALLED_OTHERWISE: dict[str, str] = {}


def test_names():
    torchvision_names.assert_names("torchvision.models.optical_flow", "zoo_flow", LEFT_OUT)


def test_calls():
    torchvision_names.assert_calls("torchvision.models.optical_flow", "zoo_flow", CALLED_OTHERWISE)


def test_weights():
    torchvision_names.assert_enums("torchvision.models.optical_flow", "zoo_flow")


def test_old_calls():
    builders = {name: get_model_builder(name) for name in reference.model_names("flow")}
    torchvision_names.assert_old_calls(builders)
