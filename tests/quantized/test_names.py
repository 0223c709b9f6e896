"""The names of torchvision.models.quantization are in zoo_quantized, and calls of them fit, old ones too."""

from support import reference, torchvision_names
from zoo_core import get_model_builder

LEFT_OUT = {
    "googlenet.QuantizableInceptionAux": "ours is zoo_classification's, of quantizable convolutions",
    "inception.QuantizableInceptionAux": "likewise",
    "utils": "calibrates on random numbers; zoo_quantized.quantize_model takes data",
}
CALLED_OTHERWISE = {
    "shufflenetv2.QuantizableInvertedResidual.depthwise_conv": "a step of torchvision's constructor",
}


def test_names():
    torchvision_names.assert_names("torchvision.models.quantization", "zoo_quantized", LEFT_OUT)


def test_calls():
    torchvision_names.assert_calls("torchvision.models.quantization", "zoo_quantized", CALLED_OTHERWISE)


def test_weights():
    torchvision_names.assert_enums("torchvision.models.quantization", "zoo_quantized")


def test_old_calls():
    builders = {name: get_model_builder(name) for name in reference.model_names("quantized")}
    torchvision_names.assert_old_calls(builders)
