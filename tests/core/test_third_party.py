"""Packages from outside that are broken or malicious: left out with one warning, and nobody else is disturbed.

The packages are real folders with their metadata, and the commands run as processes.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from support import third_party, toy_package
from zoo_core import catalog, registration, registry

URL = 'url = "https://example.invalid/{}.pth"'
CROP = "crop_size = 8"

# Package -> what is wrong with its catalogue: a part of a good one, what stands there instead, and what is said of it.
BAD_CATALOGS = {
    "noname": (URL, 'url = "https://h/"', "names no file"),
    "nohost": (URL, 'url = "https:///x.pth"', "it names no host"),
    "badhost": (URL, 'url = "https://[bad/x.pth"', "no valid address"),
    "upward": (URL, 'url = "package:x/../y"', "names no file in a package"),
    "otherhost": (URL, 'url = "file://server/x.pth"', "does not name a file on this machine"),
    "scheme": (URL, 'url = "ftp://h/x.pth"', "must begin with one of https:"),
    "longname": (URL, f'url = "https://h/{"x" * 400}"', "file name of 400 bytes"),
    "urlescape": (URL, r'url = "https://h/\u001b[31mx.pth"', "must not hold control characters"),
    "negative": (CROP, "crop_size = -2", "must be a positive number of pixels"),
    "threesides": (CROP, "crop_size = [8, 8, 8]", "or [height, width]"),
    "endless": (CROP, "crop_size = 1_000_000_000_000", "at most 32768 pixels"),
    "nanstd": (CROP, f"{CROP}, std = [1.0, nan, 1.0]", "std must be positive"),
    "zerostd": (CROP, f"{CROP}, std = [0, 0, 0]", "std must be positive"),
    "infmean": (CROP, f"{CROP}, mean = [0.0, inf, 0.0]", "mean must be finite"),
    "twomeans": (CROP, f"{CROP}, mean = [0.5, 0.5]", "one value for each channel"),
    "twochannels": (CROP, f"{CROP}, mean = [0, 0], std = [1, 1]", "1, 3, 4 channels"),
    "words": (CROP, f'{CROP}, mean = ["a", "b", "c"]', "mean must be finite"),
    "smudged": (CROP, f'{CROP}, interpolation = "smudge"', "must be one of nearest, "),
    "nowhere": ('builder = "{}.nets:', 'builder = "{}.nothing:', "belong in nothing.toml"),
    "theft": ('builder = "{}.nets:', 'builder = "zoo_classification.nets:', "in another package than the catalogue"),
    "text": ("categories = ", "num_params = 1_000_000_000_000_000_000_000\n#", "must be from 1 to"),
    "giant": ("categories = ", f"num_params = 0x{'f' * 9000}\n#", "<a number of 36000 bits>"),
    "digits": ("categories = ", f"num_params = {'9' * 9000}\n#", "not valid TOML"),
    "lessthannothing": ("categories = ", "file_size = -1.0\n#", "must be from 0 to"),
    "labelescape": ("categories = ", r'categories = ["\u001b]0;x\u0007"]' + "\n#", "without control characters"),
    "turned": ("categories = ", r'categories = ["\u202egnp.exe"]' + "\n#", "without control characters"),
    "labelfile": ("categories = ", 'categories = "../../etc/passwd"\n#', "must be made of letters, digits"),
    "metricescape": ("categories = ", 'metrics = { "D\\u001b" = { a = 1 } }\n#', "without control characters"),
    "memberescape": ("checkpoints.V1]", 'checkpoints."V1\\u001b[0m"]', "name of a checkpoint must be a Python name"),
    "nestedlists": ("categories = ", f"categories = {'[' * 50_000}{']' * 50_000}\n#", "nested too deeply"),
    "nestedtables": ("categories = ", f"{'{a=' * 50_000}1{'}' * 50_000}\n#", "not valid TOML"),
    "nestedkeys": ("categories = ", f"{'a.' * 50_000}a = 1\n#", "more than 33 parts"),
}


def write_bad_catalogs(site: Path) -> dict[str, str]:
    """One package for each kind of bad catalogue; package -> what is to be said of it."""
    for package, (old, new, _) in BAD_CATALOGS.items():
        third_party.write(site, package, replace=(old.format(package), new.format(package) if "{}" in new else new))
    return {package: message for package, (_, _, message) in BAD_CATALOGS.items()}


def write_other_bad_packages(site: Path) -> dict[str, str]:
    """Packages that are broken beside their catalogue; how the warning names them -> what is to be said."""
    third_party.write(site, "hugefile", catalog=b"#" * 2**21)
    third_party.write(site, "latin", catalog=b'a = "\xe9"')
    third_party.write(site, "nomodule").parent.parent.joinpath("nets.py").unlink()
    os.mkfifo(third_party.write(site, "pipe").with_name("fifo.toml"))
    third_party.write(site, "folder").with_name("sub.toml").mkdir()
    labels = third_party.write(site, "hugelabels", replace=('["dark", "bright"]', '"many"')).parent / "labels"
    labels.mkdir()
    (labels / "many.txt").write_bytes(b"x\n" * 2**20)
    third_party.write(site, "malformed", entry_points="[zoo.catalogs]\nno equals sign here\n")
    third_party.write(site, "binarypoints", entry_points=b"[zoo.catalogs]\ntoys = \xff:catalog\n")
    third_party.write(site, "taskescape", entry_points="[zoo.catalogs]\n\x1b[31mred = taskescape:catalog\n")
    third_party.write(site, "nofolder", entry_points="[zoo.catalogs]\ntoys = nofolder:nothing\n")
    # Names of the zoo's own: of a model, of a package, of a file in the cache.
    third_party.write(site, "aaa", model="resnet50")
    third_party.write(site, "impostor", entry_points="[zoo.catalogs]\naaa = zoo_classification:catalog\n")
    return {
        "hugefile": "has more than 1048576 bytes",
        "latin": "not valid TOML",
        "nomodule": "module nomodule.nets does not exist",
        "pipe": "not a regular file",
        "folder": "not a regular file",
        "hugelabels": "more than 1048576 bytes",
        "malformed": "entry_points.txt is malformed",
        "binarypoints": "entry_points.txt is malformed",
        "taskescape": "the name of a task must be made of letters",
        "nofolder": "names no folder that can be found",
        "aaa": "'resnet50', whose name belongs to zoo-classification",
        "impostor": "zoo_classification, which belongs to zoo-classification",
    }


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    toy_package.write(folder)
    return folder


def run(site: Path, *words: str, module: str = "zoo_core.cli") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)]),
        "TORCH_HOME": str(site / "home"),
        "ZOO_OFFLINE": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", module, *words], env=environment, capture_output=True, text=True, timeout=120
    )


def assert_warned(stderr: str, expected: dict[str, str]) -> None:
    """One line for each package, which names it and says what is wrong."""
    assert stderr.replace("\n", "").isprintable(), "nothing steers the terminal"
    lines = [line for line in stderr.splitlines() if line.startswith("warning: ")]
    by_package = {}
    for line in lines:
        found = re.match(r"warning: the package ([\w-]+): ", line)
        assert found, line
        assert found[1] not in by_package, f"{found[1]} is named twice"
        by_package[found[1]] = line
        assert len(line) < 1500
    assert by_package.keys() == expected.keys()
    for package, message in expected.items():
        assert message in by_package[package]
        assert package in by_package[package].partition(": ")[2].partition(": ")[2], "the place is named"


def test_commands_among_bad_packages(site, tmp_path):
    expected = write_bad_catalogs(site) | write_other_bad_packages(site)
    (site / "toyzoo" / "samples").mkdir()
    image = site / "toyzoo" / "samples" / "night.png"
    Image.new("RGB", (8, 8)).save(image)
    for words in (
        ["list", "--json"],
        ["info", "brightnet"],
        ["cache"],
        ["verify"],
        ["predict", "brightnet", str(image), "--json"],
        ["demo", "--task", "toys", "--output", str(tmp_path / "out")],
    ):
        done = run(site, *words)
        assert done.returncode == 0, done.stderr
        assert_warned(done.stderr, expected)
        assert "Traceback" not in done.stderr
        if words[0] == "list":
            models = {model["name"]: model["package"] for model in json.loads(done.stdout)}
            assert models["brightnet"] == "toyzoo"
            assert models.keys() & expected.keys() == {"pipe", "folder"}, "their other file is good"
            assert models.get("resnet50") in (None, "zoo_classification")


def test_python_among_bad_packages(site):
    """The same from Python: a warning for each package, and all else works."""
    expected = write_bad_catalogs(site) | write_other_bad_packages(site)
    with toy_package.installed(site):
        with pytest.warns(catalog.CatalogWarning) as caught:
            assert "brightnet" in registry.list_models()
        assert len(caught) == len(expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error", catalog.CatalogWarning)
            model = registry.get_model("brightnet", weights="DEFAULT")
            assert model.fc.weight.tolist() == [[-10], [10]]
            assert registry.get_weight("BrightNet_Weights.HAND_V1").meta["num_params"] == 8
            with pytest.raises(catalog.UnknownModelError, match="unknown model 'negative'"):
                registry.get_model("negative")


def test_broken_metadata_of_a_distribution(site):
    third_party.write(site, "blank", metadata="")
    third_party.write(site, "garbage", metadata=b"\xff\xfe\x00Name\x00")
    third_party.write(site, "absent").parents[2].joinpath("absent-1.0.dist-info", "METADATA").unlink()
    listed = run(site, "list", "blank", "garbage", "absent")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == ["absent", "blank", "garbage"]
    versions = run(site, "--version")
    assert (versions.returncode, versions.stderr) == (0, "")
    assert "toyzoo 1.2" in versions.stdout.splitlines()


@pytest.mark.parametrize("content", ["[other.group]\nno equals sign\n", b"[other.group]\n\xff = \xff:x\n"])
def test_other_programs_may_be_broken_in_silence(site, content):
    third_party.write(site, "stranger", entry_points=content)
    listed = run(site, "list", "brightnet")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "brightnet" in listed.stdout


def test_the_first_distribution_of_a_name_counts_where_another_is_malformed(site, tmp_path):
    """As importlib.metadata has it; an old version may lie further back on the path."""
    third_party.write(site, "twice")
    third_party.write(site, "malformed", entry_points="[zoo.catalogs]\nno equals sign\n")
    older = tmp_path / "older"
    third_party.write(older, "old", distribution="twice")
    with toy_package.installed(older), toy_package.installed(site):
        with pytest.warns(catalog.CatalogWarning, match="malformed"):
            found = catalog.models()
        assert {"twice", "brightnet"} <= set(found)
        assert "old" not in found


def test_builders_that_are_not_there(site):
    """What can only be known by importing a package is said when it is imported."""
    third_party.write(site, "hollow", replace=("Net_Weights", "Hollow_Weights"))
    needy = third_party.write(site, "needy").parents[1] / "nets.py"
    needy.write_text("import surely_not_installed_anywhere")
    with toy_package.installed(site):
        assert {"hollow", "needy"} <= set(registry.list_models())
        message = "the package hollow has the model hollow in its catalogue, but the module hollow.nets has no hollow"
        with pytest.raises(catalog.CatalogError, match=message):
            registry.get_model("hollow")
        with pytest.raises(catalog.CatalogError, match="has no Hollow_Weights; reinstall or update"):
            registry.get_weight("Hollow_Weights.V1")
        with pytest.raises(ModuleNotFoundError, match="surely_not_installed_anywhere"):
            registry.get_model("needy")
        (site / "hollow" / "nets.py").unlink()
        del sys.modules["hollow.nets"]
        importlib.invalidate_caches()
        with pytest.raises(catalog.CatalogError, match=r"but there is no module hollow\.nets; reinstall"):
            registry.get_model("hollow")


# Names that belong to the zoo


@pytest.fixture
def ours(tmp_path):
    """A catalogue of the package zoo_classification, wherever the test runs."""
    folder = tmp_path / "ours"
    folder.mkdir()
    text = third_party.CATALOG.format(package="zoo_classification", model="resnet18")
    (folder / "nets.toml").write_text(text.replace("Net_Weights", "ResNet18_Weights"))
    before = list(catalog._added_sources)
    catalog.add_source("classification", "zoo_classification", folder)
    yield catalog.Source("classification", "zoo_classification", folder)
    catalog._added_sources[:] = before
    catalog.clear_cache()


@pytest.mark.parametrize("package", ["aaa", "zzz", "zoo_extra", "zoo"])
@pytest.mark.parametrize("task", ["aaa", "classification", "zzz"])
def test_models_and_weights_cannot_be_taken_over(site, ours, package, task):
    third_party.write(
        site, package, model="resnet18", entry_points=f"[zoo.catalogs]\n{task} = {package}:catalog\n"
    ).with_name("other.toml").write_text(
        third_party.CATALOG.format(package=package, model="othernet")
        .replace("Net_Weights", "ResNet18_Weights")
        .replace(".nets:", ".other:")
    )
    (site / package / "other.py").write_text(
        "from enum import auto\nfrom zoo_core.weights import WeightsEnum\n"
        "class ResNet18_Weights(WeightsEnum):\n    V1 = auto()\n"
    )
    with toy_package.installed(site):
        with pytest.warns(
            catalog.CatalogWarning, match=f"{package}: .*defines the model 'resnet18', whose name belongs"
        ):
            assert catalog.model("resnet18").source == ours
        assert catalog.model("othernet").source.package == package
        with pytest.raises(catalog.CatalogError, match="the package zoo_classification has the model resnet18"):
            registry.get_weight("ResNet18_Weights.V1")  # of ours, whose catalogue is made up here


def test_entry_points_of_the_zoo_come_from_its_own_distributions(site):
    (site / "zoo_segmentation" / "extra").mkdir(parents=True)
    third_party.write(site, "aaa", entry_points="[zoo.tasks]\nsegmentation = zoo_segmentation.extra:Task\n")
    third_party.write(site, "bbb", entry_points="[zoo.tasks]\nsegmentation = bbb.nets:Task\n")
    third_party.write(
        site,
        "zoo_flow_of_mine",
        entry_points="[zoo.tasks]\nsegmentation = zoo_flow.task:Task\n",
        distribution="zoo_flow",
    )
    with toy_package.installed(site), pytest.warns(catalog.CatalogWarning, match="zoo_segmentation, which belongs to"):
        found = catalog.plugins.plugins("zoo.tasks")
    ours_first = [plugin.ours for plugin in found]
    assert ours_first == sorted(ours_first, reverse=True)
    assert "aaa" not in [plugin.distribution for plugin in found]
    assert "bbb" in [plugin.distribution for plugin in found]


def test_files_in_the_cache_keep_their_owner(site, ours):
    theirs = "https://example.invalid/resnet18.pth"
    for package, url, is_fine in (
        ("copycat", "https://evil.invalid/resnet18.pth?x=1", False),
        ("reuser", theirs, True),
        ("shipper", "package:shipper/resnet18.pth", True),
    ):
        third_party.write(site, package, replace=(f"https://example.invalid/{package}.pth", url))
        with toy_package.installed(site), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert (package in catalog.models()) == is_fine
        said = [str(w.message) for w in caught]
        assert [f"the place in the cache that belongs to {theirs}" in text for text in said] == [True] * (not is_fine)
        third_party.remove(site, package)


def test_builders_of_the_zoo_cannot_be_registered_by_others(monkeypatch):
    monkeypatch.setattr(registration, "_registered", dict(registration._registered))
    with pytest.raises(ValueError, match="the name 'vgg16' belongs to a model of zoo-classification; give this one"):

        @registry.register_model(name="vgg16")
        def mine() -> None: ...


def test_demo_among_packages_that_break_when_they_run(site, tmp_path):
    """What only shows when a package is imported."""
    raising = "raise RuntimeError('boom')"
    good = f"{toy_package.ADAPTER}\n\nTask = ToyTask\n"
    for package, module, adapter, declaration in (
        ("amodule", raising, good, toy_package.DECLARATION),
        ("abuilder", "", good, toy_package.DECLARATION),
        ("atask", "", raising, toy_package.DECLARATION),
        ("aclass", "", "Task = 1", toy_package.DECLARATION),
        ("adeclaration", "", "", f"title = {'[' * 50_000}"),
        ("anothing", "", None, None),
    ):
        url = f"https://example.invalid/{package}.pth", f"package:{package}/net.pth"
        entry_points = f"[zoo.catalogs]\n{package} = {package}:catalog\n"
        entry_points += f"[zoo.tasks]\n{package} = {package}.task:Task\n" if adapter is not None else ""
        root = third_party.write(site, package, replace=url, entry_points=entry_points).parents[1]
        (root / "net.pth").touch()
        (root / "nets.py").write_text(module)
        (root / "samples").mkdir()
        Image.new("RGB", (8, 8)).save(root / "samples" / "night.png")
        if adapter is not None and declaration is not None:
            (root / "task.py").write_text(adapter)
            (root / "task.toml").write_text(declaration)
    (site / "toyzoo" / "samples").mkdir()
    image = site / "toyzoo" / "samples" / "night.png"
    Image.new("RGB", (8, 8)).save(image)
    done = run(site, "demo", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "toys" / "brightnet").is_dir()
    assert "Traceback" not in done.stderr
    for package, message in (
        ("amodule", "RuntimeError: boom"),
        ("abuilder", "the module abuilder.nets has no "),
        ("atask", "RuntimeError: boom"),
        ("aclass", "Task"),
        ("adeclaration", "no installed package can show results of the task"),
        ("anothing", "no installed package can show results of the task"),
    ):
        lines = [line for line in done.stderr.splitlines() if f"{package} is left out: " in line]
        assert len(lines) == 1, done.stderr
        assert message in lines[0]
