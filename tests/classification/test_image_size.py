"""Vision Transformers for images of another size than they were trained on."""

import pytest
import torch

import zoo_core
from support import reference
from zoo_classification import ViT_B_32_Weights
from zoo_core.specs import build, find


@pytest.fixture
def trained(publish):
    state = reference.fill_parameters(zoo_core.get_model("vit_b_32")).state_dict()
    publish(ViT_B_32_Weights.DEFAULT, state)
    return state


def test_positions_are_interpolated(trained):
    model = zoo_core.get_model("vit_b_32", weights="DEFAULT", img_size=128).eval()
    state = model.state_dict()
    assert state.keys() == trained.keys()
    key = "encoder.pos_embedding"
    grid = trained[key][0, 1:].T.reshape(1, 768, 7, 7)
    expected = torch.nn.functional.interpolate(grid, (4, 4), mode="bicubic", antialias=True)
    torch.testing.assert_close(state[key][0, 1:].T.reshape(1, 768, 4, 4), expected)
    assert torch.equal(state[key][0, 0], trained[key][0, 0])
    assert all(torch.equal(state[name], trained[name]) for name in state if name != key)
    assert model.encoder.pos_embedding.requires_grad
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 128, 128)).shape == (1, 1000)
    with pytest.raises(ValueError, match="128x128"):
        model(torch.rand(1, 3, 224, 224))


def test_the_size_of_the_checkpoint_changes_nothing(trained):
    model = zoo_core.get_model("vit_b_32", weights="DEFAULT", img_size=224)
    assert all(torch.equal(value, trained[key]) for key, value in model.state_dict().items())


def test_in_own_checkpoints_and_without_weights(tmp_path):
    model = zoo_core.get_model("vit_b_32", img_size=64, num_classes=3)
    assert model.image_size == 64
    torch.save(model.state_dict(), tmp_path / "own.pth")
    again = build(find("vit_b_32", checkpoint=tmp_path / "own.pth", arguments={"img_size": 64}))
    assert torch.equal(again.encoder.pos_embedding, model.encoder.pos_embedding)


@pytest.mark.parametrize("size", [100, 0, 1.5])
def test_sizes_that_patches_do_not_fill(size, trained):
    with pytest.raises(ValueError, match="img_size must be a multiple of patch_size=32"):
        zoo_core.get_model("vit_b_32", weights="DEFAULT", img_size=size)
