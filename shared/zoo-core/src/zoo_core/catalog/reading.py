"""One catalogue file: from TOML to models, with errors that name the file, the table and the key."""

import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_core.catalog import files, values
from zoo_core.catalog.errors import CatalogError
from zoo_core.catalog.schema import CHECKPOINT_KEYS, REQUIRED_CHECKPOINT_KEYS, Checkpoint, Model, Paper, Source
from zoo_core.catalog.values import WrongValueError

# A key of very many parts takes tomllib memory and time by the square of their number.
_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){33}""")

_MODEL_KEYS: Mapping[str, values.Parse] = {
    "builder": values.builder,
    "weights": values.identifier,
    "default": values.text,
    "pretrained": values.text,
    "torchvision": values.flag,
    "checkpoints": lambda value: value,
    "paper": lambda value: value,
}
_REQUIRED_MODEL_KEYS = frozenset({"builder", "weights", "default", "checkpoints"})

_PAPER_KEYS: Mapping[str, values.Parse] = {
    "url": values.text,
    "metrics": values.metrics,
    "num_params": values.whole,
    "ops": values.number,
    "docs": values.text,
}
_REQUIRED_PAPER_KEYS = frozenset({"url"})


@functools.cache
def read_file(path: Path, source: Source) -> Mapping[str, Model]:
    """Reads and checks one catalogue file. The same file of the same source always gives the same models.

    Raises:
        CatalogError: the file cannot be read, is not TOML, or does not hold to the schema.
    """
    return {name: _model(path, source, name, table) for name, table in _tables(path).items()}


def _tables(path: Path) -> dict[str, Any]:
    try:
        text = files.read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path}: not valid TOML: {error}") from error
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if _DEEP_KEY.search(text):
        raise CatalogError(f"{path}: not valid for a catalogue: a key has more than 33 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise CatalogError(f"{path}: not valid for a catalogue: its values are nested too deeply") from None
    except ValueError as error:  # bad syntax, or a number of thousands of digits
        raise CatalogError(f"{path}: not valid TOML: {error}") from error


def _model(path: Path, source: Source, name: str, table: Any) -> Model:
    where = f"{path}: [{values.printed(name)}]"
    try:
        values.name(name)
    except WrongValueError as wrong:
        raise CatalogError(f"{where}: the name of a model {wrong}") from wrong
    found = _table(where, table, _MODEL_KEYS, _REQUIRED_MODEL_KEYS)
    module, function = found["builder"]
    if module.rpartition(".")[2] != path.stem:
        raise CatalogError(
            f"{where}: builder = {values.shown(table['builder'])} is in another module than the file is for; models of "
            f"{module} belong in {module.rpartition('.')[2]}.toml"
        )
    if module.partition(".")[0] != source.package.partition(".")[0]:
        raise CatalogError(
            f"{where}: builder = {values.shown(table['builder'])} is in another package than the catalogue, which "
            f"belongs to {source.package}"
        )
    if not isinstance(found["checkpoints"], dict):
        raise CatalogError(f"{where}: checkpoints = {values.shown(found['checkpoints'])} must be dict")
    checkpoints = {
        member: _checkpoint(f"{path}: [{name}.checkpoints.{values.printed(member)}]", source, member, entry)
        for member, entry in found["checkpoints"].items()
    }
    if not checkpoints:
        raise CatalogError(f"{where}: has no checkpoints; add a table [{name}.checkpoints.NAME]")
    pretrained = found.get("pretrained", next(iter(checkpoints)))
    for key, member in (("default", found["default"]), ("pretrained", pretrained)):
        if member not in checkpoints:
            raise CatalogError(f"{where}: {key} = {member!r} is none of its checkpoints {', '.join(checkpoints)}")
    paper = None
    if "paper" in found:
        paper = Paper(**_table(f"{path}: [{name}.paper]", found["paper"], _PAPER_KEYS, _REQUIRED_PAPER_KEYS))
    return Model(
        name=name,
        task=source.task,
        module=module,
        function=function,
        weights=found["weights"],
        default=found["default"],
        pretrained=pretrained,
        checkpoints=checkpoints,
        source=source,
        paper=paper,
        torchvision=source.ours and found.get("torchvision", True),
    )


def _checkpoint(where: str, source: Source, member: str, table: Any) -> Checkpoint:
    try:
        values.identifier(member)
    except WrongValueError as wrong:
        raise CatalogError(f"{where}: the name of a checkpoint {wrong}") from wrong
    parsers = {
        name: functools.partial(_parse_local, key.parse, source.directory) if key.local else key.parse
        for name, key in CHECKPOINT_KEYS.items()
    }
    found = _table(where, table, parsers, REQUIRED_CHECKPOINT_KEYS)
    return Checkpoint(name=member, **{"metrics": {}, **found})


def _parse_local(parse: Any, directory: Path, value: Any) -> Any:
    return parse(value, directory)


def _table(where: str, table: Any, keys: Mapping[str, values.Parse], required: frozenset[str]) -> dict[str, Any]:
    try:
        return values.table(table, keys, required)
    except WrongValueError as wrong:
        raise CatalogError(f"{where}{wrong}") from wrong
