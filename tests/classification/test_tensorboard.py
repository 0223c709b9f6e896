"""The files that a run writes for TensorBoard, read by TensorBoard's own reader."""

import json

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from support import colored_classes
from zoo_core.training import train


def curves(folder):
    """All curves in a folder: by their name, the value at each step."""
    board = EventAccumulator(str(folder))
    board.Reload()
    return {name: {event.step: event.value for event in board.Scalars(name)} for name in board.Tags()["scalars"]}


def test_curves_are_those_of_the_run(tmp_path):
    for split, count in (("train", 6), ("val", 3)):
        colored_classes.paint(tmp_path / "data" / split, count)
    settings = {"epochs": 3, "batch_size": 6, "train_crop_size": 32, "val_crop_size": 32, "val_resize_size": 32}

    def run():
        return train(
            *("shufflenet_v2_x0_5", tmp_path / "data"),
            from_scratch=True,
            recipe="finetune",
            settings=settings,
            output=tmp_path / "run",
            resume=True,
            workers=0,
        )

    run()
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = curves(tmp_path / "run" / "tensorboard")
    assert found.keys() == records[0].keys() - {"epoch"}
    assert found.keys() >= {"loss", "lr", "acc@1"}
    for name, values in found.items():
        assert values.keys() == {1, 2, 3}
        assert all(abs(values[r["epoch"]] - r[name]) <= 1e-6 * abs(r[name]) for r in records), name
    # A run that is done adds nothing.
    run()
    assert curves(tmp_path / "run" / "tensorboard") == found
