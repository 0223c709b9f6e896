"""Which files words and patterns mean, and what the files that are written for them are called."""

import glob
import itertools
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path


def find_files(
    words: Iterable[str], suffixes: Collection[str], left_out: Path | None = None
) -> tuple[list[Path], list[str]]:
    """The files that words name: paths, shell patterns (``**`` goes through folders), and folders with all below them.

    Args:
        words: as the user gave them.
        suffixes: endings, in lower case, of the files that are taken from a folder; hidden ones never are. A file that
            is named itself may end in any way.
        left_out: a folder that is not looked into when it lies below one that a word names, as that for the results
            may do.

    Returns:
        The files in the order of the words, those of a pattern or a folder sorted; and, for each word that means no
        file, a message.
    """
    files: list[Path] = []
    problems: list[str] = []
    for word in words:
        try:
            files += _files_of(word, suffixes, left_out)
        except ValueError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{word}: {error.strerror or error}")
    return files, problems


def _files_of(word: str, suffixes: Collection[str], left_out: Path | None) -> list[Path]:
    """The files that one word names.

    Raises:
        ValueError: there are none.
        OSError: there is no telling.
    """
    if not word:  # which pathlib takes for the current folder
        raise ValueError("an empty word names no file; was it a variable that is not set?")
    path = Path(word)
    is_pattern = not path.exists() and glob.has_magic(word)
    matches = [Path(match) for match in sorted(glob.glob(word, recursive=True))] if is_pattern else [path]
    if not matches:
        raise ValueError(f"{word}: no file matches")
    files: list[Path] = []
    for match in matches:
        if match.is_dir():
            below = _files_below(match, suffixes, left_out)
            files += below
            if not below and not is_pattern:
                raise ValueError(f"{word}: no file in this folder ends in {', '.join(sorted(suffixes))}")
        elif is_pattern or match.exists():
            files.append(match)
        else:
            raise ValueError(f"{word}: no such file")
    return files


def _files_below(folder: Path, suffixes: Collection[str], left_out: Path | None) -> list[Path]:
    inner = None if left_out is None else left_out.resolve()
    if inner is not None and folder.resolve() not in inner.parents:
        inner = None
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
        and (inner is None or inner not in path.resolve().parents)
    )


def unique_stems(groups: Sequence[Sequence[Path]]) -> list[str]:
    """Names for the files that are written for each group of files: the stem of its first file, with a number behind it
    where that would be taken.

    A task may put a dot and a word behind the name, so none of the names is another with a dot and more behind it. They
    differ even where upper and lower case are the same.
    """
    own = {paths[0].stem.casefold() for paths in groups}
    taken: set[str] = set()
    beginnings_of_taken: set[str] = set()

    def is_free(name: str) -> bool:
        return name not in taken and name not in beginnings_of_taken and not taken.intersection(_beginnings(name))

    names = []
    for paths in groups:
        name = paths[0].stem
        if not is_free(name.casefold()):
            plain = name.replace(".", "-")
            candidates = itertools.chain([plain], (f"{plain}-{number}" for number in itertools.count(2)))
            name = next(n for n in candidates if n.casefold() not in own and is_free(n.casefold()))
        taken.add(name.casefold())
        beginnings_of_taken.update(_beginnings(name.casefold()))
        names.append(name)
    return names


def _beginnings(name: str) -> list[str]:
    """``"a.b.c"`` -> ``["a", "a.b"]``."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def make_output_directory(directory: Path, inputs: Iterable[Path]) -> None:
    """Makes the directory for results, unless what is written there could overwrite an input.

    Raises:
        ValueError: an input lies in that directory, or it is a file.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ValueError(f"--output {directory}: this is a file, and must be a folder") from error
    for path in inputs:
        if path.resolve().parent == directory.resolve():
            raise ValueError(
                f"{path} lies in the folder for the images, and could be overwritten; choose another --output"
            )
