"""The changelog: what comes with the next version stands under ``## Unreleased`` until it has one.

    python -m tools.release.changelog 0.2.0     # prints what it says of a released version

Needs nothing installed.
"""

import argparse
import re
import sys
from datetime import date
from pathlib import Path

from tools.distributions import ROOT
from tools.release.errors import ReleaseError

PATH = Path("shared/CHANGELOG.md")
_UNRELEASED = re.compile(r"^## Unreleased\n(?P<notes>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def released(text: str, version: str, day: date) -> str:
    """The changelog with its unreleased section under the version's name, and a new, empty one above.

    Raises:
        ReleaseError: there is nothing in the unreleased section, or the version has a section already.
    """
    if _section(text, version) is not None:
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
    section = _section(text, version)
    if section is None:
        raise ReleaseError(f"{PATH} has no section for {version}")
    return section["notes"].strip()


def _section(text: str, version: str) -> re.Match[str] | None:
    # Not that of 1.0.dev1 for 1.0.
    heading = rf"^## {re.escape(version)}(?!\S)[^\n]*\n"
    return re.search(rf"{heading}(?P<notes>.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.release.changelog", description="Print what the changelog says of a released version."
    )
    parser.add_argument("version", help="the version, such as 0.2.0")
    try:
        print(notes((ROOT / PATH).read_text(encoding="utf-8"), parser.parse_args().version))
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
