"""Videos of other channels than three, for every model."""

import pytest

from support import input_channels, reference


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
<<<<<<< HEAD
@pytest.mark.parametrize("name", [*reference.model_names("video"), *reference.own_names("video")])
=======
@pytest.mark.parametrize("name", reference.builder_names("video"))
>>>>>>> 802ce79 (EfficientNet-Lite0 to 2: photographs get ImageNet labels from a package of the index)
def test_every_builder(name, channels):
    assert input_channels.assert_takes(name, channels, 16, 224, 224).shape == (2, 400)
