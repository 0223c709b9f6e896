"""What is particular to Inception v3: the auxiliary head, the input's range, exchangeable blocks."""

import warnings

import pytest
import torch

from support import reference
from zoo_classification import Inception3, Inception_V3_Weights, InceptionOutputs, inception_v3
from zoo_classification import inception as module
from zoo_classification.inception import BasicConv2d, InceptionAux, InceptionE


@pytest.fixture(scope="module")
def filled():
    with reference.no_random_init():
        return reference.fill_parameters(inception_v3())


@pytest.fixture(autouse=True)
def _published(publish, filled):
    publish(Inception_V3_Weights.DEFAULT, filled.state_dict())


def test_published_head_is_kept():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = inception_v3(weights="DEFAULT")
    assert model.transform_input
    assert model.aux_logits
    outputs = model.train()(torch.rand(2, 3, 299, 299))
    assert isinstance(outputs, InceptionOutputs)
    assert [tuple(o.shape) for o in outputs] == [(2, 1000)] * 2
    assert isinstance(model.eval()(torch.rand(1, 3, 75, 80)), torch.Tensor)


def test_published_head_is_left_out_on_demand(filled):
    model = inception_v3(weights="DEFAULT", aux_logits=False, transform_input=False).eval()
    assert model.AuxLogits is None
    assert not any(key.startswith("AuxLogits") for key in model.state_dict())
    x = reference.image(1, 1, 3, 100, 90)
    torch.testing.assert_close(model(x), filled(x))
    assert isinstance(model.train()(torch.rand(2, 3, 107, 107)), torch.Tensor)


def test_transform_input_is_on_with_weights(filled):
    pixels = reference.image(2, 1, 3, 96, 96)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (pixels - mean[:, None, None]) / std[:, None, None]
    output = inception_v3(weights="DEFAULT").eval()(normalised)
    torch.testing.assert_close(output, filled(2 * pixels - 1), rtol=1e-4, atol=1e-5)


def test_only_the_absent_head_may_be_in_the_file(filled):
    without = Inception3(aux_logits=False, init_weights=False)
    without.load_state_dict(filled.state_dict())
    with pytest.raises(RuntimeError, match=r"Unexpected key.*AuxLogits2"):
        without.load_state_dict(filled.state_dict() | {"AuxLogits2.fc.weight": torch.zeros(1)})


def test_too_small_for_training():
    model = Inception3(init_weights=False, num_classes=4).train()
    with pytest.raises(ValueError, match=r"auxiliary head.*at least 299x299.*not 299x298"):
        model(torch.rand(1, 3, 299, 298))


def test_fresh_parameters():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Inception3(num_classes=50)
    assert model.AuxLogits.fc.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert model.fc.weight.std().item() == pytest.approx(0.1, rel=0.02)
    assert model.Mixed_6e.branch7x7_2.conv.weight.std().item() == pytest.approx(0.1, rel=0.02)
    weight = Inception3(init_weights=False).Mixed_6a.branch3x3.conv.weight
    # torch's own: uniform between plus and minus 1 / sqrt(fan_in)
    assert weight.abs().max().item() == pytest.approx((288 * 9) ** -0.5, rel=0.01)


def test_own_blocks():
    class Convolution(BasicConv2d):
        pass

    def with_own_convolution(name):
        base = getattr(module, f"Inception{name}")

        class Block(base):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, conv_block=Convolution, **kwargs)

        return Block

    blocks = [Convolution, *(with_own_convolution(name) for name in ("A", "B", "C", "D", "E", "Aux"))]
    model = Inception3(inception_blocks=blocks, init_weights=False, num_classes=4)
    assert all(type(m) is Convolution for m in model.modules() if isinstance(m, BasicConv2d))
    counts = [sum(type(m) is block for m in model.modules()) for block in blocks[1:]]
    assert counts == [3, 1, 4, 1, 2, 1]
    with pytest.raises(ValueError, match=r"7.*there are 6"):
        Inception3(inception_blocks=blocks[:6])


def test_forks_of_block_e():
    """The outputs' order: 1x1, the two forks of 3x3, the two of double 3x3, pooling."""
    block = InceptionE(6).eval()
    x = reference.image(1, 1, 6, 4, 5)
    y, z = block.branch3x3_1(x), block.branch3x3dbl_2(block.branch3x3dbl_1(x))
    expected = [
        *(block.branch1x1(x), block.branch3x3_2a(y), block.branch3x3_2b(y)),
        *(block.branch3x3dbl_3a(z), block.branch3x3dbl_3b(z)),
        block.branch_pool(torch.nn.functional.avg_pool2d(x, 3, 1, 1)),
    ]
    assert torch.equal(block(x), torch.cat(expected, 1))
    assert block(x).shape == (1, 320 + 4 * 384 + 192, 4, 5)


def test_auxiliary_head_is_small():
    head = InceptionAux(8, 3).eval()
    assert head(reference.image(1, 2, 8, 17, 20)).shape == (2, 3)
