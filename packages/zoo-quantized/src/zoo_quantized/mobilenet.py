"""MobileNetV2 and V3 in one module, as torchvision has them."""

from zoo_quantized.mobilenetv2 import MobileNet_V2_QuantizedWeights as MobileNet_V2_QuantizedWeights
from zoo_quantized.mobilenetv2 import QuantizableMobileNetV2 as QuantizableMobileNetV2
from zoo_quantized.mobilenetv2 import mobilenet_v2 as mobilenet_v2
from zoo_quantized.mobilenetv3 import MobileNet_V3_Large_QuantizedWeights as MobileNet_V3_Large_QuantizedWeights
from zoo_quantized.mobilenetv3 import QuantizableMobileNetV3 as QuantizableMobileNetV3
from zoo_quantized.mobilenetv3 import mobilenet_v3_large as mobilenet_v3_large
