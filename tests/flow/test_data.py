"""Data sets of flow in the layouts in which they are published, and the embedded model on pairs of known motion."""

import pytest
import torch
from PIL import Image

from zoo_core.data import DataError
from zoo_core.evaluating import evaluate
from zoo_core.images import write_png
from zoo_flow.data import open_flow_data
from zoo_flow.flo import write_flo


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4)).save(path)


def flow(path, value=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flo(torch.full((2, 4, 6), value), path)


def names(data):
    return [tuple(file.name for file in sample.files) for sample in data]


@pytest.mark.parametrize("above", ["", "training"])
def test_sintel_pairs_frames_of_a_scene(tmp_path, above):
    root = tmp_path / above
    for scene, count in (("b", 3), ("a", 2)):
        for number in range(1, count + 1):
            image(root / "clean" / scene / f"frame_{number:04d}.png")
            image(root / "final" / scene / f"frame_{number:04d}.png")
        for number in range(1, count):
            flow(root / "flow" / scene / f"frame_{number:04d}.flo", float(number))
    data = open_flow_data(tmp_path)
    first, second, third = ("frame_0001.png", "frame_0002.png", "frame_0003.png")
    assert names(data) == [(first, second), (first, second), (second, third)]
    assert data[0].name == "clean/a/frame_0001.png"
    assert [float(sample.truth[0, 0, 0]) for sample in data] == [1, 1, 2]
    assert data.published_as is None
    assert open_flow_data(tmp_path, "final")[0].name == "final/a/frame_0001.png"
    (root / "flow" / "b" / "frame_0002.flo").unlink()
    with pytest.raises(DataError, match=r"frame_0002\.flo: no such file, which its pair needs"):
        open_flow_data(tmp_path)


def test_kitti_reads_sparse_flow_of_16_bits(tmp_path):
    import struct
    import zlib

    for number in (10, 11):
        image(tmp_path / "training" / "image_2" / f"000000_{number}.png")
    # One row of two pixels: 1 to the right and 2 up; unknown.
    row = b"\0" + struct.pack(">6H", 32768 + 64, 32768 - 128, 1, 0, 0, 0)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", 2, 1, 16, 2, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    truth = tmp_path / "training" / "flow_occ" / "000000_10.png"
    truth.parent.mkdir()
    truth.write_bytes(png)
    (sample,) = open_flow_data(tmp_path)
    assert [file.name for file in sample.files] == ["000000_10.png", "000000_11.png"]
    assert sample.truth[:, 0, 0].tolist() == [1, -2]
    assert sample.truth[:, 0, 1].isnan().all()
    truth.write_bytes(b"no png")
    assert [fault.path for fault in open_flow_data(tmp_path).faults()] == [truth]


def test_flying_chairs_are_split_by_a_list(tmp_path):
    for number in (1, 2, 3):
        for place in (1, 2):
            image(tmp_path / "data" / f"{number:05d}_img{place}.ppm")
        flow(tmp_path / "data" / f"{number:05d}_flow.flo")
    assert len(open_flow_data(tmp_path)) == 3
    marks = tmp_path / "FlyingChairs_train_val.txt"
    marks.write_text("1\n2\n1\n")
    assert names(open_flow_data(tmp_path)) == [("00002_img1.ppm", "00002_img2.ppm")]
    assert len(open_flow_data(tmp_path, "train")) == 2
    marks.write_text("1\n2\n")
    with pytest.raises(DataError, match="has 2 lines, but there are 3 pairs"):
        open_flow_data(tmp_path)


def test_own_pairs_lead_to_the_next_frame(tmp_path):
    for name in ("1.png", "2.png", "3.png", "in/a.png", "in/b.png"):
        image(tmp_path / "frames" / name)
    flow(tmp_path / "flow" / "2.flo")
    flow(tmp_path / "flow" / "in" / "a.flo")
    assert names(open_flow_data(tmp_path)) == [("2.png", "3.png"), ("a.png", "b.png")]
    flow(tmp_path / "flow" / "3.flo")
    flow(tmp_path / "flow" / "9.flo")
    with pytest.raises(DataError) as raised:
        open_flow_data(tmp_path)
    assert "no frame comes after" in str(raised.value)
    assert "there is no frame of its name" in str(raised.value)


def test_a_folder_of_no_known_layout_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match="expected Sintel's, KITTI's or FlyingChairs' folders"):
        open_flow_data(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_flow_data(tmp_path / "nowhere")


def test_the_embedded_model_on_known_motion(tmp_path):
    """Blurred noise that moves by whole pixels: the model is off by a fraction of one."""
    noise = torch.rand(1, 3, 200, 240, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)
    ground = ((smooth - smooth.amin()) / (smooth.amax() - smooth.amin()) * 255).byte()[0]
    (tmp_path / "frames").mkdir()
    (tmp_path / "flow").mkdir()
    for number, (right, down) in enumerate([(0, 0), (3, -2), (7, 4)]):
        window = ground[:, 30 - down : 158 - down, 40 - right : 200 - right]
        write_png(window, str(tmp_path / "frames" / f"{number}.png"))
    for number, (right, down) in enumerate([(3, -2), (4, 6)]):
        write_flo(
            torch.tensor([right, down]).float()[:, None, None].expand(2, 128, 160), tmp_path / "flow" / f"{number}.flo"
        )
    found = evaluate("raft_small", tmp_path, weights="SYNTHETIC_V1")
    assert found.samples == 2
    assert not found.bad
    assert 0 < found.metrics["epe"] < 1
    assert found.metrics["fl_all"] < 5


def test_doubled_and_mismatched_pairs(tmp_path):
    for name in ("1.png", "1.jpg", "2.png", "3.png"):
        image(tmp_path / "frames" / name)
    flow(tmp_path / "flow" / "2.flo")
    with pytest.raises(DataError, match=r"1\.png: has the same name as 1\.jpg") as raised:
        open_flow_data(tmp_path)
    assert names(raised.value.rest) == [("2.png", "3.png")]

    from zoo_core.specs import find
    from zoo_flow.task import OpticalFlowTask

    task = OpticalFlowTask(find("raft_small"), scoring=True)
    pair = (Image.new("RGB", (6, 4)), Image.new("RGB", (6, 4)))
    task.check_truth(pair, torch.zeros(2, 4, 6))
    with pytest.raises(ValueError, match="the true flow has 4 x 6 pixels, and the images 6 x 4"):
        task.check_truth(pair, torch.zeros(2, 6, 4))


def test_marks_of_flying_chairs_are_ones_and_twos(tmp_path):
    for place in (1, 2):
        image(tmp_path / f"00001_img{place}.ppm")
    flow(tmp_path / "00001_flow.flo")
    (tmp_path / "FlyingChairs_train_val.txt").write_text("\n3\n")
    with pytest.raises(DataError, match=r"train_val\.txt:2: a line must be 1"):
        open_flow_data(tmp_path)
