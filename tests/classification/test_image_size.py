"""Transformers for images of another size than they were trained on."""

import pytest
import torch
from PIL import Image

import zoo_core
from support import reference
from zoo_classification import MaxVit_T_Weights, Swin_T_Weights, Swin_V2_T_Weights, ViT_B_32_Weights
from zoo_classification.swin_transformer import resize_windows
from zoo_classification.vision_transformer import resize_positions
from zoo_core.cli import main
from zoo_core.features import features
from zoo_core.specs import build, find
from zoo_core.tasks import task_class
from zoo_core.training import recipes


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


def test_images_that_are_not_square(trained, tmp_path):
    """In the model, its features, an export, own files, and the preprocessing."""
    model = zoo_core.get_model("vit_b_32", weights="DEFAULT", img_size=(64, 160)).eval()
    key = "encoder.pos_embedding"
    grid = trained[key][0, 1:].T.reshape(1, 768, 7, 7)
    expected = torch.nn.functional.interpolate(grid, (2, 5), mode="bicubic", antialias=True)
    torch.testing.assert_close(model.state_dict()[key][0, 1:].T.reshape(1, 768, 2, 5), expected)
    x = torch.rand(1, 3, 64, 160)
    with torch.inference_mode():
        scores = model(x)
        found = features(model, x, layers=[-1, "encoder.layers.encoder_layer_0"])
    assert [tuple(value.shape) for value in found.values()] == [(1, 768, 2, 5)] * 2
    with torch.no_grad():
        program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), scores, rtol=1e-4, atol=1e-4)
    for wrong in (torch.rand(1, 3, 160, 64), torch.rand(1, 3, 224, 224)):
        with pytest.raises(ValueError, match="takes images of 64x160 pixels"):
            model(wrong)

    torch.save(model.state_dict(), tmp_path / "own.pth")
    spec = find("vit_b_32", checkpoint=tmp_path / "own.pth", arguments={"img_size": [64, 160]})
    assert list(spec.preset_arguments["crop_size"]) == [64, 160]
    with torch.inference_mode():
        assert torch.equal(build(spec)(x), scores)
    back = resize_positions(build(spec), 64)
    assert back.image_size == 64
    assert back.encoder.pos_embedding.shape == (1, 5, 768)
    # What a file does not say is not guessed.
    with pytest.raises(ValueError, match="img_size must be a multiple"):
        resize_positions(back, (64, 65))
    with pytest.raises(ValueError, match="10 positions in the file are of patches that form no square"):
        build(find("vit_b_32", checkpoint=tmp_path / "own.pth", arguments={"img_size": 64}))
    torch.save(zoo_core.get_model("vit_b_32", img_size=64).state_dict(), tmp_path / "square.pth")
    with pytest.warns(UserWarning, match="taken as those of 1 x 4 patches; if they are of 2 x 2"):
        build(find("vit_b_32", checkpoint=tmp_path / "square.pth", arguments={"img_size": [32, 128]}))


@pytest.mark.parametrize("size", [(100, 64), (64, 64, 64), "64", 64.0, [64, None], True])
def test_what_is_no_size(size):
    with pytest.raises(
        ValueError, match=r"img_size must be a multiple of patch_size=32, not .*: one number, or height"
    ):
        zoo_core.get_model("vit_b_32", img_size=size)


def test_equal_sides_may_be_two():
    assert zoo_core.get_model("maxvit_t", img_size=[64, 64]).input_size == (64, 64)
    assert zoo_core.get_model("vit_b_32", img_size=[64, 64]).image_size == 64


@pytest.mark.parametrize("size", [100, 0, 1.5])
def test_sizes_that_patches_do_not_fill(size, trained):
    with pytest.raises(ValueError, match="img_size must be a multiple of patch_size=32"):
        zoo_core.get_model("vit_b_32", weights="DEFAULT", img_size=size)


WINDOWED = {"swin_t": (224, Swin_T_Weights), "swin_v2_t": (256, Swin_V2_T_Weights), "maxvit_t": (224, MaxVit_T_Weights)}


@pytest.fixture(scope="module")
def windowed():
    """The state dicts of models with windows, of which the positions are no longer what they are at first."""
    found = {}
    for name in WINDOWED:
        model = zoo_core.get_model(name)
        offsets = {k: v.clone() for k, v in model.state_dict().items() if k.endswith("coords_table")}
        found[name] = {**reference.fill_parameters(model).state_dict(), **offsets}
    return found


@pytest.mark.parametrize("name", WINDOWED)
def test_windows_grow_with_the_image(name, windowed, publish):
    """The last stage has one window, as at the published size, at which nothing changes."""
    size, weights = WINDOWED[name]
    publish(weights.DEFAULT, windowed[name])
    native = zoo_core.get_model(name, weights="DEFAULT", img_size=size)
    state = native.state_dict()
    assert all(torch.equal(state[key], value) for key, value in windowed[name].items())
    model = zoo_core.get_model(name, weights="DEFAULT", img_size=96, num_classes=5, new_head=True, in_channels=1).eval()
    state = model.state_dict()
    assert state.keys() == windowed[name].keys()
    for key, value in windowed[name].items():
        if "relative" not in key and state[key].shape == value.shape:
            assert torch.equal(state[key], value), key
        elif key.endswith("bias_table"):
            side = (2 * (size // 32) - 1) if "swin" in name else 13
            plane = value.T.reshape(1, -1, side, side)
            expected = torch.nn.functional.interpolate(plane, (5, 5), mode="bicubic")[0].flatten(1).T
            torch.testing.assert_close(state[key], expected)
        elif key.endswith("position_index"):
            assert state[key].numel() == 9**2
            assert sorted(set(state[key].flatten().tolist())) == list(range(25))
    with torch.inference_mode():
        found = model(torch.rand(2, 1, 96, 96))
    assert found.shape == (2, 5)
    assert found.isfinite().all()
    # A file of either size fits a model of the other.
    fresh = zoo_core.get_model(name, img_size=96, num_classes=5, in_channels=1)
    fresh.load_state_dict(state)
    with torch.inference_mode():
        torch.testing.assert_close(fresh.eval()(torch.ones(1, 1, 96, 96)), model(torch.ones(1, 1, 96, 96)))


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t"])
def test_whole_windows_see_the_same(name, windowed, publish):
    """In an image of one colour all tokens are alike, so scores do not depend on its size where nothing is padded."""
    size, weights = WINDOWED[name]
    publish(weights.DEFAULT, windowed[name])
    colour = torch.tensor([0.3, -0.5, 0.8])[:, None, None]
    with torch.inference_mode():
        native = zoo_core.get_model(name, weights="DEFAULT").eval()
        expected = native(colour.expand(1, 3, size, size))
        larger = zoo_core.get_model(name, weights="DEFAULT", img_size=(96, 160)).eval()
        torch.testing.assert_close(larger(colour.expand(1, 3, 96, 160)), expected, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(native(colour.expand(1, 3, 96, 160)), expected, rtol=1e-3, atol=1e-4)


def test_version_2_keeps_the_meaning_of_a_distance(windowed, publish):
    """The bias of neighbours is that of neighbours, in windows of any size, also after two changes."""
    publish(Swin_V2_T_Weights.DEFAULT, windowed["swin_v2_t"])
    native, larger, back = (
        zoo_core.get_model("swin_v2_t", weights="DEFAULT", img_size=size).eval() for size in (256, 384, 384)
    )
    resize_windows(resize_windows(back, 64), 256)
    before, after = (model.features[1][0].attn.relative_coords_table for model in (native, larger))
    assert after.shape == (1, 23, 23, 2)
    torch.testing.assert_close(after[0, 4:19, 4:19], before[0])
    torch.testing.assert_close(back.features[1][0].attn.relative_coords_table, before)
    with torch.inference_mode():
        small, large = (model.features[1][0].attn.get_relative_position_bias() for model in (native, larger))
    torch.testing.assert_close(large[0, :, 0, 1:8], small[0, :, 0, 1:8])


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("swin_t", 100, "img_size of Swin Transformers must be an integer, or height and width, of multiples of 32"),
        ("swin_v2_t", (64, 1.5), "not \\(64, 1.5\\)"),
        ("swin_t", (64, 64, 64), "multiples of 32"),
        ("maxvit_t", (64, 96), "img_size of MaxViT must be an integer of multiples of 32"),
        ("maxvit_t", 0, "multiples of 32"),
    ],
)
def test_sizes_that_windows_do_not_fill(name, size, message):
    with pytest.raises(ValueError, match=message):
        zoo_core.get_model(name, img_size=size)


@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "maxvit_t"])
def test_files_of_another_size_and_preprocessing(name, tmp_path):
    """`arguments={"img_size": ...}` fits the positions in a file of any size, and the crop follows."""
    small = reference.fill_parameters(zoo_core.get_model(name, img_size=64, num_classes=3))
    torch.save(small.state_dict(), tmp_path / "own.pth")
    spec = find(name, checkpoint=tmp_path / "own.pth", arguments={"img_size": 128})
    assert spec.preset_arguments["crop_size"] == 128
    assert spec.preset_arguments["resize_size"] >= 128
    model = build(spec)
    assert model.state_dict().keys() == small.state_dict().keys()
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 128, 128)).isfinite().all()
    same = build(find(name, checkpoint=tmp_path / "own.pth", arguments={"img_size": 64}))
    assert all(torch.equal(value, small.state_dict()[key]) for key, value in same.state_dict().items())


def test_what_is_trained_keeps_the_size(tmp_path, capsys):
    """Of weights for another size than the builder's, and of images of another size than the weights'."""
    for split in ("train", "val"):
        for place, kind in enumerate(("dark", "light")):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
            for number in range(2):
                image = Image.new("RGB", (40, 40), (90 + 100 * place, 80, 10 * number))
                image.save(tmp_path / "data" / split / kind / f"{number}.png")
    model = zoo_core.get_model("vit_b_16", image_size=384, num_classes=2)
    spec = find("vit_b_16", weights="IMAGENET1K_SWAG_E2E_V1")
    training = task_class(spec.task)(spec).training(recipes.choose(None, spec.task, spec.name))
    assert training.arguments(model)["image_size"] == 384
    words = [
        "train",
        "vit_b_32",
        str(tmp_path / "data"),
        "--argument",
        "img_size=64",
        "--workers",
        "0",
        "--epochs",
        "1",
    ]
    assert main([*words, "--from-scratch", "--recipe", "finetune", "--output", str(tmp_path / "run")]) == 0
    spec = find(tmp_path / "run" / "best.pth")
    assert spec.arguments["img_size"] == 64
    assert spec.preset_arguments["crop_size"] == 64
    capsys.readouterr()
    image = str(tmp_path / "data" / "val" / "dark" / "0.png")
    assert main(["predict", str(tmp_path / "run" / "best.pth"), image]) == 0
    assert "dark" in capsys.readouterr().out
