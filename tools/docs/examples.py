"""Runs the examples of the documentation, as a reader would, and writes anew what they print.

    python -m tools.docs.examples [--write] [PAGE...]

Of each Markdown file that is a page:

- blocks of ``python`` run, each in a process of its own, in a folder that has the files which pages name (see
  :mod:`tools.docs.example_files`). A plain block directly below one is what it prints.
- blocks of ``console`` run command by command in the same folder, and print what the page shows.
- blocks of ``sh`` are scripts that take data of the reader's own: the commands that only look something up, and those
  on weights that ship in a package, run; of all others the command line reads the words.
- ``toml``, ``json`` and ``yaml`` are read.

What an example prints is what the page shows, but for spaces, ``...`` in place of any text, and numbers, which differ
between processors: by 2 % or one unit of the last digit. Published weights have files of fresh parameters in their
place, whose results nobody can show: pages show outputs of weights that ship, or say why an example is not run
(:mod:`tools.docs.blocks`). ``--write`` takes what was printed into the pages, except where they have ``...``.
"""

import argparse
import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.distributions import ROOT
from tools.docs import example_files
from tools.docs.blocks import Block, Command, blocks, commands, outside_blocks
from tools.docs.pages import INDEX, guides

LIMIT = 300
"""Seconds after which an example has failed."""

# What looks something up, and so runs whatever its arguments are.
_LOOKING = ("list", "info", "recipes", "catalog", "demo", "cache")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_INLINE_COMMAND = re.compile(r"`(zoo [a-z]+ [^`]+)`")


@dataclass
class Outcome:
    """What became of the examples of a page.

    Attributes:
        failures: what is wrong, each with its place.
        not_run: place and reason of each example that was read only.
        ran, read: how many examples ran, and how many were read.
        printed: by the lines that the page has it in, what was printed.
    """

    failures: list[str] = field(default_factory=list)
    not_run: list[tuple[str, str]] = field(default_factory=list)
    ran: int = 0
    read: int = 0
    printed: dict[tuple[int, int], str] = field(default_factory=dict)


def pages() -> list[Path]:
    """The files whose examples are run."""
    return [INDEX, *(ROOT / path for path in guides() if path != "shared/CHANGELOG.md")]


def run_page(path: Path, folder: Path, cache: Path) -> Outcome:
    """Runs the examples of a page.

    Args:
        path: of the Markdown file.
        folder: to run them in; it is made, or empty.
        cache: where the files of published weights lie, for ``TORCH_HOME``.
    """
    outcome = Outcome()
    found = blocks(path)
    folder.mkdir(parents=True, exist_ok=True)
    example_files.write(folder, path.read_text(encoding="utf-8"))
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TORCH_HOME": str(cache),
        "ZOO_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        # Lines as long as a wide terminal's, whatever the one that runs this.
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "PYTHONWARNINGS": "ignore",
    }
    for number, block in enumerate(found):
        if block.not_run is not None:
            outcome.not_run.append((place(block), block.not_run))
            outcome.read += 1
            outcome.failures += list(_faults(block))
        elif block.language == "python":
            if not block.continues:
                _run_python(found, number, folder, cache, environment, outcome)
        elif block.language == "console":
            _run_console(block, folder, cache, environment, outcome)
        elif block.language in ("sh", "shell", "bash"):
            _run_script(block, folder, environment, outcome)
        elif block.language in ("toml", "json", "yaml"):
            outcome.read += 1
            outcome.failures += list(_faults(block))
    outcome.failures += list(_inline_faults(path))
    return outcome


def place(block: Block) -> str:
    """File and line of a block, as in messages of compilers."""
    path = block.path.relative_to(ROOT) if block.path.is_relative_to(ROOT) else block.path
    return f"{path}:{block.line}"


def _run_python(
    found: Sequence[Block], number: int, folder: Path, cache: Path, environment: Mapping[str, str], outcome: Outcome
) -> None:
    """Runs a Python example and those that continue it, as one program whose line numbers are those of the page."""
    chain = [found[number]]
    chain += _continuations(found, number)
    lines: list[str] = []
    for block in chain:
        lines += [""] * (block.line - 2 - len(lines)) + [f"print('\\x1e{block.line}', flush=True)"]
        lines += block.text.splitlines()
    program = folder / f"example_{found[number].line}.py"
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    example_files.provide_weights(program.read_text(encoding="utf-8"), cache)
    outcome.ran += len(chain)
    code, printed, errors = _call([sys.executable, program.name], folder, environment)
    if code != 0:
        outcome.failures.append(f"{place(chain[0])}: {_last_lines(errors)}")
        return
    by_line = {int(part.partition("\n")[0]): part.partition("\n")[2] for part in printed.split("\x1e")[1:]}
    for block in chain:
        following = found.index(block) + 1
        if following < len(found) and found[following].adjoining and found[following].language == "":
            shown = found[following]
            span = (shown.line, shown.line + len(shown.text.splitlines()))
            _compare(place(shown), shown.text, by_line.get(block.line, ""), span, outcome)


def _continuations(found: Sequence[Block], number: int) -> list[Block]:
    more = []
    for block in found[number + 1 :]:
        if block.language == "python":
            if not block.continues:
                break
            more.append(block)
    return more


def _run_console(block: Block, folder: Path, cache: Path, environment: Mapping[str, str], outcome: Outcome) -> None:
    for command in commands(block):
        outcome.ran += 1
        _, printed, _ = _call(["bash", "-c", f"exec 2>&1\n{command.text}"], folder, environment)
        printed = printed.replace(f"{cache}/", "/home/me/.cache/torch/").replace(f"{folder}/", "")
        where = f"{place(block).rpartition(':')[0]}:{command.line}"
        _compare(where, command.output, printed, command.output_lines, outcome)
        outcome.failures += list(command_faults(command.text, where))


def _run_script(block: Block, folder: Path, environment: Mapping[str, str], outcome: Outcome) -> None:
    for command in commands(block):
        where = f"{place(block).rpartition(':')[0]}:{command.line}"
        faults = list(command_faults(command.text, where))
        outcome.failures += faults
        if faults or not _runs_by_itself(command):
            outcome.read += 1
            continue
        outcome.ran += 1
        code, printed, errors = _call(["bash", "-c", command.text], folder, environment)
        if code != 0:
            outcome.failures.append(f"{where}: {command.text}: {_last_lines(errors or printed)}")


def _runs_by_itself(command: Command) -> bool:
    words = command.text.split()
    if words[0] != "zoo" or len(words) < 2:
        return False
    if "--clear" in words:
        return False
    return words[1] in _LOOKING or any(name in words for name in example_files.EMBEDDED)


def _call(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"it was not done after {LIMIT} seconds"
    return done.returncode, done.stdout, done.stderr


def _last_lines(text: str, count: int = 6) -> str:
    return "\n    ".join(text.strip().splitlines()[-count:])


def _compare(where: str, shown: str, printed: str, span: tuple[int, int], outcome: Outcome) -> None:
    if matches(shown, printed):
        return
    outcome.failures.append(f"{where}: the page shows\n{_indented(shown)}\n  and it printed\n{_indented(printed)}")
    if "..." not in shown:
        outcome.printed[span] = printed


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())


def matches(shown: str, printed: str) -> bool:
    """Whether what was printed is what a page shows, but for spaces, ``...`` and the last digits of numbers."""
    # An ellipsis is one where it stands by itself or ends a line; "3 more, ..." of our own messages match themselves.
    pieces = [_words(piece) for piece in re.split(r"(?:^|(?<=\s))\.\.\.(?=\s|$)", shown)]
    words = _words(printed)
    position = 0
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        if number == 0:
            starts: Iterable[int] = [0]
        elif last:
            starts = [len(words) - len(piece)]
        else:
            starts = range(position, len(words) - len(piece) + 1)
        start = next((s for s in starts if s >= position and _alike(piece, words[s : s + len(piece)])), None)
        if start is None:
            return False
        position = start + len(piece)
    return len(pieces) > 1 or position == len(words)


def _words(text: str) -> list[str]:
    return text.split()


def _alike(shown: Sequence[str], printed: Sequence[str]) -> bool:
    return len(shown) == len(printed) and all(
        one == other
        or (
            _NUMBER.sub("#", one) == _NUMBER.sub("#", other)
            and all(map(_near, _NUMBER.findall(one), _NUMBER.findall(other)))
        )
        for one, other in zip(shown, printed, strict=True)
    )


def _near(one: str, other: str) -> bool:
    if one == other:
        return True
    if "." not in one + other and "e" not in one + other:
        return False  # a count, which is exact
    if "e" in one or "e" in other:
        return abs(float(one)) <= 10 * abs(float(other)) and abs(float(other)) <= 10 * abs(float(one))  # of rounding
    unit = 10.0 ** -min(len(number.partition(".")[2]) for number in (one, other))
    return abs(float(one) - float(other)) <= max(0.02 * abs(float(one)), 1.001 * unit)


def _faults(block: Block) -> Iterator[str]:
    """What is wrong with an example, as far as reading it tells."""
    try:
        if block.language == "python":
            yield from _import_faults(block)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)
    except (SyntaxError, ValueError) as error:
        yield f"{place(block)}: {error}"
    if block.language in ("sh", "console"):
        for command in commands(block):
            yield from command_faults(command.text, f"{place(block).rpartition(':')[0]}:{command.line}")


def _import_faults(block: Block) -> Iterator[str]:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("zoo_"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    yield f"{place(block)}: {node.module} has no {alias.name}"


def _inline_faults(path: Path) -> Iterator[str]:
    """Of the commands in the text that are whole."""
    for number, line in enumerate(outside_blocks(path.read_text(encoding="utf-8")).splitlines(), 1):
        for text in _INLINE_COMMAND.findall(line):
            if "..." not in text and "\\" not in text:
                yield from command_faults(text, f"{path.relative_to(ROOT)}:{number}", whole=False)


def command_faults(text: str, where: str, *, whole: bool = True) -> Iterator[str]:
    """What the command line says against the words of the ``zoo`` commands in a line of a script.

    Args:
        text: the line.
        where: for messages.
        whole: whether arguments have to be there; in running text they may be left out.
    """
    import click

    for words in zoo_calls(text):
        try:
            _parse(words)
        except click.exceptions.Exit:
            continue  # --help
        except click.MissingParameter as error:
            if whole:
                yield f"{where}: zoo {shlex.join(words)}: {error.format_message()}"
        except click.BadParameter as error:
            # Files of the reader's are not here.
            if "does not exist" not in error.format_message():
                yield f"{where}: zoo {shlex.join(words)}: {error.format_message()}"
        except click.UsageError as error:
            yield f"{where}: zoo {shlex.join(words)}: {error.format_message()}"


def zoo_calls(text: str) -> Iterator[list[str]]:
    """The words behind each ``zoo`` of a line of a script, with 1 in place of what a shell would compute."""
    # A variable by itself holds options.
    text = re.sub(r"(?<=\s)\$\w+(?=\s)", "", text)
    text = re.sub(r"\$\(\(.*?\)\)|\$\{?\w+\}?", "1", text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    calls: list[list[str]] = []
    current: list[str] | None = None
    for word in lexer:
        if word[0] in "|&;<>":
            current = None
        elif current is not None:
            current.append(word)
        elif word == "zoo":
            current = []
            calls.append(current)
        elif word.startswith("zoo ") and "--wrap" in text:
            calls.append(shlex.split(word)[1:])
    yield from calls


def _parse(words: Sequence[str]) -> None:
    """Lets the command line read the words of a call without running it.

    Raises:
        click.UsageError: a word is none that it takes.
    """
    import click

    from zoo_core.cli import choosing, task_options
    from zoo_core.cli.app import Zoo

    group = Zoo(name="zoo", context_settings={"help_option_names": ["-h", "--help"]})
    context = click.Context(group, info_name="zoo")
    if not words or words[0] in ("--version", "--help", "COMMAND"):
        return
    name, command, rest = group.resolve_command(context, list(words))
    assert command is not None
    made = command.make_context(name, rest, parent=context)
    if not isinstance(command, task_options.TaskCommand):
        return
    own = {parameter.name for parameter in command.params}
    given = {key: value for key, value in made.params.items() if key not in own and not key.startswith("launch_")}
    named = [word for word in rest if not word.startswith("-")]
    try:
        declared = choosing.declaration_of([named[0]] if named else [])
    except (ValueError, OSError):
        return  # a file of the reader's, which says itself what it is
    task_options.convert(made, declared, given, named[0])


def write(path: Path, printed: Mapping[tuple[int, int], str]) -> None:
    """Takes what was printed into a page, in place of what it shows."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for (begin, end), text in sorted(printed.items(), reverse=True):
        lines[begin - 1 : end - 1] = text.rstrip().splitlines()
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="take what was printed into the pages")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="Markdown files; all by default")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        for number, path in enumerate([page.resolve() for page in options.pages] or pages()):
            folder = Path(temporary, str(number))
            folder.mkdir()
            outcome = run_page(path, folder, Path(temporary, f"cache-{number}"))
            print(f"{path.relative_to(ROOT)}: {outcome.ran} ran, {outcome.read} read", flush=True)
            for where, reason in outcome.not_run:
                print(f"  not run: {where}: {reason}")
            for failure in outcome.failures:
                print(f"  {failure}")
            failed |= bool(outcome.failures)
            if options.write and outcome.printed:
                write(path, outcome.printed)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
