"""Torchvision's name for :mod:`zoo_detection.backbones`."""

from zoo_detection.backbones import BackboneWithFPN as BackboneWithFPN
from zoo_detection.backbones import mobilenet_backbone as mobilenet_backbone
from zoo_detection.backbones import resnet_fpn_backbone as resnet_fpn_backbone
