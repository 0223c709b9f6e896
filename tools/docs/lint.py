"""Finds what reading alone can find wrong in the documentation: in seconds, importing nothing of ours.

    python -m tools.docs.lint

- **Links** of Markdown files lead to files that exist, and to headings that those have.
- **Commands** of ``zoo`` in code have options that the files of the public surface know.
- **Names** in code exist: those that begin with one of our packages, ``zoo_core.engines.compile_for``, in full; of
  others that look like a name in Python, ``compile_for``, the word in the surface, a catalogue or a recipe.
- **Pictures** have a text in their place, and are small together.
- **Shapes** in docstrings are written in one notation, ``Tensor[N, 3, H, W]``, and docstrings of the forward methods of
  public modules have one for what they take.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tools import distributions
from tools.distributions import ROOT
from tools.docs.blocks import blocks, commands, outside_blocks
from tools.docs.pages import INDEX, guides, listed_names, public_modules

SURFACE = ROOT / "tests" / "assets" / "surface"
PICTURES_MOST = 1_000_000
"""Bytes of all pictures together."""

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]\[]*)\]\((?P<target>[^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *#*$", re.MULTILINE)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_PATH_OF_NAMES = re.compile(r"\bzoo_(?:core|classification|quantized|segmentation|detection|video|flow)(?:\.\w+)*")
# What torchrun takes too, the options of other programs in the same line, and of the group itself.
_ELSEWHERE = frozenset({"--help", "--version", "--debug"})
_LAUNCHER = re.compile(r"--(?:nnodes|nproc-per-node|rdzv-\w+|max-restarts|no-python|node-rank|master-\w+|standalone)$")
_IDENTIFIER = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+|[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+)(?:\(\))?(?:=\S*)?"
)
# Names that are not ours, or that are put together where they are used.
_OTHERS = frozenset(
    re.findall(
        r"\S+",
        "DataParallel DistributedDataParallel OMP_NUM_THREADS TWINE_PASSWORD TWINE_USERNAME VideoReader "
        "deform_conv2d drop_block efficientnetv2_s features_only file_2 forward_features img_size in_chans "
        "max_batch_size metadata_props "
        "mnasnet_100 mobilenetv2_100 mobilenetv3_large_100 mobilenetv3_small_100 ps_roi_align "
        "ps_roi_pool regnetx_004 regnety_160 roi_pool rt_info scaled_dot_product_attention "
        "swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 tf_efficientnet_b0 tf_efficientnet_lite0 "
        "vit_base_patch16_224 vit_large_patch16_224 --fix ",
    )
)
# Tensor (N, 3, H, W), Tensor of shape [N, C], [N, 3, H, W] Tensor.
_OTHER_SHAPE = re.compile(r"\bTensors? ?(?:of shape )?\((?=[A-Z0-9*])|\bTensors? (?:of shape )?\[(?=[A-Z0-9*])")

_SHAPE = re.compile(r"\[[^\]]*\b[A-Z]\b[^\]]*\]|\bas for :class:|:func:`\w+` as a module|Tensor\[")


def documents() -> list[Path]:
    """The Markdown files that are pages, and those of the programs in `tools`."""
    return [INDEX, *(ROOT / path for path in guides()), *sorted((ROOT / "tools").rglob("README.md"))]


def anchors(text: str) -> set[str]:
    """What links to the headings of a Markdown file may say behind ``#``."""
    found: set[str] = set()
    for heading in _HEADING.finditer(outside_blocks(text)):
        plain = _LINK.sub(lambda link: link["text"], heading["text"]).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 1
        unique = name
        while unique in found:
            unique, number = f"{name}-{number}", number + 1
        found.add(unique)
    return found


@cache
def _anchors_of(path: Path) -> set[str]:
    return anchors(path.read_text(encoding="utf-8"))


def link_faults(path: Path) -> Iterator[str]:
    """Of the links and pictures of a file."""
    for number, line in enumerate(outside_blocks(path.read_text(encoding="utf-8")).splitlines(), 1):
        for link in _LINK.finditer(_CODE.sub("", line)):
            where = f"{_shown(path)}:{number}"
            if link["image"] and len(link["text"].split()) < 3:
                yield f"{where}: {link['target']} needs a text that says what the picture shows"
            target, _, anchor = link["target"].partition("#")
            # The landing page links to pages that are made.
            if "://" in target or (path == INDEX and target and not target.startswith(".")):
                continue
            file = (path.parent / target).resolve() if target else path
            if not file.exists():
                yield f"{where}: there is no {target}"
                continue
            file = file / "README.md" if file.is_dir() else file
            if anchor and file.suffix == ".md" and anchor not in _anchors_of(file):
                yield f"{where}: {target or 'the page'} has no heading #{anchor}"


@cache
def options() -> dict[str, set[str]]:
    """The options of each command of ``zoo``; those of tasks, which several take, under ``""``."""
    found: dict[str, set[str]] = {"": set()}
    for line in (SURFACE / "command.txt").read_text(encoding="utf-8").splitlines():
        command = line.split()[1]
        found.setdefault(command, set()).update(_OPTION.findall(line))
    for path in SURFACE.glob("zoo-*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("zoo COMMAND --"):
                found[""].update(_OPTION.findall(line))
    return found


@cache
def names() -> set[str]:
    """The public names of all packages, in full."""
    found: set[str] = set()
    for path in SURFACE.glob("zoo-*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            name = re.match(r"(?:class )?(zoo_[\w.]+)", line)
            if name is not None:
                found.add(name[1])
    for distribution in distributions.find(ROOT).values():
        source = distribution.folder / "src"
        found |= {name for name, _ in public_modules(distribution)} | {distribution.package}
        # Modules that a package speaks for, and families' names, which are its own as well.
        for path in source.rglob("*.py"):
            parts = path.relative_to(source).with_suffix("").parts
            found.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        found |= {
            f"{distribution.package}.{name.rpartition('.')[2]}"
            for name in tuple(found)
            if name.startswith(distribution.package)
        }
    return found


@cache
def words() -> set[str]:
    """The words that the surface has, and those that users write in data: names and keys of catalogues and recipes,
    variables of the environment, columns of tables, options of programs in ``tools``."""
    found = {word for name in names() for word in name.split(".")}
    for path in (*SURFACE.glob("*.txt"), *ROOT.glob("*/*/src/**/*.toml")):
        found |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    programs = (*ROOT.glob("*/*/src/**/*.py"), *ROOT.glob("packages/*/*.py"), *(ROOT / "tools").rglob("*.py"))
    for path in (
        *programs,
        ROOT / "noxfile.py",
        *ROOT.glob("packages/*/**/*.cpp"),
        *ROOT.glob("packages/*/CMakeLists.txt"),
    ):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"[\"']([a-z]+(?:_[a-z0-9]+)+|(?:ZOO|TORCH)_[A-Z_]+|--[a-z-]+)[\"']", text))
        found |= set(re.findall(r"\b(ZOO_[A-Z_]+)\b", text))
    found |= {path.stem for path in (ROOT / "tools").rglob("*.py")}
    return found | {option for known in options().values() for option in known} | _OTHERS | _ELSEWHERE


def command_faults(text: str, where: str) -> Iterator[str]:
    """Of the options in a line with a ``zoo`` command."""
    for call in re.findall(r"(?:^|[\s;&|'(])zoo ([a-z]+)\b([^;&|]*)", text):
        command, rest = call
        known = options()
        if command not in known:
            yield f"{where}: zoo has no command {command!r}"
            continue
        for option in _OPTION.findall(rest):
            if option in known[command] | known[""] | _ELSEWHERE:
                continue
            if not (command in ("train", "evaluate") and _LAUNCHER.match(option)):
                yield f"{where}: zoo {command} has no option {option}"


def code_faults(path: Path) -> Iterator[str]:
    """Of commands in blocks and of names in code."""
    text = path.read_text(encoding="utf-8")
    for block in blocks(path):
        if block.language in ("sh", "console"):
            for command in commands(block):
                yield from command_faults(command.text, f"{_shown(path)}:{command.line}")
    for number, line in enumerate(outside_blocks(text).splitlines(), 1):
        where = f"{_shown(path)}:{number}"
        for code in _CODE.findall(line):
            if code.startswith("zoo ") and "..." not in code:
                yield from command_faults(code, where)
            for name in _PATH_OF_NAMES.findall(code):
                if not _exists(name) and "import *" not in code:
                    yield f"{where}: there is no public name {name}"
            identifier = _IDENTIFIER.fullmatch(code)
            # What was renamed stays in the changelog; programs of ours speak of much that is not.
            quiet = path.name == "CHANGELOG.md" or path.is_relative_to(ROOT / "tools")
            if identifier is not None and identifier["name"] not in words() and not quiet:
                yield f"{where}: {identifier['name']} is no public name"
            for option in _OPTION.findall(code):
                if option not in words() and not _LAUNCHER.match(option):
                    yield f"{where}: nothing of ours has the option {option}"


def _exists(name: str) -> bool:
    if name in names():
        return True
    # A member of an enum of weights, or a name that a package takes from its modules.
    owner, _, member = name.rpartition(".")
    return owner in names() and (member.isupper() or f"{owner.partition('.')[0]}.{member}" in names())


def docstring_faults() -> Iterator[str]:
    """Of the notation of shapes, and of public modules of torch that say none."""
    for distribution in distributions.find(ROOT).values():
        public = {path: listed_names(path) for _, path in public_modules(distribution)}
        for path in sorted((distribution.folder / "src").rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    for match in _OTHER_SHAPE.finditer(ast.get_docstring(node) or ""):
                        line = getattr(node, "lineno", 1)
                        yield f"{_shown(path)}:{line}: {match[0]!r}: shapes are written Tensor[N, C]"
            classes = [item for item in tree.body if isinstance(item, ast.ClassDef) and path in public]
            for item in classes:
                listed = public[path]
                is_public = not item.name.startswith("_") if listed is None else item.name in listed
                if is_public and says_no_shape(item):
                    yield f"{_shown(path)}:{item.lineno}: {item.name}: say the shapes that forward takes and gives"


def says_no_shape(node: ast.ClassDef) -> bool:
    """Whether a class has a forward method and says nowhere what shapes that takes: a layer of ours, not one of torch's
    with a different inside, nor one that refers to another."""
    bases = [ast.unparse(base) for base in node.bases]
    if any(base.startswith("nn.") and base != "nn.Module" for base in bases):
        return False
    forwards = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "forward"]
    text = " ".join([ast.get_docstring(node) or "", *(ast.get_docstring(forward) or "" for forward in forwards)])
    return bool(forwards) and not _SHAPE.search(text)


def picture_faults() -> Iterator[str]:
    """Of the size of all pictures that pages show."""
    shown = sorted(ROOT.glob("*/*/docs/**/*.webp")) + sorted(ROOT.glob("*/*/docs/**/*.png"))
    total = sum(path.stat().st_size for path in shown)
    if total > PICTURES_MOST:
        yield f"the pictures of the documentation have {total} bytes together, above {PICTURES_MOST}"


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def faults() -> Iterator[str]:
    """All of them."""
    for path in documents():
        yield from link_faults(path)
        yield from code_faults(path)
    yield from docstring_faults()
    yield from picture_faults()


def main() -> None:
    found = list(faults())
    print("\n".join(found) or "no fault found", file=sys.stderr if found else sys.stdout)
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
