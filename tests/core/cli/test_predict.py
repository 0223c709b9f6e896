"""``zoo predict``, with a toy package that has a model, a task, and weights of every kind."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path, PurePath

import pytest
from PIL import Image

from support import toy_package
from support.painted import encode
from zoo_core import catalog
from zoo_core.predicting.names import Names

from .running import environment, paint, read_terminal, zoo


def test_predict(toys, pictures, capsys):
    zoo("predict", "brightnet", "night.png", "snow.jpg", "fog.png")
    printed = capsys.readouterr()
    assert printed.out == "night.png\n  dark\nsnow.jpg\n  bright\nfog.png\n  bright\n"
    assert printed.err == ""


def test_memory_of_images_is_used_again(toys, pictures):
    """Which Pillow is told by the environment, and reads when it is imported."""
    code = (
        "from zoo_core.cli import main\n"
        "assert main(['predict', 'brightnet', 'night.png']) == 0\n"
        "from PIL import Image\n"
        "print(Image.core.get_blocks_max())"
    )
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, env=environment(toys.path), capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "16"


def test_options_of_the_task(toys, pictures, capsys):
    zoo("predict", "brightnet", "fog.png", "--level", "0.9", "--shout", "--prefix", "quite ")
    assert capsys.readouterr().out == "fog.png\n  quite DARK\n"
    zoo("predict", "--level=0.9", "brightnet", "fog.png")
    assert capsys.readouterr().out == "fog.png\n  dark\n"
    zoo("predict", "brightnet", "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "--level N From which probability on an image counts as bright." in text
    assert "--shout Write in capitals." in text
    zoo("predict", "--task", "toys", "--help")
    assert "--level" in capsys.readouterr().out
    zoo("predict", "--help")
    assert "--level" not in capsys.readouterr().out


@pytest.mark.parametrize("batch_size", ["1", "2", "50"])
def test_one_bad_file_does_not_stop_the_others(toys, pictures, capsys, batch_size):
    content = (pictures / "snow.jpg").read_bytes()
    (pictures / "cut.jpg").write_bytes(content[: len(content) // 2])
    (pictures / "text.png").write_text("this is no picture")
    (pictures / "empty.png").write_bytes(b"")
    paint(pictures / "unlucky.png", 255, (13, 13))
    paint(pictures / "denied.png", 255)
    bad = ["cut.jpg", "text.png", "absent.png", "empty.png", "unlucky.png"]
    words = ["night.png", "cut.jpg", "snow.jpg", "text.png", "absent.png", "empty.png", "unlucky.png", "fog.png"]
    zoo("predict", "brightnet", *words, "--batch-size", batch_size, expect=1)
    printed = capsys.readouterr()
    assert printed.out == "night.png\n  dark\nsnow.jpg\n  bright\nfog.png\n  bright\n"
    errors = printed.err.splitlines()
    assert len(errors) == len(bad)
    for name in bad:
        assert any(re.match(rf"error: {re.escape(name)}: \S", line) for line in errors), name

    zoo("predict", "brightnet", *words, "--batch-size", batch_size, "--json", expect=1)
    results = json.loads(capsys.readouterr().out)["results"]
    assert sorted(r["file"] for r in results if "error" not in r) == ["fog.png", "night.png", "snow.jpg"]
    assert len([r for r in results if "error" in r]) == len(bad)


def test_only_bad_files(toys, pictures, capsys):
    zoo("predict", "brightnet", "absent.png", "nothing*.png", expect=1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "error: absent.png: no such file",
        "error: nothing*.png: no file matches",
        "error: there is nothing to look at",
    ]


def test_words_that_name_no_file_do_not_stop_the_others(toys, pictures, capsys, monkeypatch):
    too_long = "x" * 5000 + ".png"
    zoo("predict", "brightnet", "", too_long, "night.png", expect=1)
    printed = capsys.readouterr()
    assert printed.out == "night.png\n  dark\n"
    assert printed.err.splitlines() == [
        "error: an empty word names no file; was it a variable that is not set?",
        f"error: {too_long}: File name too long",
    ]
    # Without a model, an empty word does not mean all that is in the current folder either.
    zoo("predict", "", expect=1)
    assert re.match("error: unknown model ''", capsys.readouterr().err)

    is_dir = Path.is_dir

    def denied_below(self: Path) -> bool:
        if self.name == "secret":
            raise PermissionError(13, "Permission denied", str(self))
        return is_dir(self)

    monkeypatch.setattr(Path, "is_dir", denied_below)
    zoo("predict", "brightnet", "secret", "night.png", expect=1)
    printed = capsys.readouterr()
    assert printed.out == "night.png\n  dark\n"
    assert printed.err == "error: secret: Permission denied\n"


def test_predict_as_json(toys, pictures, capsys):
    zoo("predict", "brightnet", "snow.jpg", "fog.png", "--json", "--weights", "HAND_V1", "--output", "out")
    document = json.loads(capsys.readouterr().out)
    results = document.pop("results")
    assert document == {"model": "brightnet", "weights": "HAND_V1", "task": "toys", "device": "cpu"}
    assert [r["file"] for r in results] == ["snow.jpg", "fog.png"]
    # Softmax of (-10 x, 10 x) for x = brightness - 0.5.
    assert results[0]["brightness"] == pytest.approx(0.9999546, abs=1e-6)
    assert results[1]["brightness"] == pytest.approx(0.7267, abs=1e-3)
    assert [r["output"] for r in results] == [["out/snow.jpg"], ["out/fog.png"]]


def test_the_format_of_images(toys, pictures, capsys):
    zoo("predict", "brightnet", "snow.jpg", "fog.png", "--output", "out", "--save", "webp")
    assert re.findall(r"-> (\S+)", capsys.readouterr().out) == ["out/snow.webp", "out/fog.webp"]
    zoo("predict", "brightnet", "snow.jpg", "--save", "png", expect=2)
    assert "--output DIR" in capsys.readouterr().err


def test_folders_and_patterns(toys, pictures, capsys):
    for name in ("album/b.png", "album/a.PNG", "album/deep/c.jpg", "album/.hidden/d.png", "album/.e.png", "x[1].png"):
        paint(pictures / name, 255)
    (pictures / "album" / "notes.txt").write_text("not of a picture's name")
    (pictures / "void").mkdir()

    def seen(*words: str, expect: int = 0) -> list[str]:
        zoo("predict", "brightnet", *words, expect=expect)
        return [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]

    assert seen("album") == ["album/a.PNG", "album/b.png", "album/deep/c.jpg"]
    assert seen("*.png") == ["fog.png", "night.png", "x[1].png"]
    assert seen("x[1].png") == ["x[1].png"]  # a file of that very name
    assert seen("album/**/*.jpg", "night.png") == ["album/deep/c.jpg", "night.png"]
    assert seen("alb*") == ["album/a.PNG", "album/b.png", "album/deep/c.jpg"]
    assert seen("void", "night.png", expect=1) == ["night.png"]
    zoo("predict", "brightnet", "void", expect=1)
    assert "void: no file in this folder ends in .bmp, .gif, .jpeg" in capsys.readouterr().err


def test_what_was_written_is_not_looked_at_the_next_time(toys, pictures, capsys):
    for _ in range(2):
        zoo("predict", "brightnet", ".", "--output", "deep/out")
        printed = capsys.readouterr().out
        assert [line for line in printed.splitlines() if not line.startswith(" ")] == [
            "fog.png",
            "night.png",
            "snow.jpg",
        ]
    zoo("predict", "brightnet", "deep")  # unless it is asked for
    assert "deep/out/fog.png" in capsys.readouterr().out
    zoo("predict", "brightnet", "deep/out", "--output", "deep/out", expect=1)
    assert "fog.png lies in the folder for the images" in capsys.readouterr().err


def test_pictures_with_labels_never_collide(toys, pictures, capsys):
    for name in ("a/x.png", "b/x.png", "b/X.jpg", "b/x-2.png", "c/x.y.png", "c/other.png"):
        paint(pictures / name, 255, (20, 10))
    zoo("predict", "brightnet", "a", "b", "c", "a/x.png", "--output", "new/out")
    written = re.findall(r"-> (\S+)", capsys.readouterr().out)
    assert len(written) == len({path.lower() for path in written}) == 7
    assert set(map(str, Path("new/out").iterdir())) == set(written)
    for path in written:
        with Image.open(path) as picture:
            assert picture.height > 100, "enlarged, with a panel of labels below"
    zoo("predict", "brightnet", "a/x.png", "--output", "new/out")  # again is no error
    assert "-> new/out/x.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/x.png", "b/y.png"], ["x", "y"]),
        (["a/x.png", "b/x.png", "c/x.jpg"], ["x", "x-2", "x-3"]),
        (["a/x.png", "b/x.png", "b/x-2.png"], ["x", "x-2", "x-2-2"]),
        (["a/x.png", "b/X.png"], ["x", "X-2"]),
        (["x.png", "x.mask.png"], ["x", "x-mask"]),
        (["x.png", "x.mask.png", "x-mask.jpg"], ["x", "x-mask", "x-mask-2"]),
        (["x.y.png", "a/x.y.png", "b/x.y.png"], ["x.y", "x-y", "x-y-2"]),
        (["x.mask.png", "x.png"], ["x.mask", "x-2"]),
        (["x.png", "x-mask.png", "x1.png"], ["x", "x-mask", "x1"]),
    ],
)
def test_names_of_written_files(paths, expected):
    names = Names()
    assert [names.give(PurePath(), Path(path).stem) for path in paths] == expected
    assert names.give(PurePath("elsewhere"), Path(paths[0]).stem) == expected[0], "each folder for itself"


def test_no_model_was_named(toys, pictures, capsys):
    zoo("predict", "night.png", "--task", "toys", "--level", "0")
    printed = capsys.readouterr()
    assert printed.out == "night.png\n  bright\n"
    named, known = printed.err.splitlines()
    assert named == "no model was named: brightnet with HAND_V1, which ships in toyzoo"
    assert known.startswith(
        "warning: this model knows nothing but 2 classes (dark, bright) of Toys, and takes whatever it sees for one of "
        "them. For other images, name a model: zoo predict MODEL night.png"
    )


def test_no_model_was_named_and_none_ships(many, pictures, capsys):
    zoo("predict", "night.png", expect=1)
    assert re.match(r"error: no installed package ships weights, so name a model", capsys.readouterr().err)
    zoo("demo", expect=1)
    assert "no installed package ships weights" in capsys.readouterr().err


def test_no_package_is_installed(many, pictures, capsys, monkeypatch):
    monkeypatch.setattr(catalog, "_added_sources", [])
    catalog.clear_cache()
    for words in (["demo"], ["download", "--all"], ["predict", "night.png"]):
        zoo(*words, expect=1)
        assert re.match("error: no package with models is installed; .*zoo-classification", capsys.readouterr().err)


def test_weights_that_cannot_be_had(toys, pictures, capsys, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    zoo("predict", "brightnet", "night.png", "--weights", "REMOTE_V1", expect=1)
    error = capsys.readouterr().err
    assert re.match(rf"error: {re.escape(toys.remote)} is not in the cache, and ZOO_OFFLINE forbids", error)
    assert len(error.splitlines()) == 1
    # What is wrong with the files is said before anything is downloaded.
    zoo("predict", "brightnet", "absent.png", "--weights", "REMOTE_V1", expect=1)
    assert "ZOO_OFFLINE" not in capsys.readouterr().err


def test_a_task_without_an_adapter(tmp_path, cache, pictures, capsys):
    package = toy_package.write(tmp_path / "site", adapter=None)
    with toy_package.installed(package.path):
        zoo("predict", "brightnet", "night.png", expect=1)
    assert "no installed package can show results of the task 'toys'" in capsys.readouterr().err


def test_an_adapter_that_is_none(tmp_path, cache, pictures, capsys):
    package = toy_package.write(tmp_path / "site", adapter="toyzoo.brightnet:BrightNet")
    (package.root / "brightnet.toml").write_text(toy_package.DECLARATION)
    with toy_package.installed(package.path):
        zoo("predict", "brightnet", "night.png", expect=1)
    assert "must name a subclass of zoo_core.tasks.Task, not <class" in capsys.readouterr().err


PAIRS = """
from toyzoo.adapter import ToyTask

class Pairs(ToyTask):
    def prepare(self, input):
        return super().prepare(input[0])

    def draw(self, input, result):
        return super().draw(input[0], result)

    def draw_frame(self, input, result):
        return super().draw_frame(input[0], result)
"""
PAIRS_DECLARATION = """
title = "Looking at pairs"
images = 2
files = ["image", "video"]
batch_size = 3
examples = "a.png b.png"
"""


def test_tasks_that_read_pairs_and_sequences(tmp_path, cache, pictures, capsys):
    """As optical flow does: two images make one input, and a video holds many."""
    package = toy_package.write(tmp_path / "site", adapter="toyzoo.pairs:Pairs")
    (package.root / "pairs.py").write_text(PAIRS)
    (package.root / "pairs.toml").write_text(
        PAIRS_DECLARATION + toy_package.DECLARATION[toy_package.DECLARATION.index("[options") :]
    )
    encode(Path("fog.mp4"), count=4)
    encode(Path("one.mp4"), count=2)
    encode(Path("still.mp4"), count=1)
    with toy_package.installed(package.path):
        words = ["night.png", "snow.jpg", "fog.mp4", "one.mp4", "still.mp4"]
        zoo("predict", "brightnet", *words, "--output", "out", expect=1)
        printed = capsys.readouterr()
        assert [line for line in printed.out.splitlines() if not line.startswith(" ")] == [
            "fog.mp4 [0]",
            "fog.mp4 [1]",
            "fog.mp4 [2]",
            "one.mp4 [0]",
            "night.png snow.jpg",
        ]
        assert printed.err == (
            "error: still.mp4: looking at pairs needs at least two frames, and this video has fewer\n"
        )
        assert sorted(path.name for path in Path("out").iterdir()) == [
            "fog.mp4",
            "night.png",
            "one.mp4",
        ]
        zoo("predict", "brightnet", "night.png", "snow.jpg", "fog.png", "--json")
        results = json.loads(capsys.readouterr().out)["results"]
        assert [result["files"] for result in results] == [["night.png", "snow.jpg"], ["snow.jpg", "fog.png"]]
        zoo("predict", "brightnet", "night.png", expect=1)
        assert capsys.readouterr().err == (
            "error: night.png: looking at pairs needs two images (or a video), and this one is alone\n"
        )


def test_image_tasks_take_the_frames_of_videos(toys, pictures, capsys):
    encode(pictures / "count.mp4", count=3)
    zoo("predict", "brightnet", "count.mp4", "night.png", "--output", "out", "--level", "0")
    assert capsys.readouterr().out.splitlines() == [
        "count.mp4 [0]",
        "  bright",
        "  -> out/count.mp4",
        "count.mp4 [1]",
        "  bright",
        "count.mp4 [2]",
        "  bright",
        "night.png",
        "  bright",
        "  -> out/night.png",
    ]
    zoo("predict", "brightnet", ".", "--json")
    files = [result["file"] for result in json.loads(capsys.readouterr().out)["results"]]
    assert "count.mp4" not in files, "of a folder, only the kinds of file that the task declares"


def test_debug_shows_why_a_file_failed(toys, pictures, capsys):
    Path("text.png").write_text("no picture")
    zoo("predict", "brightnet", "text.png", "night.png", "--debug", expect=1)
    printed = capsys.readouterr()
    assert printed.out == "night.png\n  dark\n"
    first, second, *_ = printed.err.splitlines()
    assert first.startswith("error: text.png: ")
    assert second.startswith("Traceback") or "ImageReadError" in printed.err


def test_the_progress_bar_goes_to_the_terminal_and_the_results_to_the_pipe(toys, pictures):
    (pictures / "text.png").write_text("no picture")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo_core.cli", "predict", "brightnet", "night.png", "snow.jpg", "text.png"],
        env=environment(toys.path, TERM="xterm", COLUMNS="80"),
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    shown = read_terminal(leader)
    assert process.stdout is not None
    assert process.stdout.read() == b"night.png\n  dark\nsnow.jpg\n  bright\n"
    process.stdout.close()
    assert process.wait() == 1
    assert "predicting" in shown
    assert "0/3" in shown
    assert "error: text.png: " in shown
