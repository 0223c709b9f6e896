"""What all commands have in common: help, errors, exit codes, terminals and pipes."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from support import toy_package
from zoo_core import catalog
from zoo_core.cli import facts, main, output

from .running import environment, in_terminal, run, zoo

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
    "recipes",
    "recipes --keys",
    "predict --help",
    "predict brightnet --help",
    "predict brightnet --topk 3 photo.jpg",
    "predict",
]


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
    for command in ("list", "info", "predict", "train", "recipes", "demo", "download", "verify", "cache"):
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
        ("predict brightnet x.png --topk 3", r"No such option: --topk"),
        ("predict brightnet x.png --level nan", r"--level"),
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
        ("predict brightnet night.png --output .", r"night\.png lies in the folder for the images"),
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
        r"brightnet +toys +acc@1 87\.5 +0\.0M +0\.25 +512\.0 KiB +HAND_V1 \(embedded\), FILE_V1 \(local\)", line
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


EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj.exe\x7f\r"


def test_nothing_steers_the_terminal(tmp_path, cache, pictures, capsys):
    """Names of files, labels, facts and urls come from elsewhere."""
    package = toy_package.write(tmp_path / "site")
    in_toml = json.dumps(EVIL)[1:-1]
    text = (package.root / "catalog" / "brightnet.toml").read_text()
    (package.root / "catalog" / "evil.toml").write_text(text.replace("brightnet", "evilnet").replace("dark", in_toml))
    shutil.copy("night.png", f"{EVIL}.png")
    with toy_package.installed(package.path):
        for words in (
            ["list", "--json"],
            ["list", "bright"],
            ["list", EVIL],
            ["info", "brightnet"],
            ["info", "brightnet", "--json"],
            ["info", EVIL],
            ["info", "--debug", EVIL],
            [EVIL],
            ["list", f"--{EVIL}"],
            ["list", "--sort", EVIL],
            ["predict", "brightnet", f"{EVIL}.png", "--output", f"out{EVIL}"],
            ["predict", "brightnet", f"{EVIL}.png", "--json"],
            ["predict", "brightnet", f"{EVIL}{EVIL}.png"],
            ["predict", "brightnet", "night.png", "--prefix", EVIL],
            ["predict", "brightnet", "night.png", "--device", EVIL],
            ["cache", EVIL],
        ):
            main(words)
            printed = capsys.readouterr()
            for text in (printed.out, printed.err):
                assert not re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text), words
        main(["predict", "brightnet", f"{EVIL}.png"])
        assert capsys.readouterr().out.startswith(r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj.exe\x7f\r.png")


def test_text_that_the_terminal_cannot_show(toys, pictures):
    name = "caf\u00e9\u2603.png"
    shutil.copy("snow.jpg", name)
    environ = environment(toys.path, PYTHONUTF8="1", PYTHONIOENCODING="ascii")
    process = subprocess.run(
        [sys.executable, "-m", "zoo_core.cli", "predict", "brightnet", name], env=environ, capture_output=True
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == b"caf\\xe9\\u2603.png\n  bright\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (97.8 * 2**20, "97.8 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (2**45, "32768.0 GiB"),
    ],
)
def test_sizes(count, text):
    assert output.size(count) == text
