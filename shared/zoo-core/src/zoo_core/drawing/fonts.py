r"""Text of any script, in fonts that are there.

Pillow's own font, which every installation has, knows the letters of ASCII and few more. Texts beyond them are written
in the font file that the environment variable ``ZOO_FONT`` names, in well-known fonts of the system (DejaVu, Noto,
Arial, those of Windows and macOS for Chinese, Japanese, Korean, Arabic, Hindi and others), then in whatever lies in the
system's folders or in an installed matplotlib. Each character is written in the first font that has it.

A character that no font has is spelt: ``é`` as ``e``, ``ж`` as ``zh``, an emoji by its name, all others by their
number as ``\u732b``. So a label is always drawn, and always readable.
"""

import bisect
import functools
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageDraw, ImageFont

from zoo_core.package_files import package_folders
from zoo_core.text import printable

__all__ = ["FONT_VARIABLE", "Lettering"]

FONT_VARIABLE = "ZOO_FONT"

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

# File names, in lower case, of fonts with many letters, the ones for single scripts last.
_KNOWN = (
    *("dejavusans.ttf", "notosans-regular.ttf", "notosans[wdth,wght].ttf", "arial unicode.ttf", "arial.ttf"),
    *("segoeui.ttf", "liberationsans-regular.ttf", "freesans.ttf", "helvetica.ttc"),
    *("notosanscjk-regular.ttc", "notosanscjksc-regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc"),
    *("droidsansfallbackfull.ttf", "pingfang.ttc", "hiragino sans gb.ttc", "msyh.ttc", "simsun.ttc"),
    *("meiryo.ttc", "yugothm.ttc", "hiragino sans.ttc", "malgun.ttf", "applesdgothicneo.ttc"),
    *("notosansarabic-regular.ttf", "notonaskharabic-regular.ttf", "tahoma.ttf", "geezapro.ttc"),
    *("notosansdevanagari-regular.ttf", "nirmala.ttf", "nirmala.ttc", "kohinoor.ttc"),
    *("notosansthai-regular.ttf", "leelawui.ttf", "thonburi.ttc", "notosanshebrew-regular.ttf"),
    *("notoemoji-regular.ttf", "symbola.ttf", "seguiemj.ttf", "seguisym.ttf", "unifont.otf", "unifont.ttf"),
)
_ENDINGS = (".ttf", ".otf", ".ttc")
_UNWANTED = ("bold", "italic", "oblique", "mono", "light", "thin", "black", "condensed", "lastresort")
_MOST_FONTS = 300  # that are opened in search of a character
_PATIENCE = 20  # fonts more, in search of one for a whole text

# How letters are spelt: those of alphabets in their order from a first one on, and others.
_ALPHABETS = {
    0x03B1: "a b g d e z e th i k l m n x o p r s s t y f ch ps o",  # Greek
    0x0430: "a b v g d e zh z i y k l m n o p r s t u f kh ts ch sh shch ' y ' e yu ya",  # Cyrillic
    0x2190: "< ^ > v",  # arrows
    0x2010: "- - - - - -",  # hyphens and dashes
    0x2018: "' ' ' ' \" \" \"",  # quotation marks
}
_SPELLINGS = {
    **{chr(start + n): text for start, alphabet in _ALPHABETS.items() for n, text in enumerate(alphabet.split())},
    "\u00df": "ss",
    "\u00e6": "ae",
    "\u0153": "oe",
    "\u00f8": "o",
    "\u0111": "d",
    "\u00f0": "d",
    "\u0142": "l",
    "\u00fe": "th",
    "\u0131": "i",
    "\u014b": "ng",
    "\u0456": "i",
    "\u0457": "yi",
    "\u0454": "ye",
    "\u0491": "g",
    "\u2212": "-",
    "\u00d7": "x",
    "\u00b7": ".",
    "\u2022": "*",
    "\u2026": "...",
    "\u20ac": "EUR",
    "\u00a3": "GBP",
    "\u00a5": "JPY",
    "\u00a9": "(c)",
    "\u00ae": "(R)",
    "\u2122": "TM",
}


@dataclass(frozen=True)
class Lettering:
    """A line of text, and how it is written.

    Args:
        runs: parts of the text, from left to right, each with its font.
        width: of the whole, in pixels.
        ascent, descent: of the tallest font, in pixels above and below the base line.
    """

    runs: tuple[tuple[str, Font], ...]
    width: float
    ascent: int
    descent: int

    @classmethod
    def of(cls, text: str, size: int, room: float | None = None) -> "Lettering":
        """Finds fonts for a text.

        Args:
            text: anything; what is white becomes a space, and what cannot be seen an escape.
            size: height of the letters in pixels, 6 or more.
            room: how many pixels it may take in width; what is longer ends in an ellipsis.
        """
        text = printable(unicodedata.normalize("NFC", " ".join(text.split())))
        written = _lettering(text, max(size, 6))
        if room is None or written.width <= room:
            return written
        # Not a character more than fits.
        fits = bisect.bisect_right(
            range(1, len(text)), room, key=lambda length: _lettering(text[:length].rstrip() + "...", max(size, 6)).width
        )
        return _lettering(text[:fits].rstrip() + "...", max(size, 6))

    @property
    def height(self) -> int:
        """From the top of the tallest letters to the bottom of the lowest, in pixels."""
        return self.ascent + self.descent

    def draw(self, draw: ImageDraw.ImageDraw, left: float, baseline: float, fill: tuple[int, ...]) -> None:
        """Writes the text.

        Args:
            draw: of an image.
            left, baseline: where it begins, in pixels.
            fill: colour.
        """
        for text, font in self.runs:
            if isinstance(font, ImageFont.FreeTypeFont):
                draw.text((left, baseline), text, fill=fill, font=font, anchor="ls")
            else:
                draw.text((left, baseline - _ascent(font)), text, fill=fill, font=font)
            left += font.getlength(text)


@functools.lru_cache(maxsize=4096)
def _lettering(text: str, size: int) -> Lettering:
    runs = tuple(_runs(text, size))
    fonts = [font for _, font in runs] or [_own(size)]
    return Lettering(
        runs,
        sum(font.getlength(text) for text, font in runs),
        max(map(_ascent, fonts)),
        max(map(_descent, fonts)),
    )


def _ascent(font: Font) -> int:
    return font.getmetrics()[0] if isinstance(font, ImageFont.FreeTypeFont) else 10


def _descent(font: Font) -> int:
    return font.getmetrics()[1] if isinstance(font, ImageFont.FreeTypeFont) else 3


def _runs(text: str, size: int) -> Iterator[tuple[str, Font]]:
    """Cuts a text where its font changes. One font for all of it is preferred."""
    spelt = "".join(_spelt(character) for character in text)
    chosen: list[tuple[str, int]] = []
    whole = next((font for font in range(_count(spelt)) if all(_has(font, c) for c in spelt)), None)
    for character in spelt:
        if whole is not None:
            font = whole
        elif chosen and (character == " " or _has(chosen[-1][1], character)):
            font = chosen[-1][1]
        elif chosen and _is_mark(character):
            continue  # it belongs to the letter before, whose font lacks it
        else:
            font = _first(character) or 0
        if chosen and chosen[-1][1] == font:
            chosen[-1] = chosen[-1][0] + character, font
        else:
            chosen.append((character, font))
    for part, font in chosen:
        yield part, _sized(font, size)


def _count(text: str) -> int:
    """How many fonts are tried in search of one that has all characters of a text."""
    least = max(((_first(character) or 0) + 1 for character in text), default=1)
    # The fonts of the system are only looked for when they are needed.
    return least if least <= _at_hand() else min(least + _PATIENCE, _at_hand() + len(_files()))


def _at_hand() -> int:
    """How many fonts there are without those of the system: Pillow's own, and before it one that the user names."""
    return 2 if os.environ.get(FONT_VARIABLE) else 1


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")


@functools.lru_cache(maxsize=4096)
def _spelt(character: str) -> str:
    """A character that fonts have, or such characters instead of it."""
    if _first(character) is not None:
        return character
    if _is_mark(character):
        return ""
    lower = character.lower()
    spelling = _SPELLINGS.get(character) or _SPELLINGS.get(lower, "").capitalize()
    if not spelling:
        spelling = "".join(c for c in unicodedata.normalize("NFKD", character) if not _is_mark(c))
        if spelling != character:
            spelling = "".join(map(_spelt, spelling))
    if spelling and all(_first(c) is not None for c in spelling):
        return spelling
    if unicodedata.category(character) in ("So", "Sk", "Sm"):
        return f":{unicodedata.name(character, f'U+{ord(character):04X}').lower()}:"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


@functools.lru_cache(maxsize=4096)
def _first(character: str) -> int | None:
    """The first font that has a character, by its number; ``None`` if there is none."""
    for number in range(_at_hand()):
        if _has(number, character):
            return number
    return next((n for n in range(_at_hand(), _at_hand() + len(_files())) if _has(n, character)), None)


@functools.lru_cache(maxsize=8192)
def _has(number: int, character: str) -> bool:
    """Whether a font has a character: what it lacks, it shows as it shows an impossible one."""
    try:
        font = _sized(number, 20)
        if isinstance(font, ImageFont.ImageFont):
            return character.isascii()
        # Without the joining of letters, for which marks alone would get a letter to stand on.
        font = font.font_variant(layout_engine=ImageFont.Layout.BASIC)
        return character.isspace() or bytes(font.getmask(character)) != bytes(font.getmask("\U0010ffff"))
    except (OSError, ValueError):
        return False


@functools.lru_cache(maxsize=256)
def _sized(number: int, size: int) -> Font:
    """Raises OSError: the file is no font, or has no such size."""
    if number == _at_hand() - 1:
        return _own(size)
    return ImageFont.truetype(os.environ[FONT_VARIABLE] if number == 0 else _files()[number - _at_hand()], size)


def _own(size: int) -> Font:
    """Pillow's own font."""
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=1)
def _files() -> Sequence[str]:
    """Files of the system's fonts, in the order in which they are tried."""
    found: dict[str, str] = {}
    for folder in _folders():
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            name = path.name.lower()
            if name.endswith(_ENDINGS):
                found.setdefault(name, str(path))
    known = [found.pop(name) for name in _KNOWN if name in found]
    others = [path for name, path in sorted(found.items()) if not any(word in name for word in _UNWANTED)]
    return (known + others)[:_MOST_FONTS]


def _folders() -> Iterator[Path]:
    """Where systems keep fonts."""
    home = Path.home()
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"
        yield home / "AppData/Local/Microsoft/Windows/Fonts"
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts")
    else:
        shares = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        yield from (home / ".local/share/fonts", home / ".fonts")
        yield from (Path(share) / "fonts" for share in shares.split(":") if share)
    yield from (folder / "mpl-data/fonts/ttf" for folder in package_folders("matplotlib"))
