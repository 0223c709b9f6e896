"""State dicts of other libraries for the architectures that both have, in our names.

:func:`zoo_core.specs.find` asks for them for users' files, and weights whose file has such names. Those of timm are:

================================ ============================================================================
ours                             timm's
================================ ============================================================================
``resnet*``, ``resnext*``,       the same names: ``resnet50``, ``resnext50_32x4d``, ``wide_resnet50_2``; and
``wide_resnet*``, ``densenet*``  ``densenet121``
``inception_v3``                 ``inception_v3``, which has no auxiliary head
``vgg*``                         ``vgg16``, ``vgg16_bn``, ...: its head are convolutions
``convnext_*``                   ``convnext_tiny``, ``convnext_small``, ``convnext_base``, ``convnext_large``
``vit_*``                        ``vit_base_patch16_224`` and the like, without the variants' further parts
``swin_t``, ``swin_s``, ...      ``swin_tiny_patch4_window7_224``, ...
``swin_v2_t``, ...               ``swinv2_tiny_window8_256``, ...
``regnet_x_*``, ``regnet_y_*``   ``regnetx_008``, ``regnety_004``, ..., but ``regnetx_004_tv``, ``regnety_008_tv`` and
                                 ``regnety_080_tv``: those without ``_tv`` have other widths
``efficientnet_b*``              ``efficientnet_b0``, ...
``efficientnet_lite*``           ``tf_efficientnet_lite0``, ...
``efficientnet_v2_*``            ``efficientnetv2_s``, ...
``mobilenet_v2``, ``_v3_*``      ``mobilenetv2_100``, ``mobilenetv3_large_100``, ``mobilenetv3_small_100``
``mnasnet*``                     ``mnasnet_100``, ..., but none for ``mnasnet1_3``
================================ ============================================================================

Names are translated; values are the file's, but for three kinds. Layers that are convolutions on one side and linear on
the other are reshaped. timm's batch normalisation in MobileNetV3, EfficientNet-B5 to B7 and EfficientNetV2 adds 1e-5 to
the variance, and ours the 1e-3 of the papers' code: the difference goes into the running variances, so that the sum is
the same. What timm computes anew (indices and coordinates of positions), and the bias of keys that Swin V2 does not
have, is filled in.

A file does not tell timm's ``efficientnet_b0`` from its ``tf_efficientnet_b0``, which pads as TensorFlow does and gives
other results here; a warning says so. The same goes for ``efficientnet_lite0``, where ours is the one that pads so, and
has its normalisation. Parts that ours do not have are refused.

Of efficientnet_pytorch, the names are known that it gives EfficientNet-Lite, which is the same as ours.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo_classification.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2, relative_coordinates
from zoo_core import user_warnings
from zoo_core.attention import relative_position_index
from zoo_core.checkpoints import StateDictError

__all__ = ["translated"]

_Rule = tuple[str, "str | Callable[[re.Match[str]], str]"]


def _stage(match: re.Match[str]) -> str:
    """Stages of transformers: ours alternate with what is between them."""
    return f"features.{2 * int(match[1]) + 1}.{match[2]}"


def _between(match: re.Match[str]) -> str:
    return f"features.{2 * int(match[1])}"


def _regnet_block(match: re.Match[str]) -> str:
    return f"trunk_output.block{match[1]}.block{match[1]}-{int(match[2]) - 1}"


_REGNET: list[_Rule] = [
    (r"^stem\.conv\b", "stem.0"),
    (r"^stem\.bn\b", "stem.1"),
    (r"\.conv1\.conv\b", ".f.a.0"),
    (r"\.conv1\.bn\b", ".f.a.1"),
    (r"\.conv2\.conv\b", ".f.b.0"),
    (r"\.conv2\.bn\b", ".f.b.1"),
    (r"\.conv3\.conv\b", ".f.c.0"),
    (r"\.conv3\.bn\b", ".f.c.1"),
    (r"\.se\.", ".f.se."),
    (r"\.downsample\.conv\b", ".proj.0"),
    (r"\.downsample\.bn\b", ".proj.1"),
    (r"^s(\d)\.b(\d+)\b", _regnet_block),
    (r"^head\.fc\b", "fc"),
]
_SWIN: list[_Rule] = [
    (r"^patch_embed\.proj\b", "features.0.0"),
    (r"^patch_embed\.norm\b", "features.0.2"),
    (r"^layers\.(\d)\.blocks\.(\d+)\b", _stage),
    (r"^layers\.(\d)\.downsample\b", _between),
    (r"\bmlp\.fc1\b", "mlp.0"),
    (r"\bmlp\.fc2\b", "mlp.3"),
    (r"^head\.fc\b", "head"),
]
_VIT: list[_Rule] = [
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^patch_embed\.proj\b", "conv_proj"),
    (r"^norm\b", "encoder.ln"),
    (r"^head\b", "heads.head"),
    (r"\.norm1\b", ".ln_1"),
    (r"\.norm2\b", ".ln_2"),
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.proj\b", ".self_attention.out_proj"),
    (r"\bmlp\.fc1\b", "mlp.0"),
    (r"\bmlp\.fc2\b", "mlp.3"),
    (r"^blocks\.(\d+)\b", r"encoder.layers.encoder_layer_\1"),
]
_CONVNEXT: list[_Rule] = [
    (r"^stem\.", "features.0."),
    (r"^stages\.(\d)\.blocks\.(\d+)\b", _stage),
    (r"^stages\.(\d)\.downsample\b", _between),
    (r"\.conv_dw\b", ".block.0"),
    (r"^(features.*)\.norm\b", r"\1.block.2"),
    (r"\.mlp\.fc1\b", ".block.3"),
    (r"\.mlp\.fc2\b", ".block.5"),
    (r"\.gamma$", ".layer_scale"),
    (r"^head\.norm\b", "classifier.0"),
    (r"^head\.fc\b", "classifier.2"),
]
_VGG: list[_Rule] = [
    (r"^pre_logits\.fc1\b", "classifier.0"),
    (r"^pre_logits\.fc2\b", "classifier.3"),
    (r"^head\.fc\b", "classifier.6"),
]

# Beginning of our names -> a key that only timm's file has, and how its names become ours.
_RENAMED: list[tuple[str, str, list[_Rule]]] = [
    ("regnet_", "stem.conv.weight", _REGNET),
    ("swin_", "patch_embed.proj.weight", _SWIN),
    ("vit_", "patch_embed.proj.weight", _VIT),
    ("convnext_", "stem.0.weight", _CONVNEXT),
    ("vgg", "pre_logits.fc1.weight", _VGG),
]
# Families whose layers come in the same order on both sides.
_IN_ORDER = ("efficientnet_", "mobilenet_v2", "mobilenet_v3_", "mnasnet")
_FIRST_IN_ORDER = "conv_stem.weight"
_THEIR_EPS = 1e-5
# Layers in the order in which an input passes them.
_OUTSIDE = ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "classifier")
_INVERTED = ("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3")
_FUSED = ("conv_exp", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn2")
_SEPARABLE = ("conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2")
_PLAIN = ("conv", "bn1")
# The same of efficientnet_pytorch.
_FIRST_OF_EFFICIENTNET_PYTORCH = "_conv_stem.weight"
_OUTSIDE_OF_EFFICIENTNET_PYTORCH = ("_conv_stem", "_bn0", "_blocks", "_conv_head", "_bn1", "_fc")
_BLOCK_OF_EFFICIENTNET_PYTORCH = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")


def translated(
    name: str, state_dict: Mapping[str, Any], build: Callable[[], nn.Module], source: str
) -> Mapping[str, Any]:
    """A state dict in our names, if it is another library's for the same architecture; else as it is.

    Args:
        name: of our builder.
        state_dict: values by name. It is not changed.
        build: makes the model without storage.
        source: where the values come from, for messages.

    Raises:
        zoo_core.checkpoints.StateDictError: it is another library's, and of a model that differs from ours.
    """
    if name.startswith("efficientnet_lite") and _FIRST_OF_EFFICIENTNET_PYTORCH in state_dict:
        model = build()
        found = _in_order(model, state_dict, source, _position_in_efficientnet_pytorch, "efficientnet_pytorch")
        return _fitted(model, found, source, "efficientnet_pytorch")
    if name.startswith("maxvit") and "stem.conv1.weight" in state_dict:
        raise StateDictError(
            f"{source} has timm's names of a MaxViT, whose stem, shortcuts and head differ from this model's; there is "
            "no way to load it"
        )
    for beginning, mark, rules in _RENAMED:
        if name.startswith(beginning) and mark in state_dict:
            model = build()
            return _completed(model, _fitted(model, _renamed(state_dict, rules), source))
    if name.startswith(_IN_ORDER) and _FIRST_IN_ORDER in state_dict:
        model = build()
        found = _fitted(model, _in_order(model, state_dict, source, _order(state_dict)), source)
        if name.startswith("efficientnet_lite"):
            user_warnings.warn(
                f"{source} has timm's names: it must be of tf_{name}; a model whose name begins without tf_ has the "
                "same, but pads its images otherwise, and gives worse results here"
            )
            return found
        found = _with_our_eps(model, found)
        if name.startswith("efficientnet_"):
            user_warnings.warn(
                f"{source} has timm's names: it must be of {name.replace('t_v2', 'tv2')}; a model whose name begins "
                "with tf_ has the same, but pads its images otherwise, and gives worse results here"
            )
        return found
    return state_dict


def _renamed(state_dict: Mapping[str, Any], rules: list[_Rule]) -> dict[str, Any]:
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed


def _fitted(
    model: nn.Module, state_dict: dict[str, Any], source: str, library: str = "timm"
) -> "OrderedDict[str, Any]":
    """In the model's order, with linear layers that were convolutions, and vectors that are to be maps, reshaped.

    Raises:
        StateDictError: there are values that the model has no place for.
    """
    _join_biases(state_dict)
    places = model.state_dict()
    unknown = [key for key in state_dict if key not in places]
    if unknown:
        shown = ", ".join(unknown[:6]) + (f", and {len(unknown) - 6} more" if len(unknown) > 6 else "")
        raise StateDictError(
            f"{source} has {library}'s names, and parts that {type(model).__name__} does not have: {shown}. It is of a "
            "variant with another architecture"
        )
    fitted = OrderedDict()
    for key, place in places.items():
        if key not in state_dict:
            continue
        value = state_dict[key]
        if isinstance(value, Tensor) and value.ndim != place.ndim:
            value = value.flatten(1) if value.ndim > place.ndim else value.view(-1, *[1] * (place.ndim - 1))
        fitted[key] = value
    return fitted


def _join_biases(state_dict: dict[str, Any]) -> None:
    """Swin V2 has no bias for keys; ours has a place for it that is not used."""
    for key in [key for key in state_dict if key.endswith(".q_bias")]:
        query, value = state_dict.pop(key), state_dict.pop(key.replace(".q_bias", ".v_bias"))
        state_dict[key.replace(".q_bias", ".qkv.bias")] = torch.cat((query, torch.zeros_like(query), value))


def _completed(model: nn.Module, state_dict: "OrderedDict[str, Any]") -> "OrderedDict[str, Any]":
    """With the buffers that follow from the size of windows."""
    with torch.device("cpu"):
        for path, module in model.named_modules():
            if isinstance(module, ShiftedWindowAttention):
                index = relative_position_index(module.window_size).flatten()
                state_dict.setdefault(f"{path}.relative_position_index", index)
            if isinstance(module, ShiftedWindowAttentionV2):
                state_dict.setdefault(f"{path}.relative_coords_table", relative_coordinates(module.window_size))
    return state_dict


def _in_order(
    model: nn.Module,
    state_dict: Mapping[str, Any],
    source: str,
    order: Callable[[str], tuple[int, ...]],
    library: str = "timm",
) -> dict[str, Any]:
    """Ours by the position of each layer.

    Raises:
        StateDictError: there are more layers, or fewer.
    """
    theirs = sorted(dict.fromkeys(key.rpartition(".")[0] for key in state_dict), key=order)
    ours = list(dict.fromkeys(key.rpartition(".")[0] for key in model.state_dict()))
    if len(theirs) != len(ours):
        raise StateDictError(
            f"{source} has {library}'s names, and {len(theirs)} layers, where {type(model).__name__} has {len(ours)}; "
            "it is of another model"
        )
    names = dict(zip(theirs, ours, strict=True))
    return {f"{names[path]}.{leaf}": state_dict[key] for key in state_dict for path, _, leaf in [key.rpartition(".")]}


def _order(state_dict: Mapping[str, Any]) -> Callable[[str], tuple[int, ...]]:
    kinds: dict[tuple[int, int], tuple[str, ...]] = {}
    for key in state_dict:
        if found := re.match(r"blocks\.(\d+)\.(\d+)\.(conv_pwl|conv_exp|conv_dw|conv)\.", key):
            block, kind = (int(found[1]), int(found[2])), found[3]
            order = {"conv_exp": _FUSED, "conv_pwl": _INVERTED, "conv_dw": _SEPARABLE, "conv": _PLAIN}[kind]
            rank = [_FUSED, _INVERTED, _SEPARABLE, _PLAIN]
            kinds[block] = min(kinds.get(block, _PLAIN), order, key=rank.index)

    def position(path: str) -> tuple[int, ...]:
        first, _, rest = path.partition(".")
        if first != "blocks":
            return (_OUTSIDE.index(first) if first in _OUTSIDE else len(_OUTSIDE), 0, 0, 0)
        stage, block, layer = rest.split(".", 2)
        order = kinds.get((int(stage), int(block)), _PLAIN)
        return (_OUTSIDE.index("blocks"), int(stage), int(block), order.index(layer) if layer in order else len(order))

    return position


def _position_in_efficientnet_pytorch(path: str) -> tuple[int, ...]:
    first, _, rest = path.partition(".")
    number, _, layer = rest.partition(".")
    outside, inside = _OUTSIDE_OF_EFFICIENTNET_PYTORCH, _BLOCK_OF_EFFICIENTNET_PYTORCH
    return (
        outside.index(first) if first in outside else len(outside),
        int(number) if number.isdecimal() else 0,
        inside.index(layer) if layer in inside else len(inside),
    )


def _with_our_eps(model: nn.Module, state_dict: "OrderedDict[str, Any]") -> "OrderedDict[str, Any]":
    """Running variances that give, with what our normalisation adds, what theirs give with what timm's adds."""
    for path, module in model.named_modules():
        key = f"{path}.running_var"
        if isinstance(module, nn.BatchNorm2d) and key in state_dict and module.eps != _THEIR_EPS:
            exact = state_dict[key].double() + (_THEIR_EPS - module.eps)
            state_dict[key] = exact.to(state_dict[key].dtype)
    return state_dict
