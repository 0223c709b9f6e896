"""Detection on a video: boxes and masks are drawn on every frame, in the same colours."""

import torch
from torch import nn

from support.painted import encode
from support.tasks import frames_of, save_video
from zoo_core import specs
from zoo_detection.task import ObjectDetectionTask


class Moving(nn.Module):
    """Finds a person, who moves by 10 pixels a frame, with a mask."""

    def __init__(self):
        super().__init__()
        self.left = 20

    def forward(self, images):
        results = []
        for image in images:
            box = torch.tensor([[self.left, 70.0, self.left + 40.0, 120.0]])
            mask = torch.zeros(1, 1, *image.shape[1:])
            mask[0, 0, 70:120, self.left : self.left + 40] = 1
            results.append({"boxes": box, "labels": torch.tensor([1]), "scores": torch.tensor([0.9]), "masks": mask})
            self.left += 10
        return results


def test_a_video(tmp_path):
    encode(tmp_path / "clip.mp4", count=8, size=(240, 160))
    task = ObjectDetectionTask(specs.find("maskrcnn_resnet50_fpn"), {})
    records = save_video(task, Moving(), tmp_path / "clip.mp4", tmp_path / "out")
    assert [record["index"] for record in records] == list(range(8))
    assert [record["detections"][0]["bbox"][0] for record in records] == [20 + 10 * index for index in range(8)]
    assert {tuple(record["output"]) for record in records} == {(tmp_path / "out" / "clip.mp4",)}
    before, after = frames_of(tmp_path / "clip.mp4"), frames_of(tmp_path / "out" / "clip.mp4")
    assert len(after) == 8
    assert {image.size for image in after} == {(240, 160)}
    colors = []
    for index, (plain, drawn) in enumerate(zip(before, after, strict=True)):
        left = 20 + 10 * index
        far = (left + 160) % 240, 150
        assert max(abs(a - b) for a, b in zip(plain.getpixel(far), drawn.getpixel(far), strict=True)) < 40
        colors.append(drawn.getpixel((left + 20, 110)))
        assert max(abs(a - b) for a, b in zip(plain.getpixel((left + 20, 110)), colors[-1], strict=True)) > 40
    spread = [max(channel) - min(channel) for channel in zip(*colors[:4], strict=True)]
    assert max(spread) < 30, "an object keeps its colour"
