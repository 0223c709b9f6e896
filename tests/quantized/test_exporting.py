"""``zoo export`` of int8 models: in float32, with their roundings, since no exporter takes torch's int8 layers."""

from pathlib import Path

import pytest
import torch
import torch.ao.nn.quantized as nnq
from torch import nn

import zoo_classification
from support.exporting import check_file, runner
from zoo_core.exporting.integers import has_int8_layers, in_float

SAMPLES = Path(zoo_classification.__file__).parent / "samples"


@pytest.fixture
def run(capsys):
    return runner(capsys)


def test_the_command(run, tmp_path):
    model = ["quantized_shufflenet_v2_x0_5", "--weights", "FASHIONMNIST_FBGEMM_V1"]
    samples = sorted(SAMPLES.glob("*.png"))
    exported = check_file(run, model, tmp_path / "int8.pt2", samples, options=["--topk", 1], tolerance=0.05)
    assert exported["inputs"] == [{"name": "images", "dtype": "float32", "shape": ["batch", 3, "height", "width"]}]
    assert exported["tolerance"] == 0.05
    assert "has int8 layers already" in run("export", *model, "--int8", SAMPLES, code=1)


class Layers(nn.Module):
    """Each kind of layer that int8 models have."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.second = nn.Conv2d(8, 8, 3, groups=8, stride=2, bias=False)
        self.third = nn.Conv2d(8, 8, 1)
        self.swish = nn.Hardswish()
        self.add, self.mul, self.cat = (nnq.FloatFunctional() for _ in range(3))
        self.both = nnq.FloatFunctional()
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.second(self.first(self.quant(x)))
        y = self.swish(self.third(x))
        z = self.both.add_relu(self.add.add(x, y), self.mul.mul(x, y))
        z = torch.nn.functional.adaptive_avg_pool2d(self.cat.cat([z, y], 1), 1)
        return self.dequant(self.head(z.flatten(1)))


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_layers_in_float_give_the_same_but_for_roundings():
    torch.manual_seed(0)
    model = Layers().eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    torch.ao.quantization.fuse_modules(model, [["first.0", "first.1"]], inplace=True)
    torch.ao.quantization.prepare(model, inplace=True)
    model(torch.randn(8, 3, 20, 20))
    torch.ao.quantization.convert(model, inplace=True)
    images = torch.randn(4, 3, 20, 20)
    expected = model(images)
    assert has_int8_layers(model)
    level = model.head.scale
    model = in_float(model)
    assert not has_int8_layers(model)
    # One level, or two where the average was in the middle of two.
    assert (model(images) - expected).abs().max() <= 2.01 * level
