"""Text from outside: what reaches a terminal, and what must not be shown."""

import unicodedata
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo_core.text import printable, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("resnet50 é 字 שלום 👩‍👩‍👧 ½\u00a0m", "resnet50 é 字 שלום 👩‍👩‍👧 ½\u00a0m"),
        ("cat\x1b[31m.pth", "cat\\x1b[31m.pth"),
        ("a\r\nb\tc\x00", "a\\r\\nb\\tc\\x00"),
        ("\x9b31m \x7f", "\\x9b31m \\x7f"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("one\u2028two\u2066", "one\\u2028two\\u2066"),
        ("\udcff", "\\udcff"),
        ("", ""),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)
    shown.encode()
    assert printable(shown) == shown


def test_lines_can_be_kept() -> None:
    assert printable("one\ntwo\tthree", keep="\n") == "one\ntwo\\tthree"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/a/x.pth", "https://host/a/x.pth"),
        ("http://me:secret@host:80/x.pth", "http://***@host:80/x.pth"),
        ("http://me:s@cret@host/x.pth", "http://***@host/x.pth"),
        ("https://host/x.pth?token=secret&download=", "https://host/x.pth?token=***&download="),
        ("https://host/x.pth?secret", "https://host/x.pth?***"),
        ("https://host/x.pth?a=secret;b=secret=secret#secret", "https://host/x.pth?a=***;b=***#***"),
        ("'//me:secret@host'", "'//***@host'"),
        (
            "HTTPConnectionPool(host='h', port=80): exceeded with url: /x.pth?token=secret (Caused by",
            "HTTPConnectionPool(host='h', port=80): exceeded with url: /x.pth?token=*** (Caused by",
        ),
        ("is it? Yes: me@host", "is it? Yes: me@host"),
    ],
)
def test_redacted(text: str, shown: str) -> None:
    assert redacted(text) == shown


_WORD = st.text("abcxyz019-._~%", min_size=8, max_size=20).map(lambda word: f"K{word}")


@given(user=_WORD, password=_WORD, values=st.lists(_WORD, max_size=4), fragment=_WORD)
def test_no_part_of_a_secret_is_left(user: str, password: str, values: list[str], fragment: str) -> None:
    query = "&".join(f"n{i}={value}" for i, value in enumerate(values))
    shown = redacted(f"see https://{user}:{password}@example.org/x.pth?{query}#{fragment} and more")
    assert not any(secret in shown for secret in (user, password, fragment, *values))
    url = shown.split()[1]
    assert urlsplit(url).hostname == "example.org"
    assert [name for name, _ in parse_qsl(urlsplit(url).query)] == [f"n{i}" for i in range(len(values))]
