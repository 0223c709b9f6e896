"""Segmentation of a video: classes are painted over every frame, and masks are written for each."""

from collections import OrderedDict
from fractions import Fraction

import torch
from PIL import Image
from torch import nn

from support.tasks import frames_of, save_video
from zoo_core import specs
from zoo_core.videos import VideoWriter
from zoo_segmentation import read_mask
from zoo_segmentation.task import SemanticSegmentationTask


class ByBrightness(nn.Module):
    """Says `person` where a frame is bright."""

    def forward(self, x):
        scores = torch.zeros(len(x), 21, *x.shape[2:])
        scores[:, 15] = x.mean(dim=1)
        return OrderedDict(out=scores)


def test_a_video(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", (320, 240), rate=Fraction(10)) as writer:
        for index in range(5):
            image = Image.new("RGB", (320, 240))
            image.paste((255, 255, 255), (40 * index, 0, 40 * index + 120, 120))
            writer.write(image, Fraction(index, 10))
    task = SemanticSegmentationTask(specs.find("lraspp_mobilenet_v3_large"), {"mask": True})
    records = save_video(task, ByBrightness(), tmp_path / "clip.mp4", tmp_path / "out")
    assert [record["time"] for record in records] == [0, 0.1, 0.2, 0.3, 0.4]
    drawn = frames_of(tmp_path / "out" / "clip.mp4")
    assert [image.size for image in drawn] == [(320, 240)] * 5
    for index, image in enumerate(drawn):
        inside = image.getpixel((40 * index + 60, 60))
        assert min(inside) < 200, "what was white is painted"
        outside = image.getpixel(((40 * index + 220) % 320, 60))
        assert max(outside) < 30, "the background is not"
        mask = read_mask(tmp_path / "out" / f"clip.{index:05d}.mask.png")
        assert mask[60, 40 * index + 60] == 15
        assert mask[60, (40 * index + 220) % 320] == 0
