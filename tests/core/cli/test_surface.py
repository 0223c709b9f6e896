"""The commands, arguments and options of `zoo` are those on file."""

from tools import surface


def test_commands_and_options_are_those_on_file():
    known, found = surface.COMMAND.read_text().splitlines(), surface.command_line()
    assert sorted(set(known) ^ set(found)) == [], "run `nox -s surface`, and tell users in shared/CHANGELOG.md"
