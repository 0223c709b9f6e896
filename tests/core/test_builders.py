"""Builders: fresh parameters, those of a checkpoint, and a checkpoint's body with a new head."""

import copy
import warnings
from enum import auto
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zoo_core import builders, registration
from zoo_core.builders import build
from zoo_core.checkpoints import StateDictError
from zoo_core.registry import register_model
from zoo_core.weights import Weights, WeightsEnum

LABELS = ["cat", "dog", "eel"]


class Net(nn.Module):
    """A body, and two heads that depend on ``num_classes``; one of them deep inside, with a normalisation."""

    def __init__(self, num_classes: int = 5, width: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.aux = nn.Sequential(nn.Linear(width, 2), nn.Dropout(dropout), nn.Sequential(nn.Linear(2, num_classes)))
        self.fc = nn.Linear(width, num_classes)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x)).mean((2, 3))
        return self.fc(x) + self.aux(x)


class Tied(nn.Module):
    """Its head shares its parameter with the embedding, and a buffer is not in the state dict."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, 2)
        self.head = nn.Linear(2, num_classes, bias=False)
        self.head.weight = self.embedding.weight


class Unlabelled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


class Passing(Net):
    """Takes ``num_classes`` through ``**kwargs``."""

    def __init__(self, extra: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def weights_of(path: Path, model: nn.Module, categories: list[str] | None = LABELS) -> WeightsEnum:
    """Weights whose file holds the state dict of a model."""
    torch.save(model.state_dict(), path)
    value = Weights(url=path.as_uri(), transforms=nn.Identity, meta={"categories": categories})

    class Net_Weights(WeightsEnum):
        V1 = value
        OTHER = auto()

    return Net_Weights.V1


@pytest.fixture
def trained():
    torch.manual_seed(0)
    net = Net(num_classes=3)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    net.norm.running_mean.uniform_()
    net.norm.num_batches_tracked.fill_(7)
    return net.eval()


@pytest.fixture
def weights(tmp_path, trained):
    return weights_of(tmp_path / "net.pth", trained)


def assert_same_state(model: nn.Module, other: nn.Module) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=0, msg=key)


def test_without_weights():
    model = build(Net, None, True, width=6)
    assert model.fc.weight.shape == (5, 6)
    assert (model.fc.weight == 0.25).all()
    assert build(Net, None, num_classes=9).fc.out_features == 9


def test_takes_the_tensors_of_the_checkpoint(weights, trained):
    model = build(Net, weights).eval()
    assert_same_state(model, trained)
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model(x), trained(x), rtol=0, atol=0)


def test_draws_nothing_at_random(weights, monkeypatch):
    state = torch.get_rng_state()
    build(Net, weights)
    assert torch.equal(torch.get_rng_state(), state), "random numbers were drawn only to be overwritten"


def test_nothing_is_left_without_storage(weights):
    model = build(Net, weights)
    for tensor in [*model.parameters(), *model.buffers()]:
        assert tensor.device == torch.device("cpu")
        assert not tensor.is_meta


def test_parameters_are_trainable_and_the_file_stays(weights, trained, tmp_path):
    content = (tmp_path / "net.pth").read_bytes()
    model = build(Net, weights)
    assert model.training
    for name, parameter in model.named_parameters():
        assert isinstance(parameter, nn.Parameter)
        assert parameter.requires_grad, name
        assert parameter.is_leaf, name
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.rand(4, 3, 8, 8)).pow(2).mean().backward()
    optimizer.step()
    assert not torch.equal(model.fc.weight, trained.fc.weight)
    with torch.no_grad():
        model.stem.weight.zero_()
    assert (tmp_path / "net.pth").read_bytes() == content
    assert_same_state(build(Net, weights).eval(), trained)
    assert_same_state(copy.deepcopy(model), model)


def test_num_classes_follows_from_the_labels(weights):
    assert build(Net, weights).fc.out_features == 3
    assert build(Net, weights, num_classes=3).fc.out_features == 3
    assert build(Net, weights, num_classes=None).fc.out_features == 3
    assert build(Passing, weights).fc.out_features == 3


def test_contradicting_num_classes(weights):
    message = r"num_classes=3, not 10.*new_head=True"
    with pytest.raises(ValueError, match=message):
        build(Net, weights, num_classes=10)
    with pytest.raises(ValueError, match=r"depth=2, not 3.*; leave the argument out"):
        builders.set_from_weights({"depth": 3}, weights, "depth", 2)


def test_weights_without_labels(tmp_path):
    weights = weights_of(tmp_path / "x.pth", Unlabelled(), categories=None)
    assert build(Unlabelled, weights).scale.tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"new_head=True: .*V1 has no classifier that could be replaced"):
        build(Unlabelled, weights, new_head=True)


def test_a_checkpoint_that_does_not_fit(weights):
    with pytest.raises(StateDictError, match=r"Net_Weights\.V1 does not fit Net") as caught:
        build(Net, weights, width=5)
    assert "fc.weight (checkpoint [3, 4], model [3, 5])" in " ".join(str(caught.value).split())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_default_dtype(weights, trained, dtype):
    torch.set_default_dtype(dtype)
    try:
        model = build(Net, weights)
        with warnings.catch_warnings(action="ignore"):
            headed = build(Net, weights, new_head=True, num_classes=2)
    finally:
        torch.set_default_dtype(torch.float32)
    for built in (model, headed):
        assert {p.dtype for p in built.parameters()} == {dtype}
    torch.testing.assert_close(model.fc.weight, trained.fc.weight.to(dtype))
    assert model.norm.num_batches_tracked.item() == 7


def test_default_device(weights, trained):
    with torch.device("cpu"):
        assert_same_state(build(Net, weights).eval(), trained)
    with torch.device("meta"):  # the only other device that every machine has
        assert {p.device.type for p in build(Net, weights).parameters()} == {"meta"}
    assert torch.get_default_device().type == "cpu"


def test_tied_parameters_stay_tied(tmp_path):
    source = Tied(3)
    model = build(Tied, weights_of(tmp_path / "tied.pth", source))
    assert model.head.weight is model.embedding.weight
    assert torch.equal(model.head.weight, source.head.weight)


# Fine-tuning


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4, 37])
def test_new_head(weights, trained, num_classes):
    with pytest.warns(
        UserWarning, match=rf"the head \(aux\.2\.0, fc\) is new, for {num_classes} classes.*until it is tr"
    ):
        model = build(Net, weights, new_head=True, num_classes=num_classes)
    for name in ("stem.weight", "stem.bias", "norm.weight", "norm.running_mean", "aux.0.weight", "aux.0.bias"):
        assert torch.equal(model.state_dict()[name], trained.state_dict()[name]), name
    for head, width in ((model.fc, 4), (model.get_submodule("aux.2.0"), 2)):
        assert head.weight.shape == (num_classes, width)
        assert (head.weight == 0.25).all(), "the family's own initialisation"
        # torch's initialisation of the bias: uniform within 1 / sqrt(width)
        assert head.bias.abs().max() <= width**-0.5
        assert head.bias.abs().min() > 0
    assert all(p.requires_grad and p.is_leaf and not p.is_meta for p in model.parameters())
    model(torch.rand(4, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_new_head_of_as_many_classes_by_default(weights, trained):
    with pytest.warns(UserWarning, match="for 3 classes"):
        model = build(Net, weights, new_head=True)
    assert model.fc.out_features == 3
    assert not torch.equal(model.fc.weight, trained.fc.weight)


def test_new_heads_are_reproducible(weights):
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        with pytest.warns(UserWarning, match="is new"):
            models.append(build(Net, weights, new_head=True, num_classes=6))
    assert_same_state(*models)


def test_freeze_body(weights):
    with pytest.warns(UserWarning, match="the body is frozen"):
        model = build(Net, weights, new_head=True, freeze_body=True, num_classes=2)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {"fc.weight", "fc.bias", "aux.2.0.weight", "aux.2.0.bias"}
    before = copy.deepcopy(model.state_dict())
    model.eval()
    model(torch.rand(4, 3, 8, 8)).pow(2).sum().backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == trainable


def test_a_head_overfits_a_few_pictures(weights):
    """What fine-tuning is for: the frozen body's features and a trained head tell three pictures apart."""
    torch.manual_seed(0)
    pictures, truth = torch.rand(3, 3, 8, 8) * torch.tensor([0.2, 1.0, 4.0]).view(3, 1, 1, 1), torch.arange(3)
    with pytest.warns(UserWarning, match="is new"):
        model = build(Net, weights, new_head=True, freeze_body=True, num_classes=3).eval()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pictures), truth).backward()
        optimizer.step()
    assert model(pictures).argmax(1).tolist() == [0, 1, 2]


def test_wrong_use_of_new_head(weights):
    with pytest.raises(ValueError, match=r"new_head=True needs weights whose body it keeps"):
        build(Net, None, new_head=True)
    with pytest.raises(ValueError, match=r"freeze_body=True goes with new_head=True"):
        build(Net, weights, freeze_body=True)
    for wrong in (0, -1, 2.0, "3", True):
        with pytest.raises(ValueError, match=r"num_classes must be an integer of at least 1, not"):
            build(Net, weights, new_head=True, num_classes=wrong)


def test_the_warning_points_to_the_caller(weights, monkeypatch):
    enum = type(weights)
    monkeypatch.setattr(registration, "_registered", {})

    @register_model(name="zoo_test_builders_net")
    def net(*, weights: enum | None = None, progress: bool = True, **kwargs: Any) -> Net:
        return build(Net, weights, progress, **kwargs)

    with pytest.warns(UserWarning, match="is new") as caught:
        net(weights="V1", new_head=True, num_classes=2)
    assert [w.filename for w in caught] == [__file__]
