"""What tasks declare in TOML: read without importing anything, and left out with one warning where it is broken."""

import subprocess
import sys
import warnings

import pytest

from support import toy_package
from zoo_core import declarations
from zoo_core.cli import main
from zoo_core.declarations import DeclarationError, DeclarationWarning, Metric, declaration, read


def test_what_a_package_from_outside_declares(toys):
    declared = declaration("toys")
    assert (declared.title, declared.images, declared.batch_size) == ("Telling day from night", 1, 8)
    assert (declared.adapter, declared.package) == ("toyzoo.adapter:ToyTask", "toyzoo")
    assert declared.metric == Metric("acc@1", higher_is_better=True, digits=1)
    assert ".jpg" in declared.suffixes
    assert ".mp4" not in declared.suffixes
    assert list(declared.options) == ["level", "shout", "prefix"]
    assert (declared.devices, declared.samples, declared.inference) == (None, None, {})
    assert "toyzoo" not in sys.modules


def test_values_of_options(toys):
    declared = declaration("toys")
    assert declared.values() == {"level": 0.5, "shout": False, "prefix": None}
    assert declared.values({"level": 1, "prefix": "so "}) == {"level": 1.0, "shout": False, "prefix": "so "}
    for given, message in (
        ({"levl": 1}, "telling day from night has no option 'levl'; its options are level, shout, prefix"),
        ({"level": 1.5}, "level must be between 0 and 1, not 1.5"),
        ({"level": float("nan")}, "level must be a finite number"),
        ({"level": "1"}, "level must be of type float, not '1'"),
        ({"shout": 1}, "shout must be of type bool, not 1"),
        ({"shout": None}, "shout must be of type bool, not None"),
    ):
        with pytest.raises(ValueError, match=message):
            declared.values(given)


def test_scoring_has_defaults_of_its_own(tmp_path):
    file = tmp_path / "task.toml"
    file.write_text(toy_package.DECLARATION.replace("default = 0.5", "default = 0.5\nscoring = 0.0"))
    declared = read(file, "toys", "toyzoo.adapter:ToyTask")
    assert declared.values(scoring=True)["level"] == 0
    assert declared.values({"level": 0.3}, scoring=True)["level"] == 0.3
    assert declared.values()["level"] == 0.5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "', 'titel = "', r"unknown key 'titel'; did you mean 'title'\?"),
        ("images = 1", "images = 0", 'images = 0 must be 1 or more, or "file"'),
        ("images = 1", "images = true", "images = True must be int or str"),
        ("images = 1", "", "the key 'images' is missing"),
        ('["image"]', '["sound"]', "must be a list of image and video"),
        ('["image"]', "[]", "must be a list of image and video"),
        ("batch_size = 8", "batch_size = 0", "batch_size = 0 must be at least 1"),
        ("batch_size = 8", "demo = { level = 2 }", r"demo = \{'level': 2\}: level must be between 0 and 1"),
        ("batch_size = 8", "demo = { topk = 2 }", "has no option 'topk'; its options are level"),
        ('"photo.jpg"', r'"photo.jpg\u001b[2J"', "examples = .* must be one line of plain text"),
        ('better = "higher"', 'better = "more"', r"\[metric\]: better = 'more' must be"),
        ('type = "float"', 'type = "complex"', r"\[options.level\]: type = 'complex' must be one of int, float"),
        ("default = 0.5", "default = 7", r"\[options.level\]: level must be between 0 and 1, not 7.0"),
        ("default = 0.5", 'default = "0.5"', r"\[options.level\]: level must be of type float"),
        ("[options.level]", "[options.Level_2]", "must be lower-case words with dashes"),
        ('type = "bool"', 'type = "bool"\ndefault = true', "a bool is false where the option is not given"),
        ("Write in capitals.", r"Write\nin capitals.", "help = .* must be one line of plain text"),
        ("title", "= = =", "not valid TOML"),
        ("title", "x = " + "[" * 50_000, "nested too deeply|not valid TOML"),
    ],
)
def test_broken_declarations(tmp_path, old, new, message):
    file = tmp_path / "task.toml"
    file.write_text(toy_package.DECLARATION.replace(old, new, 1))
    with pytest.raises(DeclarationError, match=message) as raised:
        read(file, "toys", "toyzoo.adapter:ToyTask")
    assert str(raised.value).startswith(str(file))


def test_a_broken_declaration_disturbs_nobody_else(toys, tmp_path, capsys, monkeypatch):
    """One warning, which names the package and the place; other tasks, and what needs no task, go on."""
    other = tmp_path / "other"
    toy_package.write(other, task="broken")
    (other / "toyzoo").rename(other / "otherzoo")
    info = other / "toyzoo-1.2.dist-info"
    info.rename(other / "otherzoo-3.dist-info")
    (other / "otherzoo-3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: otherzoo\nVersion: 3\n")
    (other / "otherzoo-3.dist-info" / "entry_points.txt").write_text(
        "[zoo.tasks]\nbroken = otherzoo.adapter:ToyTask\ntoys = otherzoo.adapter:ToyTask\ngone = nowhere.task:Task\n"
    )
    (other / "otherzoo" / "adapter.toml").write_text("title = 1")
    with toy_package.installed(other):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert "toys" in declarations.declarations()
            declarations.declarations()
        texts = sorted(str(w.message) for w in caught if issubclass(w.category, DeclarationWarning))
        assert len(texts) == 3
        assert all(text.startswith("the package otherzoo: ") for text in texts)
        assert f"{other / 'otherzoo' / 'adapter.toml'}: the key" in texts[0] or "title = 1" in texts[0]
        assert any("names a task that toyzoo has already" in text or "title = 1" in text for text in texts)
        assert declaration("toys").package == "otherzoo" or declaration("toys").package == "toyzoo"
        with pytest.raises(ValueError, match="no installed package can show results of the task 'broken'"):
            declaration("broken")
        assert main(["list", "brightnet"]) == 0
        printed = capsys.readouterr()
        assert "acc@1 87.5" in printed.out
        assert main(["predict", "brightnet", "--help"]) == 0
        assert "--level" in capsys.readouterr().out


def test_options_that_clash(toys, tmp_path, capsys):
    """A task cannot take over an option of the command itself, nor turn another task's into something else."""
    (toys.root / "second.toml").write_text(
        'title = "Second"\nimages = 1\nfiles = ["image"]\nexamples = "x.png"\n'
        '[options.output]\ntype = "bool"\nhelp = "Mine."\n[options.shout]\ntype = "str"\nhelp = "Mine."\n'
    )
    (toys.path / "toyzoo-1.2.dist-info" / "entry_points.txt").write_text(
        "[zoo.catalogs]\ntoys = toyzoo:catalog\n"
        "[zoo.tasks]\ntoys = toyzoo.adapter:ToyTask\nsecond = toyzoo.second:Task\n"
    )
    from zoo_core import catalog

    catalog.clear_cache()
    declarations.clear_cache()
    assert main(["predict", "brightnet", "absent.png", "--output", "out"]) == 1
    errors = capsys.readouterr().err
    assert errors.count("the option --output of the task second, which the package toyzoo declares, is left out") == 1
    assert errors.splitlines()[-1] == "error: there is nothing to look at"


def test_reading_imports_nothing_heavy(toys):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from zoo_core.declarations import declarations
assert declarations()["toys"].values()
print([name for name in ("torch", "PIL", "toyzoo", "click", "rich") if name in sys.modules])
"""
    command = [sys.executable, "-c", code, str(toys.path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
