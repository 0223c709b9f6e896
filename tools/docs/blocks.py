"""The fenced blocks of Markdown files: what kind of example each is, and what stands in comments above it.

A comment directly above a block says what to know of it, and is not shown on the page:

- ``<!-- continues -->``: a Python example that goes on where the one before it stopped.
- ``<!-- not run: REASON -->``: an example that cannot run where examples are tested. It is still read: Python has to
  compile and its imports have to exist, the words of a command have to be ones that the command takes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w{}-]*) *$")
_MARK = re.compile(r"^ *<!-- (?P<mark>continues|not run: (?P<reason>.+?)) -->$")
_PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        path: of the file.
        line: number of its first line behind the fence, from 1.
        language: behind the fence; ``""`` where nothing is.
        text: without the fences and their indent.
        continues: whether it goes on where the Python example before it stopped.
        not_run: why it is not run; ``None`` for one that is.
        adjoining: whether only blank lines are between the block before it and this one: of Python, its output.
    """

    path: Path
    line: int
    language: str
    text: str
    continues: bool = False
    not_run: str | None = None
    adjoining: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A line behind a prompt, or of a script, with the lines that it goes on with.

    Attributes:
        line: number of its first line in the file.
        text: without the prompt and comments.
        output: what the page shows below it; ``""`` in scripts.
        output_lines: the numbers of the lines of the output: first and behind the last.
    """

    line: int
    text: str
    output: str = ""
    output_lines: tuple[int, int] = (0, 0)


def blocks(path: Path) -> list[Block]:
    """The blocks of a Markdown file, in order."""
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    mark: re.Match[str] | None = None
    adjoining = False
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            if lines[number].strip():
                mark = _MARK.match(lines[number])
                # A comment is none of the text.
                adjoining = adjoining and mark is not None
            number += 1
            continue
        begin = number + 1
        end = next(index for index in range(begin, len(lines)) if lines[index].strip() == "```")
        indent = len(fence["indent"])
        text = "\n".join(line[indent:] for line in lines[begin:end])
        continues, reason = mark is not None and mark["mark"] == "continues", mark["reason"] if mark else None
        found.append(Block(path, begin + 1, fence["language"], text, continues, reason, adjoining))
        mark, adjoining, number = None, True, end + 1
    return found


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block of the language ``console``, where prompts stand before them, or ``sh``."""
    prompted = block.language == "console"
    lines = block.text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        begin = number
        number += 1
        if prompted and not line.startswith(_PROMPT):
            continue
        line = line.removeprefix(_PROMPT) if prompted else line
        while line.endswith("\\") and number < len(lines):
            line = line[:-1].rstrip() + " " + lines[number].strip()
            number += 1
        output = number
        while prompted and number < len(lines) and not lines[number].startswith(_PROMPT):
            number += 1
        text = without_comment(line).strip()
        if text:
            shown = "\n".join(lines[output:number]) if prompted else ""
            yield Command(block.line + begin, text, shown, (block.line + output, block.line + number))


def without_comment(line: str) -> str:
    """A line of a shell script up to its comment; a ``#`` in quotes or in a word begins none."""
    quote = ""
    for index, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (index == 0 or line[index - 1].isspace()):
            return line[:index]
    return line


def outside_blocks(text: str) -> str:
    """A Markdown file with blank lines in place of its fenced blocks, so that line numbers stay."""
    kept, inside = [], False
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        kept.append("" if fence or inside else line)
        inside = inside != fence
    return "\n".join(kept)
