"""What is particular to GoogLeNet: auxiliary heads, the input's range, exchangeable blocks."""

import warnings

import pytest
import torch
from torch import nn

from support import reference
from zoo_classification import GoogLeNet, GoogLeNet_Weights, GoogLeNetOutputs, googlenet
from zoo_classification.googlenet import BasicConv2d, Inception, InceptionAux, imagenet_to_inception_range


@pytest.fixture(scope="module")
def filled():
    with reference.no_random_init():
        return reference.fill_parameters(googlenet())


def test_published_heads_are_left_out(publish, filled):
    publish(GoogLeNet_Weights.DEFAULT, filled.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = googlenet(weights="DEFAULT")
    assert model.transform_input
    assert not model.aux_logits
    assert model.aux1 is None
    assert model.aux2 is None
    assert model.train()(torch.rand(2, 3, 32, 32)).shape == (2, 1000)
    own = {key: value for key, value in filled.state_dict().items() if not key.startswith("aux")}
    assert all(torch.equal(value, own.pop(key)) for key, value in googlenet(weights="DEFAULT").state_dict().items())
    assert not own


def test_published_heads_on_demand(publish, filled):
    publish(GoogLeNet_Weights.DEFAULT, filled.state_dict())
    with pytest.warns(UserWarning, match="never trained") as caught:
        model = googlenet(weights="DEFAULT", aux_logits=True, transform_input=False)
    assert caught[0].filename == __file__
    assert not model.transform_input
    assert torch.equal(model.aux2.fc1.weight, filled.aux2.fc1.weight)
    x = reference.image(1, 1, 3, 64, 64)
    torch.testing.assert_close(model.eval()(x), filled(x))


def test_new_head_reaches_the_auxiliary_heads(publish, filled):
    publish(GoogLeNet_Weights.DEFAULT, filled.state_dict())
    with pytest.warns(UserWarning, match="never trained"), pytest.warns(UserWarning, match=r"aux1\.fc2, aux2\.fc2, fc"):
        model = googlenet(weights="DEFAULT", num_classes=7, new_head=True, aux_logits=True, freeze_body=True)
    outputs = model.train()(torch.rand(2, 3, 32, 32))
    assert isinstance(outputs, GoogLeNetOutputs)
    assert [tuple(o.shape) for o in outputs] == [(2, 7)] * 3
    assert torch.equal(model.aux1.fc1.weight, filled.aux1.fc1.weight)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {f"{m}.{p}" for m in ("aux1.fc2", "aux2.fc2", "fc") for p in ("weight", "bias")}
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_only_absent_heads_may_be_in_the_file(filled):
    state = filled.state_dict()
    without = GoogLeNet(aux_logits=False, init_weights=False)
    without.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*aux3"):
        without.load_state_dict(state | {"aux3.fc1.weight": torch.zeros(1)})
    del state["aux2.fc2.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*aux2\.fc2\.bias"):
        filled.load_state_dict(state)


def test_outputs_in_training_and_evaluation(filled):
    x = reference.image(1, 2, 3, 48, 40)
    seen = {}
    hooks = [
        getattr(filled, name).register_forward_hook(lambda module, args, output, name=name: seen.update({name: output}))
        for name in ("aux1", "aux2", "fc")
    ]
    state = {key: value.clone() for key, value in filled.state_dict().items()}
    outputs = filled.train()(x)
    assert outputs.logits is seen["fc"]
    assert outputs.aux_logits2 is seen["aux2"]
    assert outputs.aux_logits1 is seen["aux1"]
    seen.clear()
    filled.eval().load_state_dict(state)
    assert isinstance(filled(x), torch.Tensor)
    assert set(seen) == {"fc"}, "auxiliary heads cost nothing in evaluation"
    for hook in hooks:
        hook.remove()


def test_transform_input():
    pixels = reference.image(1, 2, 3, 20, 30)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (pixels - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(imagenet_to_inception_range(normalised), 2 * pixels - 1)
    plain = GoogLeNet(init_weights=False, num_classes=4).eval()
    given = plain(2 * pixels - 1)
    plain.transform_input = True
    torch.testing.assert_close(plain(normalised), given)


def test_fresh_parameters():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert GoogLeNet().conv3.conv.weight.std().item() == pytest.approx(0.01, rel=0.02)
    weight = GoogLeNet(init_weights=False).conv3.conv.weight
    # torch's own: uniform between plus and minus 1 / sqrt(fan_in)
    assert weight.abs().max().item() == pytest.approx((64 * 9) ** -0.5, rel=0.01)


def test_own_blocks():
    class Convolution(BasicConv2d):
        pass

    class Block(Inception):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, conv_block=Convolution, **kwargs)

    class Auxiliary(InceptionAux):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, conv_block=Convolution, **kwargs)

    model = GoogLeNet(blocks=[Convolution, Block, Auxiliary], init_weights=False, num_classes=4, dropout_aux=0.25)
    assert all(type(m) is Convolution for m in model.modules() if isinstance(m, BasicConv2d))
    assert sum(type(m) is Block for m in model.modules()) == 9
    assert isinstance(model.aux2, Auxiliary)
    assert model.aux2.dropout.p == 0.25
    with pytest.raises(ValueError, match=r"3.*there are 2"):
        GoogLeNet(blocks=[BasicConv2d, Inception])


def test_auxiliary_head_pools_to_four_by_four():
    head = InceptionAux(5, 3, conv_block=lambda i, o, kernel_size: nn.Conv2d(i, o, kernel_size)).eval()
    x = reference.image(1, 2, 5, 8, 12)
    pooled = x.reshape(2, 5, 4, 2, 4, 3).mean((3, 5))
    hidden = torch.relu(head.fc1(head.conv(pooled).flatten(1)))
    torch.testing.assert_close(head(x), hidden @ head.fc2.weight.T + head.fc2.bias)
