"""Text from outside (servers, file names, labels, catalogues, urls) made fit for messages, terminals and files."""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

# Control characters, formats (which reorder or hide text), halves of surrogate pairs, line and paragraph separators.
_RAW = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_HARMLESS = "\u200c\u200d\u00ad"  # joiners, which scripts and emoji need, and the soft hyphen

_HIDDEN = "***"
_USER = re.compile(r"(?<=//)[^\s/?#]*@")
# Of relative references too: that is how errors of the HTTP libraries name what they asked for.
_QUERY = re.compile(r"(/[^\s?#'\"<>()]*[?#])([^\s'\"<>()]+)")
_VALUE = re.compile(r"(^|[&;?#])([^&;=?#]*)(=?)([^&;?#]*)")


def printable(text: str, *, keep: str = "") -> str:
    r"""The text, with whatever could steer a terminal or disguise itself written as an escape.

    Escaped are control characters (line ends and the escape character among them), marks that change the direction
    of writing, invisible formats, and what is left of bytes that are not UTF-8. All other text, accents, emoji and
    all scripts of the world included, stays as it is.

    >>> print(printable("cat\x1b[31m.pth"))
    cat\x1b[31m.pth

    Args:
        text: any string.
        keep: characters to leave alone, ``"\n"`` for text of several lines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(character)
        if unicodedata.category(character) in _RAW and character not in _HARMLESS and character not in keep
        else character
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def redacted(text: str) -> str:
    """The text, a url or a message with urls in it, without the secrets that urls carry.

    Names and passwords in front of a host go. Of a query or a fragment the names of the values stay, since a
    signature or a token may stand in any of them.

    >>> redacted("https://me:secret@host/x.pth?token=abc&download=true")
    'https://***@host/x.pth?token=***&download=***'
    """
    text = _USER.sub(f"{_HIDDEN}@", text)
    return _QUERY.sub(lambda found: found[1] + _VALUE.sub(_without_value, found[2]), text)


def _without_value(found: "re.Match[str]") -> str:
    separator, name, equals, value = found.groups()
    if equals:
        return f"{separator}{name}={_HIDDEN if value else ''}"
    return f"{separator}{_HIDDEN if name else ''}"


def plain(value: Any) -> Any:
    """The value as JSON has it: NaN and infinity, which it does not have, are ``None``."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def listed(words: Iterable[str], most: int = 8) -> str:
    """Words for a message, with commas between: the first ones, and how many more there are.

    >>> listed(["cat", "dog", "hen"], 2)
    'cat, dog, and 1 more'
    """
    all_words = list(words)
    rest = len(all_words) - most
    return ", ".join(all_words[:most]) + (f", and {rest} more" if rest > 0 else "")


def type_name(value: object) -> str:
    """The type of a value for messages, with its module unless that is Python's own: ``"numpy.ndarray"``, ``"int"``."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
