"""The stream of what is looked at: order, places for the output, shares, totals, and memory that stays the same."""

import contextlib
import itertools
import os
import sys
import tracemalloc
from pathlib import Path, PurePath

import pytest

from zoo_core.declarations import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Declaration
from zoo_core.predicting import NothingFoundError, Share, Sources, files
from zoo_core.predicting.files import Found, files_below
from zoo_core.predicting.names import Names


def declared(images=1, suffixes=IMAGE_SUFFIXES):
    return Declaration("toys", "toys.task:Task", "Looking", images, frozenset(suffixes), 8, "x.png", None)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def listed(*words, **settings):
    return [str(source) for source in Sources(declared(), words, **settings)]


def test_folders_are_listed_in_the_order_of_their_paths(here):
    names = ["a/b.png", "a/b/c.png", "a/a-.png", "a/a/z.png", "a/B.jpg", "a/b.d/x.gif", "a/ä.png", "a/z/y/x/w.webp"]
    touch(*names)
    assert listed("a") == [str(path) for path in sorted(map(Path, names))]
    assert listed("a/b", "a/b.png") == ["a/b/c.png", "a/b.png"]


def test_very_large_folders_are_sorted_in_pieces(here, monkeypatch):
    monkeypatch.setattr(files, "_RUN", 7)
    monkeypatch.setattr(files, "_PIECE", 3)
    names = [f"a/{number * 37 % 100:02d}.png" for number in range(100)]
    odd = ["a/new\nline.png", "a/caf\u00e9.png", os.fsdecode(b"a/\xff.png")]
    touch(*names, *odd)
    assert listed("a") == sorted([*names, *odd])


def test_what_is_written_lies_as_the_inputs_do(here):
    touch("album/a.png", "album/deep/c.jpg", "album/deep/er/d.jpg", "one.png", "other/deep/c.png")

    def places(*words):
        return [str(source.output) for source in Sources(declared(), words, output=Path("out"))]

    assert places("album") == ["a", "deep/c", "deep/er/d"]
    assert places("album/deep/er/d.jpg", "one.png") == ["d", "one"]
    assert places("album", "other") == ["a", "deep/c", "deep/er/d", "deep/c-2"]
    assert places("album/**/*.jpg") == ["deep/c", "deep/er/d"]
    assert places("album/*") == ["a", "deep/c", "deep/er/d"]
    assert places("alb*") == ["album/a", "album/deep/c", "album/deep/er/d"]
    assert places("album/**") == places("album/") == places("album")
    assert places("*/deep/c.*") == ["album/deep/c", "other/deep/c"]
    # Without a folder for the output there is nothing to collide.
    assert [str(source.output) for source in Sources(declared(), ["album", "other"])][-1] == "deep/c"


def test_what_is_skipped_in_a_folder_is_counted(here):
    touch("a/x.png", "a/notes.txt", "a/more/labels.TXT", "a/README", "a/.hidden/y.png", "a/.z.png", "out/x.png")
    Path("a/link").symlink_to("more")
    stream = Sources(declared(), ["a"], output=Path("a/out"))
    assert [str(source) for source in stream] == ["a/x.png"]
    assert dict(stream.skipped.counts) == {".txt": 2, "": 1, "hidden": 2, "links to folders": 1}
    assert str(stream.skipped) == "6 files: 2 .txt, 2 hidden, 1 without an ending, 1 links to folders"
    empty = Sources(declared(), ["a/x.png"])
    assert len(list(empty)) == 1
    assert str(empty.skipped) == ""


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(here, monkeypatch):
    touch("a/x.png", "a/secret/y.png", "a/z.png")
    scandir = os.scandir

    def denied(folder):
        if Path(folder).name == "secret":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", denied)
    stream = Sources(declared(), ["a", "a/secret", "a/x.png"])
    assert [str(source) for source in stream] == ["a/x.png", "a/z.png", "a/x.png"]
    assert stream.problems == ["a/secret: Permission denied"] * 2


def test_nothing_to_look_at(here):
    stream = Sources(declared(), ["absent.png", "nothing*"])
    with pytest.raises(NothingFoundError, match="there is nothing to look at"):
        stream.start()
    assert stream.problems == ["absent.png: no such file", "nothing*: no file matches"]
    touch("lone.png")
    stream = Sources(declared(images=2), ["lone.png"])
    with pytest.raises(NothingFoundError, match=r"lone\.png: looking needs two images \(or a video\), and this one"):
        list(stream)
    assert stream.problems == []


def test_the_listing_is_not_waited_for(here):
    for number in range(50):
        touch(f"a/{number:02d}/x.png")
    opened = []
    scandir = os.scandir

    def counted(folder):
        opened.append(folder)
        return scandir(folder)

    stream = Sources(declared(), ["a"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", counted)
        stream.start()
        assert stream.total is None
        assert len(opened) == 2
    assert len(list(stream)) == 50, "the first is given, too"


def test_shares(here):
    touch(*(f"a/{number:02d}.png" for number in range(10)), "b/00.png")
    whole = list(Sources(declared(), ["a", "b"], output=Path("out")))
    assert [source.position for source in whole] == list(range(11))
    parts = [list(Sources(declared(), ["a", "b"], output=Path("out"), share=Share(i, 3))) for i in range(3)]
    assert [len(part) for part in parts] == [4, 4, 3]
    assert sorted(itertools.chain(*parts), key=lambda source: source.position) == whole
    assert whole[-1].stem == "00-2"
    assert list(Sources(declared(), ["b"], share=Share(2, 3))) == [], "other shares have something to look at"
    with pytest.raises(NothingFoundError):
        list(Sources(declared(), ["c"], share=Share(2, 3)))


def test_what_a_share_is_called():
    assert Share.parse("3/64") == Share(2, 64)
    assert str(Share(2, 64)) == "3/64"
    for text in ("3", "0/4", "5/4", "a/b", "-1/4", "1/0", "/"):
        with pytest.raises(ValueError, match="share"):
            Share.parse(text)


def test_totals(here):
    touch(*(f"a/{number:02d}.png" for number in range(10)), "a/x.txt")
    known = Sources(declared(), ["a/00.png", "a/01.png"])
    known.count_ahead()
    assert known.total == 2
    stream = Sources(declared(), ["a", "a/*.png"], share=Share(0, 3))
    assert stream.total is None
    stream.count_ahead()
    stream._counter.join()
    assert stream.total == len(list(stream)) == 7
    assert stream.skipped.counts.total() == 1, "counting ahead is not counted"
    pairs = Sources(declared(images=2), ["a"])
    pairs.count_ahead()
    pairs._counter.join()
    assert pairs.total == 9


def test_sequences_in_many_folders(here):
    """Images are in order in each folder, however the folders alternate; one alone does not stop the others."""
    touch(*(f"{folder}/{number}.png" for folder in "ab" for number in range(3)), "c/lone.png", "clip.mp4")
    words = ["a/0.png", "b/0.png", "a/1.png", "c/lone.png", "b/1.png", "clip.mp4", "b/2.png", "a/2.png"]
    stream = Sources(declared(images=2, suffixes=IMAGE_SUFFIXES | VIDEO_SUFFIXES), words)
    found = [str(source) for source in stream]
    assert sorted(found) == ["a/0.png a/1.png", "a/1.png a/2.png", "b/0.png b/1.png", "b/1.png b/2.png", "clip.mp4"]
    assert stream.problems == ["c/lone.png: looking needs two images (or a video), and this one is alone"]


class Entry:
    """Stands for an entry of a folder."""

    def __init__(self, name, is_folder):
        self.name, self._is_folder = name, is_folder

    def is_dir(self, follow_symlinks=True):
        return self._is_folder

    def is_file(self):
        return not self._is_folder


@pytest.mark.parametrize("images", [1, 2])
def test_memory_does_not_grow_with_the_number_of_files(here, monkeypatch, images):
    """30,000 names, half of them in one folder; a list of the second half would take over 2 MB."""
    os.mkdir("a")

    def entries(folder):
        names = range(15_000) if folder == Path("a/z") else range(1500)
        files_there = (Entry(f"{number * 7919 % 15_000}.png", False) for number in names)
        folders = (Entry(name, True) for name in ("bcdefghijz" if folder == Path("a") else ""))
        return contextlib.nullcontext(itertools.chain(files_there, folders))

    monkeypatch.setattr(files, "_RUN", 500)
    monkeypatch.setattr(files, "_PIECE", 20)
    monkeypatch.setattr(os, "scandir", entries)
    tracemalloc.start()
    try:
        # pathlib interns names, and the table of these is made anew from time to time.
        for number in range(400_000):
            sys.intern(f"name {number}")
        stream = iter(Sources(declared(images=images), ["a"]))
        sizes = []
        for _ in range(2):
            for _ in range(14_900):
                next(stream)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] < sizes[0] + 200_000


def test_files_below(here):
    touch("a/b/x.png", "a/y.txt")
    assert list(files_below(Path("a"), {".png"})) == [Found(Path("a/b/x.png"), Path("b"))]
    assert next(iter(Sources(declared(), ["a"]))).folder == PurePath("b")


def test_names_that_collide_again_and_again():
    """Each is given at once, however many were before."""
    names = Names()
    given = [names.give(PurePath("a"), "x") for _ in range(20_000)]
    assert given[:3] == ["x", "x-2", "x-3"]
    assert len(set(given)) == 20_000
    assert [names.give(PurePath("a"), name) for name in ("X", "x-7", "x.y", "x.y")] == [
        "X-20001",
        "x-7-2",
        "x-y",
        "x-y-2",
    ]
    assert names.give(PurePath("b"), "x") == "x"


def test_names_are_remembered_in_little_memory():
    names = Names()
    tracemalloc.start()
    try:
        for number in range(20_000):
            names.give(PurePath("a"), str(number))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 20_000 * 32
