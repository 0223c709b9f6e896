"""Training: every builder learns, fresh parameters have the reference's distributions, heads can be exchanged."""

import gc

import pytest
import torch
import torch.nn.functional as F

import zoo_core
from support import reference

NAMES = reference.model_names("video")
INITIALISATION = reference.ASSETS / "initialisation"


def train_size(name: str) -> tuple[int, int, int]:
    if name.startswith("mvit_"):
        return 16, 224, 224
    return (16, 224, 224) if name == "s3d" else (4, 48, 64)


def small_model(name: str, **kwargs):
    """The builder's model; MViT for videos of 8 frames of 64x64, for which there need to be less tokens."""
    if name.startswith("mvit_"):
        kwargs |= {"spatial_size": (64, 64), "temporal_size": 8}
    with reference.no_random_init():
        model = zoo_core.get_model_builder(name)(**kwargs)
    return reference.fill_parameters(model)


def video_for(name: str, batch: int) -> torch.Tensor:
    size = (8, 64, 64) if name.startswith("mvit_") else train_size(name)
    return reference.image(1, batch, 3, *size)


def train_loss(model, x, y):
    """Cross-entropy, with the same dropout and the same dropped branches each time."""
    torch.manual_seed(0)
    output = model(x)
    assert output.shape == (len(x), 10)
    return F.cross_entropy(output, y)


@pytest.mark.parametrize("name", [*NAMES, *reference.own_names("video")])
def test_one_step_lowers_the_loss(name):
    """Gradients reach every parameter, and a small step against them does what calculus says."""
    model = small_model(name, num_classes=10).train()
    x, y = video_for(name, 2), torch.tensor([3, 7])

    before = train_loss(model, x, y)
    before.backward()
    missing = [k for k, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert not missing
    without = [k for k, p in model.named_parameters() if not bool(p.grad.any())]
    # A branch that stochastic depth dropped for both videos gets no gradient this time.
    assert len(without) <= 0.2 * len(list(model.parameters())), without
    with torch.no_grad():
        squared = sum(float(p.grad.square().sum()) for p in model.parameters())
        step = 0.02 * before.item() / squared
        for p in model.parameters():
            p.sub_(p.grad, alpha=step)
            p.grad = None
        assert train_loss(model, x, y).item() < before.item()
    del model
    gc.collect()


@pytest.mark.parametrize("name", ["swin3d_t", "mvit_v1_b", "mvit_v2_s"])
def test_stochastic_depth_drops_whole_branches_of_single_videos(name):
    """With certain dropping in the last block, its branches add nothing: output is that of the blocks before."""
    model = small_model(name, stochastic_depth_prob=1.0, num_classes=5).train()
    blocks = [m for m in model.modules() if type(m).__name__ in ("SwinTransformerBlock", "MultiscaleBlock")]
    probabilities = [block.stochastic_depth.p for block in blocks]
    assert probabilities == pytest.approx([i / (len(blocks) - 1) for i in range(len(blocks))])
    assert {block.stochastic_depth.mode for block in blocks} == {"row"}

    seen = {}
    blocks[-1].register_forward_hook(lambda module, args, output: seen.update(input=args[0], output=output))
    model(video_for(name, 1))
    output = seen["output"][0] if isinstance(seen["output"], tuple) else seen["output"]
    assert torch.equal(seen["input"], output)


def test_dropped_branches_differ_between_videos_of_a_batch():
    model = small_model("swin3d_t", stochastic_depth_prob=0.5).train()
    torch.manual_seed(0)
    one = video_for("swin3d_t", 1)
    outputs = model(one.expand(6, -1, -1, -1, -1))
    assert len({tuple(row) for row in outputs.round(decimals=3).tolist()}) > 2


@pytest.mark.parametrize("name", filter(reference.has_initialisation, NAMES))
def test_fresh_parameters_are_distributed_as_the_references(name):
    torch.manual_seed(1)
    reference.assert_initialised(zoo_core.get_model(name), name)


def publish_filled(name, publish):
    """Publishes random parameters for a model's default weights, and returns the model."""
    weights = zoo_core.get_model_weights(name)["DEFAULT"]
    with reference.no_random_init():
        model = reference.fill_parameters(zoo_core.get_model(name))
    publish(weights, model.state_dict())
    return model


# One builder of each family.
FINE_TUNED = {"mc3_18": "fc", "mvit_v2_s": "head.1", "s3d": "classifier.1", "swin3d_t": "head"}


@pytest.mark.parametrize("name", FINE_TUNED)
def test_checkpoint_and_new_head(name, publish):
    published = publish_filled(name, publish)
    builder = zoo_core.get_model_builder(name)
    x = reference.image(1, 2, 3, *train_size(name))
    with torch.inference_mode():
        loaded = builder(weights="DEFAULT").eval()
        torch.testing.assert_close(loaded(x[:1]), published(x[:1]))
    with pytest.raises(ValueError, match=r"num_classes=400, not 37.*new_head=True"):
        builder(weights="DEFAULT", num_classes=37)

    with pytest.warns(UserWarning, match="37 classes"):
        model = builder(weights="DEFAULT", num_classes=37, new_head=True, freeze_body=True)
    head = f"{FINE_TUNED[name]}."
    for key, tensor in model.state_dict().items():
        assert not tensor.is_meta
        if not key.startswith(head):
            assert torch.equal(tensor, published.state_dict()[key]), key
    assert {key for key, p in model.named_parameters() if p.requires_grad} == {f"{head}weight", f"{head}bias"}
    output = model.train()(x)
    assert output.shape == (2, 37)
    output.sum().backward()
    assert model.get_parameter(f"{head}weight").grad.any()


@pytest.mark.parametrize("name", ["mvit_v1_b", "mvit_v2_s"])
def test_sizes_that_contradict_the_checkpoint(name):
    with pytest.raises(ValueError, match="temporal_size=16, not 32"):
        zoo_core.get_model(name, weights="DEFAULT", temporal_size=32)
    with pytest.raises(ValueError, match=r"spatial_size=\(224, 224\)"):
        zoo_core.get_model(name, weights="DEFAULT", spatial_size=(112, 112))
