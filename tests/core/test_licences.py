"""What is said about the licences of weights and data."""

import dataclasses

import pytest

from zoo_core.catalog import Checkpoint, licences
from zoo_core.catalog.preset import Preset


def checkpoint(**values) -> Checkpoint:
    preset = Preset.read({"preset": "ImageClassification", "crop_size": 8})
    return Checkpoint(name="A", metrics={}, transforms=preset, **({"url": "https://example.org/a.pth"} | values))


def test_the_word_of_an_entry_counts_more_than_its_publisher():
    url = "https://download.pytorch.org/models/a.pth"
    assert licences.of_weights(checkpoint(url=url, license="MIT")) == licences.Terms("MIT", None)
    assert (
        licences.of_weights(checkpoint(url=url)).source == "https://github.com/pytorch/vision#pre-trained-model-license"
    )


def test_a_licence_that_is_a_page_is_named():
    page = "https://github.com/facebookresearch/SWAG/blob/main/LICENSE"
    assert str(licences.of_weights(checkpoint(license=page))) == f"CC BY-NC 4.0 (not for commercial use) ({page})"


def test_of_another_publisher_nothing_is_made_up():
    data = licences.of_data(checkpoint(trained_on=("my photos",)))
    assert data == {"my photos": licences.Terms("nothing is known", None)}
    assert licences.of_data(checkpoint()) == {}
    assert licences.of_data(checkpoint(trained_on=("my photos",))) == {
        "my photos": licences.Terms("nothing is known", None)
    }


def test_data_sets_have_terms_and_sources():
    found = licences.of_data(checkpoint(trained_on=("ImageNet-1K", "KITTI")))
    assert "non-commercial" in found["ImageNet-1K"].terms
    assert found["KITTI"].terms.startswith("CC BY-NC-SA 3.0")
    assert all(terms.source and terms.source.startswith("http") for terms in found.values())


def test_terms_are_values():
    with pytest.raises(dataclasses.FrozenInstanceError):
        licences.of_weights(checkpoint()).terms = "MIT"  # type: ignore[misc]
