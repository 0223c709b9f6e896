"""What Swin Transformers for images and for videos have in common.

`Swin Transformer: Hierarchical Vision Transformer using Shifted Windows <https://arxiv.org/abs/2103.14030>`__
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from zoo_core.attention import pad_to
from zoo_core.layers import MLP, StochasticDepth
from zoo_core.tracing import one_node


class PatchMerging(nn.Module):
    """Joins each 2x2 neighbours, normalises, and halves the channels that this makes.

    Args:
        dim: channels C of the input.
        norm_layer: builds the normalisation for a number of channels.

    Shape:
        Tensor[..., H, W, C] -> Tensor[..., ceil(H / 2), ceil(W / 2), 2 * C]
    """

    def __init__(self, dim: int, norm_layer: Callable[..., nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.dim = dim
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(join_neighbours(x)))


@one_node
def join_neighbours(x: Tensor) -> Tensor:
    """Tensor[..., H, W, C] -> Tensor[..., ceil(H / 2), ceil(W / 2), 4 * C], after padding with zeros to even H and W.

    The four neighbours follow each other column by column:

    >>> import torch
    >>> join_neighbours(torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]))
    tensor([[[1., 3., 2., 4.]]])
    """
    height, width = x.shape[-3:-1]
    rows, columns = (height + 1) // 2, (width + 1) // 2
    x = pad_to(x, (2 * rows, 2 * columns)).unflatten(-2, (columns, 2)).unflatten(-4, (rows, 2))
    return x.transpose(-4, -3).transpose(-3, -2).flatten(-3)


class SwinTransformerBlock(nn.Module):
    """Attention in windows and MLP, each after a normalisation and with a shortcut: figure 3 (b) of the paper.

    Args:
        dim: channels C.
        num_heads: number of attention heads.
        window_size: size of a window in each dimension.
        shift_size: shift of the windows in each dimension.
        mlp_ratio: the MLP has ``mlp_ratio`` times as many channels between its layers.
        dropout: dropout probability after attention and each layer of the MLP.
        attention_dropout: dropout probability of the attention weights.
        stochastic_depth_prob: probability of attention, and of the MLP, to be left out for a sample.
        norm_layer: builds the normalisation for a number of channels.
        attn_layer: makes the attention.

    Shape:
        Tensor[N, ..., C] -> Tensor[N, ..., C], with the dimensions that the windows have between N and C.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: Sequence[int],
        shift_size: Sequence[int],
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        stochastic_depth_prob: float = 0.0,
        norm_layer: Callable[..., nn.Module] = nn.LayerNorm,
        *,
        attn_layer: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = attn_layer(
            dim, window_size, shift_size, num_heads, attention_dropout=attention_dropout, dropout=dropout
        )
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")
        self.norm2 = norm_layer(dim)
        self.mlp = MLP(dim, [int(dim * mlp_ratio), dim], activation_layer=nn.GELU, dropout=dropout)
        # How a block of its own starts, and what a seeded run draws; Swin Transformers set all of it anew.
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.stochastic_depth(self.attn(self.norm1(x)))
        return x + self.stochastic_depth(self.mlp(self.norm2(x)))
