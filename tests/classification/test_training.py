"""Training: every builder learns, fresh parameters have the reference's distributions, heads can be exchanged."""

import gc

import pytest
import torch
import torch.nn.functional as F

import zoo_classification
import zoo_core
from support import reference

NAMES = reference.model_names("classification")
INITIALISATION = reference.ASSETS / "initialisation"
# Two such models at once would not fit the memory that the tests may use: they run in one process, one after the other.
HUGE = ("regnet_y_128gf", "vit_h_14")


def train_size(name: str) -> int:
    if name.startswith(("vit_", "maxvit_")):
        return 224
    if name == "inception_v3":
        return 299  # its auxiliary head takes no less
    return 96 if name == "googlenet" or name.startswith(("alexnet", "swin")) else 64


def train_loss(model, x, y):
    """Cross-entropy over all outputs, with the same dropout and the same dropped branches each time."""
    torch.manual_seed(0)
    output = model(x)
    outputs = output if isinstance(output, tuple) else (output,)
    assert all(o.shape == (len(x), 10) for o in outputs)
    return sum(F.cross_entropy(o, y) for o in outputs)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.xdist_group("huge")] if name in HUGE else []) for name in NAMES],
)
def test_one_step_lowers_the_loss(name):
    """Gradients reach every parameter, and a small step against them does what calculus says."""
    kwargs = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    with reference.no_random_init():
        model = zoo_core.get_model_builder(name)(num_classes=10, **kwargs)
    reference.fill_parameters(model).train()
    size = train_size(name)
    x, y = reference.image(1, 2, 3, size, size), torch.tensor([3, 7])

    before = train_loss(model, x, y)
    before.backward()
    missing = [k for k, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert not missing
    without = [k for k, p in model.named_parameters() if not bool(p.grad.any())]
    # A branch that stochastic depth dropped for both pictures gets no gradient this time.
    assert len(without) <= 0.35 * len(list(model.parameters())), without
    with torch.no_grad():
        squared = sum(float(p.grad.square().sum()) for p in model.parameters())
        step = 0.02 * before.item() / squared
        for p in model.parameters():
            p.sub_(p.grad, alpha=step)
            p.grad = None
        assert train_loss(model, x, y).item() < before.item()
    del model
    gc.collect()


@pytest.mark.parametrize("name", filter(reference.has_initialisation, NAMES))
def test_fresh_parameters_are_distributed_as_the_references(name):
    torch.manual_seed(1)
    kwargs = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    reference.assert_initialised(zoo_core.get_model(name, **kwargs), name)


def publish_filled(name, publish):
    """Publishes random parameters for a model's default weights, and returns them."""
    weights = zoo_core.get_model_weights(name)["DEFAULT"]
    kwargs = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    with reference.no_random_init():
        model = zoo_core.get_model(name, **kwargs)
    state_dict = reference.fill_parameters(model).state_dict()
    publish(weights, state_dict)
    return state_dict


# One builder of each family.
FINE_TUNED = {
    "alexnet": ["classifier.6"],
    "convnext_tiny": ["classifier.2"],
    "densenet121": ["classifier"],
    "efficientnet_b0": ["classifier.1"],
    "googlenet": ["fc"],
    "inception_v3": ["AuxLogits.fc", "fc"],
    "maxvit_t": ["classifier.5"],
    "mnasnet0_5": ["classifier.1"],
    "mobilenet_v2": ["classifier.1"],
    "mobilenet_v3_small": ["classifier.3"],
    "regnet_x_400mf": ["fc"],
    "resnet18": ["fc"],
    "shufflenet_v2_x0_5": ["fc"],
    "squeezenet1_1": ["classifier.1"],
    "swin_v2_t": ["head"],
    "vgg11_bn": ["classifier.6"],
    "vit_b_32": ["heads.head"],
}


@pytest.mark.parametrize("name", FINE_TUNED)
def test_new_head_on_a_checkpoints_body(name, publish):
    published = publish_filled(name, publish)
    builder = zoo_core.get_model_builder(name)
    with pytest.raises(ValueError, match=r"expected value 1000 but got 37.*new_head=True"):
        builder(weights="DEFAULT", num_classes=37)
    with pytest.warns(UserWarning, match="37 classes") as caught:
        model = builder(weights="DEFAULT", num_classes=37, new_head=True, freeze_body=True)
    assert len([w for w in caught if "37 classes" in str(w.message)]) == 1
    head = {f"{module}." for module in FINE_TUNED[name]}
    for key, tensor in model.state_dict().items():
        assert not tensor.is_meta
        if key.startswith(tuple(head)):
            assert bool(tensor.isfinite().all())
        else:
            assert torch.equal(tensor, published[key]), key
    trainable = {key for key, p in model.named_parameters() if p.requires_grad}
    assert trainable == {key for key, _ in model.named_parameters() if key.startswith(tuple(head))}
    size = train_size(name)
    output = model.train()(reference.image(1, 2, 3, size, size))
    first = output[0] if isinstance(output, tuple) else output
    assert first.shape == (2, 37)
    first.sum().backward()


def test_new_head_of_the_checkpoints_own_size(publish):
    published = publish_filled("resnet18", publish)
    with pytest.warns(UserWarning, match="1000 classes"):
        model = zoo_classification.resnet18(weights="DEFAULT", new_head=True)
    assert torch.equal(model.conv1.weight, published["conv1.weight"])
    assert not torch.equal(model.fc.weight, published["fc.weight"])
    assert all(p.requires_grad for p in model.parameters())
