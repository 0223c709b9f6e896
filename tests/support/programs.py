"""Classifiers as programs of torch.export: at a batch and a size that they were not traced with."""

import functools

import torch
from torch import nn

import zoo_core
from support import reference
from support.recording import without_collection
from zoo_core.builders import without_storage

# Those whose position embeddings or partitions fix the size of the input; the others take any.
FIXED_SIZE = ("vit_", "maxvit_")

# One builder of each kind, that is, of each set of modules that a family is made of. The others of a kind have the same
# in other numbers and widths: `nox -s exports` has them.
OF_EACH_KIND = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_lite0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vit_b_32",
)


def without_init(name: str, **kwargs) -> nn.Module:
    """A builder's model whose parameters are to be filled."""
    with reference.no_random_init():
        return zoo_core.get_model_builder(name)(**reference.arguments(name) | kwargs)


def input_size(name: str) -> int:
    return 299 if name == "inception_v3" else 224


def kind(model: nn.Module) -> frozenset[type[nn.Module]]:
    """The classes of all modules of a model."""
    return frozenset(type(module) for module in model.modules())


@functools.cache
def _kinds_that_are_exported(family: str) -> set[frozenset[type[nn.Module]]]:
    of_family = [name for name in OF_EACH_KIND if zoo_core.get_model_builder(name).__module__ == family]
    with without_storage():
        return {kind(without_init(name)) for name in of_family}


def assert_of_a_kind_that_is_exported(name: str, model: nn.Module) -> None:
    """One that is exported has the same modules."""
    kinds = _kinds_that_are_exported(zoo_core.get_model_builder(name).__module__)
    assert kind(model) in kinds, f"{name} is the first of its kind: name it in OF_EACH_KIND"


def assert_exports(name: str, model: nn.Module) -> None:
    """The exported program gives the eager model's outputs for a batch, and a size, that it was not traced with."""
    fixed = name.startswith(FIXED_SIZE)
    size = input_size(name) if fixed or name == "inception_v3" else 96
    other = (size, size) if fixed else (size + 32, size + 64)
    dynamic = {0: torch.export.Dim.DYNAMIC}
    if not fixed:
        dynamic |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        with without_collection():
            program = torch.export.export(model, (reference.image(1, 2, 3, size, size),), dynamic_shapes=(dynamic,))
        exported = program.module()
        for shape in ((1, *other), (3, size, size)):
            x = reference.image(2, shape[0], 3, *shape[1:])
            torch.testing.assert_close(exported(x), model(x), rtol=1e-4, atol=1e-4)
