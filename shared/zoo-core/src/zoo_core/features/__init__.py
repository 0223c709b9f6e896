"""Models as parts of something larger: feature maps, embeddings, graphs cut at any node, freezing.

:func:`features` takes maps and embeddings out of any model, by hooks and without tracing; :class:`FeatureModel` is a
module that does so. :func:`model_features` tells which stages a model has, with their channels and reductions, without
building it::

    from zoo_core.features import features, model_features

    print(model_features("convnext_tiny"))              # stage1 to stage4, 96 to 768 channels, 1/4 to 1/32
    found = features(model, images, layers=["stage2", -1, "embedding"])

:func:`create_feature_extractor` and :func:`get_graph_node_names` are torchvision's, which trace a model with torch.fx.

The names below are resolved when they are first used: what :func:`model_features` needs imports no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_core.features.children import IntermediateLayerGetter
    from zoo_core.features.declared import FeatureLayers, Layer, strided_stages
    from zoo_core.features.described import model_features
    from zoo_core.features.extracting import FeatureModel, features
    from zoo_core.features.freezing import freeze, unfreeze
    from zoo_core.features.graphs import create_feature_extractor, get_graph_node_names
    from zoo_core.features.stages import ModelFeatures, Stage

_HOMES = {
    "FeatureLayers": "declared",
    "FeatureModel": "extracting",
    "IntermediateLayerGetter": "children",
    "Layer": "declared",
    "ModelFeatures": "stages",
    "Stage": "stages",
    "create_feature_extractor": "graphs",
    "features": "extracting",
    "freeze": "freezing",
    "get_graph_node_names": "graphs",
    "model_features": "described",
    "strided_stages": "declared",
    "unfreeze": "freezing",
}

__all__ = [
    "FeatureLayers",
    "FeatureModel",
    "IntermediateLayerGetter",
    "Layer",
    "ModelFeatures",
    "Stage",
    "create_feature_extractor",
    "features",
    "freeze",
    "get_graph_node_names",
    "model_features",
    "strided_stages",
    "unfreeze",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
