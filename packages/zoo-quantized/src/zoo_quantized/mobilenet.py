"""Both MobileNets under one name, as in torchvision: :mod:`.mobilenetv2` and :mod:`.mobilenetv3`."""

from zoo_quantized.mobilenetv2 import MobileNet_V2_QuantizedWeights, QuantizableMobileNetV2, mobilenet_v2
from zoo_quantized.mobilenetv3 import MobileNet_V3_Large_QuantizedWeights, QuantizableMobileNetV3, mobilenet_v3_large

__all__ = [
    "MobileNet_V2_QuantizedWeights",
    "MobileNet_V3_Large_QuantizedWeights",
    "QuantizableMobileNetV2",
    "QuantizableMobileNetV3",
    "mobilenet_v2",
    "mobilenet_v3_large",
]
