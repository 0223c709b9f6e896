"""Urls of checkpoints, taken apart and checked: whatever is wrong with one is said in our words."""

import hashlib
import re
import unicodedata
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from zoo_core.checkpoints.errors import CheckpointError
from zoo_core.text import printable, redacted

REMOTE_SCHEMES = ("https", "http")
LOCAL_SCHEMES = ("file", "package")

_LONGEST_LABEL = 63


def shown_url(url: str) -> str:
    """A url as it stands in messages: without secrets and control characters."""
    return printable(redacted(url))


def is_url(text: str) -> bool:
    """Whether a text is meant as a url, and not as the path of a file; what drives are called has no such scheme."""
    return "://" in text or text.partition(":")[0].lower() in (*REMOTE_SCHEMES, *LOCAL_SCHEMES)


def split(url: str) -> SplitResult:
    """The parts of a url of any scheme.

    Raises:
        CheckpointError: no url can be like that.
    """
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in url):
        raise CheckpointError(f"{shown_url(url)!r} is no url: it has control characters in it; correct it")
    try:
        parts = urlsplit(url)
        if parts.scheme in REMOTE_SCHEMES:
            _check_host(parts)
    except ValueError as error:  # UnicodeError is one
        raise CheckpointError(
            f"{shown_url(url)!r} is no valid address ({printable(redacted(str(error)))}): correct it"
        ) from None
    return parts


def _check_host(parts: SplitResult) -> None:
    host = parts.hostname
    if not host:
        raise ValueError("it names no host")
    _ = parts.port  # raises for what is no port
    if "[" in parts.netloc:
        if not re.fullmatch(r"(.*@)?\[[^\[\]]+\](:\d*)?", parts.netloc):
            raise ValueError("what is in brackets is no IPv6 address")
        return
    name = host.removesuffix(".")
    if not name.isascii():
        name.encode("idna")  # raises for labels that are empty or too long; slow to import
    elif not all(0 < len(label) <= _LONGEST_LABEL for label in name.split(".")):
        raise ValueError("a label of the host's name is empty or too long")


def redirected(url: str, location: str) -> str:
    """Where a server sends the one who asked for ``url``.

    Raises:
        CheckpointError: nobody should go there.
    """
    try:
        target = urljoin(url, location)
    except ValueError as error:
        raise CheckpointError(f"{shown_url(location)!r} is no valid address ({error})") from None
    scheme = split(target).scheme
    if scheme not in REMOTE_SCHEMES:
        raise CheckpointError(f"{shown_url(target)!r} is not on the web, and is not followed")
    if scheme == "http" and split(url).scheme == "https":
        raise CheckpointError(f"{shown_url(target)!r} is without encryption, and is not followed from https:")
    return target


def below(base: str, parts: SplitResult) -> str:
    """The url that a mirror has for a file of another host."""
    mirror = split(base)
    query = "&".join(query for query in (mirror.query, parts.query) if query)
    return urlunsplit((mirror.scheme, mirror.netloc, mirror.path.rstrip("/") + parts.path, query, ""))


def origin(url: str) -> dict[str, str]:
    """What to remember of a url, for comparison: no passwords, and of a query or fragment a digest."""
    parts = urlsplit(url)
    plain = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    remembered = {"url": plain}
    if parts.query:
        remembered["query_sha256"] = hashlib.sha256(parts.query.encode()).hexdigest()
    return remembered
