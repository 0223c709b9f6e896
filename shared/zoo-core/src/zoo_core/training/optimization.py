"""Optimisers, schedules of the learning rate and averages of the parameters, all of torch's, as a recipe says."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from zoo_core.training.recipes import Recipe, RecipeError

__all__ = ["apart", "average", "by_decay", "learning_rate", "make_optimizer", "make_schedule"]

_NORMS = (
    *(nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm),
    *(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm),
)
_EMBEDDINGS = ("class_token", "pos_embedding", "pos_encoding", "position_embedding", "relative_position_bias_table")


def by_decay(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters that require a gradient, in groups by their weight decay.

    What a recipe says of normalisation goes before what it says of biases, since a norm's own bias is both.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            decay: float | None = None
            if isinstance(module, _NORMS) or type(module).__name__ in ("LayerNorm2d", "FrozenBatchNorm2d"):
                decay = recipe.norm_weight_decay
            elif name == "bias" or name.endswith("_bias"):
                decay = recipe.bias_weight_decay
            elif name.startswith(_EMBEDDINGS):
                decay = recipe.transformer_embedding_decay
            groups.setdefault(recipe.weight_decay if decay is None else decay, []).append(parameter)
    return [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()]


def apart(groups: Iterable[dict[str, Any]], chosen: Iterable[nn.Parameter], factor: float) -> list[dict[str, Any]]:
    """Groups of parameters, divided so that some parameters have another rate.

    Args:
        groups: as :mod:`torch.optim` takes them.
        chosen: the parameters in question.
        factor: of their rate.
    """
    ids = {id(parameter) for parameter in chosen}
    divided = []
    for group in groups:
        for is_chosen, scale in ((False, 1.0), (True, factor)):
            parameters = [p for p in group["params"] if (id(p) in ids) is is_chosen]
            if parameters:
                divided.append({**group, "params": parameters, "lr_scale": group.get("lr_scale", 1.0) * scale})
    return divided


def learning_rate(recipe: Recipe, samples: int) -> float:
    """The rate for steps of so many samples, over all processes and accumulated batches."""
    if not recipe.lr_base_size:
        return recipe.lr
    ratio = samples / recipe.lr_base_size
    return recipe.lr * (ratio if recipe.lr_base_scale == "linear" else ratio**0.5)


def make_optimizer(recipe: Recipe, groups: Iterable[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """The optimiser of a recipe.

    Args:
        recipe: says which.
        groups: of parameters; ``lr_scale`` of a group is a factor of its rate.
        lr: the rate.

    Raises:
        ValueError: there is nothing to train.
    """
    groups = [{**group, "lr": lr * group.get("lr_scale", 1.0)} for group in groups]
    if not any(group["params"] for group in groups):
        raise ValueError("no parameter is left to train: all are frozen")
    eps: dict[str, Any] = {} if recipe.opt_eps is None else {"eps": recipe.opt_eps}
    if recipe.opt in ("sgd", "sgd_nesterov"):
        nesterov = recipe.opt == "sgd_nesterov"
        return torch.optim.SGD(groups, lr, momentum=recipe.momentum, nesterov=nesterov, fused=_can_fuse(groups))
    if recipe.opt == "rmsprop":
        return torch.optim.RMSprop(groups, lr, momentum=recipe.momentum, alpha=recipe.opt_alpha, **eps)
    if len(recipe.opt_betas) != 2:
        raise RecipeError(f"opt_betas must be two numbers, not {list(recipe.opt_betas)}")
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.opt]
    betas = (recipe.opt_betas[0], recipe.opt_betas[1])
    return kind(groups, lr, betas=betas, fused=_can_fuse(groups), **eps)


def _can_fuse(groups: Iterable[dict[str, Any]]) -> bool | None:
    """Whether torch can update all parameters in one pass; ``None`` leaves the choice to it."""
    parameters: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters) or None


def make_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> lr_scheduler.LRScheduler:
    """The schedule of a recipe, which takes a step after each of the optimiser's.

    Raises:
        RecipeError: the warm-up is longer than the training.
    """
    if recipe.lr_warmup_epochs > recipe.epochs:
        raise RecipeError(
            f"the warm-up of {recipe.lr_warmup_epochs:g} epochs is longer than the training of {recipe.epochs}; "
            f"set lr_warmup_epochs to less, such as {recipe.epochs / 5:g}"
        )

    def steps(epochs: float) -> int:
        return round(epochs * steps_per_epoch)

    total, warmup = steps(recipe.epochs), steps(recipe.lr_warmup_epochs)
    rates = [group["lr"] for group in optimizer.param_groups]
    if recipe.lr_scheduler == "onecycle":
        # Its rate falls below zero in a step that it does not have.
        share = warmup / total if warmup else 0.3
        anneal: Any = recipe.lr_anneal
        return lr_scheduler.OneCycleLR(
            optimizer, rates, max(total, 2) + 1, pct_start=share, anneal_strategy=anneal, cycle_momentum=False
        )
    rest = max(total - warmup, 1)
    # A factor an epoch, or a rare one, is spread over the steps of steplr's epochs.
    main: lr_scheduler.LRScheduler
    match recipe.lr_scheduler:
        case "steplr":
            main = lr_scheduler.StepLR(optimizer, max(steps(recipe.lr_step_size), 1), recipe.lr_gamma)
        case "multisteplr":
            # Epochs are counted from the beginning of the run, and steps of this schedule from the end of the warm-up.
            milestones = [max(steps(epoch) - warmup, 0) for epoch in recipe.lr_steps]
            main = lr_scheduler.MultiStepLR(optimizer, milestones, recipe.lr_gamma)
        case "exponentiallr":
            main = lr_scheduler.ExponentialLR(
                optimizer, recipe.lr_gamma ** (1 / (recipe.lr_step_size * steps_per_epoch))
            )
        case "cosineannealinglr":
            main = lr_scheduler.CosineAnnealingLR(optimizer, rest, recipe.lr_min)
        case "polynomiallr":
            main = lr_scheduler.PolynomialLR(optimizer, rest, recipe.lr_power)
        case _:
            main = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if not warmup:
        return main
    rise: lr_scheduler.LRScheduler
    if recipe.lr_warmup_method == "linear":
        rise = lr_scheduler.LinearLR(optimizer, max(recipe.lr_warmup_decay, 1e-8), total_iters=warmup)
    else:
        rise = lr_scheduler.ConstantLR(optimizer, max(recipe.lr_warmup_decay, 1e-8), total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, main], milestones=[warmup])


def average(model: nn.Module, recipe: Recipe) -> AveragedModel:
    """A moving average of a model's parameters and buffers, as a recipe says."""

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(list(averaged), list(current))
            return
        decay = recipe.model_ema_decay
        if recipe.model_ema_warmup:
            decay = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(list(averaged), list(current), 1 - decay)

    averaged = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return averaged.requires_grad_(False)
