"""Text of any script, with the fonts of a system and without."""

import io

import pytest
from PIL import Image, ImageDraw, ImageFont

from zoo_core.drawing import draw_labels, fonts
from zoo_core.drawing.fonts import FONT_VARIABLE, Lettering

CACHES = (fonts._files, fonts._sized, fonts._has, fonts._first, fonts._spelt, fonts._lettering)


@pytest.fixture(autouse=True)
def fresh():
    for cache in CACHES:
        cache.cache_clear()
    yield
    for cache in CACHES:
        cache.cache_clear()


@pytest.fixture
def bare(monkeypatch):
    """A system without any font."""
    monkeypatch.delenv(FONT_VARIABLE, raising=False)
    monkeypatch.setattr(fonts, "_folders", lambda: iter(()))


def text_of(lettering):
    return "".join(text for text, _ in lettering.runs)


def ink_of(lettering):
    image = Image.new("L", (round(lettering.width) + 20, lettering.height + 20))
    lettering.draw(ImageDraw.Draw(image), 10, 10 + lettering.ascent, (255,))
    return image


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("potted plant 71%", "potted plant 71%"),
        ("Käfer, café, ñandú", "Kafer, cafe, nandu"),
        ("Łódź Ærø Straße", "Lodz Aero Strasse"),
        ("Жук и ёж", "Zhuk i ezh"),
        ("σκύλος", "skylos"),
        ("a \u2013 b → c", "a - b > c"),
        ("5 €", "5 EUR"),
        ("猫", r"\u732b"),
        ("party 🐶", "party :dog face:"),
        ("two\nlines\tof", "two lines of"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("e\u0301", "e"),
        ("\u0939\u093f", r"\u0939"),
        ("", ""),
    ],
)
def test_what_no_font_has_is_spelt(bare, text, written):
    assert text_of(Lettering.of(text, 20)) == written


def test_no_text_is_drawn_as_empty_boxes(bare):
    """What is written are characters that the font has."""
    everything = "".join(map(chr, [*range(0x20, 0x600), 0x732B, 0x1F600, 0x0939, 0xFFFD, 0x10FFFF]))
    missing = bytes(ImageFont.load_default(20).getmask("\U0010ffff"))
    for character in set(text_of(Lettering.of(everything, 20))):
        if not character.isspace():
            assert bytes(ImageFont.load_default(20).getmask(character)) != missing, hex(ord(character))


def a_font_file(path):
    """Pillow's own font as a file."""
    font = ImageFont.load_default(10)
    data = font.font_bytes if getattr(font, "font_bytes", None) else font.path.getvalue()
    path.write_bytes(data)
    return path


def test_a_font_that_the_user_names_comes_first(bare, tmp_path, monkeypatch):
    monkeypatch.setenv(FONT_VARIABLE, str(a_font_file(tmp_path / "mine.ttf")))
    ((_, font),) = Lettering.of("cat", 20).runs
    assert font.path == str(tmp_path / "mine.ttf")


def test_fonts_of_the_system_are_only_looked_for_when_they_are_needed(monkeypatch):
    monkeypatch.delenv(FONT_VARIABLE, raising=False)
    monkeypatch.setattr(fonts, "_folders", lambda: pytest.fail("a search"))
    assert text_of(Lettering.of("potted plant 71%", 20, 60)).endswith("...")


@pytest.mark.parametrize("damaged", [True, False])
def test_a_font_that_cannot_be_read_is_passed_over(bare, tmp_path, monkeypatch, damaged):
    if damaged:
        (tmp_path / "mine.ttf").write_bytes(b"no font")
    monkeypatch.setenv(FONT_VARIABLE, str(tmp_path / "mine.ttf"))
    ((text, font),) = Lettering.of("cat", 20).runs
    assert text == "cat"
    assert not isinstance(font.path, str)


def test_fonts_are_found_by_name_and_otherwise(bare, tmp_path, monkeypatch):
    for name in ("zz.ttf", "DejaVuSans.ttf", "aa.otf", "aa-bold.ttf", "readme.txt"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(fonts, "_folders", lambda: iter([tmp_path, tmp_path / "none"]))
    assert fonts._files() == [str(tmp_path / name) for name in ("DejaVuSans.ttf", "aa.otf", "zz.ttf")]


def test_each_character_is_written_in_the_first_font_that_has_it(bare, monkeypatch):
    """Three fonts: a has a and b, b has b and c, and the third has them all."""
    has = {0: "abc 1", 1: "bcd 1", 2: "abcdef 1"}
    monkeypatch.setattr(fonts, "_files", lambda: ["x", "y"])
    monkeypatch.setattr(fonts, "_has", lambda number, character: character in has[number])
    monkeypatch.setattr(fonts, "_sized", lambda number, size: ImageFont.load_default(size + number))

    def runs(text):
        return [(part, round(font.size) - 20) for part, font in Lettering.of(text, 20).runs]

    assert runs("ab 1") == [("ab 1", 0)]
    assert runs("bd") == [("bd", 1)]
    assert runs("ad") == [("ad", 2)], "one font for all"
    has[2] = "f"
    fonts._first.cache_clear()
    fonts._lettering.cache_clear()
    assert runs("ab d1 f a") == [("ab ", 0), ("d1 ", 1), ("f ", 2), ("a", 0)]


def test_a_mark_is_written_with_its_letter_or_not_at_all(bare, monkeypatch):
    has = {0: "ab", 1: "cd\u0301"}
    monkeypatch.setattr(fonts, "_files", lambda: ["x"])
    monkeypatch.setattr(fonts, "_has", lambda number, character: character in has[number])
    monkeypatch.setattr(fonts, "_sized", lambda number, size: ImageFont.load_default(size + number))
    assert [text for text, _ in Lettering.of("d\u0301b\u0301", 20).runs] == ["d\u0301", "b"]


def test_size_and_place():
    small, large = Lettering.of("cat 97%", 12), Lettering.of("cat 97%", 36)
    assert 2.5 < large.width / small.width < 3.5
    assert 2.5 < large.height / small.height < 3.5
    image = ink_of(large)
    left, top, right, bottom = image.getbbox()
    assert abs(left - 10) < 6
    assert abs(right - 10 - large.width) < 6
    assert top >= 10
    assert bottom <= 10 + large.height


def test_what_is_too_long_ends_in_an_ellipsis():
    text = "a very long label indeed"
    whole = Lettering.of(text, 20)
    assert text_of(Lettering.of(text, 20, whole.width)) == text
    cut = Lettering.of(text, 20, 120)
    assert text_of(cut).endswith("...")
    assert text.startswith(text_of(cut)[:-3])
    assert 80 < cut.width <= 120
    assert Lettering.of(text, 20, 1).width < 60


def test_pillow_without_freetype(bare, monkeypatch):
    """Its only font then is one of fixed size, for ASCII."""
    monkeypatch.setattr(fonts, "_own", lambda size: ImageFont.load_default_imagefont())
    written = Lettering.of("Käfer 猫", 20)
    assert text_of(written) == r"Kafer \u732b"
    assert ink_of(written).getbbox() is not None
    assert draw_labels(Image.new("RGB", (320, 240)), [("Käfer", 0.5)]).width == 320


def test_the_fonts_file_is_one(tmp_path):
    data = a_font_file(tmp_path / "x.ttf").read_bytes()
    assert ImageFont.truetype(io.BytesIO(data), 12).getname()[0]
