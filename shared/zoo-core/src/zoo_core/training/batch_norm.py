"""Batch normalisation over the batches of all processes, on CPUs too; torch's own runs on GPUs only."""

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce  # with gradients
from torch.nn import functional as F

__all__ = ["synchronized"]


def synchronized(model: nn.Module, device: torch.device) -> nn.Module:
    """A model whose batch norms see the batches of all processes.

    Args:
        model: is changed.
        device: where it is trained.
    """
    if device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, _SyncBatchNorm.of(child))
    return model


class _SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Takes mean and variance over all processes in training."""

    @classmethod
    def of(cls, norm: nn.modules.batchnorm._BatchNorm) -> "_SyncBatchNorm":
        """One with the parameters and statistics of another one: the same tensors."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta")
        made._parameters, made._buffers = norm._parameters, norm._buffers
        made.training = norm.training
        return made

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected Tensor[N, C, ...], got {input.ndim} dimensions")

    def forward(self, input: Tensor) -> Tensor:
        """Normalises Tensor[N, C, ...]."""
        self._check_input_dim(input)
        if not self.training:
            return F.batch_norm(
                input,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                self.running_mean is None,
                0,
                self.eps,
            )
        dims = [dim for dim in range(input.ndim) if dim != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        # The mean first, and the variance around it: a difference of large sums would lose digits.
        count = values.new_tensor([values.numel() / values.shape[1]])
        totals = all_reduce(torch.cat([values.sum(dims), count]))
        mean, count = totals[:-1] / totals[-1], totals[-1].detach()
        centered = values - mean.view(shape)
        variance = all_reduce(centered.square().sum(dims)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        normalized = centered * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        return normalized.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(variance.to(self.running_var.dtype), rate)
