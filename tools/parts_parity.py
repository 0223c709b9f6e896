"""Compares models that are built with parts of a user's with torchvision's, as a black box.

    python -m tools.parts_parity [PATTERN ...]        # shell patterns of cases; all by default

Normalisations, activations, blocks, stems, convolutions, attention, backbones and heads: own classes, subclasses of
ours, and torch's in other forms than the default. What torchvision builds, ours builds with the same keys, shapes and,
from the same seed, parameters; outputs and the gradients of the images are equal.
"""

import argparse
import fnmatch
import gc
from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn

from tools import model_parity, reference_values
from tools.own_parts import blocks, layers, tasks
from tools.own_parts.sides import Family, ours, theirs

TOLERANCE = 1e-4


class RefusedError(Exception):
    """torchvision cannot do it either."""


def differences(make: Callable[[Family], nn.Module], shape: tuple[int, ...]) -> dict[str, float]:
    """What differs between the two sides, as a share of the largest value.

    Raises:
        RefusedError: torchvision raises an error.
        Exception: torchvision builds and runs it, and ours does not, or has other parameters.
    """
    try:
        torch.manual_seed(3)
        expected = make(theirs)
        initial = {key: value.clone() for key, value in expected.state_dict().items()}
        _unlike(expected.double())
        start = {key: value.clone() for key, value in expected.state_dict().items()}
        wanted = [_run(expected, shape, training) for training in (False, True)]
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from error
    torch.manual_seed(3)
    found = make(ours)
    state = found.state_dict()
    shapes = [[(key, value.shape) for key, value in each.items()] for each in (state, initial)]
    assert shapes[0] == shapes[1], f"the state dicts differ: {list(state.keys() ^ initial.keys())[:4]}"
    floats = [key for key, value in initial.items() if value.is_floating_point()]
    result = {
        "initial parameters": max((float((state[key] - initial[key]).abs().max()) for key in floats), default=0.0)
    }
    found.double().load_state_dict(start)
    for training, (outputs, gradients) in zip((False, True), wanted, strict=True):
        mode = "training" if training else "eval"
        our_outputs, our_gradients = _run(found, shape, training)
        pairs = zip(our_outputs, outputs, strict=True)
        result[f"outputs in {mode}"] = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
        assert our_gradients.keys() == gradients.keys(), our_gradients.keys() ^ gradients.keys()
        largest = max(float(value.abs().max()) for value in gradients.values())
        result[f"gradients in {mode}"] = max(
            float((our_gradients[key] - value).abs().max()) / largest for key, value in gradients.items()
        )
    return result


@torch.no_grad()
def _unlike(model: nn.Module) -> None:
    """Changes vectors of parameters: biases of zero and weights of one would hide what is left out."""
    for index, (key, value) in enumerate(model.state_dict().items()):
        if value.is_floating_point() and value.dim() == 1 and "var" not in key:
            value += (torch.rand(value.shape, generator=torch.Generator().manual_seed(index)) - 0.5) * 0.3


def _run(model: nn.Module, shape: tuple[int, ...], training: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs, and what an image and the parameters get as gradients of them, in double precision.

    No element is dropped: which one is differs with the order in memory.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    image = reference_values.image(1, *shape).double().mul(2).sub(1).requires_grad_()
    torch.manual_seed(4)
    outputs = model_parity.outputs(model.train(training)(image))
    total = sum((output * (index + 1)).square().mean() for index, output in enumerate(outputs))
    wanted = {"image": image} | {key: p for key, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)  # type: ignore[arg-type]
    found = {key: gradient for key, gradient in zip(wanted, gradients, strict=True) if gradient is not None}
    return [output.detach() for output in outputs], found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    patterns = parser.parse_args().patterns or ["*"]
    failed, count, refused = [], 0, 0
    for name, make, shape in chain(layers.cases(), blocks.cases(), tasks.cases()):
        if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            continue
        count += 1
        try:
            found = differences(make, shape)
            worst = max(found.values())
            verdict = "equal" if worst <= TOLERANCE else f"DIFFERS: {found}"
            print(f"{name:60s} {worst:.1e}  {verdict}", flush=True)
        except RefusedError as refusal:
            refused += 1
            verdict = "equal"
            print(f"{name:60s} torchvision: {str(refusal)[:80]!r}", flush=True)
        except Exception as problem:
            verdict = f"DIFFERS: {type(problem).__name__}: {str(problem)[:300]}"
            print(f"{name:60s} {verdict}", flush=True)
        if verdict != "equal":
            failed.append(name)
        gc.collect()
    if failed:
        raise SystemExit(f"{len(failed)} of {count} cases differ: {', '.join(failed)}")
    print(f"{count - refused} cases are equal; torchvision raises an error in {refused} others")


if __name__ == "__main__":
    main()
