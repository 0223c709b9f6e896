"""Caches that several users share, and what may lie in the place of a file, its parts and its lock."""

import hashlib
import json
import os
import random
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests  # noqa: F401  # what a download imports must be there before another user may not read it

from zoo_core import checkpoints
from zoo_core.checkpoints import download, fetch, fetching
from zoo_core.checkpoints.locking import FileLock

from .checkpoint_server import CheckpointServer, Fault, listing
from .other_user import IS_ROOT, as_other_user, protect, shared_directory

CONTENT = random.Random(0).randbytes(300_000)
NAME = "tiny-12345678.pth"
PATH = f"/models/{NAME}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BACKOFF_S", 0.001)
    monkeypatch.setattr(fetching, "STUCK_AFTER_S", 0.2)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache that all users may write to, where nobody may remove what is another's."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    with shared_directory() as home:
        monkeypatch.setenv("TORCH_HOME", str(home))
        for directory in (home / "hub", home / "hub" / "checkpoints"):
            directory.mkdir()
            directory.chmod(0o1777)
        yield directory


def left_by_another(path: Path, content: bytes = b"", *, readable: bool = True) -> None:
    path.write_bytes(content)
    if readable:
        protect(path)
    else:
        path.chmod(0o600 if IS_ROOT else 0)


@pytest.mark.parametrize("suffixes", [(".lock",), (".partial",), (".partial.json",), (".lock", ".partial")])
@pytest.mark.parametrize("readable", [True, False])
def test_what_another_user_left_is_no_obstacle(
    shared: Path, server: CheckpointServer, suffixes: tuple[str, ...], readable: bool
) -> None:
    for suffix in suffixes:
        content = b"{}" if suffix.endswith("json") else b""
        left_by_another(shared / f"{NAME}{suffix}", content, readable=readable)
    url = server.add(PATH, CONTENT)
    path = as_other_user(lambda: fetch(url, sha256_prefix=hashlib.sha256(CONTENT).hexdigest(), progress=False))
    assert path.read_bytes() == CONTENT
    assert stat.S_ISREG(path.lstat().st_mode)
    assert not [name for name in listing(shared) if "apart" in name]
    assert fetch(url).read_bytes() == CONTENT


def test_a_part_that_another_user_left_is_not_gone_on_with_where_it_cannot_be_written(
    shared: Path, server: CheckpointServer
) -> None:
    url = server.add(PATH, CONTENT)
    left_by_another(shared / f"{NAME}.partial", b"x" * 1000)
    etag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    note = {"url": url, "validator": etag, "total": len(CONTENT)}
    left_by_another(shared / f"{NAME}.partial.json", json.dumps(note).encode())
    assert as_other_user(lambda: fetch(url, progress=False)).read_bytes() == CONTENT
    assert (shared / f"{NAME}.partial").read_bytes() == b"x" * 1000


def test_another_users_lock_is_respected(shared: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, CONTENT)
    with FileLock(shared / f"{NAME}.lock") as lock:
        assert lock.try_acquire()
        protect(lock.path)
        assert as_other_user(lambda: FileLock(lock.path).try_acquire()) is False
        assert as_other_user(lambda: fetch(url, progress=False)).read_bytes() == CONTENT, "it does not get further"


def test_a_directory_that_may_not_be_written_to_is_named(shared: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, CONTENT)
    shared.chmod(0o555)
    with pytest.raises(checkpoints.CacheWriteError, match="Permission denied") as caught:
        as_other_user(lambda: fetch(url, progress=False))
    assert str(shared) in str(caught.value)
    assert "set TORCH_HOME" in str(caught.value)
    assert server.exchanges == []
    shared.chmod(0o1777)


def test_who_may_not_clear_a_file_is_told_whose_it_is(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by_another(shared / NAME, CONTENT)
    if not IS_ROOT:
        shared.chmod(0o555)
    with pytest.raises(checkpoints.CacheWriteError) as caught:
        as_other_user(checkpoints.clear)
    assert str(shared / NAME) in str(caught.value)
    if IS_ROOT:
        assert "belongs to the user root" in str(caught.value)
    shared.chmod(0o1777)


def test_a_file_that_may_not_be_read_is_named_with_its_owner(shared: Path, server: CheckpointServer) -> None:
    left_by_another(shared / NAME, CONTENT, readable=False)
    with pytest.raises(checkpoints.UnreadableCheckpointError, match="Permission denied") as caught:
        as_other_user(lambda: checkpoints.get_state_dict(server.url(PATH)))
    assert str(shared / NAME) in str(caught.value)
    if IS_ROOT:
        assert "belongs to the user root; have it made readable for you" in str(caught.value)


# Links, pipes, directories.


def make_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "victim")


def make_link_to_file(path: Path) -> None:
    (path.parent.parent / "victim").write_bytes(b"precious")
    path.symlink_to(path.parent.parent / "victim")


def make_directory(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


OBSTACLES = [make_link, make_link_to_file, os.mkfifo, make_directory]


@pytest.mark.parametrize("suffix", [".lock", ".partial", ".partial.json"])
@pytest.mark.parametrize("obstruct", OBSTACLES)
def test_what_is_in_the_way_is_gone_around(
    shared: Path, server: CheckpointServer, suffix: str, obstruct: Callable[[Path], None]
) -> None:
    obstruct(shared / f"{NAME}{suffix}")
    victim = shared.parent / "victim"
    url = server.add(PATH, CONTENT)
    server.faults.append(Fault(cut_at=0.5))
    assert fetch(url, progress=False).read_bytes() == CONTENT
    if obstruct is make_link_to_file:
        assert victim.read_bytes() == b"precious"
    else:
        assert not victim.exists()
    assert stat.S_ISREG((shared / NAME).lstat().st_mode)


@pytest.mark.parametrize("obstruct", [make_link, os.mkfifo, make_directory])
def test_what_is_in_the_place_of_the_file_is_named(
    shared: Path, server: CheckpointServer, obstruct: Callable[[Path], None]
) -> None:
    obstruct(shared / NAME)
    url = server.add(PATH, CONTENT)
    kind = {make_link: "a link", os.mkfifo: "a pipe", make_directory: "a directory"}[obstruct]
    with pytest.raises(checkpoints.CacheWriteError, match=f"{NAME} is {kind}.* remove it") as caught:
        fetch(url, progress=False)
    assert str(shared / NAME) in str(caught.value)
    assert server.exchanges == []
    assert listing(shared) == [NAME]
    assert not checkpoints.is_cached(url)
    assert checkpoints.cached_files() == []


def test_a_file_that_is_a_link_to_one_elsewhere_is_used(shared: Path, server: CheckpointServer) -> None:
    (shared.parent / "elsewhere.pth").write_bytes(CONTENT)
    (shared / NAME).symlink_to(shared.parent / "elsewhere.pth")
    assert fetch(server.url(PATH)).read_bytes() == CONTENT
    assert server.exchanges == []


@pytest.mark.parametrize("obstruct", OBSTACLES)
def test_clear_does_not_hang_or_follow(shared: Path, obstruct: Callable[[Path], None]) -> None:
    (shared / NAME).write_bytes(CONTENT)
    obstruct(shared / f"{NAME}.lock")
    assert NAME in [file.name for file in checkpoints.clear()]
    assert not (shared / NAME).exists()
    assert obstruct is not make_link_to_file or (shared.parent / "victim").read_bytes() == b"precious"


# Locks.


def test_a_removed_lock_is_not_mistaken_for_the_one_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    holder, waiter, other = FileLock(path), FileLock(path), FileLock(path)
    assert holder.try_acquire()
    assert not waiter.try_acquire()
    holder.release()
    assert not path.exists()
    assert other.try_acquire()
    assert not waiter.acquire(give_up=lambda: True)
    other.release()
    assert waiter.try_acquire()
    waiter.release(remove=False)
    assert path.exists()


def test_where_there_are_no_locks_each_downloads_apart(
    shared: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno
    import fcntl

    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert fetch(server.add(PATH, CONTENT)).read_bytes() == CONTENT
    assert "cannot lock" in capsys.readouterr().err
    assert [name for name in listing(shared) if not name.endswith(".lock")] == [NAME]
