"""The file of int8 weights that ships in the package, and the tool that makes it."""

import hashlib
from pathlib import Path

import pytest
import torch

from support import reference
from tools import embedded_checkpoints, quantize_fashion_mnist, quantizing
from zoo_classification import ShuffleNet_V2_X0_5_Weights
from zoo_core import checkpoints
from zoo_quantized import ShuffleNet_V2_X0_5_QuantizedWeights, quantize_model, shufflenet_v2_x0_5

from . import published

FLOAT = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1
INT8 = ShuffleNet_V2_X0_5_QuantizedWeights.FASHIONMNIST_FBGEMM_V1


@pytest.fixture(scope="module")
def file():
    return Path(checkpoints.locate(INT8.url))


def test_size(file):
    assert file.stat().st_size <= 0.3 * Path(checkpoints.locate(FLOAT.url)).stat().st_size
    assert INT8.meta["_file_size"] == round(file.stat().st_size / 2**20, 3)


def test_facts(file):
    assert hashlib.sha256(file.read_bytes()).hexdigest().startswith(INT8.sha256_prefix)
    assert file.stem.endswith(INT8.sha256_prefix)
    assert INT8.meta["categories"] == FLOAT.meta["categories"]
    assert INT8.meta["num_params"] == FLOAT.meta["num_params"]
    assert INT8.transforms.keywords == FLOAT.transforms.keywords
    (ours,), (theirs,) = INT8.meta["_metrics"].values(), FLOAT.meta["_metrics"].values()
    assert ours["acc@1"] >= theirs["acc@1"] - 1


def test_torch_reads_it(file):
    """By its own means, without ours."""
    model = shufflenet_v2_x0_5(num_classes=10, quantize=True)
    model.load_state_dict(torch.load(file, weights_only=True))
    ours = shufflenet_v2_x0_5(weights=INT8, quantize=True)
    x = reference.image(1, 2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(x), ours(x))
    expected = published.manifest("quantized_shufflenet_v2_x0_5")
    assert [entry[0] for entry in published.manifest_of(torch.load(file, weights_only=True))] == [
        e[0] for e in expected
    ]


def test_compacting_keeps_every_value(tmp_path):
    """In a file less than half as large above its integers."""
    model = quantize_model(shufflenet_v2_x0_5(weights=FLOAT), [reference.image(1, 2, 3, 64, 64)])
    tensors = quantizing.compacted(model.state_dict())
    path = embedded_checkpoints.save(tensors, tmp_path, "compact")
    read = torch.load(path, weights_only=True)
    published.assert_same(read, model.state_dict())
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    integers = sum(p.numel() for p in shufflenet_v2_x0_5(num_classes=10).parameters() if p.ndim > 1)
    assert path.stat().st_size - integers < 0.5 * ((tmp_path / "plain.pth").stat().st_size - integers)
    assert path.name == f"compact-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    again = embedded_checkpoints.save(quantizing.compacted(model.state_dict()), tmp_path, "compact")
    assert again.read_bytes() == path.read_bytes(), "deterministic"


def test_calibration_batches():
    pictures = torch.randint(0, 256, (250, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = quantize_fashion_mnist.calibration_batches(pictures, 130)
    assert [batch.shape for batch in batches] == [(100, 3, 64, 64), (30, 3, 64, 64)]
    torch.testing.assert_close(batches[1][0], FLOAT.transforms()(pictures[100].expand(3, -1, -1)))
