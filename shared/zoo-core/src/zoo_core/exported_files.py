"""What exported models say about themselves, read without torch or the runtimes that run them.

``zoo export`` writes text by name into the file: ``metadata_props`` of ONNX, ``rt_info`` of OpenVINO, ``zoo.json``
among the extra files of ``.pt2``. What is no plain text is JSON:

=====================  =================================================================================================
``zoo``                the version of zoo-core that wrote the file
``model``              name of the builder; ``task`` is its task
``arguments``          of the builder
``weights``            name of the published weights; ``weights_sha256`` is the hash of the file with the parameters
``labels``             name of each class
``preset``             what prepares inputs; ``preset_arguments`` are its arguments
``facts``              what else is known, metrics for instance
``signature``          names, dtypes and shapes of inputs and outputs; see :mod:`zoo_core.graphs.structure`
``forward_arguments``  keyword arguments of the model that are part of the file
``export``             what the file was exported with
``versions``           of what wrote it
=====================  =================================================================================================
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

from zoo_core.text import printable

__all__ = ["FORMATS", "ExportedFileError", "ModelFacts", "companions", "format_of", "is_exported", "read_metadata"]

FORMATS: Mapping[str, str] = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
"""The endings of exported files, by format."""

# No text in a file is longer than this: labels of 20 000 classes take a megabyte.
_MOST_BYTES = 2**26


# What reading raises of files that are damaged; zipfile has several kinds for that.
_DAMAGE = (
    EOFError,
    ElementTree.ParseError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class ExportedFileError(ValueError):
    """A file is no exported model, or does not say what ``zoo export`` writes."""


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that a file's ending says.

    Raises:
        ValueError: it says none.
    """
    suffix = Path(path).suffix.lower()
    for name, ending in FORMATS.items():
        if suffix == ending:
            return name
    known = ", ".join(f"{ending} ({name})" for name, ending in FORMATS.items())
    raise ValueError(f"{os.fspath(path)}: its ending tells no format; exported models end in {known}")


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a file's ending is that of an exported model."""
    return Path(path).suffix.lower() in FORMATS.values()


def companions(path: Path) -> tuple[Path, ...]:
    """The files that may lie beside an exported model and belong to it."""
    if path.suffix.lower() == ".xml":
        return (path.with_suffix(".bin"),)
    return (path.with_name(f"{path.name}.data"),) if path.suffix.lower() == ".onnx" else ()


@dataclass(frozen=True)
class ModelFacts:
    """What an exported file says about its model.

    Attributes:
        model: name of the builder.
        task: ``"classification"``, ...
        arguments: of the builder.
        weights: name of the published weights, if they were such.
        weights_sha256: hash of the file that the parameters came from, if there was one.
        labels: name of each class.
        preset, preset_arguments: what prepares inputs.
        facts: what else is known.
        signature: see :meth:`zoo_core.graphs.Signature.from_dict`.
        forward_arguments: keyword arguments of the model.
        export: what the file was exported with.
        versions: of what wrote it.
    """

    model: str
    task: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    weights_sha256: str | None = None
    labels: tuple[str, ...] = ()
    preset: str | None = None
    preset_arguments: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    signature: Mapping[str, Any] = field(default_factory=dict)
    forward_arguments: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def as_metadata(self) -> dict[str, str]:
        """As text by name; what is not known is left out."""
        from zoo_core import __version__

        said = {"zoo": __version__, **{name: getattr(self, name) for name in _TEXTS if getattr(self, name) is not None}}
        return said | {name: json.dumps(_plain(getattr(self, name)), ensure_ascii=False) for name in _JSON}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str | os.PathLike[str]) -> "ModelFacts":
        """What a file says.

        Args:
            metadata: text by name, as :func:`read_metadata` gives it.
            source: the file, for messages.

        Raises:
            ExportedFileError: the file was not written by ``zoo export``, or something in it is not what that writes.
        """
        missing = [name for name in ("zoo", "model", "task", "signature") if not metadata.get(name)]
        if "zoo" in missing:
            raise ExportedFileError(
                f"{os.fspath(source)}: the file does not say which model it holds, so it was not written by `zoo "
                "export`; export the model anew with that"
            )
        if missing:
            raise ExportedFileError(f"{os.fspath(source)}: the file does not say its {' and its '.join(missing)}")
        values: dict[str, Any] = {name: metadata[name] for name in _TEXTS if name in metadata}
        for name, kind in _JSON.items():
            if name in metadata:
                try:
                    values[name] = json.loads(metadata[name])
                except (ValueError, RecursionError) as error:
                    raise ExportedFileError(f"{os.fspath(source)}: its {name} are no JSON ({error})") from None
                if not isinstance(values[name], kind):
                    raise ExportedFileError(
                        f"{os.fspath(source)}: its {name} must be a {kind.__name__}, not {values[name]!r:.100}"
                    )
        values["labels"] = tuple(values.get("labels", ()))
        if not all(isinstance(label, str) for label in values["labels"]):
            raise ExportedFileError(f"{os.fspath(source)}: its labels must be strings")
        return cls(**values)


_TEXTS = ("model", "task", "weights", "weights_sha256", "preset")
_JSON: Mapping[str, type] = {
    "arguments": dict,
    "labels": list,
    "preset_arguments": dict,
    "facts": dict,
    "signature": dict,
    "forward_arguments": dict,
    "export": dict,
    "versions": dict,
}


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text by name that an exported file holds. Reads little of it, however large it is.

    Raises:
        ExportedFileError: it is no file of the format that its ending says.
        OSError: it cannot be read.
    """
    file = Path(path)
    readers = {"onnx": _of_onnx, "openvino": _of_openvino, "pt2": _of_pt2}
    try:
        found = readers[format_of(file)](file)
    except _DAMAGE as error:
        raise ExportedFileError(
            f"{file}: this is no exported model, or it is damaged ({printable(str(error))})"
        ) from None
    return found


def _of_onnx(path: Path) -> dict[str, str]:
    """``metadata_props`` of the ModelProto, a message of protobuf: fields that each begin with their number."""
    found: dict[str, str] = {}
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise EOFError("it is empty")
        while file.tell() < size:
            if (value := _field(file, size, wanted=14)) is not None:
                entry = _entry(value)
                found[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
    return found


def _field(file: BinaryIO, size: int, wanted: int) -> bytes | None:
    """Reads past the next field; its content where it has the number that is wanted."""
    key = _varint(file)
    number, kind = key >> 3, key & 7
    if kind == 0:
        _varint(file)
        return None
    length = {1: 8, 5: 4}.get(kind) or (_varint(file) if kind == 2 else -1)
    if number == 0 or length < 0 or file.tell() + length > size:
        raise EOFError(f"a field of kind {kind} ends behind the file")
    if number == wanted and kind == 2 and length <= _MOST_BYTES:
        return file.read(length)
    file.seek(length, os.SEEK_CUR)
    return None


def _entry(content: bytes) -> dict[int, bytes]:
    """The fields of a StringStringEntryProto by number: 1 is the key, 2 the value."""
    file = io.BytesIO(content)
    found = {}
    while file.tell() < len(content):
        key = _varint(file)
        length = _varint(file)
        if key & 7 != 2 or file.tell() + length > len(content):
            raise EOFError("an entry of the metadata is cut off")
        found[key >> 3] = file.read(length)
    return found


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("it is cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise EOFError("a number in it has no end")


def _of_openvino(path: Path) -> dict[str, str]:
    """What ``rt_info`` of the network has under ``zoo``; the layers have an ``rt_info`` too."""
    depth = 0
    for event, element in ElementTree.iterparse(path, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if event == "start" and depth == 1 and element.tag != "net":
            raise EOFError(f"the root of the XML is {element.tag}, not net")
        if event == "end" and depth == 1:
            if element.tag == "rt_info":
                said = element.find("zoo")
                return {} if said is None else {item.tag: item.get("value", "") for item in said}
            element.clear()
    return {}


def _of_pt2(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        name = next((n for n in archive.namelist() if n.endswith(("/extra/zoo.json", "extra_files/zoo.json"))), None)
        if name is None:
            return {}
        if archive.getinfo(name).file_size > _MOST_BYTES:
            raise EOFError(f"{name} is too large")
        said = json.loads(archive.read(name))
    if not isinstance(said, dict) or not all(isinstance(text, str) for text in said.values()):
        raise EOFError(f"{name} must be an object of strings")
    return said
