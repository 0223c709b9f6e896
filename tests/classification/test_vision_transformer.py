"""What is particular to the Vision Transformer."""

import pytest
import torch
from torch import nn

from support import reference
from zoo_classification import VisionTransformer, ViT_B_32_Weights, interpolate_embeddings, vit_b_16, vit_b_32
from zoo_classification.vision_transformer import ConvStemConfig, Encoder, MultiheadAttention


def small(image_size=32, **kwargs):
    torch.manual_seed(0)
    settings = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 12, "mlp_dim": 20, "num_classes": 5}
    return VisionTransformer(image_size, **settings | kwargs)


def filled(model):
    return reference.fill_parameters(model)


def old_spelling(state_dict):
    return {k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for k, v in state_dict.items()}


@pytest.mark.parametrize("training", [False, True])
def test_attention_is_that_of_torch(training):
    torch.manual_seed(0)
    ours = MultiheadAttention(12, 3).train(training)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).train(training)
    nn.init.normal_(ours.in_proj_bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 12, requires_grad=True)
    y, weights = ours(x, x, x, need_weights=False)
    assert weights is None
    expected, expected_weights = theirs(x, x, x)
    torch.testing.assert_close(y, expected)
    gradients = torch.autograd.grad(y.square().sum(), [x, *ours.parameters()])
    for gradient, other in zip(
        gradients, torch.autograd.grad(expected.square().sum(), [x, *theirs.parameters()]), strict=True
    ):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)

    # What torch's also does.
    z = torch.randn(2, 5, 12)
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1)
    for args, kwargs in [((x, x, x), {}), ((x, z, z), {"need_weights": False}), ((x, x, x), {"attn_mask": mask})]:
        for a, b in zip(ours(*args, **kwargs), theirs(*args, **kwargs), strict=True):
            torch.testing.assert_close(a, b)
    torch.testing.assert_close(ours(x, x, x, average_attn_weights=False)[1].mean(1), expected_weights)


def test_attention_dropout_acts_in_training_only():
    attention = MultiheadAttention(12, 3, dropout=0.5)
    x = torch.randn(2, 7, 12)
    first, second = (attention(x, x, x, need_weights=False)[0] for _ in range(2))
    assert not torch.allclose(first, second)
    attention.eval()
    assert torch.equal(attention(x, x, x, need_weights=False)[0], attention(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize("with_metadata", [False, True])
def test_old_spelling_in_a_plain_load(with_metadata):
    model, other = small(), filled(small())
    published = old_spelling(other.state_dict())
    assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in published
    if with_metadata:
        state = other.state_dict()
        for facts in state._metadata.values():
            facts["version"] = 1
        for key in list(state):
            del state[key]
        state.update(published)
        published = state
    keys = list(published)
    model.load_state_dict(published)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    assert list(published) == keys, "the caller's state dict stays as it is"


def test_published_file_in_the_old_spelling_and_format(publish):
    model = filled(vit_b_32())
    publish(ViT_B_32_Weights.DEFAULT, old_spelling(model.state_dict()), _use_new_zipfile_serialization=False)
    loaded = vit_b_32(weights="DEFAULT").eval()
    x = reference.image(3, 1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(loaded(x), model(x))


def test_image_size_is_the_checkpoints(monkeypatch):
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in vit_b_16(image_size=384).state_dict().items()}
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    monkeypatch.setattr("zoo_core.weights.Weights.get_state_dict", lambda self, **kwargs: state)
    model = vit_b_16(weights="IMAGENET1K_SWAG_E2E_V1")
    assert model.image_size == 384
    assert model.encoder.pos_embedding.shape == (1, 577, 768)
    assert vit_b_16(weights="IMAGENET1K_SWAG_E2E_V1", image_size=384).image_size == 384
    with pytest.raises(ValueError, match=r"image_size=384, not 224"):
        vit_b_16(weights="IMAGENET1K_SWAG_E2E_V1", image_size=224)
    with pytest.raises(ValueError, match=r"image_size=224, not 384"):
        vit_b_16(weights="IMAGENET1K_V1", image_size=384)


def test_tokens_are_patches_in_row_major_order():
    """The class token first, with the first position."""
    model = filled(small(patch_size=16))
    seen = []
    model.encoder.layers.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = reference.image(1, 2, 3, 32, 32)
    model(x)
    positions = model.encoder.pos_embedding[0]
    torch.testing.assert_close(seen[0][:, 0], (model.class_token[0] + positions[:1]).expand(2, -1))
    weight, bias = model.conv_proj.weight.flatten(1), model.conv_proj.bias
    for i, (row, column) in enumerate([(0, 0), (0, 16), (16, 0), (16, 16)]):
        patch = x[:, :, row : row + 16, column : column + 16].flatten(1)
        torch.testing.assert_close(seen[0][:, i + 1], patch @ weight.T + bias + positions[i + 1], rtol=1e-4, atol=1e-5)


def test_representation_layer():
    model = small(representation_size=7)
    assert [key for key in model.state_dict() if key.startswith("heads")] == [
        f"heads.{layer}.{name}" for layer in ("pre_logits", "head") for name in ("weight", "bias")
    ]
    x = reference.image(1, 2, 3, 32, 32)
    assert not bool(model(x).any()), "a fresh head says nothing"
    filled(model)
    features = []
    model.heads.register_forward_pre_hook(lambda module, args: features.append(args[0]))
    output = model(x)
    hidden = torch.tanh(features[0] @ model.heads.pre_logits.weight.T + model.heads.pre_logits.bias)
    torch.testing.assert_close(output, hidden @ model.heads.head.weight.T + model.heads.head.bias)


def test_convolutional_stem():
    stem = [ConvStemConfig(6, 3, 2), ConvStemConfig(8, 3, 4, nn.Identity, nn.GELU)]
    with pytest.raises(TypeError, match="inplace"):
        small(conv_stem_configs=stem)  # as in the reference, activations work in place
    stem = [ConvStemConfig(6, 3, 2), ConvStemConfig(8, 3, 4, nn.BatchNorm2d, nn.ReLU6)]
    model = filled(small(conv_stem_configs=stem))
    keys = [key for key in model.state_dict() if key.startswith("conv_proj") and key.endswith("weight")]
    assert keys == [
        *(f"conv_proj.conv_bn_relu_{i}.{j}.weight" for i in range(2) for j in range(2)),
        "conv_proj.conv_last.weight",
    ]
    assert model(reference.image(1, 2, 3, 32, 32)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"64 patches.*not 16.*patch_size=8"):
        small(conv_stem_configs=stem[1:])(reference.image(1, 1, 3, 32, 32))


def test_fresh_stem():
    stem = small(hidden_dim=512, conv_stem_configs=[ConvStemConfig(128, 3, 8)]).conv_proj
    assert stem.conv_last.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.03)
    assert not bool(stem.conv_last.bias.any())


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ((1, 3, 32, 40), r"32x32 pixels.*not 32x40"),
        ((1, 3, 40, 40), r"32x32 pixels.*not 40x40"),
        ((3, 32, 32), r"unsqueeze\(0\)"),
    ],
)
def test_other_images(shape, error):
    with pytest.raises(ValueError, match=error):
        small()(torch.rand(shape))


@pytest.mark.parametrize("size", [0, 4, 20, 36])
def test_image_size_of_no_whole_patches(size):
    with pytest.raises(ValueError, match=rf"multiple of patch_size=8, not {size}"):
        small(image_size=size)


def linear_kernel(distance):
    return max(0.0, 1 - abs(distance))


def cubic_kernel(distance, a=-0.75):
    """Keys' kernel, with the slope that torch and others use."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def resampling(old, new, kernel):
    """What resamples `old` points to `new` between the same ends, and repeats what is at the border: [new, old]."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        position = i * (old - 1) / (new - 1)
        for j in range(-2, old + 3):
            matrix[i, min(max(j, 0), old - 1)] += kernel(position - j)
    return matrix


@pytest.mark.parametrize(("mode", "kernel"), [("bicubic", cubic_kernel), ("bilinear", linear_kernel)])
def test_interpolated_embeddings(mode, kernel):
    state = filled(small()).state_dict()
    before = {key: value.clone() for key, value in state.items()}
    new = interpolate_embeddings(48, 8, state, interpolation_mode=mode)
    old, embedding = state["encoder.pos_embedding"], new["encoder.pos_embedding"]
    assert embedding.shape == (1, 37, 12)
    assert torch.equal(embedding[:, 0], old[:, 0])
    matrix = resampling(4, 6, kernel)
    expected = torch.einsum("ai,bj,ijc->abc", matrix, matrix, old[0, 1:].view(4, 4, 12).double())
    torch.testing.assert_close(embedding[0, 1:].view(6, 6, 12).double(), expected, rtol=1e-4, atol=1e-5)

    assert list(new) == list(state)
    for key, value in before.items():
        assert torch.equal(state[key], value), "the given state dict stays as it is"
        assert key == "encoder.pos_embedding" or torch.equal(new[key], value)
    model = small(image_size=48)
    model.load_state_dict(new)
    assert model(reference.image(1, 1, 3, 48, 48)).shape == (1, 5)


def test_embeddings_of_the_same_size_and_no_heads():
    state = filled(small(representation_size=3)).state_dict()
    same = interpolate_embeddings(32, 8, state)
    assert torch.equal(same["encoder.pos_embedding"], state["encoder.pos_embedding"])
    for image_size in (32, 64):
        headless = interpolate_embeddings(image_size, 8, state, "nearest", reset_heads=True)
        assert list(headless) == [key for key in state if not key.startswith("heads.")]
        model = small(image_size=image_size, num_classes=9)
        assert {key.partition(".")[0] for key in model.load_state_dict(headless, strict=False).missing_keys} == {
            "heads"
        }
    nearest = headless["encoder.pos_embedding"][0, 1:].view(8, 8, 12)
    old = state["encoder.pos_embedding"][0, 1:].view(4, 4, 12)
    assert torch.equal(nearest, old.repeat_interleave(2, 0).repeat_interleave(2, 1))


@pytest.mark.parametrize(
    ("shape", "image_size", "error"),
    [
        ((1, 12, 4), 32, r"not a perfect square.*11 tokens.*3 \* 3 = 9"),
        ((2, 17, 4), 32, r"Unexpected position embedding shape.*\[2, 17, 4\]"),
        ((17, 4), 32, r"Unexpected position embedding shape.*\[17, 4\]"),
        ((1, 17, 4), 33, r"multiple of patch_size=8, not 33"),
    ],
)
def test_embeddings_that_cannot_be_interpolated(shape, image_size, error):
    with pytest.raises(ValueError, match=error):
        interpolate_embeddings(image_size, 8, {"encoder.pos_embedding": torch.rand(shape)})


def test_state_dict_of_another_model():
    with pytest.raises(ValueError, match=r"encoder\.pos_embedding.*VisionTransformer"):
        interpolate_embeddings(32, 8, {"conv1.weight": torch.rand(1)})


def test_dropout():
    model = filled(small(dropout=0.5)).train()
    x = reference.image(1, 2, 3, 32, 32)
    assert not torch.allclose(model(x), model(x))
    encoder = Encoder(4, 0, 2, 8, 8, dropout=0.5, attention_dropout=0.0, norm_layer=nn.Identity)
    nn.init.ones_(encoder.pos_embedding)
    assert 0.2 < float((encoder(torch.ones(9, 4, 8)) == 0).float().mean()) < 0.8


def test_compiles_in_one_graph():
    model = filled(small())
    x = reference.image(1, 2, 3, 32, 32)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))
    compiled(x).square().sum().backward()
    assert all(bool(p.grad.any()) for p in model.parameters())
