"""Optical flow as a task: how pairs and videos are read, words, images, records and the score."""

import math
import re
from pathlib import Path

import av
import pytest
import torch
from PIL import Image
from torch import nn

from support.painted import ORIENTATIONS, encode, number, set_display_matrix, with_cover
from support.reference import image
from support.tasks import check_pickles, check_score, run, save
from zoo_core import predicting, specs
from zoo_core.drawing import flow_to_image
from zoo_core.engines import EagerEngine
from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.predicting.sources import Source, estimate, find_sources, inputs
from zoo_core.tasks import NonFiniteError, task_class
from zoo_flow import Raft_Small_Weights, raft_small, read_flo, write_flo
from zoo_flow.task import EndPointError, Flow, OpticalFlowTask, Pair


class Shift(nn.Module):
    """Stands for RAFT: the flow is what the mean difference of the pictures says, the same for each pixel."""

    def forward(self, image1, image2, num_flow_updates=12, *, last_only=False):
        assert last_only
        assert image1.shape == image2.shape
        assert image1.shape[2] % 8 == image1.shape[3] % 8 == 0
        assert min(image1.shape[2:]) >= 128
        difference = (image2 - image1).mean(dim=(2, 3))[:, :2, None, None]
        return [num_flow_updates * difference.expand(-1, -1, *image1.shape[2:])]


def task(**options):
    return OpticalFlowTask(specs.find("raft_small", weights="C_T_V2"), options)


def pairs_in(*paths):
    """What is read of files."""
    sources, problems = find_sources(task().declaration, map(str, paths))
    assert not problems
    for source in sources:
        yield from (Pair(*pair) for pair in inputs(task(), source))


def guess(path):
    sources, _ = find_sources(task().declaration, [str(path)])
    return estimate(task(), sources)


def plain(size, colour):
    return Image.new("RGB", size, colour)


def write_video(path, count, size=(64, 48), codec="mpeg4"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(count):
            frame = av.VideoFrame.from_image(plain(size, (20 * number, 0, 0)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_it_goes_to_worker_processes():
    check_pickles(task(updates=3), Pair(plain((30, 20), "red"), plain((30, 20), "blue")))


# Which files belong together -----------------------------------------------------------------------------------------


@pytest.fixture
def grouped(tmp_path, monkeypatch):
    """Which of some files belong together; whatever is in them."""
    monkeypatch.chdir(tmp_path)

    def group(*names):
        for name in names:
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).touch()
        sources, problems = find_sources(task().declaration, names)
        assert not problems
        return [(source.numbered, [str(path) for path in source.paths]) for source in sources]

    return group


def test_two_images_are_a_pair_wherever_they_lie(grouped):
    assert grouped("x/a.png", "y/b.png") == [(False, ["x/a.png", "y/b.png"])]


def test_more_images_are_a_sequence(grouped):
    assert grouped("a.png", "b.png", "c.png") == [(False, ["a.png", "b.png"]), (False, ["b.png", "c.png"])]


def test_sequences_end_with_their_folder(grouped):
    assert grouped("x/1.png", "x/2.png", "clip.MP4", "y/1.png", "y/2.png", "clip.ts") == [
        (True, ["clip.MP4"]),
        (True, ["clip.ts"]),
        (False, ["x/1.png", "x/2.png"]),
        (False, ["y/1.png", "y/2.png"]),
    ]


@pytest.mark.parametrize("names", [["a.png"], ["a.png", "clip.mp4"], ["x/1.png", "x/2.png", "y/a.png"]])
def test_an_image_alone_is_refused(grouped, names):
    with pytest.raises(ValueError, match=r"a\.png: optical flow needs two images"):
        grouped(*names)


# Reading -------------------------------------------------------------------------------------------------------------


def test_pair_of_files(tmp_path):
    plain((30, 20), "red").save(tmp_path / "a.png")
    plain((30, 20), "red").convert("L").save(tmp_path / "b.png")
    (pair,) = pairs_in(tmp_path / "a.png", tmp_path / "b.png")
    assert pair.first.mode == pair.second.mode == "RGB"


def test_pair_of_different_sizes(tmp_path):
    plain((30, 20), "red").save(tmp_path / "a.png")
    plain((30, 21), "red").save(tmp_path / "b.png")
    sources, _ = find_sources(task().declaration, [str(tmp_path)])
    (failure,) = predicting.run(task(), EagerEngine(Shift()), sources)
    assert re.search(r"a\.png and .*b\.png: .* same size, unlike 30x20 and 30x21", failure.message)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_video(tmp_path, name):
    path = write_video(tmp_path / name, 6)
    pairs = list(pairs_in(path))
    assert len(pairs) == 5
    reds = [pair.first.getpixel((30, 20))[0] for pair in pairs] + [pairs[-1].second.getpixel((30, 20))[0]]
    assert all(abs(red - 20 * number) < 8 for number, red in enumerate(reds))
    assert pairs[0].second is pairs[1].first
    assert guess(path) in (5, 6)


def test_videos_are_decoded_as_they_are_read(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 40)
    pairs = pairs_in(path)
    next(pairs)
    pairs.close()


@pytest.mark.parametrize("count", [0, 1])
def test_video_of_no_pair(tmp_path, count):
    path = write_video(tmp_path / "clip.mp4", count) if count else tmp_path / "clip.mp4"
    if not count:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"clip\.mp4"):
        list(pairs_in(path))
    assert guess(path) >= 1


def test_damaged_video(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(ValueError, match=r"clip\.mp4: cannot be decoded"):
        list(pairs_in(path))
    with pytest.raises(FileNotFoundError):
        list(inputs(task(), Source((tmp_path / "none.mp4",), True, "none")))


def test_sound_is_no_video(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"sound\.mkv: has no video stream"):
        list(pairs_in(path))


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_frames_are_turned_upright(tmp_path, name):
    matrix, turn = ORIENTATIONS[name]
    path = encode(tmp_path / "a.mp4", count=2, first=37)
    (stored,) = pairs_in(path)
    set_display_matrix(path, matrix)
    (shown,) = pairs_in(path)
    expected = turn(pil_to_tensor(stored.first).permute(1, 2, 0)[None])[0].permute(2, 0, 1)
    assert torch.equal(pil_to_tensor(shown.first), expected)
    assert shown.first.mode == "RGB"


def painted_numbers(pairs):
    pictures = [pair.first for pair in pairs] + [pairs[-1].second]
    return [number(pil_to_tensor(picture).permute(1, 2, 0)) for picture in pictures]


def test_the_picture_of_a_cover_is_no_video(tmp_path):
    path = with_cover(tmp_path / "song.mp4", "libx264")
    assert painted_numbers(list(pairs_in(path))) == list(range(9))
    assert guess(path) == 8


def test_a_name_that_begins_like_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "12:30.mp4", count=3)
    path = Path("12:30.mp4")
    assert painted_numbers(list(pairs_in(path))) == [0, 1, 2]
    assert guess(path) == 2


def test_frames_that_cannot_be_decoded_are_left_out(tmp_path):
    path = encode(tmp_path / "a.mp4", options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[20:24]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"a\.mp4: damaged"):
        found = painted_numbers(list(pairs_in(path)))
    assert found[:19] == list(range(19))
    assert found[-24:] == list(range(36, 60))  # from a key frame on


def test_a_video_without_its_end(tmp_path):
    path = encode(tmp_path / "a.mp4", options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.warns(UserWarning, match=r"a\.mp4: damaged"):
        assert len(list(pairs_in(path))) > 10


# Running -------------------------------------------------------------------------------------------------------------


def test_any_size_and_any_mix_of_sizes():
    sizes = [(200, 130), (33, 700), (200, 130), (1, 1)]
    pairs = [Pair(plain(size, (0, 0, 0)), plain(size, (51 * i, 51, 0))) for i, size in enumerate(sizes)]
    flows = run(task(updates=5), Shift(), *pairs)
    for i, (size, flow) in enumerate(zip(sizes, flows, strict=True)):
        assert flow.vectors.shape == (2, size[1], size[0])
        expected = torch.tensor([2.0 * i, 2.0])[:, None, None].expand_as(flow.vectors)
        torch.testing.assert_close(flow.vectors, expected)


def test_raft_behind_the_task():
    torch.manual_seed(0)
    model = raft_small().eval()
    pictures = [to_pil_image((255 * image(seed, 3, 130, 140)).to(torch.uint8)) for seed in (1, 2)]
    with torch.inference_mode():
        tensors = [
            torch.nn.functional.pad(read[None], (2, 2, 3, 3), mode="replicate")
            for read in Raft_Small_Weights.C_T_V2.transforms()(*pictures)
        ]
        expected = model(*tensors, num_flow_updates=2)[-1][0, :, 3:-3, 2:-2]
    (flow,) = run(task(updates=2), model, Pair(*pictures))
    torch.testing.assert_close(flow.vectors, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_no_numbers():
    class Broken(Shift):
        def forward(self, *args, **kwargs):
            return [super().forward(*args, **kwargs)[0] / 0]

    with pytest.raises(NonFiniteError, match="zoo verify"):
        run(task(), Broken(), Pair(plain((8, 8), "red"), plain((8, 8), "red")))


# Showing -------------------------------------------------------------------------------------------------------------


def constant(x, y, size=(4, 6)):
    return Flow(torch.tensor([float(x), float(y)])[:, None, None].expand(2, *size).contiguous())


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ((3, 4), ["mean motion 5.00 px, on the whole down right", "largest motion 5.00 px", "100% of the pixels"]),
        ((-2, 0.1), ["on the whole left"]),
        ((0, -2), ["on the whole up"]),
        ((0, 0), ["mean motion 0.00 px", "0% of the pixels"]),
    ],
)
def test_words(vector, words):
    lines = "\n".join(task().describe(constant(*vector)))
    for word in words:
        assert word in lines
    assert ("on the whole" in lines) == any(vector)


def test_motion_that_cancels_out_has_no_direction():
    vectors = torch.zeros(2, 2, 4)
    vectors[0] = torch.tensor([5.0, -5.0, 5.0, -4.8])
    assert task().describe(Flow(vectors))[0] == "mean motion 4.95 px"


def test_json():
    assert task().record(constant(3, -4)) == {
        "height": 4,
        "width": 6,
        "mean_vector": [3.0, -4.0],
        "mean_length": 5.0,
        "max_length": 5.0,
    }


def test_files(tmp_path):
    pair, flow = Pair(plain((6, 4), "red"), plain((6, 4), "red")), Flow(image(0, 2, 4, 6) - 0.5)
    assert save(task(), pair, flow, tmp_path, "a") == [tmp_path / "a.png"]
    assert save(task(flo=True), pair, flow, tmp_path, "b.00001") == [tmp_path / "b.00001.png", tmp_path / "b.00001.flo"]
    torch.testing.assert_close(read_flo(tmp_path / "b.00001.flo"), flow.vectors)


def test_the_flow_is_beside_its_frame():
    for size, place in (((400, 300), (403, 0)), ((600, 300), (0, 305))):
        frame = to_pil_image((255 * image(3, 3, size[1], size[0])).to(torch.uint8))
        flow = Flow(image(0, 2, size[1], size[0]) - 0.5)
        drawn = task().draw(Pair(frame, frame), flow)
        assert drawn.crop((0, 0, *size)).tobytes() == frame.tobytes()
        part = pil_to_tensor(drawn.crop((*place, place[0] + size[0], place[1] + size[1])))
        same = (part == flow_to_image(flow.vectors)).all(0)
        assert same[:200].all()
        assert 0.02 < 1 - same.float().mean() < 0.15, "the key in the corner"
        assert drawn.width % 2 == drawn.height % 2 == 0
        assert task().draw_frame(Pair(frame, frame), flow).tobytes() == drawn.tobytes()
    small = Pair(plain((64, 48), "red"), plain((64, 48), "red"))
    assert task().draw(small, constant(1, 2, (48, 64))).height == 5 * 48
    assert task().draw_frame(small, constant(1, 2, (48, 64))).height == 48


def test_colours_of_a_fixed_scale():
    def colour(limit, x):
        flow = constant(x, 0)
        flow.vectors[0, 0, 0] = 0.5
        drawn = task(max_motion=limit).draw_frame(Pair(plain((6, 4), "red"), plain((6, 4), "red")), flow)
        assert drawn.size == (6 + 2 + 6, 4)
        return pil_to_tensor(drawn)[:, 2, 11]

    # Half the limit is half as colourful, whatever else moves; more than the limit is as the limit.
    white = torch.tensor([255.0] * 3)
    full, half = colour(10.0, 10.0).float(), colour(10.0, 5.0).float()
    assert (half - (full + white) / 2).abs().max() <= 1.5
    torch.testing.assert_close(colour(10.0, 40.0).float(), full, rtol=0, atol=1)
    assert (colour(10.0, 5.0).float() - colour(20.0, 5.0).float()).abs().max() > 30


# Scoring -------------------------------------------------------------------------------------------------------------


def test_score_by_hand(tmp_path):
    score = task().score()
    with pytest.raises(ValueError, match="no error"):
        score.compute()
    # Errors 0, 0.5, 2, 3.5 (under 5 % of 100, so no outlier), 3.5 and 5; one pixel is unknown.
    truth = torch.zeros(2, 1, 7)
    truth[0, 0] = torch.tensor([0, 0, 0, 100, 0, 0, math.nan])
    flow = torch.zeros(2, 1, 7)
    flow[0, 0] = torch.tensor([0, 0.5, 0, 103.5, 0, 3, 9])
    flow[1, 0] = torch.tensor([0, 0, -2, 0, 3.5, 4, 9])
    score.update(0, Flow(flow[..., :4]), truth[..., :4])
    write_flo(truth[..., 4:], tmp_path / "truth.flo")
    score.update(1, Flow(flow[..., 4:].contiguous()), tmp_path / "truth.flo")
    result = score.compute()
    # The means of the two pairs are 6 / 4 and 8.5 / 2.
    means = {"epe": 14.5 / 6, "per_image_epe": (1.5 + 4.25) / 2}
    assert result == pytest.approx(means | {"1px": 100 / 3, "3px": 50.0, "5px": 500 / 6, "fl_all": 100 / 3})


def test_score_of_other_shape():
    with pytest.raises(ValueError, match=r"\[2, 4, 6\], not \[2, 6, 4\]"):
        EndPointError().update(0, constant(0, 0), torch.zeros(2, 6, 4))


def test_the_score_does_not_depend_on_order_or_division():
    """Sums of float32 and of float64 would: the pairs differ in size and in how far they move."""
    samples = []
    for seed in range(17):
        vectors = image(seed, 2, 5 + seed, 7) * 10.0 ** (seed % 6)
        truth = image(seed + 100, 2, 5 + seed, 7)
        truth[:, 0, seed % 7] = math.nan
        samples.append((Flow(vectors), truth))
    check_score(EndPointError, samples)


def test_entry_point():
    assert task_class("flow") is OpticalFlowTask
