"""Names: which of them match a pattern, which are near, and which weights a name stands for."""

import difflib
import fnmatch
from collections.abc import Collection, Iterable, Mapping

DEFAULT = "DEFAULT"


def match(names: Iterable[str], include: str | Iterable[str] | None, exclude: str | Iterable[str] | None) -> list[str]:
    """The names that match any pattern of ``include`` (all, if ``None``) and none of ``exclude``, sorted.

    Args:
        names: what to choose from.
        include: one shell pattern (``"resnet*"``), or several.
        exclude: likewise.
    """

    def patterns(value: str | Iterable[str] | None) -> list[str]:
        if value is None:
            return []
        return [value] if isinstance(value, str) else list(value)

    included, excluded = patterns(include), patterns(exclude)
    return sorted(
        name
        for name in set(names)
        if (include is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in included))
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in excluded)
    )


def nearest(name: str, candidates: Iterable[str], most: int = 3) -> list[str]:
    """The candidates that may have been meant: few letters missing or swapped first; then those that hold the name."""
    known = sorted(set(candidates))
    return difflib.get_close_matches(name, known, n=most, cutoff=0.6) or [n for n in known if name and name in n][:most]


def members_named(name: str, enums: Mapping[str, Collection[str]]) -> list[tuple[str, str]]:
    """Which members of weights enums a name stands for: the only parser of such names.

    A name is that of a member, alone or behind its class: ``"IMAGENET1K_V1"``, ``"ResNet50_Weights.IMAGENET1K_V1"``.
    Letter case does not matter unless only that tells two names apart.

    Args:
        name: what the user wrote.
        enums: class name -> names of its members, ``"DEFAULT"`` among them.

    Returns:
        Pairs (class name, member): one where the name is clear, none where it is unknown, several where it is not clear
        which is meant.
    """
    prefix, dot, member = name.rpartition(".")
    chosen = spelt(prefix, enums) if dot else list(enums)
    exact = [(enum, member) for enum in chosen if member in enums[enum]]
    return exact or [(enum, found) for enum in chosen for found in spelt(member, enums[enum])]


def spelt(name: str, names: Iterable[str]) -> list[str]:
    """The name itself if it is there, else those that differ from it by letter case alone."""
    known = list(names)
    return [name] if name in known else [other for other in known if other.casefold() == name.casefold()]
