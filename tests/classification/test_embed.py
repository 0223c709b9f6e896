"""`zoo embed` with the weights that ship in the package: its vectors are those that the model's last layer takes."""

import csv
import json
import shutil
import struct
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from torch import Tensor

import zoo_classification
from zoo_classification import ShuffleNet_V2_X0_5_Weights, shufflenet_v2_x0_5
from zoo_core.cli import main
from zoo_core.embedding import embed
from zoo_core.images import open_image

SAMPLES = Path(zoo_classification.__file__).parent / "samples"
WEIGHTS = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1
MODEL = ("shufflenet_v2_x0_5", "--weights", WEIGHTS.name)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for image in SAMPLES.glob("*.png"):
        shutil.copy(image, folder)
    return folder


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    """The mean of the last feature map, computed with the model's own parts."""
    model = shufflenet_v2_x0_5(weights=WEIGHTS).eval()
    found = {}
    with torch.inference_mode():
        for path in sorted(SAMPLES.glob("*.png")):
            x = model.maxpool(model.conv1(WEIGHTS.transforms()(open_image(path))[None]))
            found[path.name] = model.conv5(model.stage4(model.stage3(model.stage2(x)))).mean((2, 3))[0]
    return found


def read_npy(path: Path) -> Tensor:
    """Reads a matrix of float32 as the format's description says."""
    content = path.read_bytes()
    assert content[:8] == b"\x93NUMPY\x01\x00"
    length = int.from_bytes(content[8:10], "little")
    assert (10 + length) % 64 == 0
    head = content[10 : 10 + length].decode()
    assert head.endswith("\n")
    assert "'descr': '<f4', 'fortran_order': False" in head
    rows, columns = (int(word) for word in head.partition("(")[2].partition(")")[0].split(","))
    numbers = content[10 + length :]
    assert len(numbers) == 4 * rows * columns
    return torch.tensor(struct.unpack(f"<{rows * columns}f", numbers)).reshape(rows, columns)


def assert_embeddings(found: dict[str, Tensor], expected: dict[str, Tensor], *, normalized: bool = False) -> None:
    assert list(found) == list(expected)
    for name, vector in expected.items():
        wanted = vector / vector.norm() if normalized else vector
        torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-5)


def test_npy_with_a_file_that_cannot_be_read(photos, expected, tmp_path, capsys):
    (photos / "broken.png").write_bytes(b"no image")
    path = tmp_path / "x.npy"
    assert main(["embed", *MODEL, str(photos), "--results", str(path), "--normalize"]) == 1
    assert "broken.png" in capsys.readouterr().err
    with (tmp_path / "x.npy.files.csv").open(newline="") as file:
        names = [Path(row["file"]).name for row in csv.DictReader(file)]
    assert_embeddings(dict(zip(names, read_npy(path), strict=True)), expected, normalized=True)


def test_shards_put_together_are_the_whole(photos, tmp_path):
    whole, parts = tmp_path / "whole.npy", tmp_path / "parts.npy"
    assert main(["embed", *MODEL, str(photos), "--results", str(whole)]) == 0
    for number in (1, 2, 3):
        assert main(["embed", *MODEL, str(photos), "--results", str(parts), "--shard", f"{number}/3"]) == 0
    assert not parts.exists()
    assert main(["merge", "--results", str(parts)]) == 0
    torch.testing.assert_close(read_npy(parts), read_npy(whole), rtol=1e-5, atol=1e-6)
    assert (tmp_path / "parts.npy.files.csv").read_text() == (tmp_path / "whole.npy.files.csv").read_text()


def test_resumed_after_a_part(photos, expected, tmp_path, capsys):
    path = tmp_path / "x.npy"
    call = ["embed", *MODEL, str(photos), "--results", str(path), "--batch-size", "1"]
    assert main(call) == 0
    matrix = path.read_bytes()
    # As it is after a kill: no matrix yet, and some of the records.
    path.unlink()
    records = tmp_path / "x.npy.jsonl"
    lines = records.read_text().splitlines(keepends=True)
    records.write_text("".join(lines[:4]) + lines[4][:100])
    assert main([*call, "--resume"]) == 0
    assert path.read_bytes() == matrix
    assert main(call) == 1
    assert "--resume goes on with it" in capsys.readouterr().err


def test_parquet_has_failures_too(photos, expected, tmp_path):
    (photos / "zz.png").write_bytes(b"no image")
    path = tmp_path / "x.parquet"
    assert main(["embed", *MODEL, str(photos), "--results", str(path)]) == 1
    table = pyarrow.parquet.read_table(path)
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float32())
    *good, bad = table.to_pylist()
    assert_embeddings({Path(row["file"]).name: torch.tensor(row["embedding"]) for row in good}, expected)
    assert (bad["embedding"], Path(bad["file"]).name) == (None, "zz.png")
    assert "zz.png" in bad["error"]


def test_text_formats_keep_every_bit(photos, expected, tmp_path):
    lines, table, matrix = (tmp_path / name for name in ("x.jsonl", "x.csv", "x.npy"))
    for path in (lines, table, matrix):
        assert main(["embed", *MODEL, str(photos), "--results", str(path)]) == 0
    exact = read_npy(matrix)
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert torch.equal(torch.tensor([record["embedding"] for record in records]), exact)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert torch.equal(torch.tensor([[float(row[f"e{i}"]) for i in range(1024)] for row in rows]), exact)


def test_from_python_and_the_nearest(photos, expected):
    found = {Path(str(x.source)).name: x.result for x in embed(MODEL[0], photos, weights=WEIGHTS.name, normalize=True)}
    assert_embeddings(found, expected, normalized=True)
    matrix = torch.stack(list(found.values()))
    near = (matrix @ found["coat.png"]).argsort(descending=True)
    assert list(found)[near[0]] == "coat.png"
    assert list(found)[near[1]] in ("pullover.png", "shirt.png", "dress.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--results", "x.bin"], "must end in .npy, .parquet"),
        (["--results", "x.npy", "--format", "csv"], "not csv"),
        (["--resume"], "--results FILE"),
        (["--every", "2", "--fps", "1"], "one of them"),
    ],
)
def test_lines_that_make_no_sense(arguments, message, capsys):
    assert main(["embed", *MODEL, "photo.png", *arguments]) == 2
    assert message in capsys.readouterr().err
