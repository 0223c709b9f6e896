"""The program that trains the embedded weights."""

import torch

from support import composed
from tools import fashion_mnist, train
from tools.compose.kinds import compose
from zoo_classification import shufflenet_v2_x0_5
from zoo_core import specs


def test_it_trains_and_writes_what_ships(tmp_path):
    parts = composed.sources(tmp_path / "parts")
    path, found = train.train(
        "shufflenet_v2_x0_5",
        tmp_path / "work",
        tmp_path / "out",
        settings={"epochs": 2, "batch_size": 20, "lr": 0.01, "lr_base_size": 0, "train_crop_size": 32},
        write_data=lambda kind, folder, seed: compose(kind, folder, seed=seed, train=40, val=20, parts=parts),
        workers=0,
    )
    assert path.name.startswith("shufflenet_v2_x0_5_fashionmnist-")
    model = shufflenet_v2_x0_5(num_classes=10)
    model.load_state_dict(torch.load(path, weights_only=True))
    assert found.samples == 20
    assert 0 <= found.metrics["acc@1"] <= 100
    # In the order of the data set's publishers, which the catalogue has too.
    assert specs.find(tmp_path / "work" / "runs" / "fashion_mnist" / "best.pth").labels == fashion_mnist.CLASSES
