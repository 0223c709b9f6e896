"""What is particular to DenseNet."""

import re

import pytest
import torch
from torch import nn

from support import reference
from zoo_classification import DenseNet, DenseNet121_Weights, densenet121


def small(**kwargs):
    torch.manual_seed(0)
    return DenseNet(growth_rate=4, block_config=(2, 3), num_init_features=8, num_classes=5, **kwargs)


def old_spelling(state_dict):
    """Names of the published files: norm.1.weight for norm1.weight, and no counters of batches."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", key): value
        for key, value in state_dict.items()
        if not key.endswith("num_batches_tracked")
    }


def test_old_spelling_in_a_plain_load():
    model, other = small(), small()
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    published = old_spelling(other.state_dict())
    assert "features.denseblock2.denselayer3.conv.2.weight" in published
    keys = list(published)
    model.load_state_dict(published)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    assert list(published) == keys, "the caller's state dict stays as it is"


def test_old_spelling_still_refuses_what_does_not_fit():
    model = small()
    published = old_spelling(model.state_dict())
    layer = "features.denseblock1.denselayer1"
    published[f"{layer}.conv.3.weight"] = published.pop(f"{layer}.conv.2.weight")
    with pytest.raises(RuntimeError, match=r"Missing key.*conv2\.weight(.|\n)*Unexpected key.*conv3\.weight"):
        model.load_state_dict(published)


def test_published_file_in_the_old_spelling_and_format(publish):
    with reference.no_random_init():
        model = reference.fill_parameters(densenet121())
    publish(DenseNet121_Weights.DEFAULT, old_spelling(model.state_dict()), _use_new_zipfile_serialization=False)
    loaded = densenet121(weights="DEFAULT").eval()
    x = reference.image(3, 1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(x), model(x))


def test_memory_efficient_changes_memory_only():
    plain, efficient = small(), small(memory_efficient=True)
    x = reference.image(1, 4, 3, 40, 48)
    saved = []
    for model in (plain, efficient):
        tensors = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, to=tensors: to.append(t) or t, lambda t: t):
            output = model(x.clone().requires_grad_())
        saved.append(sum(t.numel() for t in {t.data_ptr(): t for t in tensors}.values()))
        output.square().sum().backward()
    assert saved[1] < 0.9 * saved[0]
    for (name, parameter), other in zip(plain.named_parameters(), efficient.parameters(), strict=True):
        torch.testing.assert_close(other.grad, parameter.grad, msg=name)
    # Running statistics count the batch once, although the backward pass computes layers again.
    for (name, buffer), other in zip(plain.named_buffers(), efficient.buffers(), strict=True):
        assert torch.equal(other, buffer), name


def test_each_layer_sees_all_features_before_it():
    block = small().eval().features.denseblock2
    x = reference.image(1, 2, block.denselayer1.norm1.num_features, 5, 6)
    seen = []
    for layer in block.values():
        layer.norm1.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    output = block(x)
    assert [tuple(s.shape) for s in [*seen, output]] == [(2, 12 + 4 * i - 4, 5, 6) for i in range(4)]
    for features in seen:
        assert torch.equal(features, output[:, : features.shape[1]])


def test_drop_rate():
    model = small(drop_rate=0.5).train()
    new = model.features.denseblock1.denselayer1(reference.image(1, 4, 8, 9, 9))
    assert 0.3 < (new == 0).float().mean() < 0.7
    assert (model.eval().features.denseblock1.denselayer1(reference.image(1, 4, 8, 9, 9)) != 0).all()


@pytest.mark.parametrize(("blocks", "smallest"), [((1,), 1), ((1, 1), 5), ((1, 1, 1), 13), ((1, 1, 1, 1), 29)])
def test_smallest_image(blocks, smallest):
    model = DenseNet(growth_rate=2, block_config=blocks, num_init_features=4, num_classes=3).eval()
    assert model(torch.rand(1, 3, smallest, smallest + 3)).shape == (1, 3)
    with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
        model(torch.rand(1, 3, smallest + 3, smallest - 1))


def test_memory_efficient_compiles_in_one_graph():
    plain, efficient = small(), small(memory_efficient=True)
    x = reference.image(1, 2, 3, 40, 48)
    compiled = torch.compile(efficient, fullgraph=True, backend="aot_eager")
    compiled(x.clone().requires_grad_()).sum().backward()
    plain(x).sum().backward()
    for (name, parameter), other in zip(plain.named_parameters(), efficient.parameters(), strict=True):
        torch.testing.assert_close(other.grad, parameter.grad, rtol=1e-4, atol=1e-4, msg=name)
