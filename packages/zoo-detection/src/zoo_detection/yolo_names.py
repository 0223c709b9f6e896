"""Names of classes in the ``data.yaml`` that lies beside YOLO's text files."""

import ast
import re
from pathlib import Path

from zoo_core.data import DataError, Fault, read_lines

__all__ = ["yolo_names"]

_EXPECTED = "names must be a list of the classes' names, or say the name of each number from 0 on"


def yolo_names(path: Path) -> list[str]:
    """The names of the classes by number, as the key ``names`` of a YAML file has them.

    Understands what such files hold and no more of YAML: a list or a mapping of numbers, in brackets or with a line for
    each name.

    Raises:
        DataError: the file cannot be read, or has no such names.
    """
    lines = [(number, _without_comment(line)) for number, line in read_lines(path, strip=False)]
    start = next((index for index, (_, line) in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if start is None:
        raise DataError(Fault(path, f"has no key names; {_EXPECTED}"))
    number, line = lines[start]
    rest = line.partition(":")[2].strip()
    below = []
    for _, text in lines[start + 1 :]:
        if text.strip() and not text.startswith((" ", "\t", "-")):
            break
        below.append(text.strip())
    names = _in_brackets(" ".join([rest, *below])) if rest else _in_lines([text for text in below if text])
    if not names:
        raise DataError(Fault(path, _EXPECTED, number))
    return names


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line)


def _in_brackets(text: str) -> list[str] | None:
    if not (match := re.fullmatch(r"\[(.*)\]|\{(.*)\}", text.strip().rstrip(","))):
        return None
    entries = re.findall(r"""\s*((?:"[^"]*"|'(?:[^']|'')*'|[^,"'])+)(?:,|$)""", match[1] or match[2] or "")
    entries = [entry.strip() for entry in entries if entry.strip()]
    return [_plain(entry) for entry in entries] if match[1] is not None else _numbered(entries)


def _in_lines(lines: list[str]) -> list[str] | None:
    if all(line.startswith("-") for line in lines):
        return [_plain(line[1:].strip()) for line in lines]
    return _numbered(lines)


def _numbered(entries: list[str]) -> list[str] | None:
    """``["1: dog", "0: cat"]`` -> ``["cat", "dog"]``; ``None`` where a number is missing or doubled."""
    names: dict[int, str] = {}
    for entry in entries:
        match = re.fullmatch(r"""["']?(\d+)["']?\s*:\s*(.+)""", entry)
        if match is None or int(match[1]) in names:
            return None
        names[int(match[1])] = _plain(match[2])
    return [names[number] for number in sorted(names)] if sorted(names) == list(range(len(names))) else None


def _plain(text: str) -> str:
    """A scalar without its quotes."""
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return str(ast.literal_eval(text))
    return text
