"""Where files lie, and the ways to them that need no download."""

import hashlib
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import torch
from filelock import FileLock

from zoo_core import checkpoints
from zoo_core.checkpoints import fetch, locate

from .checkpoint_server import CheckpointServer

URL = "https://download.pytorch.org/models/quantized/tiny-12345678.pth"
CONTENT = b"tensors" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_neither_torch_nor_requests_is_imported(cache: Path) -> None:
    program = (
        "import sys; from zoo_core import checkpoints as c;"
        f"print(c.locate({URL!r}), c.is_cached({URL!r}), c.cached_files(), c.clear());"
        "sys.exit(bool({'torch', 'requests', 'rich', 'filelock'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == f"{cache / 'tiny-12345678.pth'} False [] []\n"


@pytest.mark.parametrize(
    "environment",
    [
        {"TORCH_HOME": "/somewhere"},
        {"TORCH_HOME": "~/somewhere"},
        {"XDG_CACHE_HOME": "/xdg"},
        {"XDG_CACHE_HOME": "~/xdg"},
        {"TORCH_HOME": "/somewhere", "XDG_CACHE_HOME": "/xdg"},
        {"TORCH_HOME": ""},
        {},
    ],
)
def test_the_cache_is_that_of_torch_hub(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for name in ("TORCH_HOME", "XDG_CACHE_HOME", "TORCH_HUB"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    expected = Path(torch.hub.get_dir(), "checkpoints")
    assert checkpoints.cache_dir() == expected
    monkeypatch.delitem(sys.modules, "torch.hub")
    assert checkpoints.cache_dir() == expected


def test_a_directory_set_in_torch_hub_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    torch.hub.set_dir(tmp_path)
    assert locate(URL) == tmp_path / "checkpoints" / "tiny-12345678.pth"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/x.pth", "x.pth"),
        ("http://h/x.pth?download=true&n=/y.pth", "x.pth"),
        ("https://h/x.pth#fragment", "x.pth"),
        ("HTTPS://h/x.pth", "x.pth"),
        ("https://h/a%20b%2Fc.pth", "a%20b%2Fc.pth"),
        ("https://h/%E5%AD%97-12345678.pth", "%E5%AD%97-12345678.pth"),
        ("https://h/..x.pth", "..x.pth"),
        ("https://h/a/../x.pth", "x.pth"),
    ],
)
def test_names_in_the_cache(cache: Path, url: str, name: str) -> None:
    assert locate(url) == cache / name


@pytest.mark.parametrize("url", ["https://h/", "https://h", "https://h/models/", "https://h/.."])
def test_urls_without_file_name(url: str) -> None:
    with pytest.raises(checkpoints.CheckpointError, match="names no file"):
        locate(url)


@pytest.mark.parametrize("url", ["ftp://h/x.pth", "/tmp/x.pth", "x.pth", "C:\\x.pth", ""])
def test_other_urls(url: str) -> None:
    with pytest.raises(checkpoints.CheckpointError, match="must begin with https:"):
        locate(url)


@pytest.mark.parametrize("name", ["a%20b ü字;v=1-12345678.pth", "x%252F.pth", "a+b&c=d.pth"])
def test_odd_names_are_downloaded(cache: Path, server: CheckpointServer, name: str) -> None:
    path = "/models/" + quote(name, safe="%;+&=")
    url = server.add(path, CONTENT)
    assert fetch(url, progress=False).read_bytes() == CONTENT
    assert checkpoints.is_cached(url)
    assert [file.read_bytes() for file in cache.iterdir()] == [CONTENT]


# file:


@pytest.mark.parametrize("form", ["file://{}", "file://localhost{}", "file:{}"])
def test_file_url(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a b%20ü.pth"
    path.write_bytes(CONTENT)
    url = form.format(quote(str(path)))
    assert checkpoints.is_cached(url)
    assert fetch(url, sha256_prefix=SHA256[:8]) == path
    with pytest.raises(checkpoints.HashMismatchError, match="should begin with 00000000"):
        fetch(url, sha256_prefix="00000000")
    assert fetch(url, sha256_prefix="00000000", check_hash=False) == path
    assert path.read_bytes() == CONTENT


def test_file_url_of_nothing(tmp_path: Path) -> None:
    url = (tmp_path / "none.pth").as_uri()
    assert not checkpoints.is_cached(url)
    with pytest.raises(checkpoints.CheckpointNotFoundError, match=r"none\.pth"):
        fetch(url)
    with pytest.raises(checkpoints.CheckpointNotFoundError):
        fetch(tmp_path.as_uri())
    with pytest.raises(checkpoints.CheckpointError, match="file on this machine"):
        fetch("file://otherhost/x.pth")


# package:


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package that must not be imported."""
    directory = tmp_path / "site" / "some_package"
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "__init__.py").write_text("raise AssertionError('imported')")
    (directory / "checkpoints" / "x.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return directory


def test_package_url(package: Path) -> None:
    url = "package:some_package/checkpoints/x.pth"
    assert locate(url) == package / "checkpoints" / "x.pth"
    assert checkpoints.is_cached(url)
    assert fetch(url, sha256_prefix=SHA256[:8]).read_bytes() == CONTENT
    assert "some_package" not in sys.modules
    with pytest.raises(checkpoints.HashMismatchError):
        fetch(url, sha256_prefix="00000000")


def test_package_url_of_nothing(package: Path) -> None:
    with pytest.raises(checkpoints.CheckpointNotFoundError, match=r"y\.pth"):
        fetch("package:some_package/checkpoints/y.pth")
    with pytest.raises(checkpoints.CheckpointNotFoundError, match="pip install no-such-package"):
        fetch("package:no_such_package/x.pth")
    assert not checkpoints.is_cached("package:no_such_package/x.pth")


@pytest.mark.parametrize("name", ["weights.pth", "samples"])
def test_a_package_in_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As a compiled package lies that is installed for editing: its library in one folder, all else in the other."""
    for folder in ("compiled", "sources"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sources" / "weights.pth").write_bytes(b"w")
    (tmp_path / "sources" / "samples").mkdir()
    folders = [tmp_path / "compiled", tmp_path / "sources"]
    monkeypatch.setattr(checkpoints.cache, "package_folders", lambda package: folders)
    assert locate(f"package:one/{name}") == tmp_path / "sources" / name
    assert locate("package:one/missing") == tmp_path / "compiled" / "missing"


@pytest.mark.parametrize(
    "rest", ["some_package", "some_package/../../x.pth", "/some_package/x.pth", "some.package/x", ""]
)
def test_bad_package_urls(package: Path, rest: str) -> None:
    with pytest.raises(checkpoints.CheckpointError, match="names no file in a package"):
        locate(f"package:{rest}")


# ZOO_OFFLINE


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_offline(cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ZOO_OFFLINE", value)
    url = server.add("/models/tiny-12345678.pth", CONTENT)
    with pytest.raises(checkpoints.OfflineError) as caught:
        fetch(url)
    assert url in str(caught.value)
    assert str(cache / "tiny-12345678.pth") in str(caught.value)
    assert server.exchanges == []
    assert not cache.exists()
    cache.mkdir(parents=True)
    (cache / "tiny-12345678.pth").write_bytes(CONTENT)
    assert fetch(url).read_bytes() == CONTENT


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_not_offline(cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ZOO_OFFLINE", value)
    assert fetch(server.add("/x.pth", CONTENT), progress=False).is_file()


def test_offline_holds_for_a_mirror_on_the_network(
    cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.setenv("ZOO_MIRROR", server.url("/zoo"))
    with pytest.raises(checkpoints.OfflineError):
        fetch(URL)
    assert server.exchanges == []


# ZOO_MIRROR


@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_on_the_network(
    cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch, slash: str
) -> None:
    monkeypatch.setenv("ZOO_MIRROR", server.url("/zoo") + slash)
    server.add("/zoo/models/quantized/tiny-12345678.pth", CONTENT)
    path = fetch(URL, sha256_prefix=SHA256[:8], progress=False)
    assert path == cache / "tiny-12345678.pth"
    assert path.read_bytes() == CONTENT
    with pytest.raises(checkpoints.CheckpointNotFoundError, match="ZOO_MIRROR"):
        fetch("https://download.pytorch.org/models/other.pth", progress=False)


@pytest.mark.parametrize("place", ["models/quantized/tiny-12345678.pth", "tiny-12345678.pth"])
@pytest.mark.parametrize("as_url", [False, True])
@pytest.mark.parametrize("offline", ["0", "1"])
def test_mirror_directory(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, as_url: bool, offline: str
) -> None:
    mirror = tmp_path / "my mirror"
    (mirror / place).parent.mkdir(parents=True)
    (mirror / place).write_bytes(CONTENT)
    monkeypatch.setenv("ZOO_MIRROR", mirror.as_uri() if as_url else str(mirror))
    monkeypatch.setenv("ZOO_OFFLINE", offline)
    path = fetch(URL, sha256_prefix=SHA256[:8])
    assert [(file.path, file.size) for file in checkpoints.cached_files()] == [(path, len(CONTENT))]
    assert list(cache.iterdir()) == [path]
    assert path.read_bytes() == CONTENT


def test_damaged_file_in_a_mirror_directory(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_MIRROR", str(tmp_path))
    (tmp_path / "tiny-12345678.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(checkpoints.HashMismatchError, match=str(tmp_path)):
        fetch(URL, sha256_prefix=SHA256)
    assert not checkpoints.is_cached(URL)
    (tmp_path / "tiny-12345678.pth").write_bytes(b"")
    with pytest.raises(checkpoints.CheckpointError, match="empty"):
        fetch(URL)
    assert not checkpoints.is_cached(URL)


def test_mirror_directory_without_the_file(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_MIRROR", str(tmp_path))
    with pytest.raises(checkpoints.CheckpointNotFoundError) as caught:
        fetch(URL)
    assert str(tmp_path / "models/quantized/tiny-12345678.pth") in str(caught.value)
    with pytest.raises(checkpoints.CheckpointNotFoundError):
        fetch("https://host/../outside/x.pth")
    monkeypatch.setenv("ZOO_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(checkpoints.CheckpointNotFoundError, match="not a directory"):
        fetch(URL)
    monkeypatch.setenv("ZOO_MIRROR", "s3://bucket")
    with pytest.raises(checkpoints.CheckpointError, match=r"must be an http\(s\) address or a directory"):
        fetch(URL)


# Looking after the cache.


@pytest.fixture
def filled(cache: Path) -> Path:
    cache.mkdir(parents=True)
    for name in ("b.pth", "a.pth", "a.pth.lock", "c.pth.partial", "c.pth.partial.json", "c.pth.lock"):
        (cache / name).write_bytes(name.encode())
    (cache / "directory").mkdir()
    return cache


def test_cached_files(filled: Path) -> None:
    files = checkpoints.cached_files()
    assert [(file.name, file.path, file.size) for file in files] == [
        ("a.pth", filled / "a.pth", 5),
        ("b.pth", filled / "b.pth", 5),
    ]
    assert files[0].modified.timestamp() == pytest.approx((filled / "a.pth").stat().st_mtime, abs=1e-3)
    assert files[0].modified.tzinfo is not None


def test_clear(filled: Path) -> None:
    removed = checkpoints.clear(["a.pth", "c.pth", "unknown.pth"])
    assert sorted(file.name for file in removed) == [
        "a.pth",
        "a.pth.lock",
        "c.pth.lock",
        "c.pth.partial",
        "c.pth.partial.json",
    ]
    assert sorted(path.name for path in filled.iterdir()) == ["b.pth", "directory"]
    assert [file.name for file in checkpoints.clear()] == ["b.pth"]
    assert [path.name for path in filled.iterdir()] == ["directory"]
    assert checkpoints.clear() == []


def test_clear_leaves_a_running_download_alone(filled: Path) -> None:
    with FileLock(filled / "c.pth.lock"):
        checkpoints.clear()
    assert sorted(path.name for path in filled.iterdir() if path.is_file()) == [
        "c.pth.lock",
        "c.pth.partial",
        "c.pth.partial.json",
    ]


def test_matches_hash(cache: Path) -> None:
    cache.mkdir(parents=True)
    path = cache / "tiny-12345678.pth"
    path.write_bytes(CONTENT)
    for place in (URL, path, str(path), path.as_uri()):
        assert checkpoints.matches_hash(place, SHA256[:8])
        assert checkpoints.matches_hash(place, SHA256.upper())
        assert not checkpoints.matches_hash(place, "0" * 8)
    path.unlink()
    for place in (URL, path, str(path), path.as_uri()):
        with pytest.raises(checkpoints.CheckpointNotFoundError, match=str(path)):
            checkpoints.matches_hash(place, SHA256)


def test_the_former_name_of_matches_hash(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(CONTENT)
    with pytest.warns(FutureWarning, match="matches_hash"):
        assert checkpoints.verify(tmp_path / "x.pth", SHA256)
