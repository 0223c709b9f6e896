"""Videos of other channels than three, for every model."""

import pytest

from support import input_channels, reference


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
@pytest.mark.parametrize("name", reference.builder_names("video"))
def test_every_builder(name, channels):
    assert input_channels.assert_takes(name, channels, 16, 224, 224).shape == (2, 400)
