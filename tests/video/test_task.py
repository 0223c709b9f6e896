"""Video classification as a task: clips, results, words, contact sheets, records, the command."""

import json
import weakref

import pytest
import torch
from torch import Tensor, nn

import zoo_core
from support import cache, reference
from support.painted import encode
from support.tasks import check_pickles, check_score, run, save
from zoo_core.cli import main
from zoo_core.images import open_image
from zoo_core.specs import ModelSpec
from zoo_core.tasks import NonFiniteError, task_class
from zoo_video import VideoReadError
from zoo_video.task import ClassifiedVideo, VideoClassificationTask

LABELS = ["other", "late", "bright"]


class Bits(nn.Module):
    """Logits from the blocks that `support.painted` paints: bit 5 tells frames from 32 on, bit 0 odd frames."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 4, 32, 40)
        late = x[:, :, :, 24, 4].mean((1, 2))
        return torch.stack((torch.zeros_like(late), 10 * late - 5, x.mean((1, 2, 3, 4))), 1)


SPEC = ModelSpec(
    "bits",
    "video",
    weights="V1",
    preset="VideoClassification",
    preset_arguments={"crop_size": (32, 40), "resize_size": (32, 40), "mean": (0, 0, 0), "std": (1, 1, 1)},
    labels=tuple(LABELS),
    facts={"clip_length": 4, "frame_rate": 15},
)


def bits_task(**options) -> VideoClassificationTask:
    return VideoClassificationTask(SPEC, options)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("task") / "count.mp4", b_frames=2)


def test_the_entry_point_names_it():
    assert task_class("video") is VideoClassificationTask


def test_it_goes_to_worker_processes(video):
    check_pickles(bits_task(clips=1), bits_task(clips=1).read(video))


def test_probabilities_are_the_mean_over_clips(video):
    task = bits_task(clips=3)
    read = task.read(video)
    clips = list(read.clips())
    assert [clip.frames.shape for clip in clips] == [(3, 4, 32, 40)] * 3
    assert [clip.times[0] for clip in clips] == pytest.approx([0, 26 / 30, 53 / 30])
    (result,) = run(task, Bits(), read)
    assert isinstance(result, ClassifiedVideo)
    torch.testing.assert_close(result.probabilities, torch.stack([clip.probabilities for clip in result.clips]).mean(0))
    first, _, last = result.clips
    assert first.top(1)[0][1] == "bright"
    assert last.top(1)[0][1] == "late"
    # The clip's logits by hand: 5 for late, the mean brightness for bright.
    frames = clips[2].frames
    logits = torch.stack((torch.zeros(()), 10 * frames[:, :, 24, 4].mean() - 5, frames.mean()))
    torch.testing.assert_close(last.probabilities, logits.softmax(0))


def test_frames_are_preprocessed_as_a_whole_clip_would_be(video):
    from zoo_video import read_clips

    (clip,) = read_clips(video, 4, frame_rate=15)
    (ours,) = bits_task(clips=1).read(video).clips()
    torch.testing.assert_close(ours.frames, bits_task().preprocess(clip.frames), rtol=0, atol=0)
    assert ours.times == clip.times


def test_many_clips_are_run_while_they_are_read(video):
    """Whatever their number, no more are in memory than overlap; the sheet shows some of them."""
    alive, most = weakref.WeakSet(), 0

    class Watched(Bits):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal most
            alive.add(x.untyped_storage())
            most = max(most, len(alive))
            return super().forward(x)

    task = bits_task(clips=500)
    read = task.read(video)
    (result,) = run(task, Watched(), read)
    assert len(result.clips) == len(read.spans) == 500
    assert most <= 2
    assert sorted(read.thumbnails) == sorted({round(row * 499 / 23) for row in range(24)})
    assert task.draw(read, result).height < 24 * 200


def test_words_and_json(video):
    task = bits_task(clips=3, topk=2)
    (result,) = run(task, Bits(), task.read(video))
    lines = task.describe(result)
    assert len(lines) == 2
    late = next(line for line in lines if "late" in line)
    assert late.endswith("% at 0:01.8 - 0:02.0")
    assert "best 98." in late

    plain = json.loads(json.dumps(task.record(result)))
    assert [len(clip["labels"]) for clip in plain["clips"]] == [2, 2, 2]
    assert plain["labels"][0] == {
        "index": int(result.probabilities.argmax()),
        "label": LABELS[int(result.probabilities.argmax())],
        "score": pytest.approx(float(result.probabilities.max())),
    }
    assert plain["clips"][2]["start"] == pytest.approx(53 / 30)
    assert plain["clips"][2]["end"] == pytest.approx(59 / 30)

    (one,) = run(bits_task(clips=1), Bits(), bits_task(clips=1).read(video))
    assert all(line.endswith("  0:00.9 - 0:01.1") for line in bits_task().describe(one))


def test_contact_sheet(video, tmp_path):
    task = bits_task(clips=3, topk=2)
    read = task.read(video)
    (result,) = run(task, Bits(), read)
    (path,) = save(task, read, result, tmp_path, "count")
    assert path == tmp_path / "count.png"
    sheet = open_image(path)
    # Four frames of 150x120 beside each other, three rows of them with their captions, and the labels below.
    assert sheet.width == 4 + 4 * 154
    assert sheet.height > 3 * (120 + 2 * 24)
    # The last frame of the last clip is 59, 0b111011: blocks 0, 1, 3 and 4 of the upper row and 5 of the lower one.
    left, top = 4 + 3 * 154, 4 + 2 * (24 + 120 + 24 + 4) + 24
    blocks = [sheet.getpixel((left + 15 + 30 * (bit % 5), top + 30 + 60 * (bit // 5)))[0] > 128 for bit in range(10)]
    assert blocks == [bool(59 >> bit & 1) for bit in range(10)]


def test_contact_sheet_of_one_tiny_frame_is_wide_enough_for_its_caption(tmp_path):
    path = encode(tmp_path / "tiny.mp4", count=1, size=(16, 48))
    task = bits_task()
    read = task.read(path)
    (result,) = run(task, Bits(), read)
    (saved,) = save(task, read, result, tmp_path, "tiny")
    assert open_image(saved).width >= 250


def test_options_override_what_the_weights_say(video):
    (clip,) = bits_task(clips=1, frames=6, frame_rate=5.0).read(video).clips()
    assert clip.frames.shape[1] == 6
    assert clip.times[-1] - clip.times[0] == pytest.approx(1.0, abs=0.04)


def test_results_that_are_no_numbers(video):
    class Broken(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 3), float("nan"))

    with pytest.raises(NonFiniteError, match="bits with V1 gave NaN or infinity"):
        run(bits_task(), Broken(), bits_task().read(video))


def test_unreadable(tmp_path):
    with pytest.raises(VideoReadError, match="no such file"):
        bits_task().read(tmp_path / "none.mp4")


def test_score():
    score = bits_task().score()
    for index, truth in enumerate(("late", 2)):
        score.update(index, ClassifiedVideo(torch.tensor([0.1, 0.6, 0.3]), LABELS, []), truth)
    assert score.compute() == {"acc@1": 50.0, "acc@5": 100.0}


def test_the_score_does_not_depend_on_order_or_division():
    generator = torch.Generator().manual_seed(0)
    samples = [(ClassifiedVideo(torch.rand(3, generator=generator), LABELS, []), index % 3) for index in range(20)]
    check_score(bits_task().score, samples)


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A cache with a checkpoint of mc3_18, of random parameters."""
    home = tmp_path_factory.mktemp("home")
    weights = zoo_core.get_model_weights("mc3_18")["DEFAULT"]
    with reference.no_random_init():
        model = reference.fill_parameters(zoo_core.get_model("mc3_18"))
    cache.publish(home, weights, model.state_dict())
    return home, model


@pytest.fixture
def offline(checkpoint, monkeypatch):
    home, model = checkpoint
    cache.use(home, monkeypatch)
    return model


def test_predict_one_video(offline, video, tmp_path, capsys):
    arguments = ["predict", "mc3_18", str(video), "--clips", "2", "--topk", "3"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == str(video)
    assert len([line for line in printed.splitlines() if " at 0:0" in line]) == 3
    assert (tmp_path / "out" / "count.png").exists()

    assert main([*arguments, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    from zoo_video import read_clips

    preprocess = zoo_core.get_model_weights("mc3_18")["DEFAULT"].transforms()
    with torch.inference_mode():
        clips = [offline(preprocess(c.frames)[None]) for c in read_clips(video, 16, num_clips=2, frame_rate=15)]
    expected = torch.cat(clips).softmax(1).mean(0)
    assert found["labels"][0]["index"] == int(expected.argmax())
    assert found["labels"][0]["score"] == pytest.approx(float(expected.max()), abs=1e-5)
    assert [len(clip["labels"]) for clip in found["clips"]] == [3, 3]


def test_predict_a_folder_with_a_bad_file(offline, tmp_path, capsys):
    folder = tmp_path / "videos"
    (folder / "deeper").mkdir(parents=True)
    encode(folder / "a.mp4", count=20)
    encode(folder / "deeper" / "b.MKV", "mpeg4", count=20, format="matroska")
    (folder / "bad.mp4").write_bytes(b"no video" * 99)
    (folder / "notes.txt").write_text("not taken")
    assert main(["predict", "mc3_18", str(folder), "--clips", "1", "--json"]) == 1
    captured = capsys.readouterr()
    results = json.loads(captured.out)["results"]
    assert [result["file"].rpartition("/")[2] for result in results] == ["a.mp4", "bad.mp4", "b.MKV"]
    assert ["error" in result for result in results] == [False, True, False]
    assert "bad.mp4: cannot be decoded: not a video" in captured.err


def test_a_size_that_the_model_does_not_take_is_said(video, publish, capsys):
    weights = zoo_core.get_model_weights("s3d")["DEFAULT"]
    with reference.no_random_init():
        publish(weights, reference.fill_parameters(zoo_core.get_model("s3d")).state_dict())
    assert main(["predict", "s3d", str(video), "--frames", "8"]) == 1
    assert "count.mp4: S3D takes videos of at least 13 frames" in capsys.readouterr().err
