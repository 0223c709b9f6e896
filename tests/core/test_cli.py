"""The ``zoo`` command, with a toy package that has a model, an adapter, and weights of every kind."""

import importlib.metadata
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from support import toy_package
from zoo_core import catalog
from zoo_core.cli import facts, inputs, main, output

from .checkpoint_server import CheckpointServer, Fault

TORCH_FREE = [
    "--help",
    "--version",
    "list",
    "list --json",
    "list nothing_like_it",
    "info brightnet",
    "info brightnet --json",
    "info brigthnet",
    "download brightnet --weights ALL",
    "verify",
    "cache",
    "cache --clear --yes",
    "predict --help",
    "predict",
]


@pytest.fixture
def toys(tmp_path, cache):
    """The toy package, installed; the cache of checkpoints is empty."""
    package = toy_package.write(tmp_path / "site")
    with toy_package.installed(package.path):
        yield package


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The current directory, with pictures in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    paint(folder / "night.png", 0)
    paint(folder / "snow.jpg", 255, (40, 20))
    paint(folder / "fog.png", 140, (9, 30))  # brightness 0.55 makes 0.73 of "bright"
    return folder


def paint(path: Path, level: int, size: tuple[int, int] = (16, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)
    return path


def zoo(*words: str, expect: int = 0) -> None:
    assert main(words) == expect


def environment(path: Path, **variables: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(path), *filter(None, sys.path)])} | variables


def run(path: Path, *words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own, with the packages in ``path`` installed."""
    command = [sys.executable, "-m", "zoo_core.cli", *words]
    return subprocess.run(command, env=environment(path), capture_output=True, text=True, **options)  # type: ignore


# What all commands have in common


@pytest.mark.parametrize("words", TORCH_FREE)
def test_commands_that_only_look_into_the_catalogue_import_no_torch(toys, monkeypatch, words):
    shutil.copy(toys.file, toys.path / toys.remote)
    monkeypatch.setenv("ZOO_MIRROR", str(toys.path))
    code = f"""
import sys
from zoo_core.cli import main
code = main({words.split()!r})
heavy = [name for name in ("torch", "PIL", "toyzoo", "rich.traceback") if name in sys.modules]
if "download" not in sys.argv: heavy += [n for n in ("requests",) if n in sys.modules]
print("HEAVY", heavy, code, file=sys.stderr)
"""
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment(toys.path), capture_output=True, text=True, check=True
    )
    assert "HEAVY [] " in process.stderr
    assert "Traceback" not in process.stderr


def test_help_of_every_command_has_examples(toys, capsys):
    zoo()
    overview = capsys.readouterr().out
    for command in ("list", "info", "predict", "demo", "download", "verify", "cache"):
        assert re.search(rf"^  {command}  +[A-Z].*\.$", overview, re.MULTILINE), command
        zoo(command, "--help")
        text = capsys.readouterr().out
        assert f"Usage: zoo {command}" in text
        assert f"\n    zoo {command}" in text, "an example on a line of its own"
        assert "\b" not in text
        assert max(map(len, text.splitlines())) < 100


def test_version(toys, capsys):
    zoo("--version")
    first, *others = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"zoo \d+\.\d+\.\d+", first)
    assert "toyzoo 1.2" in others


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("lst", r"No such command 'lst'.*list.*\(see `zoo --help`\)"),
        ("list --sorted acc", r"No such option: --sorted.*--sort.*\(see `zoo list --help`\)"),
        ("list --sort accuracy", r"--sort.*'accuracy' is not one of.*acc"),
        ("info", r"[Mm]issing argument.*MODEL"),
        ("info brightnet other", r"unexpected extra argument.*other"),
        ("predict", r"give the name of a model and files"),
        ("predict brightnet", r"give files for brightnet to look at"),
        ("predict brightnet x.png --task toys", r"--task is for calls without a model"),
        ("predict brightnet x.png --batch-size 0", r"--batch-size.*1"),
        ("predict brightnet x.png --tweak 1", r"No such option: --tweak"),
        ("predict brightnet x.png --levl 1", r"No such option: --levl.*--level"),
        ("predict brightnet x.png --level high", r"--level.*(valid float|number)"),
        ("predict brightnet x.png --level 1.5", r"--level.*1"),
        ("predict brightnet x.png --shout loud --prefix", r"--prefix.*requires an argument"),
        ("predict ./x.png --weights HAND_V1", r"--weights goes with the name of a model"),
        ("predict ./x.png BrightNet", r"the model comes before the files: zoo predict BrightNet \./x\.png"),
        ("download", r"give names of models, or --task, or --all"),
        ("download brightnet --all", r"give names of models, or --task, or --all"),
        ("cache --yes", r"--yes and --unknown go with --clear"),
        ("cache --clear --json", r"leave out --clear"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(toys, capsys, words, message):
    zoo(*words.split(), expect=2)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert re.match(f"error: .*{message}", printed.err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("info brigthnet", r"unknown model 'brigthnet'; did you mean brightnet"),
        ("info brightnet --weights HAND_V2", r"brightnet has no weights 'HAND_V2'; there are HAND_V1, FILE_V1"),
        ("list --task toy", r"unknown task 'toy'; did you mean toys\?"),
        ("list no_such_model_at_all", r"unknown model 'no_such_model_at_all'"),
        ("list 'no_*_at_all'", r"no model matches"),
        ("download brightne", r"unknown model 'brightne'; did you mean brightnet"),
        ("download brightnet --weights HAND_V2", r"has no weights 'HAND_V2'"),
        ("predict brigthnet night.png", r"unknown model 'brigthnet'; did you mean brightnet"),
        ("predict brigthnet night.png --weights HAND_V1", r"unknown model 'brigthnet'"),
        ("predict brightnet night.png --weights HAND_V2", r"has no weights 'HAND_V2'"),
        ("predict brightnet night.png --device gpu", r"the device 'gpu' cannot be used here .*--device cpu"),
        ("predict brightnet night.png --device cuda:99", r"the device 'cuda:99' cannot be used here"),
        ("predict --task other night.png", r"unknown task 'other'"),
        ("predict brightnet night.png --output .", r"night\.png lies in the folder for the pictures"),
        ("predict brightnet night.png --output night.png/out", r"night\.png.*: Not a directory"),
        ("predict brightnet night.png --output snow.jpg", r"--output snow\.jpg: this is a file, and must be a folder"),
        ("cache nothing*", r"no file in .* matches nothing\*"),
    ],
)
def test_failures_are_one_line_and_exit_code_1(toys, pictures, capsys, words, message):
    zoo(*words.split(), expect=1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.match(f"error: .*{message}", printed.err)
    assert len(printed.err.splitlines()) == 1


def test_debug_shows_the_traceback_and_may_stand_anywhere(toys, capsys):
    for words in (["--debug", "info", "brigthnet"], ["info", "brigthnet", "--debug"]):
        zoo(*words, expect=1)
        error = capsys.readouterr().err
        assert error.startswith("Traceback")
        assert "zoo_core.catalog.UnknownModelError: unknown model 'brigthnet'" in error


def test_an_error_that_nobody_foresaw(toys, capsys, monkeypatch):
    def fail(task: str) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(facts, "of_task", fail)
    zoo("list", "--task", "toys", expect=1)
    assert capsys.readouterr().err == "error: unexpected KeyError: 'surprise' (--debug shows where)\n"


def test_warnings_are_one_line(toys, capsys):
    (toys.root / "catalog" / "broken.toml").write_text("[x]\nbuilder = 1")
    catalog.clear_cache()
    zoo("list", "bright")
    printed = capsys.readouterr()
    assert re.fullmatch(r"warning: .*broken\.toml: \[x\]: .*left out\n", printed.err)
    assert "brightnet" in printed.out


def test_a_reader_that_goes_away(toys):
    """As in ``zoo list | head``: no traceback, no complaint at exit."""
    for words in (["list"], ["list", "--json"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "zoo_core.cli", *words],
            env=environment(toys.path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.close()
        error = process.stderr.read().decode()
        process.stderr.close()
        assert process.wait() == 141
        assert "Traceback" not in error
        assert "Exception" not in error
        assert "BrokenPipe" not in error


def test_a_pipe_gets_plain_lines_with_all_columns(toys):
    process = run(toys.path, "list", "bright")
    assert process.returncode == 0
    title, line = process.stdout.splitlines()
    assert title.split() == ["model", "task", "accuracy", "params", "GFLOPs", "file", "on", "this", "machine"]
    assert re.fullmatch(
        r"brightnet +toys +acc@1 87\.5 +0\.0M +0\.25 +512\.0 KB +HAND_V1 \(embedded\), FILE_V1 \(local\)", line
    )
    assert "\x1b" not in process.stdout + process.stderr


def test_a_narrow_terminal_gets_fewer_columns(toys):
    assert "HAND_V1" in in_terminal(toys.path, 200, "list", "bright")
    text = in_terminal(toys.path, 30, "list", "bright")
    title, line = (re.sub(r"\x1b\[\d*m", "", line) for line in text.splitlines())
    assert title.split() == ["model", "task"]
    assert line.split() == ["brightnet", "toys"]
    assert "\x1b[1m" in text
    assert "\x1b" not in in_terminal(toys.path, 30, "list", "bright", NO_COLOR="1")
    # The name itself stays whole, however narrow it gets.
    assert "brightnet" in in_terminal(toys.path, 5, "list", "bright")


def in_terminal(path: Path, columns: int, *words: str, **variables: str) -> str:
    """What the command prints where stdout is a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo_core.cli", *words],
        env=environment(path, COLUMNS=str(columns), TERM="xterm", **variables),
        stdin=follower,
        stdout=follower,
        stderr=subprocess.DEVNULL,
    )
    os.close(follower)
    text = read_terminal(leader)
    process.wait()
    return text


def read_terminal(leader: int) -> str:
    content = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        content += piece
    os.close(leader)
    return content.decode().replace("\r\n", "\n")


def test_interrupted_in_a_download(tmp_path, cache):
    with CheckpointServer() as server:
        package = toy_package.write(tmp_path / "site", host=server.url("").rstrip("/"))
        server.files[f"/models/{package.remote}"] = package.file.read_bytes()
        server.faults.append(Fault(stall_at=0.5))
        process = subprocess.Popen(
            [sys.executable, "-m", "zoo_core.cli", "download", "brightnet", "--weights", "REMOTE_V1"],
            env=environment(package.path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs the tests in the background has them ignore interrupts, and their children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        deadline = time.monotonic() + 60
        while not server.exchanges and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        server.go_on.set()
        assert process.returncode == 130
        assert error.splitlines()[-1] == "interrupted"
        assert "Traceback" not in error
        assert out == ""
        assert not (cache / package.remote).exists()


def test_text_that_the_terminal_cannot_show(toys, pictures):
    name = "caf\u00e9\u2603.png"
    shutil.copy("snow.jpg", name)
    environ = environment(toys.path, PYTHONUTF8="1", PYTHONIOENCODING="ascii")
    process = subprocess.run(
        [sys.executable, "-m", "zoo_core.cli", "predict", "brightnet", name], env=environ, capture_output=True
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == b"caf\\xe9\\u2603.png\n  bright\n"


# zoo list, zoo info


def test_list_as_json(toys, capsys):
    zoo("list", "bright", "--json")
    (model,) = json.loads(capsys.readouterr().out)
    assert (model["name"], model["task"], model["package"], model["default"]) == (
        "brightnet",
        "toys",
        "toyzoo",
        "HAND_V1",
    )
    assert model["metrics"] == {"Toys": {"acc@1": 87.5, "acc@5": 100.0}}
    assert (model["num_params"], model["gflops"], model["file_size_mb"]) == (8, 0.25, 0.5)
    assert [(w["name"], w["available"]) for w in model["weights"]] == [
        ("HAND_V1", "embedded"),
        ("FILE_V1", "local"),
        ("REMOTE_V1", None),
    ]
    assert model["weights"][1]["metrics"] == {"Toys": {"acc@1": None}}, "JSON has no NaN"
    zoo("list", "no_such_model", "--json", expect=1)
    assert json.loads(capsys.readouterr().out) == []


def test_list_marks_what_is_cached(toys, cache, capsys):
    cache.mkdir(parents=True)
    shutil.copy(toys.file, cache / toys.remote)
    zoo("list", "brightnet")
    assert "HAND_V1 (embedded), FILE_V1 (local), REMOTE_V1\n" in capsys.readouterr().out


def write_models(folder: Path, task: str, models: dict[str, str]) -> None:
    """A catalogue of models whose checkpoint has the given lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "many.toml").write_text(
        "".join(
            f'[{name}]\nbuilder = "x.many:{name}"\nweights = "{name}_Weights"\ndefault = "V1"\n'
            f'[{name}.checkpoints.V1]\nurl = "https://x.org/{name}.pth"\n'
            f'transforms = {{ preset = "OpticalFlow" }}\n{lines}\n'
            for name, lines in models.items()
        )
    )
    catalog.add_source(task, "x", folder)


@pytest.fixture
def many(tmp_path, cache, monkeypatch):
    """Models with all kinds of facts, and nothing else."""
    monkeypatch.setattr(catalog, "_added_sources", [])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **kwargs: [])
    catalog.clear_cache()
    write_models(
        tmp_path / "a",
        "classification",
        {
            "big": 'num_params = 900\nops = 5.0\nfile_size = 1.0\nmetrics = { D = { "acc@1" = 70.0 } }',
            "wise": 'num_params = 500\nops = 7.5\nfile_size = 2.0\nmetrics = { D = { "acc@1" = 90.0 } }',
            "blank": "",
            "odd": "num_params = 700\nmetrics = { D = { other = 3.0, nothing = nan } }",
        },
    )
    write_models(
        tmp_path / "b",
        "flow",
        {
            "sharp": "num_params = 100\nmetrics = { K = { fl_all = 5.0 }, S = { epe = 0.5 } }",
            "blurred": "num_params = 200\nmetrics = { S = { epe = 2.5 } }",
        },
    )
    yield
    catalog.clear_cache()


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("name", ["big", "blank", "odd", "wise", "blurred", "sharp"]),
        ("acc", ["wise", "big", "blank", "odd", "sharp", "blurred"]),  # of flow, the smaller error is the better
        ("params", ["sharp", "blurred", "wise", "odd", "big", "blank"]),
        ("gflops", ["big", "wise", "blank", "blurred", "odd", "sharp"]),
        ("size", ["big", "wise", "blank", "blurred", "odd", "sharp"]),
    ],
)
def test_order(many, capsys, sort, expected):
    zoo("list", "--sort", sort, "--json")
    assert [model["name"] for model in json.loads(capsys.readouterr().out)] == expected


def test_selection(many, capsys):
    def listed(*words: str) -> list[str]:
        zoo("list", "--json", *words)
        return [model["name"] for model in json.loads(capsys.readouterr().out)]

    assert listed("b") == ["big", "blank", "blurred"]  # a part of the name
    assert listed("b*k") == ["blank"]  # a pattern of the whole name
    assert listed("WISE", "sharp") == ["wise", "sharp"]
    assert listed("--task", "flow") == ["blurred", "sharp"]
    assert listed("b", "--task", "flow") == ["blurred"]
    zoo("list", "wise", "--task", "flow", expect=1)
    assert "no model of the task flow matches wise" in capsys.readouterr().err


def test_list_tells_what_else_could_be_installed(many, capsys):
    zoo("list")
    printed = capsys.readouterr()
    assert "not installed: zoo-classification (80 models), zoo-detection (12 models)" in printed.err
    assert "zoo-" not in printed.out
    zoo("list", "--task", "detection", expect=1)
    assert "pip install zoo-detection" in capsys.readouterr().err
    zoo("info", "fasterrcnn_resnet50_fpn", expect=1)
    assert "pip install zoo-detection" in capsys.readouterr().err


def test_info(toys, cache, capsys):
    zoo("info", "BrightNet")
    text = capsys.readouterr().out
    for line in (
        "brightnet: toys, in the package toyzoo",
        "BrightNet_Weights.HAND_V1  (default)",
        "  Toys            acc@1 87.5, acc@5 100",
        "  smallest input  1x1 (height x width)",
        "  labels          2: dark, bright",
        f"  file            512.0 KB, embedded: {toys.embedded}",
        "  recipe          set by hand",
        f"  file           local: {toys.file}",
        "  file           3.0 MB, not downloaded yet",
        f"  url            https://example.invalid/models/{toys.remote}",
        "  from toyzoo.brightnet import BrightNet_Weights, brightnet",
        "  zoo predict brightnet FILE...",
    ):
        assert line in text.splitlines(), line


def test_the_python_that_info_shows_runs(toys, capsys):
    zoo("info", "brightnet", "--weights", "FILE_V1")
    text = capsys.readouterr().out
    assert "REMOTE_V1" not in text
    code = text.split("In Python\n")[1].split("\nIn the shell")[0].replace("\n  ", "\n").strip()
    names: dict[str, object] = {}
    exec(code, names)
    assert str(names["weights"]) == "BrightNet_Weights.FILE_V1"
    assert type(names["preprocess"]).__name__ == "ImageClassification"


def test_info_as_json(toys, cache, capsys):
    zoo("info", "brightnet", "--json")
    model = json.loads(capsys.readouterr().out)
    assert model["builder"] == "toyzoo.brightnet:brightnet"
    hand, _, remote = model["weights"]
    assert hand["categories"] == ["dark", "bright"]
    assert hand["preprocessing"]["preset"] == "ImageClassification"
    assert hand["preprocessing"]["mean"] == [0, 0, 0]
    assert remote["path"] == str(cache / toys.remote)
    assert remote["available"] is None


# zoo predict


def test_predict(toys, pictures, capsys):
    zoo("predict", "brightnet", "night.png", "snow.jpg", "fog.png")
    printed = capsys.readouterr()
    assert printed.out == "night.png\n  dark\nsnow.jpg\n  bright\nfog.png\n  bright\n"
    assert printed.err == ""


def test_options_of_the_task(toys, pictures, capsys):
    zoo("predict", "brightnet", "fog.png", "--level", "0.9", "--shout", "--prefix", "quite ")
    assert capsys.readouterr().out == "fog.png\n  quite DARK\n"
    zoo("predict", "--level=0.9", "brightnet", "fog.png")
    assert capsys.readouterr().out == "fog.png\n  dark\n"
    zoo("predict", "brightnet", "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "--level N From which probability on a picture counts as bright." in text
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
    assert [r["output"] for r in results] == [["out/snow.png"], ["out/fog.png"]]


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
    assert "fog.png lies in the folder for the pictures" in capsys.readouterr().err


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
        (["a/x.png", "b/x.png", "b/x-2.png"], ["x", "x-3", "x-2"]),
        (["a/x.png", "b/X.png"], ["x", "X-2"]),
        (["x.png", "x.mask.png"], ["x", "x-mask"]),
        (["x.png", "x.mask.png", "x-mask.jpg"], ["x", "x-mask-2", "x-mask"]),
        (["x.y.png", "a/x.y.png", "b/x.y.png"], ["x.y", "x-y", "x-y-2"]),
        (["x.mask.png", "x.png"], ["x.mask", "x-2"]),
        (["x.png", "x-mask.png", "x1.png"], ["x", "x-mask", "x1"]),
    ],
)
def test_names_of_written_files(paths, expected):
    assert inputs.unique_stems([(Path(path),) for path in paths]) == expected


def test_no_model_was_named(toys, pictures, capsys):
    zoo("predict", "night.png", "--task", "toys", "--level", "0")
    printed = capsys.readouterr()
    assert printed.out == "night.png\n  bright\n"
    assert printed.err == "no model was named: brightnet with HAND_V1, which ships in toyzoo\n"


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
    with toy_package.installed(package.path):
        zoo("predict", "brightnet", "night.png", expect=1)
    assert "must name a subclass of zoo_core.tasks.Task, not <class" in capsys.readouterr().err


def test_tasks_that_read_pairs_and_sequences(tmp_path, cache, pictures, capsys):
    """As optical flow does: two pictures make one input, and one file may hold many."""
    package = toy_package.write(tmp_path / "site", adapter="toyzoo.pairs:Pairs")
    (package.root / "pairs.py").write_text(
        """
from toyzoo.adapter import ToyTask, open_image

class Pairs(ToyTask):
    batch_size = 3

    @classmethod
    def group(cls, paths):
        if len(paths) % 2:
            raise ValueError("pictures go in pairs, but one is left over")
        return list(zip(paths[::2], paths[1::2]))

    def count(self, paths):
        return 4 if paths[0].stem == "fog" else 1

    def read(self, paths):
        return open_image(paths[0])

    def inputs(self, paths):
        for index in range(self.count(paths)):
            if index == 3:
                raise ValueError("the fourth frame is damaged")
            yield self.read(paths)
"""
    )
    with toy_package.installed(package.path):
        zoo("predict", "brightnet", "night.png", "snow.jpg", "fog.png", "snow.jpg", "--output", "out", expect=1)
        printed = capsys.readouterr()
        assert [line for line in printed.out.splitlines() if not line.startswith(" ")] == [
            "night.png snow.jpg",
            "fog.png snow.jpg [0]",
            "fog.png snow.jpg [1]",
            "fog.png snow.jpg [2]",
        ]
        assert printed.err == "error: fog.png and snow.jpg: the fourth frame is damaged\n"
        assert sorted(path.name for path in Path("out").iterdir()) == [
            "fog.00000.png",
            "fog.00001.png",
            "fog.00002.png",
            "night.png",
        ]
        zoo("predict", "brightnet", "night.png", "snow.jpg", "--json")
        (result,) = json.loads(capsys.readouterr().out)["results"]
        assert result["files"] == ["night.png", "snow.jpg"]
        zoo("predict", "brightnet", "night.png", expect=1)
        assert "pictures go in pairs" in capsys.readouterr().err


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


# zoo demo


def test_demo(toys, pictures, capsys):
    paint(toys.root / "samples" / "bright-1.png", 250)
    paint(toys.root / "samples" / "dark-1.png", 20)
    zoo("demo", "--task", "toys", "--output", "shown")
    printed = capsys.readouterr().out
    assert "brightnet with HAND_V1: toys\n\nbright-1.png\n  bright\ndark-1.png\n  dark\n" in printed
    assert "shown/toys/brightnet" in printed
    assert sorted(p.name for p in Path("shown/toys/brightnet").iterdir()) == ["bright-1.png", "dark-1.png"]


def test_demo_without_samples(toys, pictures, capsys):
    zoo("demo", "--task", "toys", expect=1)
    error = capsys.readouterr().err
    assert "toyzoo ships no samples for brightnet" in error
    assert "there was nothing to show" in error


@pytest.mark.parametrize("example", ["photo.jpg", "clip.mp4"])
def test_a_demo_without_weights_names_a_call_that_works(tmp_path, cache, pictures, capsys, monkeypatch, example):
    package = toy_package.write(tmp_path / "site")
    entry_points = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda **asked: [e for e in entry_points(**asked) if "toyzoo" in e.value]
    )
    paint(pictures / "x.png", 255).rename(example)
    catalog_file = package.root / "catalog" / "brightnet.toml"
    catalog_file.write_text(catalog_file.read_text().replace('default = "HAND_V1"', 'default = "REMOTE_V1"'))
    if example != "photo.jpg":
        with (package.root / "adapter.py").open("a") as file:
            file.write(f"\n    example_files = {example!r}\n")
    package.embedded.unlink()
    # Smaller, but the command line cannot show what it does.
    write_models(tmp_path / "c", "other", {"tiny": "file_size = 0.1"})
    with toy_package.installed(package.path):
        zoo("demo", "--task", "other", expect=1)
        assert "ships weights of the task other; `zoo info MODEL` tells" in capsys.readouterr().err
        for words in (["demo"], ["demo", "--task", "toys"]):
            zoo(*words, expect=1)
            error = capsys.readouterr().err
            assert error.endswith(f"this works after a download of 3.0 MB: zoo predict brightnet {example}\n")
        cache.mkdir(parents=True)
        shutil.copy(package.file, cache / package.remote)
        zoo("demo", expect=1)
        call = re.search(r"this works: zoo (predict .*)$", capsys.readouterr().err)
        assert call is not None
        zoo(*call[1].split())
    catalog._added_sources.pop()
    catalog.clear_cache()


# zoo download, zoo verify, zoo cache


def test_download(tmp_path, cache, capsys):
    with CheckpointServer() as server:
        package = toy_package.write(tmp_path / "site", host=server.url("").rstrip("/"))
        server.files[f"/models/{package.remote}"] = package.file.read_bytes()
        with toy_package.installed(package.path):
            for requests in (1, 1):  # the second time it is there already
                zoo("download", "brightnet", "--weights", "REMOTE_V1")
                assert capsys.readouterr().out == f"{cache / package.remote}\n"
                assert (cache / package.remote).read_bytes() == package.file.read_bytes()
                assert len(server.exchanges) == requests

            zoo("download", "bright*", "--weights", "ALL")
            printed = capsys.readouterr()
            assert printed.out.splitlines() == [
                str(package.embedded),
                str(package.file),
                str(cache / package.remote),
            ]
            assert "3 files, 0 of them to download: 0 B" in printed.err


def test_a_download_that_fails_does_not_stop_the_others(many, cache, capsys, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("ZOO_MIRROR", str(mirror))
    for name in ("wise", "sharp"):
        (mirror / f"{name}.pth").write_text(name)
    zoo("download", "--all", expect=1)
    printed = capsys.readouterr()
    assert sorted(printed.out.splitlines()) == [str(cache / "sharp.pth"), str(cache / "wise.pth")]
    assert printed.err.splitlines()[-1] == "error: 4 of 6 files could not be had"
    assert printed.err.count("error: ") == 5
    zoo("download", "--task", "classification", expect=1)
    assert capsys.readouterr().out == f"{cache / 'wise.pth'}\n"


def test_verify(toys, cache, capsys):
    zoo("verify")
    capsys.readouterr()
    cache.mkdir(parents=True)
    shutil.copy(toys.file, cache / toys.remote)
    (cache / "stranger.bin").write_text("whatever")
    (cache / "half.pth.partial").write_text("whatever")
    zoo("verify")
    lines = capsys.readouterr().out.splitlines()
    assert f"ok             {cache / toys.remote}  (brightnet REMOTE_V1)" in lines
    assert f"unknown file   {cache / 'stranger.bin'}" in lines
    assert f"ok             {toys.embedded}  (brightnet HAND_V1)" in lines
    assert f"no hash known  {toys.file}  (brightnet FILE_V1)" in lines
    assert not any("partial" in line for line in lines)


def test_verify_finds_damage_and_removes_it(toys, cache, capsys):
    cache.mkdir(parents=True)
    content = bytearray(toys.file.read_bytes())
    content[len(content) // 2] ^= 1
    (cache / toys.remote).write_bytes(content)
    zoo("verify", expect=1)
    printed = capsys.readouterr()
    assert f"DAMAGED        {cache / toys.remote}  (brightnet REMOTE_V1)" in printed.out
    assert "`zoo verify --remove` deletes" in printed.err

    toys.embedded.write_bytes(content)
    zoo("verify", "--remove", "--json", expect=1)
    printed = capsys.readouterr()
    outcome = {entry["path"]: entry for entry in json.loads(printed.out)}
    assert outcome[str(cache / toys.remote)] == {
        "path": str(cache / toys.remote),
        "state": "damaged",
        "removed": True,
    }
    assert outcome[str(toys.embedded)]["removed"] is False
    assert f"left alone: {toys.embedded}; reinstall" in printed.err
    assert not (cache / toys.remote).exists()
    assert toys.embedded.exists(), "a package's own file is not ours to delete"


@pytest.fixture
def filled(toys, cache):
    cache.mkdir(parents=True)
    shutil.copy(toys.file, cache / toys.remote)
    (cache / "stranger.bin").write_bytes(b"x" * 2048)
    return cache


def test_cache(filled, toys, capsys):
    zoo("cache")
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"{re.escape(str(filled))}: 2 files, \d\.\d KB", lines[0])
    assert re.fullmatch(rf"{toys.remote} +\d\.\d KB  \d{{4}}-\d\d-\d\d \d\d:\d\d  brightnet REMOTE_V1", lines[3])
    assert re.fullmatch(r"stranger\.bin +2\.0 KB  .*  \(unknown\)", lines[4])
    zoo("cache", "str*", "--json")
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["path"], entry["bytes"], entry["model"]) == (str(filled / "stranger.bin"), 2048, None)


def test_an_empty_cache(toys, capsys, cache):
    zoo("cache")
    assert capsys.readouterr().out == f"{cache}: 0 files, 0 B\n"
    zoo("cache", "--clear", "--yes")
    assert "nothing to delete" in capsys.readouterr().err


def test_clearing_the_cache(filled, toys, capsys):
    zoo("cache", "--clear", "--yes")
    assert "deleted 1 file," in capsys.readouterr().err
    assert [path.name for path in filled.iterdir()] == ["stranger.bin"], "what others keep there is not ours to delete"
    zoo("cache", "--clear", "--yes", "--unknown")
    assert list(filled.iterdir()) == []


def test_clearing_removes_the_rest_of_broken_off_downloads(filled, toys, capsys):
    (filled / toys.remote).rename(filled / f"{toys.remote}.partial")
    zoo("cache", "--clear", "--yes")
    assert [path.name for path in filled.iterdir()] == ["stranger.bin"]


def test_parts_of_files_are_shown_and_deleted_only_when_asked(filled, toys, capsys):
    (filled / toys.remote).rename(filled / f"{toys.remote}.partial")
    (filled / f"{toys.remote}.partial.json").write_text("{}")
    (filled / f"{toys.remote}.lock").touch()
    zoo("cache")
    lines = capsys.readouterr().out.splitlines()
    assert ": 2 files, " in lines[0]
    assert re.fullmatch(rf"{toys.remote}\.partial +\d\.\d KB .*  brightnet REMOTE_V1 \(a part of it\)", lines[3])
    zoo("cache", toys.remote, "--json")
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["model"], entry["weights"], entry["complete"]) == ("brightnet", "REMOTE_V1", False)
    process = run(toys.path, "cache", "--clear", stdin=subprocess.DEVNULL)
    assert process.returncode == 1
    assert "1 file would be deleted" in process.stderr
    zoo("cache", "bright*", "--clear", "--yes")
    assert "deleted 1 file," in capsys.readouterr().err
    assert [path.name for path in filled.iterdir()] == ["stranger.bin"]


def test_clearing_some_files(filled, toys, capsys):
    zoo("cache", "stranger*", "--clear", "--yes")
    assert [path.name for path in filled.iterdir()] == [toys.remote]


def test_clearing_asks(filled, toys):
    process = run(toys.path, "cache", "--clear", stdin=subprocess.DEVNULL)
    assert process.returncode == 1
    assert (
        process.stderr == "error: 1 file would be deleted, and nobody is there to ask; --yes deletes without asking\n"
    )
    for answer, code, left in (("n", 1, 2), ("y", 0, 1)):
        leader, follower = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "zoo_core.cli", "cache", "--clear"],
            env=environment(toys.path),
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process_:
            os.write(leader, f"{answer}\n".encode())
            _, error = process_.communicate(timeout=60)
            assert process_.returncode == code, error
        os.close(follower)
        os.close(leader)
        assert "Delete 1 file (" in error
        assert len(list(filled.iterdir())) == left


# Small things


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (97.8 * 2**20, "97.8 MB"),
        (3 * 2**30, "3.0 GB"),
        (2**45, "32768.0 GB"),
    ],
)
def test_sizes(count, text):
    assert output.size(count) == text


def test_a_package_whose_file_is_gone(toys, capsys):
    toys.embedded.unlink()
    assert ("brightnet", "HAND_V1") not in [(m.name, c.name) for m, c in facts.embedded()]
    zoo("list", "brightnet")
    assert "(embedded)" not in capsys.readouterr().out
