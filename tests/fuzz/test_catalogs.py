"""Catalogues of packages from elsewhere: read, or refused in our words."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from zoo_core import catalog, checkpoints

from .fuzzing import damaged, evidence, fuzz

_names = itertools.count()


def _read(directory: Path, content: bytes) -> None:
    # What was read is cached by path.
    path = directory / str(next(_names)) / "resnet.toml"
    path.parent.mkdir()
    path.write_bytes(content)
    try:
        with evidence(content, "catalog.toml"):
            models = catalog.read_file(path, catalog.Source("classification", "some_package", path.parent))
    except catalog.CatalogError as error:
        assert str(path) in str(error)
        return
    finally:
        path.unlink()
        path.parent.rmdir()
    for name, model in models.items():
        assert model.name == name
        for member in (*model.checkpoints, "DEFAULT", model.pretrained):
            checkpoint = model.checkpoint(member)
            try:
                checkpoints.is_cached(checkpoint.url)
            except checkpoints.CheckpointError as error:
                assert str(error).isprintable()


@fuzz
@given(damaged("catalogs"))
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    _read(tmp_path, content)


_values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["imagenet1k", "ImageClassification"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_url = st.sampled_from(["https://h/x.pth", "http://[", "package:x/../y", "file:", "https://h/"]) | st.text()


def _table(keys: list[str], required: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional={key: _values for key in keys if key not in required})


_checkpoint = _table(
    [field.name for field in dataclasses.fields(catalog.Checkpoint) if not field.name.startswith("preset")],
    {"url": _url, "transforms": st.fixed_dictionaries({"preset": st.sampled_from(list(catalog.PRESETS))}) | _values},
)
_model = _table(
    ["pretrained"],
    {
        "builder": st.just("some_package.resnet:resnet50"),
        "weights": st.just("ResNet50_Weights"),
        "default": st.just("V1"),
        "checkpoints": st.fixed_dictionaries({"V1": _checkpoint}) | _values,
    },
)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            escaped = (c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value)
            return '"' + "".join(escaped) + '"'
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"


@fuzz
@given(_model)
def test_tables_of_all_kinds(tmp_path: Path, model: dict[str, Any]) -> None:
    _read(tmp_path, f"resnet50 = {_toml(model)}".encode("utf-8", "surrogatepass"))
