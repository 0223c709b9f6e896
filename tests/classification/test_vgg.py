"""What is particular to VGG."""

import pytest
import torch
from torch import nn

from support import reference
from zoo_classification import VGG, VGG16_Weights, vgg16
from zoo_classification.vgg import cfgs, make_layers


@pytest.mark.parametrize(("configuration", "layers"), [("A", 11), ("B", 13), ("D", 16), ("E", 19)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_weight_layers_of_each_configuration(configuration, layers, batch_norm):
    """Table 1 of the paper counts convolutions and fully connected layers, of which there are 3."""
    with torch.device("meta"):
        features = make_layers(cfgs[configuration], batch_norm)
    kinds = [type(layer) for layer in features]
    assert kinds.count(nn.Conv2d) == layers - 3
    assert kinds.count(nn.MaxPool2d) == 5
    assert kinds.count(nn.BatchNorm2d) == (layers - 3 if batch_norm else 0)
    assert features(torch.rand(1, 3, 224, 96, device="meta")).shape == (1, 512, 7, 3)


def test_unknown_layer():
    with pytest.raises(ValueError, match=r"'M'.*not 'A'"):
        make_layers([64, "A"])


def test_weights_of_the_features_only(publish):
    """The file of the SSD paper has no use for a classifier: it is full of nan."""
    weights = VGG16_Weights.IMAGENET1K_FEATURES
    with reference.no_random_init():
        published = reference.fill_parameters(vgg16()).state_dict()
    for key in published:
        if key.startswith("classifier."):
            published[key] = torch.full_like(published[key], torch.nan)
    publish(weights, published)
    assert weights.meta["categories"] is None
    model = vgg16(weights=weights)
    x = reference.image(1, 1, 3, 40, 40)
    with torch.inference_mode():
        assert bool(model.features(x).isfinite().all())
        assert bool(model.eval()(x).isnan().all())
    with pytest.raises(ValueError, match="no classifier that could be replaced"):
        vgg16(weights=weights, num_classes=3, new_head=True)


def test_own_features():
    features = nn.Sequential(nn.Conv2d(3, 512, 3, bias=False), nn.MaxPool2d(2))
    model = VGG(features, num_classes=4, dropout=0.25)
    assert model(torch.rand(1, 3, 32, 50)).shape == (1, 4)
    assert [layer.p for layer in model.classifier if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    assert not model.classifier[6].bias.any()
    # torch's own: uniform between plus and minus 1 / sqrt(fan_in)
    weight = VGG(features, num_classes=4, init_weights=False).classifier[3].weight
    assert weight.abs().max().item() == pytest.approx(4096**-0.5, rel=0.01)
