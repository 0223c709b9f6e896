"""The changelog: what comes with the next version stands under ``## Unreleased`` until it has one."""

import re
from datetime import date
from pathlib import Path

from packaging.version import Version

from tools.release.errors import ReleaseError

PATH = Path("shared/CHANGELOG.md")
_UNRELEASED = re.compile(r"^## Unreleased\n(?P<notes>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def released(text: str, version: Version, day: date) -> str:
    """The changelog with its unreleased section under the version's name, and a new, empty one above.

    Raises:
        ReleaseError: there is nothing in the unreleased section, or the version has a section already.
    """
    if re.search(rf"^## {re.escape(str(version))}\b", text, re.MULTILINE):
        raise ReleaseError(f"{PATH} has a section for {version} already")
    section = _UNRELEASED.search(text)
    if section is None:
        raise ReleaseError(f"{PATH} has no section '## Unreleased'")
    notes = section["notes"].strip()
    if not notes:
        raise ReleaseError(f"the section '## Unreleased' of {PATH} is empty: say there what is new")
    heading = f"## {version} ({day.isoformat()})"
    rest = text[section.end() :]
    return f"{text[: section.start()]}## Unreleased\n\n{heading}\n\n{notes}\n" + (f"\n{rest}" if rest else "")


def notes(text: str, version: str) -> str:
    """What the changelog says of a version.

    Raises:
        ReleaseError: it says nothing.
    """
    section = re.search(rf"^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        raise ReleaseError(f"{PATH} has no section for {version}")
    return section[1].strip()
