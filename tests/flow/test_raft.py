"""RAFT beyond the golden outputs: training, precision, what it refuses, export and compilation."""

import pytest
import torch
from torch import nn

from flow.small_raft import pictures, small
from support.reference import image
from zoo_core.inference import optimize_for_inference
from zoo_flow import RAFT, Padding, raft_large, raft_small, sequence_loss
from zoo_flow.raft import (
    UpdateBlock,
    upsample_flow,
)

# Predictions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [raft_small, raft_large])
def test_last_only(build):
    model = build().eval()
    masks = []
    if model.mask_predictor is not None:
        model.mask_predictor.register_forward_hook(lambda *_: masks.append(1))
    with torch.inference_mode():
        every = model(*pictures(), num_flow_updates=3)
        masks.clear()
        last = model(*pictures(), num_flow_updates=3, last_only=True)
    assert [flow.shape for flow in every] == 3 * [(1, 2, 128, 136)]
    assert len(last) == 1
    torch.testing.assert_close(last[0], every[2], rtol=0, atol=0)
    assert len(masks) == (build is raft_large)


@pytest.mark.parametrize("build", [raft_small, raft_large])
def test_optimized_for_inference(build):
    model = build().eval()
    with torch.inference_mode():
        expected = model(*pictures(), num_flow_updates=3)
        optimized = optimize_for_inference(model)(*pictures(), num_flow_updates=3)
    torch.testing.assert_close(optimized, expected, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


def test_default_number_of_updates():
    with torch.inference_mode():
        assert len(small()(*pictures())) == 12


@pytest.mark.parametrize("build", [raft_small, raft_large])
def test_forms_of_correlation_agree(build):
    flows = []
    for form in ("all_pairs", "on_demand"):
        torch.manual_seed(0)
        model = build(correlation=form).eval()
        assert model.corr_block.form == form
        with torch.inference_mode():
            flows.append(model(*pictures(n=2), num_flow_updates=4)[-1])
    torch.testing.assert_close(*flows, rtol=0, atol=1e-4 * flows[0].abs().max().item())


def test_pictures_of_a_batch_do_not_mix():
    model, (first, second) = small(), pictures(n=3)
    with torch.inference_mode():
        together = model(first, second, num_flow_updates=2)[-1]
        alone = model(first[1:2], second[1:2], num_flow_updates=2)[-1]
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-4 * alone.abs().max().item())


def test_context_may_be_prepared_or_not():
    block = small().update_block
    assert isinstance(block, UpdateBlock)
    hidden, context, corr, flow = (image(i, 2, c, 16, 18) for i, c in enumerate((96, 64, 196, 2)))
    with torch.inference_mode():
        plain = block(hidden, context, corr, flow)
        prepared = block(hidden, block.prepare(context), corr, flow)
    for a, b in zip(plain, prepared, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_bilinear_upsampling():
    # A flow that grows by 1 a location from left to right: corners stay, and all is scaled by 8.
    flow = torch.arange(4.0).expand(1, 2, 3, 4)
    fine = upsample_flow(flow)
    assert fine.shape == (1, 2, 24, 32)
    torch.testing.assert_close(fine[0, 0, 5], 8 * torch.linspace(0, 3, 32))


def test_convex_upsampling_picks_neighbours():
    flow = image(0, 1, 2, 3, 4)
    mask = torch.full((1, 9, 8, 8, 3, 4), -1e4)
    mask[:, 4, :, :, :, :] = 0  # the location itself
    mask[:, 4, 2, 6] = -1e4
    mask[:, 5, 2, 6] = 0  # its right neighbour, for one of the 64 fine pixels
    fine = upsample_flow(flow, mask.flatten(1, 3))
    expected = 8 * flow.repeat_interleave(8, 2).repeat_interleave(8, 3)
    expected[:, :, 2::8, 6::8] = 8 * nn.functional.pad(flow, (0, 1))[..., 1:]
    torch.testing.assert_close(fine, expected)


# Training ------------------------------------------------------------------------------------------------------------


def test_sequence_loss_by_hand():
    target = torch.tensor([[[[3.0, 0.0]], [[4.0, 1.0]]]])  # lengths 5 and 1
    first, second = torch.zeros_like(target), target + torch.tensor([0.5, -1.0])
    # Means over two pixels and two components: 8 / 4 and 3 / 4.
    assert sequence_loss([first, second], target).item() == pytest.approx(0.8 * 2.0 + 0.75)
    assert sequence_loss([first, second], target, gamma=0.5).item() == pytest.approx(0.5 * 2.0 + 0.75)
    # The second pixel alone: 1 / 2 and 2 / 2.
    assert sequence_loss([first, second], target, max_flow=4.9).item() == pytest.approx(0.8 * 0.5 + 1.0)
    valid = torch.tensor([[[True, False]]])
    assert sequence_loss([first, second], target, valid).item() == pytest.approx(0.8 * 3.5 + 0.5)
    assert sequence_loss([first], target, torch.zeros(1, 1, 2)).item() == 0


def test_sequence_loss_ignores_what_is_unknown():
    target = torch.tensor([[[[float("nan"), 1.0, float("inf")]], [[0.0, 1.0, 0.0]]]])
    prediction = torch.zeros_like(target, requires_grad=True)
    loss = sequence_loss([prediction], target, torch.tensor([[[0, 1, 0]]]))
    assert loss.item() == pytest.approx(1.0)
    loss.backward()
    assert prediction.grad.isfinite().all()
    assert prediction.grad[..., 1].abs().min() > 0


@pytest.mark.parametrize(
    ("predictions", "valid", "words"),
    [
        ([], None, "at least one prediction"),
        ([torch.zeros(1, 2, 8, 8)], None, r"\[1, 2, 8, 8\] and \[1, 2, 4, 8\]"),
        ([torch.zeros(1, 2, 4, 8)], torch.ones(1, 1, 4, 8), r"\[1, 4, 8\], not \[1, 1, 4, 8\]"),
    ],
)
def test_sequence_loss_refuses(predictions, valid, words):
    with pytest.raises(ValueError, match=words):
        sequence_loss(predictions, torch.zeros(1, 2, 4, 8), valid)


@pytest.mark.parametrize("build", [raft_small, raft_large])
def test_every_parameter_learns(build):
    torch.manual_seed(0)
    model = build().train()
    flows = model(*pictures(n=2), num_flow_updates=2)
    sequence_loss(flows, torch.ones(2, 2, 128, 136)).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    # A bias before instance normalisation makes no difference; all else does.
    still = [name for name, p in model.named_parameters() if p.grad.abs().max() == 0]
    assert all(name.startswith("feature_encoder.") and name.endswith("bias") for name in still)


def test_no_gradient_through_the_previous_prediction():
    model = small().train()
    flows = model(*pictures(), num_flow_updates=2)
    # The last convolution reaches the second prediction once: by its own change, not by the first one.
    bias = model.update_block.flow_head.conv2.bias
    (gradient,) = torch.autograd.grad(flows[1][:, 0].mean(), bias)
    torch.testing.assert_close(gradient, torch.tensor([8.0, 0.0]))


def test_training_reduces_the_loss():
    torch.manual_seed(0)
    model = raft_small().train()
    first = nn.functional.interpolate(image(1, 2, 3, 32, 34), scale_factor=4, mode="bicubic") * 2 - 1
    second = first.roll(4, dims=3)
    target = torch.tensor([4.0, 0.0])[None, :, None, None].expand(2, 2, 128, 136)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = sequence_loss(model(first, second, num_flow_updates=2), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.7 * losses[0]


# Precision -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["all_pairs", "on_demand"])
def test_mixed_precision(form):
    model = small(correlation=form)
    expected = model(*pictures(), num_flow_updates=2)[-1].detach()
    with torch.autocast("cpu", torch.bfloat16):
        flow = model(*pictures(), num_flow_updates=2)[-1]
    assert flow.dtype == torch.float32
    assert (flow - expected).abs().max() < 0.05 * expected.abs().max()
    sequence_loss([flow], expected).backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("dtype", "flow_dtype"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
@pytest.mark.parametrize("build", [raft_small, raft_large])
def test_model_of_another_precision(build, dtype, flow_dtype):
    model = build().eval().to(dtype)
    with torch.inference_mode():
        flow = model(*[picture.to(dtype) for picture in pictures()], num_flow_updates=2)[-1]
    assert flow.dtype == flow_dtype
    assert flow.isfinite().all()


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape1", "shape2", "words"),
    [
        ((1, 3, 128, 132), None, ["multiples of 8", "128x132", "Padding"]),
        ((1, 3, 120, 128), None, ["at least 128", "120x128"]),
        ((1, 3, 128, 64), None, ["at least 128", "128x64"]),
        ((1, 3, 128, 128), (1, 3, 128, 136), ["same shape", r"\[1, 3, 128, 136\]"]),
        ((3, 128, 128), None, [r"\[3, 128, 128\]", r"Tensor\[N, 3, H, W\]"]),
        ((1, 1, 128, 128), None, [r"\[1, 1, 128, 128\]"]),
    ],
)
def test_refuses(shape1, shape2, words):
    model = small()
    for word in words:
        with pytest.raises(ValueError, match=word):
            model(torch.zeros(shape1), torch.zeros(shape2 or shape1))


def test_refuses_integers_and_no_updates():
    model, picture = small(), torch.zeros(1, 3, 128, 128)
    with pytest.raises(ValueError, match=r"floating dtype.*torch\.uint8.*transforms"):
        model(picture.to(torch.uint8), picture.to(torch.uint8))
    with pytest.raises(ValueError, match="num_flow_updates must be at least 1, not 0"):
        model(picture, picture, num_flow_updates=0)


def test_update_block_needs_its_size():
    with pytest.raises(ValueError, match="hidden_state_size"):
        raft_small(update_block=nn.Identity())


def test_parts_may_be_replaced():
    class Still(nn.Module):
        hidden_state_size = 96

        def forward(self, hidden_state, context, corr_features, flow):
            assert context.shape == (1, 64, 16, 17)
            return hidden_state, torch.ones_like(flow)

    model = raft_small(update_block=Still())
    assert isinstance(model, RAFT)
    first, second = model(*pictures(), num_flow_updates=2)
    torch.testing.assert_close(first, torch.full_like(first, 8))
    torch.testing.assert_close(second, torch.full_like(first, 16))


# Sizes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (127, 129), (128, 136), (200, 333), (37, 1000)])
def test_padding(size):
    padding = Padding(*size)
    picture = image(0, 2, 3, *size)
    padded = padding.pad(picture)
    height, width = padded.shape[-2:]
    assert height % 8 == width % 8 == 0
    assert min(height, width) >= 128
    assert height - size[0] < 8 or height == 128
    assert width - size[1] < 8 or width == 128
    torch.testing.assert_close(padding.crop(padded), picture)
    torch.testing.assert_close(padded[..., 0, 0], picture[..., 0, 0])
    torch.testing.assert_close(padded[..., -1, -1], picture[..., -1, -1])


def test_padding_refuses_nothing():
    with pytest.raises(ValueError, match="0x5"):
        Padding(0, 5)


# Export and compilation ----------------------------------------------------------------------------------------------


class Flow(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image1, image2):
        return self.model(image1, image2, num_flow_updates=2, last_only=True)[0]


@pytest.mark.parametrize(("form", "strict"), [("auto", True), ("on_demand", False)])
def test_export(form, strict):
    model = small(correlation=form)
    exported = torch.export.export(model, pictures(), {"num_flow_updates": 2}, strict=strict).module()
    other = tuple(picture.flip(3) for picture in pictures())
    with torch.inference_mode():
        expected = model(*other, num_flow_updates=2)
        result = exported(*other, num_flow_updates=2)
    assert len(result) == len(expected) == 2
    for a, b in zip(result, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * b.abs().max().item())


@pytest.mark.parametrize(("build", "form"), [(raft_large, "auto"), (raft_small, "on_demand")])
def test_export_of_any_size(build, form):
    model = Flow(build(correlation=form).eval())
    n, h, w = (
        torch.export.Dim(name, min=low, max=high) for name, low, high in (("n", 1, 8), ("h", 16, 90), ("w", 16, 90))
    )
    shape = {0: n, 2: 8 * h, 3: 8 * w}
    exported = torch.export.export(model, pictures(n=2), dynamic_shapes=(shape, shape)).module()
    other = pictures(152, 128, n=1)
    with torch.inference_mode():
        expected = model(*other)
        torch.testing.assert_close(exported(*other), expected, rtol=0, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("form", ["auto", "on_demand"])
def test_compile(form):
    model = Flow(small(correlation=form))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        expected = model(*pictures())
        torch.testing.assert_close(compiled(*pictures()), expected, rtol=0, atol=1e-4 * expected.abs().max().item())
    sequence_loss([compiled(*pictures())], expected).backward()
    assert all(p.grad is not None for p in model.parameters())
