"""The names of torchvision.models.quantization are in zoo_quantized, and old calls of its builders work."""

from support import reference, torchvision_names
from zoo_core import get_model_builder

LEFT_OUT = {
    "googlenet.QuantizableInceptionAux": "ours is zoo_classification's, of quantizable convolutions",
    "inception.QuantizableInceptionAux": "likewise",
    "utils": "calibrates on random numbers; zoo_quantized.quantize_model takes data",
}


def test_names():
    torchvision_names.assert_names("torchvision.models.quantization", "zoo_quantized", LEFT_OUT)


def test_weights():
    torchvision_names.assert_enums("torchvision.models.quantization", "zoo_quantized")


def test_old_calls():
    builders = {name: get_model_builder(name) for name in reference.model_names("quantized")}
    torchvision_names.assert_old_calls(builders)
