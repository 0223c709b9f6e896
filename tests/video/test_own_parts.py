"""Models made with blocks of somebody's own, and layers that somebody watches."""

from functools import partial

import pytest
import torch
from torch import nn

from support import recording
from zoo_core.swin import SwinTransformerBlock
from zoo_video import SwinTransformer3d
from zoo_video.swin_transformer import ShiftedWindowAttention3d


class Subclass(SwinTransformerBlock):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class Blurring(nn.Module):
    """Attention of a user's."""

    def __init__(self, dim, *_, **__):
        super().__init__()

    def forward(self, x):
        return x.mean((1, 2, 3), keepdim=True).expand_as(x)


class Alone(nn.Module):
    """A block that takes no attention."""

    def __init__(
        self,
        dim,
        num_heads,
        window_size,
        shift_size,
        mlp_ratio,
        dropout,
        attention_dropout,
        stochastic_depth_prob,
        norm_layer,
    ):
        super().__init__()
        self.norm = norm_layer(dim)

    def forward(self, x):
        return self.norm(x)


@pytest.mark.parametrize(
    ("block", "attention"),
    [
        (None, ShiftedWindowAttention3d),
        (SwinTransformerBlock, ShiftedWindowAttention3d),
        (Subclass, ShiftedWindowAttention3d),
        (partial(Subclass), ShiftedWindowAttention3d),
        (partial(Subclass, attn_layer=Blurring), Blurring),
        (Alone, None),
    ],
)
def test_blocks_get_the_attention_of_videos_unless_they_bring_their_own(block, attention):
    model = SwinTransformer3d([2, 4, 4], 8, [1, 1], [2, 2], [2, 4, 4], num_classes=3, block=block).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 4, 16, 16)).shape == (1, 3)
    assert {type(module.attn) for module in model.modules() if hasattr(module, "attn")} <= {attention}


def test_last_normalisation_of_mvit_is_shown_all_tokens():
    """Only where nobody looks is the class token normalised alone."""
    model, inputs = recording.small_model("mvit_v2_s"), recording.small_inputs("mvit_v2_s", batch=1)
    seen = []
    with torch.no_grad():
        expected = model(*inputs)
        hook = model.norm.register_forward_hook(lambda *given: seen.append(given[2].shape))
        assert torch.equal(model(*inputs), expected) or torch.allclose(model(*inputs), expected, atol=1e-5)
        hook.remove()
    assert all(len(shape) == 3 and shape[1] > 1 for shape in seen)
    assert seen
