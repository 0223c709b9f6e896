"""Files of results: what is in them, what an interruption costs, who may go on with one, and how parts become one."""

import csv
import io
import json
import multiprocessing
import os
import random
import resource
import signal
import time

import pytest

from zoo_core.declarations import Declaration, Table
from zoo_core.predicting.formats import Csv, JsonDocument, JsonLines, of_name, rows
from zoo_core.predicting.journal import Journal, journal_of
from zoo_core.predicting.merging import merge, parts_of
from zoo_core.predicting.results import ResultFile, ResultFileError, records_of
from zoo_core.predicting.shards import Share

RUN = {"model": "m", "options": {"topk": 2, "threshold": 0.5}}
TABLE = Table("found", {"rank": "#", "label": "label", "score": "score", "x2": "bbox.0 + bbox.2"})


def declared(images=1, table=TABLE):
    return Declaration("t", "p.m:T", "T", images, frozenset({".png"}), 8, "x.png", None, table=table)


def record(position, count=2):
    found = [{"label": f"l{i}", "score": 1 / (position + i + 1), "bbox": [i, 0.5, 2, 3]} for i in range(count)]
    return {"file": f"{position}.png", "found": found}


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def names(count):
    return [(position, [f"{position}.png"], position) for position in range(count)]


def run(path, count, format=None, *, stop=None, **settings):
    """Writes the results of inputs as a verb does; stops before the input ``stop``."""
    with ResultFile(path, format or JsonLines(), settings.pop("run", RUN), **settings) as file:
        done = 0
        for position, item, there in file.remaining(names(count)):
            if there:  # no video: one record is all
                continue
            if item == stop:
                return done
            file.write(position, [f"{position}.png"], record(position, position % 3))
            done += 1
        file.finish()
    return done


# Formats ----------------------------------------------------------------------------------------------------------


def test_json_lines_and_the_document_say_the_same():
    records = [record(0), {"file": "é\x7f\udcff.png", "score": float("nan"), "big": (1, float("inf"))}]
    lines = "".join(map(JsonLines().text, records))
    assert lines.isascii()
    assert "\x7f" not in lines
    read = [json.loads(line) for line in lines.splitlines()]
    assert read == [records[0], {"file": "é\x7f\udcff.png", "score": None, "big": [1, None]}]
    document = JsonDocument({"model": "m", "device": "cpu"})
    text = document.head + "".join(map(document.text, records)) + document.tail
    assert json.loads(text) == {"model": "m", "device": "cpu", "results": read}
    assert text == json.dumps(json.loads(text), indent=2).replace("\x7f", "\\u007f") + "\n"
    assert JsonLines().files(JsonLines().text({"files": ["a", "b"]})) == ["a", "b"]


def test_rows():
    assert rows(TABLE, record(0)) == [[1, "l0", 1.0, 2], [2, "l1", 0.5, 3]]
    assert rows(TABLE, {"found": []}) == []
    assert rows(Table(None, {"a": "a", "b": "deep.list.1", "c": "a + gone"}), {"a": 1, "deep": {"list": [3, 4]}}) == [
        [1, 4, None]
    ]


def test_csv_has_a_row_at_least_of_each_input():
    format = Csv(declared())
    assert format.head == "file,rank,label,score,x2,frame,time,error\n"
    records = [
        record(0),
        {"file": "b.png", "index": 7, "time": 0.28, "found": []},
        {"file": "c.png", "error": 'is "cut", short'},
    ]
    text = format.head + "".join(map(format.text, records))
    assert text.splitlines()[1:] == [
        "0.png,1,l0,1.0,2,,,",
        "0.png,2,l1,0.5,3,,,",
        "b.png,,,,,7,0.28,",
        'c.png,,,,,,,"is ""cut"", short"',
    ]
    assert Csv(declared(images=None)).columns == ["file", "rank", "label", "score", "x2", "error"]
    pairs = Csv(declared(images=2, table=None))
    assert pairs.head == "file,file_2,result,frame,time,error\n"
    assert read_csv(pairs.head + pairs.text({"files": ["a", "b"], "epe": 1.5}))[0] == {
        "file": "a", "file_2": "b", "result": '{"epe": 1.5}', "frame": "", "time": "", "error": "",
    }  # fmt: skip
    assert pairs.text({"file": "v.mp4", "index": 0}).startswith("v.mp4,,")


@pytest.mark.parametrize("character", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_is_a_formula(character):
    format = Csv(declared())
    found = [{"label": f"{character}cmd|' /C calc'!A0", "score": -0.5, "bbox": [0, 0, 0, 0]}]
    name = f'{character}1+1",\n.png'
    (row,) = read_csv(format.head + format.text({"file": name, "found": found}))
    assert row["file"] == f"./{name}", "which is the same file"
    assert row["label"] == f"'{found[0]['label']}"
    assert row["score"] == "-0.5"
    assert format.files(format.text({"file": name, "found": found})) == [name]
    assert format.text({"file": "-", "found": []}).startswith("-,")


def test_formats_by_name():
    assert isinstance(of_name(".ndjson", declared()), JsonLines)
    assert isinstance(of_name("csv", declared()), Csv)
    with pytest.raises(ValueError, match=r"jsonl and csv, not '\.json'"):
        of_name(".json", declared())


# One file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [JsonLines, lambda: Csv(declared())])
def test_cut_off_anywhere_the_next_run_goes_on(tmp_path, kind):
    whole = tmp_path / "whole"
    assert run(whole, 30, kind()) == 30
    expected = whole.read_bytes()
    half = tmp_path / "half"
    assert run(half, 30, kind(), stop=20) == 20
    data, journal = half.read_bytes(), journal_of(half).read_bytes()
    head = journal.index(b"\n") + 1
    random.seed(0)
    for _ in range(60):
        # A process writes the record first; after a power failure either may be the shorter.
        half.write_bytes(data[: random.randrange(len(data) + 1)] + random.choice([b"", b"\0" * 9]))
        journal_of(half).write_bytes(journal[: random.randrange(head, len(journal) + 1)])
        run(half, 30, kind(), resume=True)
        assert half.read_bytes() == expected
        assert Journal.read(journal_of(half)).completed() == 30
    assert run(half, 30, kind(), resume=True) == 0, "all is done"


def test_killed_before_there_was_anything(tmp_path):
    path = tmp_path / "r.csv"
    path.touch()
    journal_of(path).touch()
    assert run(path, 3, Csv(declared()), resume=True) == 3
    assert run(tmp_path / "new" / "r.csv", 3, Csv(declared()), resume=True) == 3, "nothing to go on with is no error"
    path.unlink()
    assert run(path, 2, Csv(declared())) == 2, "a journal alone is nothing"


def test_more_inputs_than_before(tmp_path):
    path = tmp_path / "r.jsonl"
    run(path, 5)
    assert run(path, 8, resume=True) == 3
    assert [json.loads(line)["file"] for line in path.open()] == [f"{i}.png" for i in range(8)]
    assert Journal.read(journal_of(path)).completed() == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resume": False}, "is there already: --resume goes on with it"),
        ({"run": {**RUN, "model": "other"}}, 'with model = "m", and this run has "other"'),
        ({"run": {**RUN, "options": {"topk": 3, "threshold": 0.5}}}, "options.topk = 2, and this run has 3"),
        ({"run": {**RUN, "weights": "V2"}}, 'weights = the default, and this run has "V2"'),
        ({"shard": Share(0, 2)}, "is shard None, and this run is shard 1/2"),
        ({"format": Csv(declared())}, "of the format jsonl, and this run writes csv"),
        ({"count": 4}, "results of 10 inputs, and 4.png and those behind it are no longer given"),
    ],
)
def test_what_another_run_wrote_is_refused(tmp_path, settings, message):
    path = tmp_path / "r.jsonl"
    run(path, 20, stop=10)
    before = path.read_bytes(), journal_of(path).read_bytes()
    with pytest.raises(ResultFileError, match=message):
        run(path, settings.pop("count", 20), **{"resume": True, **settings})
    assert before == (path.read_bytes(), journal_of(path).read_bytes())


@pytest.mark.parametrize("kind", [JsonLines, lambda: Csv(declared())])
def test_other_files_are_named(tmp_path, kind):
    path = tmp_path / "r"
    run(path, 20, kind(), stop=10)
    others = names(20)
    others.insert(6, (6, ["new.png"], 6))
    with (
        ResultFile(path, kind(), RUN, resume=True) as file,
        pytest.raises(ResultFileError, match=r"as input 7 it has 6\.png, and now new\.png is input 7"),
    ):
        list(file.remaining((i, files, item) for i, (_, files, item) in enumerate(others)))


def test_files_that_are_none_of_ours(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("my own table\n")
    with pytest.raises(ResultFileError, match=r"there is no r\.csv\.journal beside it"):
        run(path, 3, Csv(declared()), resume=True)
    journal_of(path).write_text("something else\n")
    with pytest.raises(ResultFileError, match="no journal of results that this version can read"):
        run(path, 3, Csv(declared()), resume=True)
    assert path.read_text() == "my own table\n"
    run(tmp_path / "x.jsonl", 3)
    text = (tmp_path / "x.jsonl").read_text().replace("l0", "longer")
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(ResultFileError, match="was it changed"):
        run(tmp_path / "x.jsonl", 3, resume=True)
    assert (tmp_path / "x.jsonl").read_text() == text


def test_two_at_once(tmp_path):
    path = tmp_path / "r.jsonl"
    with ResultFile(path, JsonLines(), RUN), pytest.raises(ResultFileError, match="another process is writing to it"):
        ResultFile(path, JsonLines(), RUN, resume=True)


def test_frames_of_a_video(tmp_path):
    path = tmp_path / "r.jsonl"

    def write(file, position, frames):
        for frame in frames:
            file.write(position, ["v.mp4"], {"file": "v.mp4", "index": frame})

    sources = [(0, ["v.mp4"], "first"), (1, ["v.mp4"], "second"), (2, ["v.mp4"], "third")]
    with ResultFile(path, JsonLines(), RUN) as file:
        write(file, 0, range(4))
        write(file, 1, range(2))
    with ResultFile(path, JsonLines(), RUN, resume=True) as file:
        assert file.inputs == 2
        assert list(file.remaining(sources)) == [(1, "second", 2), (2, "third", 0)]
        file.restart(1)
        assert file.inputs == 1
        write(file, 1, range(3))
        write(file, 2, range(1))
        file.finish()
        assert list(file.remaining(sources)) == []
    assert [json.loads(line)["index"] for line in path.open()] == [0, 1, 2, 3, 0, 1, 2, 0]
    with ResultFile(path, JsonLines(), RUN, resume=True) as file:
        assert [position for position, _ in records_of(file.path)] == [0, 0, 0, 0, 1, 1, 1, 2]


def test_a_full_disk_loses_no_finished_result(tmp_path):
    """A limit on the size of files, in a process of its own: the kernel writes what still fits, then fails."""
    path = tmp_path / "r.jsonl"
    outcome = tmp_path / "outcome"

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            run(path, 50)
        except ResultFileError as error:
            outcome.write_text(str(error))

    process = multiprocessing.get_context("fork").Process(target=limited)
    process.start()
    process.join()
    kept = [json.loads(line) for line in path.open()]
    assert 5 < len(kept) < 20
    assert kept == [json.loads(json.dumps(record(i, i % 3))) for i in range(len(kept))]
    assert f"r.jsonl: File too large; the results of {len(kept)} inputs are in r.jsonl" in outcome.read_text()
    assert run(path, 50, resume=True) == 50 - len(kept)
    assert [json.loads(line)["file"] for line in path.open()] == [f"{i}.png" for i in range(50)]


# Shards -----------------------------------------------------------------------------------------------------------


def test_names_of_parts(tmp_path):
    assert Share.parse("3/64") == Share(2, 64)
    assert Share(2, 64).part(tmp_path / "r.csv").name == "r.part-00003-of-00064.csv"
    for text in ("0/4", "5/4", "3", "a/b", "-1/2", "1/0"):
        with pytest.raises(ValueError):
            Share.parse(text)


def write_part(path, shard, count, format=None, stop=None, run=RUN):
    with ResultFile(shard.part(path), format or JsonLines(), run, shard=shard, resume=True) as file:
        own = ((position, [f"{item}.png"], item) for position, item in enumerate(range(count)) if shard.takes(position))
        for position, item, there in file.remaining(own):
            if position == stop:
                return
            if not there:
                time.sleep(0.0005)
                file.write(position, [f"{item}.png"], record(position, position % 3))
        file.finish()


def worker(path, number, count):
    write_part(path, Share(number - 1, 4), count)


def test_four_processes_of_which_one_is_killed(tmp_path):
    path, count = tmp_path / "r.jsonl", 2000
    context = multiprocessing.get_context("fork")
    random.seed()
    processes = [context.Process(target=worker, args=(path, number, count)) for number in (1, 2, 3, 4)]
    for process in processes:
        process.start()
    time.sleep(random.uniform(0.02, 0.2))
    os.kill(processes[2].pid, signal.SIGKILL)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, -signal.SIGKILL, 0]
    with pytest.raises(ResultFileError, match=r"part-00003-of-00004.jsonl is not complete; run `--shard 3/4` again"):
        merge(parts_of(path), path)
    again = context.Process(target=worker, args=(path, 3, count))
    again.start()
    again.join()
    merged = merge(parts_of(path), path)
    assert (merged.inputs, merged.failed) == (count, 0)
    assert [json.loads(line) for line in path.open()] == [record(i, i % 3) for i in range(count)]
    # The whole can be gone on with like any other.
    assert run(path, count + 2, resume=True) == 2
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_merged_tables_are_the_table_of_one_run(tmp_path):
    one, path = tmp_path / "one.csv", tmp_path / "r.csv"
    run(one, 23, Csv(declared()))
    for number in (1, 2, 3, 4, 5):
        write_part(path, Share(number - 1, 5), 23, Csv(declared()))
    merge(list(reversed(parts_of(path))), path)
    assert path.read_bytes() == one.read_bytes()
    with pytest.raises(ResultFileError, match=r"r\.csv is there already"):
        merge(parts_of(path), path)


def test_parts_that_do_not_make_a_whole(tmp_path):
    path = tmp_path / "r.jsonl"
    for number in (1, 2, 3):
        write_part(path, Share(number - 1, 3), 10)
    parts = parts_of(path)

    def fails(message, *given):
        with pytest.raises(ResultFileError, match=message):
            merge(given, path)
        assert not path.exists()

    fails("shard 2/3 is missing", parts[0], parts[2])
    fails(r"shard 1/3 and 1 more is missing", parts[1])
    fails("are both shard 1/3", parts[0], *parts)
    fails("no parts to merge")
    fails("no such file", tmp_path / "absent")
    write_part(tmp_path / "other.jsonl", Share(2, 3), 10, run={**RUN, "model": "n"})
    fails("was written with model = m, and .* with n", *parts[:2], Share(2, 3).part(tmp_path / "other.jsonl"))
    write_part(tmp_path / "longer.jsonl", Share(2, 3), 20)
    fails("no result of input 11", *parts[:2], Share(2, 3).part(tmp_path / "longer.jsonl"))
    journal_of(parts[1]).rename(tmp_path / "hidden")
    fails("its journal must lie beside it", *parts)
    (tmp_path / "hidden").rename(journal_of(parts[1]))
    content = parts[1].read_bytes()
    parts[1].write_bytes(content[:-40])
    fails("is not as its journal says", *parts)
    run(tmp_path / "whole.jsonl", 10)
    fails("is no part", tmp_path / "whole.jsonl")
