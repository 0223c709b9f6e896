"""Images of many bands, as satellites take them: read, predicted, trained on and evaluated, from TIFF files."""

import json
import random

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import zoo_core
from zoo_core import specs
from zoo_core.cli import main
from zoo_core.images import ImageReadError
from zoo_core.images.bands import BandImage, read_bands
from zoo_core.tasks import task_class

MODEL = "shufflenet_v2_x0_5"


def fields(folder, bands, count=3, size=40):
    """A folder for each class: what tells them apart is in the last band alone."""
    generator = np.random.default_rng(bands)
    for split in ("train", "val"):
        for level, kind in ((4000, "bare"), (50000, "green")):
            (folder / split / kind).mkdir(parents=True)
            for number in range(count):
                values = generator.integers(0, 20000, (bands, size, size), dtype=np.uint16)
                values[-1] = level + number
                write(folder / split / kind / f"{number}.tif", values)
    return folder


def write(path, values, **options):
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="separate", **options)


@pytest.mark.parametrize("bands", [4, 12])
def test_train_evaluate_and_predict(bands, tmp_path, capsys):
    data = fields(tmp_path / "fields", bands)
    words = ["train", MODEL, str(data), "--in-channels", str(bands), "--weights", "FASHIONMNIST_V1"]
    sizes = ["train_crop_size=32", "val_crop_size=32", "val_resize_size=32", "scale=[0.9, 1]", "batch_size=3"]
    small = [*sizes, "freeze_batch_norm=true", "lr=0.004"]
    settings = [word for key in small for word in ("--set", key)]
    assert main([*words, *settings, "--epochs", "8", "--workers", "0", "--output", str(tmp_path / "run")]) == 0
    best = str(tmp_path / "run" / "best.pth")
    assert specs.find(best).arguments["in_channels"] == bands
    capsys.readouterr()
    assert main(["evaluate", best, str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["acc@1"] > 50
    file = data / "val" / "green" / "1.tif"
    assert main(["predict", best, str(file), "--json", "--output", str(tmp_path / "out")]) == 0
    (record,) = json.loads(capsys.readouterr().out)["results"]
    assert record["labels"][0]["label"] == "green"
    (drawn,) = (tmp_path / "out").iterdir()
    with Image.open(drawn) as image:
        assert image.mode == "RGB"
    assert main(["embed", best, str(file), "--results", str(tmp_path / "x.csv")]) == 0
    # Of another number of bands, and what only colours have.
    write(tmp_path / "five.tif", np.zeros((5, 8, 8), np.uint16))
    capsys.readouterr()
    assert main(["predict", best, str(tmp_path / "five.tif")]) == 1
    assert f"five.tif: has 5 bands, and the model takes {bands}" in capsys.readouterr().err
    assert main([*words, "--set", "auto_augment=ta_wide"]) == 1
    assert f"auto_augment: changes colours, which images of {bands} channels do not have" in capsys.readouterr().err


def test_what_the_model_is_given(tmp_path):
    """The levels of the file, resized and normalised band by band: with the statistics repeated."""
    values = np.random.default_rng(0).integers(0, 65536, (6, 30, 50), dtype=np.uint16)
    write(tmp_path / "x.tif", values)
    spec = specs.find(MODEL, arguments={"in_channels": 6})
    (found,) = task_class(spec.task)(spec).prepare(read_bands(tmp_path / "x.tif"))
    preset = zoo_core.get_model_weights(MODEL).DEFAULT.transforms(
        mean=[0.485, 0.456, 0.406] * 2, std=[0.229, 0.224, 0.225] * 2
    )
    expected = preset(torch.from_numpy(values.astype("float32") / 65535))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layout", ["planes", "pixels", "pages", "compressed", "tiled"])
def test_layouts(layout, tmp_path):
    values = np.random.default_rng(1).integers(0, 256, (5, 33, 21), dtype=np.uint8)
    path = tmp_path / "x.tiff"
    if layout == "pixels":
        tifffile.imwrite(path, values.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig")
    elif layout == "pages":
        tifffile.imwrite(path, values, photometric="minisblack")
    else:
        write(path, values, **{"compressed": {"compression": "zlib"}, "tiled": {"tile": (16, 16)}}.get(layout, {}))
    found = read_bands(path)
    assert (found.channels, found.height, found.width, found.size) == (5, 33, 21, (21, 33))
    assert torch.equal(found.pixels, torch.from_numpy(values) / 255)


@pytest.mark.parametrize(
    ("dtype", "level", "expected"),
    [("uint8", 51, 0.2), ("uint16", 13107, 0.2), ("int16", 32767, 1.0), ("float32", 0.25, 0.25), ("float64", 2.5, 2.5)],
)
def test_levels(dtype, level, expected, tmp_path):
    values = np.full((3, 4, 4), level, dtype)
    write(tmp_path / "x.tif", values)
    assert read_bands(tmp_path / "x.tif").pixels.unique().tolist() == pytest.approx([expected])


def test_what_is_no_number_counts_as_nothing(tmp_path):
    values = np.full((2, 4, 4), np.nan, "float32")
    values[1] = 0.5
    write(tmp_path / "x.tif", values)
    assert read_bands(tmp_path / "x.tif").pixels.mean((1, 2)).tolist() == [0, 0.5]


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(ImageReadError, match=r"none.tif: no such file"):
        read_bands(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(ImageReadError, match=r"text.tif: cannot be decoded: not a TIFF file"):
        read_bands(tmp_path / "text.tif")
    write(tmp_path / "x.tif", np.zeros((2, 40, 50), np.uint8))
    content = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "short.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageReadError, match=r"short.tif: cannot be decoded"):
        read_bands(tmp_path / "short.tif")
    monkeypatch.setenv("ZOO_MAX_IMAGE_PIXELS", "1999")
    with pytest.raises(ImageReadError, match=r"x.tif: too large: 50 x 40 pixels"):
        read_bands(tmp_path / "x.tif")


def test_rgba_stays_as_it_was(tmp_path):
    """Files of 8-bit RGBA are read as they always were, whatever they are called."""
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (20, 20, 4), dtype=np.uint8), "RGBA")
    records = []
    torch.manual_seed(0)
    torch.save(zoo_core.get_model(MODEL, in_channels=4, num_classes=3).state_dict(), tmp_path / "own.pth")
    for ending in ("png", "tif"):
        image.save(tmp_path / f"x.{ending}")
        spec = specs.find(MODEL, checkpoint=tmp_path / "own.pth")
        (prediction,) = zoo_core.predicting.predict(spec, [tmp_path / f"x.{ending}"])
        records.append(prediction.record()["labels"])
    assert records[0] == records[1]


def test_augmentation_of_bands():
    """Crops are smooth where they shrink, and flips and sizes are those of RGB images."""
    from zoo_core.training.transforms import RandomHorizontalFlip, Sample, pipelines

    pixels = torch.rand(5, 60, 60)
    statistics = {"mean": [0.5] * 5, "std": [0.2] * 5}
    augment = pipelines.classification(train_crop_size=16, **statistics, scale=(1.0, 1.0), ratio=(1.0, 1.0), hflip=0)
    found = augment(Sample(BandImage(pixels)), random.Random(0)).image
    expected = torch.nn.functional.interpolate(pixels[None], (16, 16), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(found, (expected - 0.5) / 0.2)
    flipped = RandomHorizontalFlip(1.0)(Sample(BandImage(pixels)), random.Random(0)).image
    assert torch.equal(flipped, pixels.flip(-1))
