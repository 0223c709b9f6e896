"""Files that are written to while models use them, and zip files that torch.save did not write."""

import gc
import io
import os
import shutil
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zoo_core import checkpoints
from zoo_core.checkpoints import UnreadableCheckpointError, assign_state_dict, get_state_dict, read_state_dict
from zoo_core.weights import Weights

from .checkpoint_server import CheckpointServer
from .other_user import as_other_user, shared_directory

VALUES = {"a.weight": torch.arange(600.0).reshape(20, 30), "b": torch.arange(7), "c": torch.tensor(True)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(OrderedDict(VALUES), tmp_path / "x.pth")
    return tmp_path / "x.pth"


def assert_values(state_dict: dict[str, Any], expected: dict[str, Any] = VALUES) -> None:
    assert list(state_dict) == list(expected)
    for key, value in expected.items():
        torch.testing.assert_close(state_dict[key], value, rtol=0, atol=0)


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


# Which files are mapped.


def test_files_of_the_cache_are_mapped_and_others_are_not(
    cache: Path, server: CheckpointServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = read_state_dict(path)
    assert not is_mapped(path)
    named = get_state_dict(path.as_uri())
    assert not is_mapped(path)
    published = get_state_dict(server.add("/tiny.pth", path.read_bytes()), progress=False)
    assert is_mapped(cache / "tiny.pth")
    (path.parent / "site" / "some_package").mkdir(parents=True)
    shipped = path.parent / "site" / "some_package" / "x.pth"
    shutil.copy(path, shipped)
    monkeypatch.syspath_prepend(path.parent / "site")
    embedded = get_state_dict("package:some_package/x.pth")
    assert is_mapped(shipped)
    for state_dict in (own, named, published, embedded):
        assert_values(state_dict)
    del published, embedded, state_dict
    gc.collect()  # what an earlier test left behind in a cycle
    assert not is_mapped(cache / "tiny.pth"), "the mapping outlives its tensors"


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("change", ["saved anew", "overwritten in place", "truncated", "deleted"])
def test_a_model_does_not_depend_on_its_file(tmp_path: Path, legacy: bool, change: str) -> None:
    path = tmp_path / "x.pth"
    torch.manual_seed(0)
    original = nn.Linear(300, 300)
    torch.save(original.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    with torch.device("meta"):
        model = nn.Linear(300, 300)
    assign_state_dict(model, read_state_dict(path), source="x")
    match change:
        case "saved anew":
            torch.save(model.state_dict(), path)
        case "overwritten in place":
            with path.open("r+b") as file:
                file.write(bytes(path.stat().st_size))
        case "truncated":
            os.truncate(path, 0)
        case "deleted":
            path.unlink()
    for key, value in original.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=0)
    if change == "saved anew":
        torch.testing.assert_close(torch.load(path), original.state_dict(), rtol=0, atol=0)


def test_nobody_writes_into_files_of_the_cache(
    server: CheckpointServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.add("/tiny.pth", path.read_bytes())
    with shared_directory() as home:
        monkeypatch.setenv("TORCH_HOME", str(home))
        cached = checkpoints.fetch(url, progress=False)
        mapped = get_state_dict(url)
        with pytest.raises(PermissionError):
            as_other_user(lambda: cached.open("wb"))
        assert_values(mapped)
        os.replace(path, cached)
        path.write_bytes(b"")
        assert_values(mapped)
        assert [file.name for file in checkpoints.clear()] == ["tiny.pth"]
        assert_values(mapped)


def test_a_file_that_changes_while_it_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.UntypedStorage.from_file

    def replaced_meanwhile(*args: Any) -> Any:
        path.unlink()
        path.write_bytes(bytes(100_000))
        return original(*args)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", replaced_meanwhile)
    with pytest.raises(UnreadableCheckpointError, match=r"x\.pth was changed while it was read: try again"):
        read_state_dict(path, mapped=True)


@pytest.mark.parametrize("mapped", [False, True])
def test_tensors_have_no_more_memory_than_they_need(path: Path, mapped: bool) -> None:
    for tensor in read_state_dict(path, mapped=mapped).values():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
        assert tensor.data_ptr() % 16 == 0
        assert not tensor._is_view()


@pytest.mark.parametrize("part", [0, 0.02, 0.3, 0.7, 0.97, 0.999])
def test_a_file_of_the_cache_that_somebody_truncated(
    cache: Path, server: CheckpointServer, path: Path, part: float
) -> None:
    url = server.add("/tiny.pth", path.read_bytes())
    cached = checkpoints.fetch(url, progress=False)
    cached.chmod(0o644)
    os.truncate(cached, int(cached.stat().st_size * part))
    with pytest.raises(UnreadableCheckpointError, match=r"truncated or damaged.*`zoo verify`, or delete it"):
        get_state_dict(url)
    checkpoints.clear()
    assert_values(get_state_dict(url, progress=False))


# What lies in a file's place.


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(UnreadableCheckpointError, match="it is a pipe"):
        read_state_dict(tmp_path / "x.pth")
    with pytest.raises(UnreadableCheckpointError, match="it is a pipe"):
        checkpoints.matches_hash(tmp_path / "x.pth", "00000000")
    with pytest.raises(UnreadableCheckpointError, match="a device"):
        read_state_dict("/dev/zero")


def test_odd_names_of_files(tmp_path: Path) -> None:
    with pytest.raises(checkpoints.CheckpointNotFoundError) as caught:
        read_state_dict(tmp_path / "red\x1b[31m\n.pth")
    assert str(caught.value).endswith("red\\x1b[31m\\n.pth")
    with pytest.raises(checkpoints.CheckpointError, match="null"):
        read_state_dict(str(tmp_path / "x\0.pth"))


# Zip files.

Edit = Callable[[str, bytes], bytes | None]


def rewritten(path: Path, *, method: int = zipfile.ZIP_STORED, edit: Edit = lambda name, content: content) -> Path:
    """The archive again, as another program writes it, with other contents of members, or without them."""
    changed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w", method) as new:
        for info in old.infolist():
            content = edit(info.filename, old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    path.write_bytes(changed.getvalue())
    return path


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_of_other_programs(path: Path, mapped: bool, method: int) -> None:
    """Compressed members, and ones that do not begin where tensors should."""
    rewritten(path, method=method)
    assert_values(read_state_dict(path, mapped=mapped))
    assert_values(torch.load(path))


@pytest.mark.parametrize("mapped", [False, True])
def test_sizes_that_follow_the_data_and_zip64(path: Path, mapped: bool) -> None:
    """As programs write that cannot seek, or that expect large files."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.content = b""

        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            self.content += bytes(content)
            return len(content)

    pipe = Pipe()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(pipe, "w") as new:
        for info in old.infolist():
            with new.open(info.filename, "w", force_zip64=True) as member:
                member.write(old.read(info))
    path.write_bytes(pipe.content)
    assert_values(read_state_dict(path, mapped=mapped))


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda name, content: content[:-4] if name.endswith("data/0") else content, "takes 2400 bytes, but .* 2396"),
        (lambda name, content: content + b"1234" if name.endswith("data/0") else content, "2400 bytes, but .* 2404"),
        (lambda name, content: None if name.endswith("data/0") else content, "values, 0, are missing"),
        (lambda name, content: None if name.endswith("data.pkl") else content, "no member 'data.pkl'"),
    ],
    ids=["short", "long", "missing", "no pickle"],
)
def test_members_that_contradict_the_pickle(path: Path, mapped: bool, edit: Edit, message: str) -> None:
    rewritten(path, edit=edit)
    with pytest.raises(UnreadableCheckpointError, match=message):
        read_state_dict(path, mapped=mapped)


def directory_entry(content: bytes, name: bytes) -> int:
    """Where the directory's entry of a member begins."""
    return content.rindex(b"PK\x01\x02", 0, content.rindex(name))


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("field", "layout", "change", "message"),
    [
        (20, "<II", lambda size, other: (size - 4, other - 4), "takes 56 bytes, but the file has 52"),
        (20, "<II", lambda size, other: (size, other - 4), "two sizes"),
        (20, "<II", lambda size, other: (2**31, 2**31), "two sizes|reaches into|zip directory|beyond"),
        (42, "<I", lambda offset: (offset + 4,), "not where the directory says"),
        (42, "<I", lambda offset: (0,), "not where the directory says|reaches into"),
        (42, "<I", lambda offset: (2**31,), "beyond|not where|zip"),
        (10, "<H", lambda method: (8,), "not where the directory says"),
        (8, "<H", lambda flags: (flags | 1,), "encrypted"),
    ],
)
def test_directories_that_contradict_the_members(
    path: Path, mapped: bool, field: int, layout: str, change: Callable[..., tuple[int, ...]], message: str
) -> None:
    content = bytearray(path.read_bytes())
    entry = directory_entry(bytes(content), b"data/1") + field
    struct.pack_into(layout, content, entry, *change(*struct.unpack_from(layout, content, entry)))
    path.write_bytes(content)
    with pytest.raises(UnreadableCheckpointError, match=message):
        read_state_dict(path, mapped=mapped)


@pytest.mark.parametrize("mapped", [False, True])
def test_members_that_overlap(path: Path, mapped: bool) -> None:
    """One entry of the directory, and what lies in front of its member, say that it is 64 bytes longer."""
    content = bytearray(path.read_bytes())
    entry = directory_entry(bytes(content), b"data/1")
    (start,) = struct.unpack_from("<I", content, entry + 42)
    for place in (entry + 20, start + 18):
        size, _ = struct.unpack_from("<II", content, place)
        struct.pack_into("<II", content, place, size + 100, size + 100)
    path.write_bytes(content)
    with pytest.raises(UnreadableCheckpointError, match="reaches into what follows"):
        read_state_dict(path, mapped=mapped)


def test_two_members_of_one_name(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x/data/0", bytes(2400))
    with pytest.raises(UnreadableCheckpointError, match="two members have one name"):
        read_state_dict(path)


def test_a_compressed_member_that_grows_further_than_stated(path: Path) -> None:
    rewritten(path, method=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    entry = directory_entry(bytes(content), b"data/0")
    (start,) = struct.unpack_from("<I", content, entry + 42)
    for place in (entry + 24, start + 22):
        struct.pack_into("<I", content, place, 2400 - 4)
    path.write_bytes(content)
    with pytest.raises(UnreadableCheckpointError, match=r"2400 bytes, but .* 2396"):
        read_state_dict(path)


# Pickles.


def test_what_only_torch_reads_is_left_to_torch(tmp_path: Path) -> None:
    content = {
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.5, 1, torch.quint8),
        "float8": torch.ones(3).to(torch.float8_e5m2),
        "size": torch.Size([1, 2]),
        "conjugate": torch.tensor([1j]).conj(),
    }
    torch.save(content, tmp_path / "x.pth")
    for mapped in (False, True):
        loaded: dict[str, Any] = read_state_dict(tmp_path / "x.pth", mapped=mapped)
        assert loaded["sparse"].is_sparse
        assert loaded["quantized"].dequantize().tolist() == [1, 1, 1]
        assert loaded["float8"].float().tolist() == [1, 1, 1]
        assert loaded["size"] == (1, 2)
        assert loaded["conjugate"].tolist() == [-1j]


def test_views_parameters_and_plain_values(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    content = OrderedDict(
        transposed=base.t(),
        middle=base[1:3, 2:4],
        empty=torch.empty(0, 3),
        scalar=torch.tensor(2.5, dtype=torch.bfloat16),
        parameter=nn.Parameter(torch.ones(2), requires_grad=False),
        channels_last=torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        half=torch.ones(3).half(),
        complex=torch.tensor([1 + 2j]),
        with_gradient=torch.ones(2, requires_grad=True),
    )
    content._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    torch.save({"model": content, "epoch": 3, "names": ["a", ("b", None)], "lr": 0.1}, tmp_path / "x.pth")
    expected = torch.load(tmp_path / "x.pth", weights_only=True)["model"]
    for mapped in (False, True):
        loaded = read_state_dict(tmp_path / "x.pth", mapped=mapped)
        assert type(loaded) is OrderedDict
        assert loaded._metadata == content._metadata  # type: ignore[attr-defined]
        for key, value in expected.items():
            assert type(loaded[key]) is type(value)
            assert loaded[key].stride() == value.stride()
            assert loaded[key].requires_grad == value.requires_grad
            torch.testing.assert_close(loaded[key], value, rtol=0, atol=0)


class Attributes(OrderedDict[str, Any]):
    """Pickled as an ordered dict whose methods have been replaced by values."""

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, (), {"items": 5, "keys": torch.ones(1), "_metadata": {}}, None, iter(self.items())


@pytest.mark.parametrize("legacy", [False, True])
def test_attributes_that_a_pickle_sets_hide_no_method(tmp_path: Path, legacy: bool) -> None:
    torch.save(Attributes(weight=torch.ones(2)), tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    loaded = read_state_dict(tmp_path / "x.pth")
    assert [(key, value.tolist()) for key, value in loaded.items()] == [("weight", [1, 1])]
    assert list(loaded.keys()) == ["weight"]


def test_a_tensor_beyond_its_storage(path: Path) -> None:
    """The shape (20, 30) in the pickle becomes (20, 31)."""
    rewritten(path, edit=lambda name, content: content.replace(b"K\x14K\x1e\x86", b"K\x14K\x1f\x86"))
    with pytest.raises(UnreadableCheckpointError, match=r"x\.pth"):
        read_state_dict(path)


# Names and defaults.


def test_the_former_name_of_read_state_dict(path: Path) -> None:
    with pytest.warns(FutureWarning, match="is now read_state_dict"):
        assert_values(checkpoints.load_state_dict(path))


def test_hashes_are_checked_unless_told_otherwise(cache: Path, server: CheckpointServer, path: Path) -> None:
    url = server.add("/tiny-12345678.pth", path.read_bytes())
    weights = Weights(url, transforms=dict, meta={})
    for read in (weights.get_state_dict, lambda **options: get_state_dict(url, sha256_prefix="12345678", **options)):
        with pytest.raises(checkpoints.HashMismatchError, match="should begin with 12345678"):
            read(progress=False)
    assert_values(weights.get_state_dict(progress=False, check_hash=False))
