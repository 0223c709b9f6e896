"""One version everywhere, and a changelog that says what is new."""

import re
import shutil
import sys
from datetime import date

import pytest
from packaging.version import Version

from tools import distributions
from tools.distributions import ROOT
from tools.release import changelog, versions
from tools.release.errors import ReleaseError

DAY = date(2026, 11, 24)


@pytest.fixture
def copy(tmp_path):
    """The files of this repository that state a version."""
    paths = [distribution.folder / "pyproject.toml" for distribution in distributions.find(ROOT).values()]
    for path in [*paths, ROOT / versions.CODE]:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    return tmp_path


def test_distributions_come_after_what_they_need():
    found = distributions.find(ROOT)
    names = list(found)
    assert names[0] == "zoo-core"
    assert len(names) == len(set(names)) == 7
    for distribution in found.values():
        assert all(names.index(sibling) < names.index(distribution.name) for sibling in distribution.siblings)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zoo-core", ["zoo-core"]),
        ("zoo-video", ["zoo-core", "zoo-video"]),
        ("zoo-detection", ["zoo-core", "zoo-classification", "zoo-detection"]),
    ],
)
def test_what_a_distribution_needs(name, expected):
    assert [distribution.name for distribution in distributions.needed_by(name)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a version"),
        ("next", "not a version"),
        ("1.0-beta", "write 1.0b0"),
        ("v1.0", "write 1.0"),
        ("1.0+local", "local part"),
    ],
)
def test_what_is_no_version(text, message):
    with pytest.raises(ReleaseError, match=message):
        versions.parse(text)


@pytest.mark.parametrize("text", ["0.2.0", "1.0.0rc1", "2.0.0.dev3", "1.2.3.post1"])
def test_versions(text):
    assert str(versions.parse(text)) == text


def test_a_new_version_changes_nothing_else(copy):
    old = versions.current(copy)
    changed = versions.with_version(copy, Version("7.8.9"))
    assert len(changed) == 8
    for path, text in changed.items():
        before = path.read_text()
        assert text != before
        assert text.replace("7.8.9", str(old)) == before
        path.write_text(text)
    assert versions.current(copy) == Version("7.8.9")
    pins = {
        requirement
        for distribution in distributions.find(copy).values()
        for requirement in distribution.project["dependencies"]
        if requirement.startswith("zoo-")
    }
    assert pins == {"zoo-core==7.8.9", "zoo-core[video]==7.8.9", "zoo-classification==7.8.9"}


def test_versions_that_differ(copy):
    path = copy / "packages/zoo-flow/pyproject.toml"
    path.write_text(re.sub(r'^version = ".*"', 'version = "9.9"', path.read_text(), flags=re.MULTILINE))
    with pytest.raises(ReleaseError, match=r"differ in version: .*zoo-flow 9\.9"):
        versions.current(copy)


def test_code_without_a_version(copy):
    (copy / versions.CODE).write_text("")
    with pytest.raises(ReleaseError, match="must state the version once"):
        versions.with_version(copy, Version("1.0"))


CHANGELOG = """# Changelog

## Unreleased

- One thing.
- Another.

## 0.1.0 (2026-01-02)

First.
"""


def test_unreleased_notes_get_the_version():
    text = changelog.released(CHANGELOG, "0.2.0", DAY)
    assert text == CHANGELOG.replace("## Unreleased\n\n- One", "## Unreleased\n\n## 0.2.0 (2026-11-24)\n\n- One")
    assert changelog.notes(text, "0.2.0") == "- One thing.\n- Another."
    assert changelog.notes(text, "0.1.0") == "First."


def test_the_first_release():
    text = changelog.released("# Changelog\n\n## Unreleased\n\nAll of it.\n", "0.1.0", DAY)
    assert text == "# Changelog\n\n## Unreleased\n\n## 0.1.0 (2026-11-24)\n\nAll of it.\n"


@pytest.mark.parametrize(
    ("text", "version", "message"),
    [
        ("# Changelog\n", "1.0", "no section '## Unreleased'"),
        ("## Unreleased\n\n\n## 0.1.0\n\nFirst.\n", "1.0", "is empty"),
        ("## Unreleased\n", "1.0", "is empty"),
        (CHANGELOG, "0.1.0", "section for 0.1.0 already"),
    ],
)
def test_a_changelog_that_says_nothing(text, version, message):
    with pytest.raises(ReleaseError, match=message):
        changelog.released(text, version, DAY)


@pytest.mark.parametrize("other", ["0.10.0", "0.1.dev1", "0.1.post1", "0.1rc1"])
def test_the_section_of_another_version_does_not_count(other):
    text = f"## Unreleased\n\nNew.\n\n## {other} (2026-01-01)\n\nOther.\n"
    with pytest.raises(ReleaseError, match=r"no section for 0\.1"):
        changelog.notes(text, "0.1")
    assert changelog.notes(changelog.released(text, "0.1", DAY), "0.1") == "New."


def test_the_command_prints_the_notes(tmp_path, monkeypatch, capsys):
    """What the release workflow calls."""
    (tmp_path / changelog.PATH).parent.mkdir()
    (tmp_path / changelog.PATH).write_text(CHANGELOG)
    monkeypatch.setattr(changelog, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["changelog", "0.1.0"])
    assert changelog.main() == 0
    assert capsys.readouterr().out == "First.\n"
    monkeypatch.setattr(sys, "argv", ["changelog", "0.2.0"])
    assert changelog.main() == 1
    assert capsys.readouterr() == ("", "error: shared/CHANGELOG.md has no section for 0.2.0\n")


def test_the_repositorys_own_changelog():
    text = (ROOT / changelog.PATH).read_text()
    assert text.startswith("# Changelog\n")
    assert "\n## Unreleased\n" in text
