"""Inputs that are no files of folders: addresses, what is piped in, lists. As a user gives them, with a real server."""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from zoo_core.cli import main
from zoo_core.declarations import IMAGE_SUFFIXES, Declaration
from zoo_core.predicting import Failure, Sources, fetched, lists, predict
from zoo_core.predicting.lists import names_in

from .checkpoint_server import Fault
from .cli.running import environment, run


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield folder
    assert list(scratch.iterdir()) == [], "nothing temporary is left"


def encoded(level, format="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (24, 16), (level, level, level)).save(file, format)
    return file.getvalue()


def declared(images=1):
    return Declaration("toys", "toys.task:Task", "Looking", images, IMAGE_SUFFIXES, 8, "x.png", None)


# Addresses -----------------------------------------------------------------------------------------------------------


def test_images_of_the_web(toys, here, server, capsys):
    Image.new("RGB", (8, 8)).save("night.png")
    snow = server.add("/a/sn%20ow.jpg", encoded(255, "JPEG"))
    night = server.add("/night.png?size=big&token=secret", encoded(0))
    assert main(["predict", "brightnet", snow, night, "night.png", "--output", "out", "--json"]) == 0
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err
    results = json.loads(printed.out)["results"]
    assert [result["file"] for result in results] == [
        snow,
        night.replace("big", "***").replace("secret", "***"),
        "night.png",
    ]
    assert [result["brightness"] > 0.5 for result in results] == [True, False, False]
    assert [result["output"] for result in results] == [["out/sn-ow.jpg"], ["out/night.png"], ["out/night-2.png"]]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=404), r"there is no file {url} \(the server answered 404 .*\): check the address"),
        (Fault(status=403), r"no permission to download {url} .*: check the address .*or download it yourself"),
        (
            Fault(headers={"Content-Length": "900000000"}),
            r"{url} has 900 MB, and at most 537 MB are taken as one image",
        ),
    ],
    ids=["absent", "denied", "large"],
)
def test_what_a_server_refuses(toys, here, server, fault, message):
    url = server.add("/x.png?key=secret", encoded(0))
    server.faults.append(fault)
    (found,) = predict("brightnet", url, device="cpu")
    assert isinstance(found, Failure)
    shown = re.escape(url.replace("secret", "***"))
    assert re.fullmatch(message.replace("{url}", shown) + ".*", found.message)
    assert "secret" not in found.message
    for foreign in ("ZOO_MIRROR", "checkpoint", "cache", str(here.parent)):
        assert foreign not in found.message


def test_a_body_without_end(toys, here, server, monkeypatch):
    monkeypatch.setattr(fetched, "MAX_IMAGE_BYTES", 100_000)
    url = server.add("/x.png", encoded(0))
    server.lengths = False
    server.faults.append(Fault(body=(b"x" * 10_000 for _ in range(10**6))))
    (found,) = predict("brightnet", url, device="cpu")
    assert re.search(r"x\.png has more, and at most 0 MB are taken as one image; check the address", found.message)


def test_what_is_no_image(toys, here, server):
    url = server.add("/page.jpg", b"<html>Not here</html>")
    empty = server.add("/empty.jpg", b"")
    found = list(predict("brightnet", [url, empty], device="cpu"))
    assert found[0].message == f"{url}: not an image, damaged, or of a format that is not decoded here"
    assert found[1].message == f"{empty} is an empty file, no image: check the address"
    assert found[0].record() == {"file": url, "error": found[0].message}


def test_a_connection_that_breaks_is_gone_on_with(toys, here, server):
    url = server.add("/x.png", encoded(255) + bytes(200_000))
    server.faults.append(Fault(cut_at=0.5))
    (found,) = predict("brightnet", url, device="cpu")
    assert found.describe() == ["bright"]
    assert len(server.exchanges) == 2


def test_without_the_network(toys, here, server, monkeypatch):
    url = server.add("/x.png", encoded(255))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    (found,) = predict("brightnet", url, device="cpu")
    assert found.message == f"{url} would have to be downloaded, and ZOO_OFFLINE forbids it; unset it"
    assert server.exchanges == []
    monkeypatch.delenv("ZOO_OFFLINE")
    monkeypatch.setenv("ZOO_MIRROR", str(here))
    (found,) = predict("brightnet", url, device="cpu")
    assert found.describe() == ["bright"], "a mirror has what was published, and no images of users"


def test_words_that_are_no_addresses(here):
    stream = Sources(
        declared(), ["s3://bucket/x.jpg", "http:///x.jpg", "ftp://me:secret@host/x.jpg", "https://[x/y.jpg"]
    )
    assert list_of(stream) == []
    assert len(stream.problems) == 4
    assert stream.problems[0].startswith("s3://bucket/x.jpg: of addresses, https: and http: are read")
    assert "is no valid address" in stream.problems[1]
    assert "secret" not in "".join(stream.problems)


def list_of(stream):
    try:
        return [str(source) for source in stream]
    except ValueError:
        return []


def test_an_address_that_does_not_tell_by_its_ending(toys, here, server):
    """The server is asked whether it has an image or a stream there; of a list, images are expected."""
    url = server.add("/photos/200?size=big", encoded(255))
    server.faults.append(Fault(headers={"Content-Type": "image/png"}))
    (found,) = predict("brightnet", url, device="cpu")
    assert (found.describe(), found.source.stem, found.source.address) == (["bright"], "200", None)
    assert len(server.exchanges) == 2
    server.faults.append(Fault(headers={"Content-Type": "multipart/x-mixed-replace; boundary=x"}))
    (source,) = Sources(declared(), [url])
    assert (source.address, source.numbered) == (url, True)
    Path("list").write_text(url)
    asked = len(server.exchanges)
    (source,) = Sources(declared(), [], lists=["list"])
    assert source.fetched == (url,)
    assert len(server.exchanges) == asked


def test_pairs_of_addresses(here):
    (source,) = Sources(declared(images=2), ["https://x.org/1.png", "https://x.org/2.png"])
    assert source.names == ("https://x.org/1.png", "https://x.org/2.png")
    assert source.fetched == source.names
    assert source.file is None


# Standard input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("BMP", "png")])
def test_an_image_is_piped_in(toys, here, format, suffix):
    process = subprocess.run(
        [sys.executable, "-m", "zoo_core.cli", "predict", "brightnet", "-", "--output", "out"],
        env=environment(toys.path),
        input=encoded(255, format),
        capture_output=True,
    )
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout.decode() == f"-\n  bright\n  -> out/stdin.{suffix}\n"


def pipe(monkeypatch, content):
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    stream = os.fdopen(read)
    monkeypatch.setattr(sys, "stdin", stream)
    return stream


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "-: standard input is empty"), (b"hello", "-: not an image, damaged")]
)
def test_what_is_piped_in_is_no_image(toys, here, monkeypatch, capsys, content, message):
    with pipe(monkeypatch, content):
        assert main(["predict", "brightnet", "-"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {message}")


def test_standard_input_is_read_once(toys, here, monkeypatch, capsys):
    with pipe(monkeypatch, encoded(255)):
        assert main(["predict", "brightnet", "-", "-"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "-\n  bright\n"
    assert printed.err == "error: -: standard input can be read only once\n"


def test_standard_input_is_a_terminal(toys, here, monkeypatch, capsys):
    leader, follower = os.openpty()
    with os.fdopen(follower) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert main(["predict", "brightnet", "-"]) == 1
    os.close(leader)
    assert "-: an image is expected on standard input, and that is a terminal" in capsys.readouterr().err


# Lists ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"a.png\nb/c d.png\n", ["a.png", "b/c d.png"]),
        (b"a.png\r\n\r\n\n b.png ", ["a.png", " b.png "]),
        (b"\xef\xbb\xbfa.png\n", ["a.png"]),
        (b"a\nb.png\0c.png\0", ["a\nb.png", "c.png"]),
        (b"caf\xc3\xa9.png\n\xff.png\n", ["caf\u00e9.png", os.fsdecode(b"\xff.png")]),
        (b"", []),
    ],
)
def test_lists(tmp_path, monkeypatch, content, names):
    (tmp_path / "list").write_bytes(content)
    for size in (1, 3, 100_000) if b"\0" not in content and content[:1] != b"\xef" else (100_000,):
        monkeypatch.setattr(lists, "_PIECE", size)
        assert list(names_in(tmp_path / "list")) == names


def test_what_is_no_list(here):
    Path("x.jpg").write_bytes(encoded(0, "JPEG"))
    Path("late").write_bytes(b"a.png\n" * 20_000 + b"b\0.png\n")
    Path("endless").write_bytes(b"x" * 200_000)
    stream = Sources(declared(), [], lists=["x.jpg", "absent.txt", "endless"])
    assert list_of(stream) == []
    assert [problem.partition(":")[0] for problem in stream.problems] == ["x.jpg", "absent.txt", "endless"]
    assert "a list of files is expected, names one a line" in stream.problems[0]
    with pytest.raises(ValueError, match="late: line 20001 holds a null byte"):
        list(names_in("late"))


def test_files_of_a_list(toys, here, server, capsys):
    for name in ("b/1.png", "b/2.png", "a/1.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(encoded(255))
    url = server.add("/web.png", encoded(0))
    Path("list.txt").write_text(f"b/2.png\n{here}/b/1.png\n\nabsent.png\n{url}\n../work/a/1.png\nb\n0\n")
    assert main(["predict", "brightnet", "--files-from", "list.txt", "--output", "out", "--json"]) == 1
    printed = capsys.readouterr()
    results = json.loads(printed.out)["results"]
    assert [result["file"] for result in results] == [
        "b/2.png", f"{here}/b/1.png", "absent.png", url, "../work/a/1.png", "b", "0",
    ]  # fmt: skip
    written = [result.get("output", [""])[0] for result in results]
    assert written == ["out/b/2.png", f"out{here}/b/1.png", "", "out/web.png", "out/work/a/1.png", "", ""]
    assert [result["error"] for result in results if "error" in result] == [
        "absent.png: no such file",
        "b: is a directory, not an image",
        "0: no such file",
    ]
    assert len(printed.err.splitlines()) == 3


def test_a_list_that_is_piped_in_is_not_waited_for(toys, here):
    """Results come while the list is still being made."""
    Path("a.png").write_bytes(encoded(255))
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo_core.cli", "predict", "brightnet", "--files-from", "-", "--batch-size", "1"],
        env=environment(toys.path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(b"a.png\n" * 100)
        process.stdin.flush()
        assert process.stdout.readline() == b"a.png\n"
        process.stdin.close()
        assert process.stdout.read().count(b"bright") == 100
    assert process.returncode == 0


def test_lists_beside_words(toys, here, capsys):
    Path("a.png").write_bytes(encoded(255))
    Path("list").write_text("a.png\n" * 3)
    stream = Sources(declared(), ["a.png"], lists=["list", "list"])
    stream.count_ahead()
    stream._counter.join()
    assert stream.total == len(list(stream)) == 7
    stream = Sources(declared(), ["-"], lists=["-"])
    assert list_of(stream) == []
    assert stream.problems[0] == "-: standard input can be read only once"
    stream.count_ahead()
    assert stream.total is None
    process = run(toys.path, "predict", "--help")
    assert "--files-from FILE" in process.stdout
