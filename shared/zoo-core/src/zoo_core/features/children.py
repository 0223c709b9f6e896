"""The children of a model up to the last one that is asked for."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from zoo_core.features.declared import FeatureLayers, layers_of, strided_stages


class IntermediateLayerGetter(nn.ModuleDict):
    """The children of a model up to the last one that is asked for, giving what each asked one returns.

    Children run in the order in which the model registered them, so this fits models that use each child once, one
    after the other. Children that come after the last asked one are left out, and cost neither time nor memory.

    Args:
        model: the model whose direct children run.
        return_layers: name of a child -> name under which its output is returned.

    Raises:
        ValueError: the model has no child of a name in ``return_layers``.
    """

    def __init__(self, model: nn.Module, return_layers: Mapping[str, str]) -> None:
        children = dict(model.named_children())
        missing = [name for name in return_layers if name not in children]
        if missing:
            raise ValueError(f"{type(model).__name__} has no layers {', '.join(missing)}; it has {', '.join(children)}")
        names = list(children)
        last = max((names.index(name) for name in return_layers), default=-1)
        super().__init__({name: children[name] for name in names[: last + 1]})
        declared = layers_of(model)
        stages = [] if declared is None else [s for s in declared.layers.values() if s.path.partition(".")[0] in self]
        self._declared = None if declared is None else FeatureLayers(stages, forms=declared.forms)
        self.return_layers = {str(name): str(key) for name, key in return_layers.items()}

    def feature_layers(self) -> FeatureLayers:
        return self._declared or FeatureLayers(strided_stages(self))

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """The outputs of the asked layers, by their new names, in the order in which they run."""
        outputs: OrderedDict[str, Tensor] = OrderedDict()
        for name, module in self.items():
            x = module(x)
            if name in self.return_layers:
                outputs[self.return_layers[name]] = x
        return outputs
