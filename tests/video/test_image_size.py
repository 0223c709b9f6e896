"""MViT for frames of another size than it was trained on."""

import pytest
import torch
from torch.nn import functional as F

import zoo_core
from support import reference
from zoo_core.specs import build, find
from zoo_video import MViT_V1_B_Weights, MViT_V2_S_Weights

MODELS = {"mvit_v1_b": MViT_V1_B_Weights, "mvit_v2_s": MViT_V2_S_Weights}


@pytest.mark.parametrize("name", MODELS)
def test_positions_are_interpolated(name, publish, tmp_path):
    trained = reference.fill_parameters(zoo_core.get_model(name)).state_dict()
    publish(MODELS[name].DEFAULT, trained)
    native = zoo_core.get_model(name, weights="DEFAULT", img_size=224)
    assert all(torch.equal(value, trained[key]) for key, value in native.state_dict().items())
    model = zoo_core.get_model(name, weights="DEFAULT", img_size=(64, 96)).eval()
    state = model.state_dict()
    assert state.keys() == trained.keys()
    for key, value in trained.items():
        if key.endswith("spatial_pos"):
            plane = value.T.reshape(1, -1, 56, 56)
            expected = F.interpolate(plane, (16, 24), mode="bicubic", antialias=True)[0].flatten(1).T
        elif key.endswith(("rel_pos_h", "rel_pos_w")):
            expected = F.interpolate(value.T[None], state[key].shape[0], mode="linear")[0].T
            assert state[key].shape[0] < value.shape[0]
        else:
            expected = value
        torch.testing.assert_close(state[key], expected)
    x = torch.rand(1, 3, 16, 64, 96)
    with torch.inference_mode():
        found = model(x)
        assert found.shape == (1, 400)
        assert found.isfinite().all()
        # A file of the published size fits, too, and so does a model of that size from the start.
        torch.save(trained, tmp_path / "own.pth")
        spec = find(name, checkpoint=tmp_path / "own.pth", arguments={"img_size": (64, 96)})
        assert spec.preset_arguments["crop_size"] == [64, 96]
        torch.testing.assert_close(build(spec)(x), found)
    with pytest.raises(ValueError, match=r"of 16 frames of 64x96 pixels"):
        model(torch.rand(1, 3, 16, 224, 224))
    with pytest.raises(ValueError, match="img_size of MViT must be an integer, or height and width, of multiples of"):
        zoo_core.get_model(name, img_size=100)
