"""What ``zoo predict`` writes for programs: formats, files that survive being killed, shares of several processes."""

import csv
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zoo_core.cli import main
from zoo_core.predicting.journal import Journal, journal_of

from .running import environment, paint, read_terminal, run, zoo


@pytest.fixture
def many_pictures(pictures):
    """31 images in a folder, in which one is broken."""
    for number in range(30):
        paint(pictures / "album" / f"{number:02d}.png", 8 * number, (14 + number % 5, 9))
    (pictures / "album" / "07x.png").write_text("no image")
    return pictures


ALBUM = sorted([*(f"album/{number:02d}.png" for number in range(30)), "album/07x.png"])


def start(toys, *words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "zoo_core.cli", "predict", "brightnet", *words],
        env=environment(toys.path, **options.pop("variables", {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def records(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


# Formats on stdout ------------------------------------------------------------------------------------------------


def test_formats(toys, many_pictures, capsys):
    def output(*words):
        zoo("predict", "brightnet", "night.png", "album", "absent.png", *words, expect=1)
        return capsys.readouterr()

    document = json.loads(output("--json").out)
    results = document.pop("results")
    assert document == {"model": "brightnet", "weights": "HAND_V1", "task": "toys", "device": "cpu"}
    assert [r.get("file") for r in results] == ["night.png", *ALBUM, None]
    assert results[-1] == {"error": "absent.png: no such file"}
    assert output("--format", "json").out == output("--json").out
    assert [json.loads(line) for line in output("--format", "jsonl").out.splitlines()] == results
    rows = list(csv.DictReader(io.StringIO(output("--format", "csv").out)))
    assert list(rows[0]) == ["file", "brightness", "frame", "time", "error"]
    assert [row["file"] for row in rows] == ["night.png", *ALBUM, ""]
    assert [row["brightness"] for row in rows] == [str(r.get("brightness", "")) for r in results]
    assert [row["error"] for row in rows] == [r.get("error", "") for r in results]
    printed = output("--format", "text")
    assert printed.out == output().out
    assert printed.out.count("\n  ") == 31
    assert len(printed.err.splitlines()) == 2, "errors are told on stderr whatever the format"


@pytest.mark.parametrize(
    "settings", [("--batch-size", "1"), ("--batch-size", "7", "--workers", "3"), ("--workers", "0")]
)
def test_results_do_not_depend_on_workers_and_batches(toys, many_pictures, capsys, settings):
    zoo("predict", "brightnet", "album", "--format", "jsonl", expect=1)
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    zoo("predict", "brightnet", "album", "--format", "jsonl", *settings, expect=1)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [f["file"] for f in found] == [e["file"] for e in expected] == ALBUM
    for one, other in zip(found, expected, strict=True):
        assert one.get("error") == other.get("error")
        assert one.get("brightness", 0) == pytest.approx(other.get("brightness", 0), rel=1e-6)


@pytest.mark.parametrize("format", ["jsonl", "text"])
def test_each_result_is_written_when_it_is_there(toys, pictures, format):
    """The second file is a pipe, at which the process waits until the first result was read."""
    os.mkfifo("later.png")
    process = start(
        toys, "night.png", "later.png", "--format", format, "--batch-size", "1", "--workers", "0", bufsize=1
    )
    read = ""
    while "night.png" not in read:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        read += line
    (pictures / "later.png").write_bytes(b"no image")
    rest, errors = process.communicate()
    assert process.returncode == 1
    assert "later.png" in (errors if format == "text" else rest)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--json", "--format", "csv"), "--json is --format json, and the line also has --format csv"),
        (("--resume",), "--resume goes on with a file of results, which --results FILE names"),
        (("--results", "r.txt"), "--results r.txt: give the file a name that ends in .jsonl or .csv"),
        (("--results", "r.jsonl", "--json"), "--results writes jsonl and csv, record by record, and not json"),
        (("--shard", "0/4"), "--shard 0/4: a share must be one of 1/4 to 4/4"),
        (("--shard", "three"), "--shard three: write a share as in 3/64"),
        (("--format", "xml"), "'xml' is not one of 'text', 'json', 'jsonl', 'csv'"),
        (("--workers", "-1"), "-1 is not in the range x>=0"),
    ],
)
def test_wrong_usage(toys, pictures, capsys, words, message):
    zoo("predict", "brightnet", "night.png", *words, expect=2)
    assert message in capsys.readouterr().err


# A file of results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["found.jsonl", "found.csv", "new/folder/found.ndjson"])
def test_a_file_of_results(toys, many_pictures, capsys, name):
    format = "csv" if name.endswith("csv") else "jsonl"
    zoo("predict", "brightnet", "album", "--format", format, expect=1)
    expected = capsys.readouterr().out
    zoo("predict", "brightnet", "album", "absent.png", "--results", name, expect=1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert Path(name).read_text() == expected
    assert printed.err.splitlines()[-1] == f"{name} is complete: 31 inputs, 1 failed"
    zoo("predict", "brightnet", "album", "--results", name, expect=1)
    assert f"{name} is there already: --resume goes on with it" in capsys.readouterr().err
    zoo("predict", "brightnet", "album", "--results", name, "--resume", expect=1)
    assert Path(name).read_text() == expected
    paint(Path("album/31.png"), 0)
    zoo("predict", "brightnet", "album", "--results", name, "--resume", expect=1)
    assert Path(name).read_text().startswith(expected)
    assert "31.png" in Path(name).read_text().splitlines()[-1]


def test_images_that_were_written_are_named(toys, pictures, capsys):
    zoo("predict", "brightnet", "night.png", "--results", "r.jsonl", "--output", "out")
    assert records("r.jsonl")[0]["output"] == ["out/night.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("brightnet", "album", "--level", "0.9"), "was written with options.level = 0.5, and this run has 0.9"),
        (("brightnet", "album", "--weights", "FILE_V1"), 'weights = "HAND_V1", and this run has "FILE_V1"'),
        (("brightnet", "album", "--every", "2"), "every = null, and this run has 2"),
        (("brightnet", "snow.jpg", "album"), "as input 1 it has album/00.png, and now snow.jpg is input 1"),
        (("brightnet", "album/00.png"), "has results of 31 inputs, and album/01.png and those behind it are no longer"),
        (("brightnet", "album", "--format", "csv"), "is of the format jsonl, and this run writes csv"),
    ],
)
def test_what_another_run_wrote_is_refused(toys, many_pictures, capsys, words, message):
    zoo("predict", "brightnet", "album", "--results", "r.jsonl", expect=1)
    before = Path("r.jsonl").read_bytes()
    capsys.readouterr()
    zoo("predict", *words, "--results", "r.jsonl", "--resume", expect=1)
    assert message in capsys.readouterr().err
    assert Path("r.jsonl").read_bytes() == before


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interruption_loses_the_batch_in_flight_alone(toys, many_pictures, capsys, end):
    """The image number 21 is a pipe, at which the process waits to be killed."""
    zoo("predict", "brightnet", "album", "--format", "jsonl", expect=1)
    expected = capsys.readouterr().out
    slow = Path("album/20.png")
    content = slow.read_bytes()
    slow.unlink()
    os.mkfifo(slow)
    words = ("album", "--results", "r.jsonl", "--batch-size", "4", "--workers", "0")
    process = start(toys, *words)
    while not Path("r.jsonl").exists() or Path("r.jsonl").read_text().count("\n") < 21:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(end)
    _, errors = process.communicate()
    assert process.returncode == (130 if end == signal.SIGINT else -end)
    if end == signal.SIGINT:
        assert "r.jsonl has the results of 21 inputs; --resume goes on behind them" in errors
    assert expected.startswith(Path("r.jsonl").read_text())
    slow.unlink()
    slow.write_bytes(content)
    zoo("predict", "brightnet", *words, "--resume", expect=1)
    assert Path("r.jsonl").read_text() == expected
    assert json.loads(journal_of(Path("r.jsonl")).read_text().splitlines()[-1])["inputs"] == 31


def test_ctrl_c_while_threads_read_ahead(toys, many_pictures):
    Path("list.txt").write_text("\n".join(f"album/{number % 30:02d}.png" for number in range(20_000)))
    process = start(toys, "--files-from", "list.txt", "--results", "r.jsonl", "--workers", "3")
    while not Path("r.jsonl").exists() or Path("r.jsonl").read_text().count("\n") < 20:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    done = len(records("r.jsonl"))
    assert errors.splitlines() == [
        f"r.jsonl has the results of {done} inputs; --resume goes on behind them",
        "interrupted",
    ]
    assert 20 <= done < 20_000


def test_a_full_disk(toys, many_pictures, capsys):
    """A limit on the size of files stands for it: the kernel refuses what goes beyond."""
    zoo("predict", "brightnet", "album", "--format", "jsonl", expect=1)
    expected = capsys.readouterr().out

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    words = ("predict", "brightnet", "album", "--results", "r.jsonl")
    completed = run(toys.path, *words, preexec_fn=limit)
    kept = Path("r.jsonl").read_text()
    assert completed.returncode == 1
    assert (
        f"error: r.jsonl: File too large; the results of {kept.count(chr(10))} inputs are in r.jsonl"
        in completed.stderr
    )
    assert kept
    assert expected.startswith(kept)
    zoo(*words, "--resume", expect=1)
    assert Path("r.jsonl").read_text() == expected


def test_a_file_that_cannot_be_made(toys, pictures, capsys):
    (pictures / "file").touch()
    zoo("predict", "brightnet", "night.png", "--results", "file/r.csv", expect=1)
    assert "error: file" in capsys.readouterr().err


def test_a_run_that_came_to_nothing_is_no_obstacle(toys, pictures, capsys):
    zoo("predict", "brightnet", "absent.png", "--results", "r.csv", expect=1)
    zoo("predict", "brightnet", "night.png", "--results", "r.csv")
    assert len(Path("r.csv").read_text().splitlines()) == 2


# Several processes ------------------------------------------------------------------------------------------------


def test_four_processes_of_which_one_is_killed(toys, many_pictures, capsys):
    """As torchrun starts them; the third is killed at a random moment, and started again by hand."""
    names = [f"album/{number % 30:02d}.png" for number in range(400)]
    Path("list.txt").write_text("\n".join(names))
    words = ("--files-from", "list.txt", "--results", "r.jsonl", "--batch-size", "2")
    variables = {"WORLD_SIZE": "4", "OMP_NUM_THREADS": "1", "TOY_SECONDS": "0.01"}
    processes = [start(toys, *words, variables=variables | {"RANK": str(rank)}) for rank in range(4)]
    part = Path("r.part-00003-of-00004.jsonl")
    wanted = random.randint(0, 99)
    while not part.exists() or part.read_bytes().count(b"\n") < wanted:
        assert processes[2].poll() in (None, 0), processes[2].stderr.read()
        time.sleep(0.005)
    processes[2].kill()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes][:2] == [0, 0]
    if Journal.read(journal_of(part)).completed() is None:  # it may have done its share and been about to end
        zoo("merge", "--results", "r.jsonl", expect=1)
        assert f"{part} is not complete; run `--shard 3/4` again" in capsys.readouterr().err
    for shard in ("3/4", "1/4"):  # the other is skipped
        zoo("predict", "brightnet", *words, "--shard", shard)
    assert "r.part-00001-of-00004.jsonl is complete: 100 inputs" in capsys.readouterr().err
    zoo("merge", "--results", "r.jsonl")
    assert capsys.readouterr().err == "r.jsonl is complete: 400 inputs\n"
    assert [record["file"] for record in records("r.jsonl")] == names
    zoo("predict", "brightnet", "--files-from", "list.txt", "--results", "whole.jsonl")
    for one, other in zip(records("r.jsonl"), records("whole.jsonl"), strict=True):
        assert one["brightness"] == pytest.approx(other["brightness"], rel=1e-6)


def test_shares_without_a_file(toys, many_pictures, capsys):
    found = []
    for shard in ("1/3", "2/3", "3/3"):
        assert main(["predict", "brightnet", "album", "--shard", shard, "--format", "jsonl"]) in (0, 1)
        found += [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
    assert sorted(found) == ALBUM
    zoo("predict", "brightnet", "night.png", "--shard", "2/2", "--format", "json")
    assert json.loads(capsys.readouterr().out)["results"] == [], "fewer files than processes"


def test_merging_tables_of_shares(toys, many_pictures, capsys):
    zoo("predict", "brightnet", "album", "--results", "whole.csv", expect=1)
    for shard in ("1/2", "2/2"):
        main(["predict", "brightnet", "album", "--results", "r.csv", "--shard", shard])
    parts = ["r.part-00002-of-00002.csv", "r.part-00001-of-00002.csv"]
    zoo("merge", *parts, "--results", "elsewhere/all.csv", expect=1)
    assert capsys.readouterr().err.splitlines()[-1] == "elsewhere/all.csv is complete: 31 inputs, 1 failed"
    assert Path("elsewhere/all.csv").read_bytes() == Path("whole.csv").read_bytes()
    zoo("merge", parts[0], "--results", "r.csv", expect=1)
    assert "shard 1/2 is missing among the parts" in capsys.readouterr().err
    zoo("merge", "--results", "nothing.csv", expect=1)
    assert "there are no parts to merge" in capsys.readouterr().err


def test_torchrun_and_one_stdout(toys, pictures, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    zoo("predict", "brightnet", "night.png", "--json", expect=2)
    assert "several processes cannot write one json on stdout; give --results FILE" in capsys.readouterr().err
    zoo("predict", "brightnet", "night.png", "--shard", "1/2", expect=2)
    assert "torchrun tells each process its share" in capsys.readouterr().err


# Progress ---------------------------------------------------------------------------------------------------------


def test_progress_learns_how_much_there_is(tmp_path):
    code = """
import time
from zoo_core.cli import output
total = None
with output.progress("looking", lambda: total, done=3) as advance:
    for step in range(4):
        advance(1, f"acc@1 {step}0.0")
        total = 9 if step else None
        time.sleep(0.2)
"""
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(tmp_path, TERM="xterm", COLUMNS="100"), stderr=follower
    )
    os.close(follower)
    shown = read_terminal(leader)
    assert process.wait() == 0
    assert "3/?" in shown
    assert "7/9" in shown
    assert "acc@1 30.0" in shown
