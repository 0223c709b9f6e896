"""Images of other channels than three, for every classifier."""

import json

import pytest
import torch
from PIL import Image

import zoo_core
from support import input_channels, reference
from zoo_classification import GoogLeNet_Weights, ResNet18_Weights, ShuffleNet_V2_X0_5_Weights
from zoo_classification.task import ImageClassificationTask
from zoo_core.cli.app import main
from zoo_core.specs import build, find

SIZES = {"inception_v3": 299}


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
@pytest.mark.parametrize("name", reference.builder_names("classification"))
def test_every_builder(name, channels):
    # One that runs shows that no other layer asks for three; the others differ in size alone.
    size = SIZES.get(name, 224)
    output = input_channels.assert_takes(name, channels, *((size, size) if channels == 4 else ()))
    if output is not None:
        assert output.shape == (2, 1000)


def test_grey_images_give_what_three_equal_channels_gave():
    weights = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1
    trained = zoo_core.get_model("shufflenet_v2_x0_5", weights=weights).eval()
    with pytest.warns(UserWarning, match=r"the first layer \(conv1.0\) is for 1 channel, with the sum of the trained"):
        model = zoo_core.get_model("shufflenet_v2_x0_5", weights=weights, in_channels=1).eval()
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model(grey), trained(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)
    assert model.state_dict().keys() == trained.state_dict().keys()


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
def test_with_weights_and_a_new_head(channels, publish):
    state = reference.fill_parameters(zoo_core.get_model("resnet18")).state_dict()
    publish(ResNet18_Weights.DEFAULT, state)
    model, said = input_channels.built("resnet18", channels)
    assert "ResNet18_Weights.IMAGENET1K_V1" in said
    input_channels.assert_made_from(model, state, channels)

    with pytest.warns(UserWarning, match="head"):
        model = zoo_core.get_model(
            "resnet18", weights="DEFAULT", in_channels=channels, num_classes=5, new_head=True, freeze_body=True
        )
    assert model(torch.rand(2, channels, 64, 64)).shape == (2, 5)
    assert not model.conv1.weight.requires_grad


@pytest.mark.parametrize("channels", [1, 4])
def test_the_range_that_googlenet_takes_follows(channels, publish):
    """A grey image, normalised by the mean of the statistics, is brought to [-1, 1] as three channels are."""
    model = zoo_core.get_model("googlenet", aux_logits=True, init_weights=False)
    publish(GoogLeNet_Weights.DEFAULT, reference.fill_parameters(model).state_dict())
    model, _ = input_channels.built("googlenet", channels)
    spec = find("googlenet", arguments={"in_channels": channels})
    mean, std = (torch.tensor(spec.preset_arguments[name]).view(-1, 1, 1) for name in ("mean", "std"))
    pixels = torch.rand(2, channels, 32, 32)
    torch.testing.assert_close(model._transform_input((pixels - mean) / std), 2 * pixels - 1)


def test_own_checkpoints_are_recognised_by_their_first_layer(tmp_path):
    model = zoo_core.get_model("resnet18", in_channels=4, num_classes=7)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    spec = find("resnet18", checkpoint=tmp_path / "bare.pth")
    assert spec.arguments == {"num_classes": 7, "in_channels": 4}
    assert spec.preset_arguments["mean"] == [0.485, 0.456, 0.406, 0.485]
    again = build(spec)
    assert torch.equal(again.conv1.weight, model.conv1.weight)


def test_own_checkpoints_begin_models_for_other_channels(tmp_path):
    model = zoo_core.get_model("resnet18", num_classes=7)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    with pytest.warns(UserWarning, match="is for 1 channel, with the sum"):
        grey = zoo_core.get_model("resnet18", checkpoint=tmp_path / "bare.pth", in_channels=1)
    input_channels.assert_made_from(grey, model.state_dict(), 1)


def folder_of(path, mode):
    """Two classes, dark and bright."""
    for split in ("train", "val"):
        for label, level in (("dark", 40), ("bright", 210)):
            (path / split / label).mkdir(parents=True)
            for index in range(4):
                color = (level + index,) * len(mode)
                Image.new(mode, (40, 40), color if len(mode) > 1 else color[0]).save(
                    path / split / label / f"{index}.png"
                )
    return path


@pytest.mark.parametrize(("mode", "channels"), [("L", 1)])
def test_training_and_predicting_with_a_checkpoint_that_says_how_many(mode, channels, tmp_path, capsys):
    data = folder_of(tmp_path / "data", mode)
    line = f"train shufflenet_v2_x0_5 {data} --in-channels {channels} --epochs 1 --batch-size 4 --workers 0"
    settings = "--set train_crop_size=32 --set val_crop_size=32 --set val_resize_size=32"
    line += f" {settings} --weights FASHIONMNIST_V1 --output {tmp_path / 'run'}"
    assert main(line.split()) == 0
    assert f"the first layer (conv1.0) is for {channels} channel" in capsys.readouterr().err
    spec = find(tmp_path / "run" / "best.pth")
    assert spec.arguments["in_channels"] == channels
    assert len(spec.preset_arguments["mean"]) == channels
    assert build(spec).conv1[0].in_channels == channels
    image = data / "val" / "dark" / "0.png"
    assert main(["predict", str(tmp_path / "run" / "best.pth"), str(image), "--output", str(tmp_path / "out")]) == 0
    assert "dark" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run" / "best.pth"), str(data)]) == 0


def test_alpha_is_looked_at():
    task = ImageClassificationTask(find("shufflenet_v2_x0_5", arguments={"in_channels": 4}))
    opaque, clear = (Image.new("RGBA", (40, 40), (10, 20, 30, alpha)) for alpha in (255, 0))
    (one,), (other,) = task.prepare(opaque), task.prepare(clear)
    assert one.shape == (4, 224, 224)
    mean, std = (task.spec.preset_arguments[name][3] for name in ("mean", "std"))
    torch.testing.assert_close(one[3], torch.full((224, 224), (1 - mean) / std))
    torch.testing.assert_close(other[3], torch.full((224, 224), -mean / std))
    with pytest.raises(ValueError, match="takes images of 12 channels, and files are read as grey, RGB or RGBA"):
        ImageClassificationTask(find("shufflenet_v2_x0_5", arguments={"in_channels": 12})).prepare(opaque)


def test_training_looks_at_alpha(tmp_path, capsys):
    """Files with four channels train a model for as many, by recipes that change no colours."""
    data, run = folder_of(tmp_path / "data", "RGBA"), tmp_path / "run"
    line = ["train", "shufflenet_v2_x0_5", str(data), "--in-channels", "4", "--from-scratch", "--output", str(run)]
    settings = (
        "train_crop_size=32",
        "val_resize_size=32",
        "val_crop_size=32",
        "min_steps_per_epoch=1",
        "lr_warmup_epochs=0",
    )
    line += ["--epochs", "1", "--workers", "0", *(f"--set={setting}" for setting in settings)]
    assert main([*line, "--set", "auto_augment=ra"]) == 1
    assert "auto_augment: changes colours, which images of 4 channels do not have" in capsys.readouterr().err
    assert not run.exists()
    assert main(line) == 0
    assert find(run / "best.pth").arguments["in_channels"] == 4


def test_predicting_looks_at_alpha(tmp_path, capsys):
    """A checkpoint for four channels gets them from a file, and what is drawn has three."""
    torch.manual_seed(0)
    model = zoo_core.get_model("shufflenet_v2_x0_5", in_channels=4, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    Image.new("RGBA", (40, 40), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (40, 40), (10, 20, 30)).save(tmp_path / "opaque.png")
    files = [str(tmp_path / "clear.png"), str(tmp_path / "opaque.png")]
    line = ["predict", "shufflenet_v2_x0_5", "--checkpoint", str(tmp_path / "own.pth"), "--json", *files]
    assert main([*line, "--output", str(tmp_path / "out")]) == 0
    clear, opaque = json.loads(capsys.readouterr().out)["results"]
    told = [{key: value for key, value in one.items() if key not in ("file", "output")} for one in (clear, opaque)]
    assert told[0] != told[1]
    assert {Image.open(path).mode for path in (tmp_path / "out").iterdir()} == {"RGB"}
