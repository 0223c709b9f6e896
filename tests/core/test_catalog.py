"""The catalogue: the schema and its errors, sources, patterns, and what is said about names that are not there."""

import dataclasses
import inspect
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

from support import reference, toy_package
from zoo_core import catalog, preset_arguments, presets

GOOD = """
[net]
builder = "pack.family:net"
weights = "Net_Weights"
default = "B"

[net.checkpoints.A]
url = "https://example.org/net-0123abcd.pth"
sha256_prefix = "0123abcd"
transforms = { preset = "ImageClassification", crop_size = 224 }
categories = ["cat", "dog"]

[net.checkpoints.B]
url = "package:pack/net.pth"
transforms = { preset = "ImageClassification", crop_size = [224, 192], mean = [0.5, 0.5, 0.5] }
min_size = [32, 64]
metrics = { "Data" = { "acc@1" = 80, "acc@5" = 95.5 } }
"""


def read(tmp_path: Path, text: str) -> "dict[str, catalog.Model]":
    path = tmp_path / "pack" / "catalog" / "family.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    catalog.clear_cache()
    return dict(catalog.read_file(path, catalog.Source("toys", "pack", path.parent)))


@pytest.fixture(autouse=True)
def _fresh_cache():
    yield
    catalog.clear_cache()


def test_reads_what_is_in_the_file(tmp_path):
    model = read(tmp_path, GOOD)["net"]
    assert (model.name, model.task, model.module, model.function) == ("net", "toys", "pack.family", "net")
    assert (model.weights, model.default, model.pretrained) == ("Net_Weights", "B", "A")  # pretrained: the oldest
    assert list(model.checkpoints) == ["A", "B"]
    a, b = model.checkpoints.values()
    assert (a.sha256_prefix, a.categories, a.embedded) == ("0123abcd", ("cat", "dog"), False)
    assert a.preset_arguments == {"crop_size": 224}
    assert b.preset_arguments == {"crop_size": (224, 192), "mean": (0.5, 0.5, 0.5)}
    assert (b.sha256_prefix, b.categories, b.min_size, b.embedded) == (None, None, (32, 64), True)
    assert b.metrics == {"Data": {"acc@1": 80, "acc@5": 95.5}}
    for name in ("B", "DEFAULT", "Net_Weights.B", "Net_Weights.DEFAULT"):
        assert model.checkpoint(name) is b
    with pytest.raises(catalog.UnknownModelError, match=r"net has no weights 'C'; there are A, B, DEFAULT"):
        model.checkpoint("C")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('default = "B"', 'default = "B"\ndefualt = "B"', r"\[net\]: unknown key 'defualt'; did you mean 'default'\?"),
        ('weights = "Net_Weights"', "", r"\[net\]: the key 'weights' is missing"),
        ('weights = "Net_Weights"', "weights = 3", r"\[net\]: weights = 3 must be str"),
        ('default = "B"', 'default = "C"', r"default = 'C' is none of its checkpoints A, B"),
        ('default = "B"', 'default = "B"\npretrained = "C"', r"pretrained = 'C' is none of its checkpoints A, B"),
        ('"pack.family:net"', '"pack.family.net"', r'is not of the form "package\.module:function"'),
        ('"pack.family:net"', '"pack.family:not a name"', r"is not of the form"),
        ('"pack.family:net"', '"pack.other:net"', r"models of pack\.other belong in other\.toml"),
        ('url = "package:pack/net.pth"', "", r"\[net\.checkpoints\.B\]: the key 'url' is missing"),
        ('"package:pack/net.pth"', '"ftp://x/net.pth"', r"must begin with one of https:, http:, file:, package:"),
        ('"package:pack/net.pth"', "7", r"url = 7 must be str"),
        ('sha256_prefix = "0123abcd"', 'sha256_prefix = "0123ABCD"', r"must be 6 to 64 lower-case hex digits"),
        ('sha256_prefix = "0123abcd"', 'sha256_prefix = "012"', r"must be 6 to 64 lower-case hex digits"),
        ("crop_size = 224 }", "crop_sise = 224 }", r"transforms: unknown key 'crop_sise'; did you mean 'crop_size'\?"),
        ("crop_size = 224 }", "resize_size = 9 }", r"transforms: the key 'crop_size' is missing"),
        ("crop_size = 224 }", "crop_size = 2.5 }", r"crop_size = 2\.5 must be int or list"),
        ("crop_size = 224 }", "crop_size = true }", r"crop_size = True must be int or list"),
        ('"ImageClassification", crop_size = 224', '"Imagery"', r"'Imagery' must be one of ImageClassification,"),
        ('{ preset = "ImageClassification", crop_size = 224 }', '"none"', r"transforms = 'none' must be dict"),
        ("min_size = [32, 64]", "min_size = [32]", r"min_size = \[32\] must be \[height, width\]"),
        ("min_size = [32, 64]", "min_size = [0, 64]", r"must be \[height, width\]"),
        ('"acc@1" = 80', '"acc@1" = "80"', r"metrics\.Data must be a table of numbers"),
        ('{ "Data" = { "acc@1" = 80, "acc@5" = 95.5 } }', '{ "acc@1" = 80 }', r"metrics\.acc@1 must be a table"),
        ('["cat", "dog"]', '["cat", 3]', r"categories must be a list of strings"),
        ('["cat", "dog"]', "[]", r"categories must be a list of strings"),
        (
            '["cat", "dog"]',
            '"no_such_set"',
            r"'no_such_set' is no label set: .*no_such_set\.txt nor .*no_such_set\.txt",
        ),
        ("min_size = [32, 64]", "num_params = true", r"num_params = True must be int"),
        ("min_size = [32, 64]", "trained_on = []", r"trained_on = \[\] must be a list of names"),
        ("min_size = [32, 64]", 'trained_on = "Data"', r"trained_on = 'Data' must be a list of names"),
        ("[net.checkpoints.B]", "[net.checkpoints.B", r"not valid TOML"),
    ],
)
def test_schema_errors_name_file_table_and_key(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(catalog.CatalogError, match=message) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert str(tmp_path / "pack" / "catalog" / "family.toml") in str(caught.value)


def test_a_model_without_checkpoints_or_that_is_no_table(tmp_path):
    with pytest.raises(catalog.CatalogError, match=r"\[net\]: has no checkpoints; add a table"):
        read(tmp_path, '[net]\nbuilder = "pack.family:net"\nweights = "W"\ndefault = "A"\ncheckpoints = {}')
    with pytest.raises(catalog.CatalogError, match=r"\[net\] must be a table, not 3"):
        read(tmp_path, "net = 3")


def test_what_a_paper_says(tmp_path):
    """Beside the checkpoints, as no figures of theirs."""
    table = """
[net.paper]
url = "https://example.org/paper"
num_params = 3_760_000
ops = 0.6
metrics = { "Data" = { "acc@1" = 68.6 } }
docs = "Table 2."
"""
    assert read(tmp_path, GOOD)["net"].paper is None
    paper = read(tmp_path, GOOD + table)["net"].paper
    assert paper is not None
    assert paper.as_dict() == {
        "url": "https://example.org/paper",
        "metrics": {"Data": {"acc@1": 68.6}},
        "num_params": 3_760_000,
        "gflops": 0.6,
        "docs": "Table 2.",
    }
    assert paper.described() == {
        "Data": "acc@1 68.6",
        "parameters": "3.76 million",
        "GFLOPs": "0.6",
        "notes": "Table 2.",
        "url": "https://example.org/paper",
    }
    assert read(tmp_path, GOOD + '[net.paper]\nurl = "u"')["net"].paper.described() == {"url": "u"}
    for old, new, message in (
        ("num_params = 3_760_000", "num_params = 3.76", r"\[net\.paper\]: num_params = 3\.76 must be int"),
        ("ops = 0.6", "op = 0.6", r"\[net\.paper\]: unknown key 'op'; did you mean 'ops'\?"),
        ('url = "https://example.org/paper"', "", r"\[net\.paper\]: the key 'url' is missing"),
    ):
        with pytest.raises(catalog.CatalogError, match=message):
            read(tmp_path, GOOD + table.replace(old, new))


def test_files_that_cannot_be_read(tmp_path):
    source = catalog.Source("toys", "pack", tmp_path)
    with pytest.raises(catalog.CatalogError, match="cannot be read: No such file"):
        catalog.read_file(tmp_path / "absent.toml", source)
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(catalog.CatalogError, match="not valid TOML"):
        catalog.read_file(tmp_path / "latin.toml", source)


def test_label_sets(tmp_path):
    text = GOOD.replace('["cat", "dog"]', '"animals"')
    labels = tmp_path / "pack" / "catalog" / "labels" / "animals.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("cat\n__background__\nN/A\n\nélan, moose\n", encoding="utf-8")
    assert read(tmp_path, text)["net"].checkpoint("A").categories == ("cat", "__background__", "N/A", "", "élan, moose")
    labels.write_bytes(b"caf\xe9\n")
    with pytest.raises(catalog.CatalogError, match=r"animals\.txt cannot be read as UTF-8"):
        read(tmp_path, text)
    # Without a set of its own, the package gets zoo-core's.
    imagenet = read(tmp_path, GOOD.replace('["cat", "dog"]', '"imagenet1k"'))["net"].checkpoint("A").categories
    assert len(imagenet) == 1000
    assert (imagenet[0], imagenet[999]) == ("tench", "toilet tissue")


def test_the_schema_of_presets_is_that_of_their_classes():
    for name, arguments in catalog.PRESETS.items():
        parameters = inspect.signature(getattr(presets, name)).parameters
        assert arguments.keys() <= parameters.keys(), name
        required = {p.name for p in parameters.values() if p.default is p.empty and p.kind is p.KEYWORD_ONLY}
        assert required == preset_arguments.REQUIRED[name], name
    names = set(presets.__all__) - {"InterpolationMode"}
    assert preset_arguments.PRESETS.keys() == names
    assert preset_arguments.REQUIRED.keys() == names
    assert tuple(member.value for member in presets.InterpolationMode) == preset_arguments.INTERPOLATIONS


def test_match():
    names = ["resnet18", "resnet50", "wide_resnet50_2", "vgg16", "VGG16"]
    assert catalog.match(names, None, None) == ["VGG16", "resnet18", "resnet50", "vgg16", "wide_resnet50_2"]
    assert catalog.match(names, "resnet*", None) == ["resnet18", "resnet50"]
    assert catalog.match(names, ["*50*", "vgg??"], None) == ["resnet50", "vgg16", "wide_resnet50_2"]
    assert catalog.match(names, "*resnet*", ["wide*", "*18"]) == ["resnet50"]
    assert catalog.match(names, [], None) == []
    assert catalog.match(iter(names), "resnet[!1]*", ()) == ["resnet50"]


def test_published_models_have_all_of_the_reference():
    published = catalog.published_models()
    assert len(reference.catalog()) == 121
    for name, entry in reference.catalog().items():
        assert [package for package, names in published.items() if name in names] == [f"zoo-{entry['task']}"]


def test_a_model_of_another_package_is_none_of_torchvisions(tmp_path):
    assert not read(tmp_path, GOOD)["net"].torchvision
    assert not read(tmp_path, GOOD.replace("[net]\n", "[net]\ntorchvision = true\n"))["net"].torchvision
    with pytest.raises(catalog.CatalogError, match="torchvision = 'no' must be bool"):
        read(tmp_path, GOOD.replace("[net]\n", '[net]\ntorchvision = "no"\n'))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "maskrcnn_resnet50_fpn",
            r"^maskrcnn_resnet50_fpn is in a package that is not installed: pip install zoo-detection$",
        ),
        ("raft_smal", r"unknown model 'raft_smal'; did you mean raft_small"),
        ("brihgtnet", r"did you mean brightnet"),
        ("b4", r"did you mean efficientnet_b4\?"),  # no near spelling, but part of a name
        ("", r"unknown model ''; `zoo list` shows the models there are"),
        ("xyzzy", r"unknown model 'xyzzy'; `zoo list` shows"),
    ],
)
def test_unknown_names(name, message):
    error = catalog.unknown_model(name, ["brightnet"])
    assert isinstance(error, ValueError)
    with pytest.raises(catalog.UnknownModelError, match=message):
        raise error


def test_a_package_joins_by_entry_point(tmp_path):
    toys = toy_package.write(tmp_path)
    with toy_package.installed(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("error", catalog.CatalogWarning)
        model = catalog.model("brightnet")
        assert model.task == "toys"
        assert model.source == catalog.Source("toys", "toyzoo", toys.root / "catalog")
        assert "toyzoo" not in sys.modules, "reading a catalogue imports no package"
        assert list(catalog.models()) == sorted(catalog.models())
    assert "brightnet" not in catalog.models()


def test_a_broken_file_leaves_out_only_its_own_models(tmp_path):
    toys = toy_package.write(tmp_path)
    (toys.root / "catalog" / "broken.toml").write_text('[other]\nbuilder = "toyzoo.broken:other"')
    with toy_package.installed(tmp_path):
        with pytest.warns(catalog.CatalogWarning, match=r"broken\.toml: \[other\]: .* are left out"):
            assert "brightnet" in catalog.models()
        assert "other" not in catalog.models()


@pytest.mark.parametrize(
    "entry_point",
    [
        "toyzoo",
        "toyzoo:nothing",
        "toyzoo:",
        "toyzoo:..",
        "toyzoo:/",
        "toyzoo:../elsewhere",
        "no_such_package:catalog",
        "not a name!",
        ":catalog",
        "tomllib_x.y:c",
    ],
)
def test_a_broken_entry_point_leaves_out_only_its_own_models(tmp_path, entry_point):
    toy_package.write(tmp_path)
    (tmp_path / "toyzoo-1.2.dist-info" / "entry_points.txt").write_text(
        f"[zoo.catalogs]\ntoys = toyzoo:catalog\nother = {entry_point}\n"
    )
    left_out = pytest.warns(catalog.CatalogWarning, match=r"names no folder that can be found .* left out")
    with toy_package.installed(tmp_path), left_out:
        assert "brightnet" in catalog.models()


def test_two_packages_with_a_model_of_one_name(tmp_path):
    toy_package.write(tmp_path)
    rival = tmp_path / "rival"
    rival.mkdir()
    (rival / "brightnet.toml").write_text(GOOD.replace("[net", "[brightnet").replace("pack.family", "rival.brightnet"))
    with toy_package.installed(tmp_path):
        catalog.add_source("zzz", "rival", rival)
        catalog.add_source("zzz", "rival", rival)
        try:
            assert [source.task for source in catalog.sources()].count("zzz") == 1
            with pytest.warns(catalog.CatalogWarning, match=r"defines the model 'brightnet', which toyzoo has already"):
                assert catalog.model("brightnet").source.package == "toyzoo"
        finally:
            catalog._added_sources.clear()


def test_weights_of_an_enum(tmp_path):
    read(tmp_path, GOOD)
    path = catalog.file_of_module(tmp_path / "pack" / "family.py")
    assert path == tmp_path / "pack" / "catalog" / "family.toml"
    assert catalog.weights_in_file(path, "Net_Weights").name == "net"
    with pytest.raises(catalog.CatalogError, match='no model has weights = "Other_Weights"; add its table'):
        catalog.weights_in_file(path, "Other_Weights")


def test_no_torch(tmp_path):
    """Neither reading the catalogue nor anything that it needs imports torch."""
    toy_package.write(tmp_path)
    code = """
        import sys
        import zoo_core
        from zoo_core import catalog
        assert "brightnet" in catalog.models() and catalog.published_models()
        try:
            catalog.model("brightne")
        except catalog.UnknownModelError:
            pass
        print([name for name in ("torch", "PIL", "requests", "toyzoo") if name in sys.modules])
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_a_model_is_one_object(tmp_path):
    """Whoever asks, by whatever path: the file is read once, and for the source that it has."""
    toys = toy_package.write(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with toy_package.installed(tmp_path / "real"):
        model = catalog.models()["brightnet"]
        path = catalog.file_of_module(toys.root / "brightnet.py")
        for same in (path, tmp_path / "link" / "toyzoo" / "catalog" / "brightnet.toml"):
            assert catalog.weights_in_file(same, "BrightNet_Weights") is model
        assert catalog.read_file(path, model.source)["brightnet"] is model
        catalog.clear_cache()
        # The other way round.
        first = catalog.weights_in_file(path, "BrightNet_Weights")
        assert first is not model
        assert catalog.models()["brightnet"] is first


def test_clearing_forgets_labels(tmp_path):
    text = GOOD.replace('["cat", "dog"]', '"animals"')
    labels = tmp_path / "pack" / "catalog" / "labels" / "animals.txt"
    labels.parent.mkdir(parents=True)
    for names in ("cat\ndog\n", "eel\nfox\n"):
        labels.write_text(names)
        assert read(tmp_path, text)["net"].checkpoint("A").categories == tuple(names.split())


def test_the_fields_of_a_checkpoint_drive_all_that_is_said_of_it(tmp_path):
    text = GOOD.replace(
        "min_size = [32, 64]",
        "min_size = [32, 64]\nmin_temporal_size = 8\nclip_length = 16\nclips_per_video = 5\n"
        'frame_rate = 7.5\nops = 1.5\nfile_size = 2.25\ntrained_on = ["Data"]\n'
        'num_params = 1234567\nrecipe = "by hand"\nlicense = "MIT"\nbackend = "fbgemm"\nunquantized = "Net_Weights.A"\n'
        'samples = "package:pack/samples"\nextra = "big"\nnames = "elsewhere"\nknows = "six letters"\n'
        'docs = """Two\n  lines."""\nkeypoint_names = ["nose"]\ncategories = ["a", "b", "c", "d", "e", "f"]',
    )
    checkpoint = read(tmp_path, text)["net"].checkpoint("B")
    assert all(
        getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint) if field.name != "sha256_prefix"
    )
    assert checkpoint.meta() == {
        "categories": ["a", "b", "c", "d", "e", "f"],
        "keypoint_names": ["nose"],
        "num_params": 1234567,
        "min_size": (32, 64),
        "min_temporal_size": 8,
        "clip_length": 16,
        "clips_per_video": 5,
        "frame_rate": 7.5,
        "recipe": "by hand",
        "license": "MIT",
        "backend": "fbgemm",
        "unquantized": "Net_Weights.A",
        "_metrics": {"Data": {"acc@1": 80, "acc@5": 95.5}},
        "_ops": 1.5,
        "_file_size": 2.25,
        "_docs": "Two\n  lines.",
    }
    checkpoint.meta()["categories"].clear()
    checkpoint.meta()["_metrics"]["Data"].clear()
    assert checkpoint.meta()["categories"][0] == "a"
    assert checkpoint.meta()["_metrics"]["Data"]
    brief = checkpoint.as_dict(brief=True)
    assert brief == {
        "name": "B",
        "metrics": {"Data": {"acc@1": 80, "acc@5": 95.5}},
        "knows": "six letters",
        "num_params": 1234567,
        "gflops": 1.5,
        "file_size_mb": 2.25,
        "url": "package:pack/net.pth",
        "sha256_prefix": None,
    }
    whole = checkpoint.as_dict()
    assert brief.items() <= whole.items()
    assert whole["preprocessing"] == {"preset": "ImageClassification", "crop_size": (224, 192), "mean": (0.5, 0.5, 0.5)}
    assert len(whole) == len(dataclasses.fields(checkpoint))
    assert checkpoint.described() == {
        "Data": "acc@1 80, acc@5 95.5",
        "knows": "six letters",
        "parameters": "1,234,567",
        "GFLOPs": "1.5",
        "smallest input": "32x64 (height x width)",
        "fewest frames": "8",
        "frames of a clip": "16",
        "clips per video": "5",
        "frames per second": "7.5",
        "preprocessing": "ImageClassification(crop_size=(224, 192), mean=(0.5, 0.5, 0.5))",
        "labels": "6: a, b, c, d, e, ...",
        "keypoints": "1: nose",
        "file": "2.25 MiB",
        "url": "package:pack/net.pth",
        "recipe": "by hand",
        "backend": "fbgemm",
        "unquantized": "Net_Weights.A",
        "notes": "Two lines.",
    }


ENUMS = {"One_Weights": ["V1", "V2", "DEFAULT"], "Two_Weights": ["V2", "v2", "B", "DEFAULT"]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("V1", [("One_Weights", "V1")]),
        ("v1", [("One_Weights", "V1")]),
        ("One_Weights.v1", [("One_Weights", "V1")]),
        ("one_weights.V1", [("One_Weights", "V1")]),
        ("ONE_WEIGHTS.default", [("One_Weights", "DEFAULT")]),
        ("V2", [("One_Weights", "V2"), ("Two_Weights", "V2")]),
        ("Two_Weights.V2", [("Two_Weights", "V2")]),
        ("Two_Weights.v2", [("Two_Weights", "v2")]),
        ("v2", [("Two_Weights", "v2")]),
        ("b", [("Two_Weights", "B")]),
        ("default", [("One_Weights", "DEFAULT"), ("Two_Weights", "DEFAULT")]),
        ("V3", []),
        ("Three_Weights.V1", []),
        ("One_Weights.", []),
        (".V1", []),
        ("One_Weights.V1.x", []),
        ("", []),
    ],
)
def test_names_of_weights(name, expected):
    assert catalog.members_named(name, ENUMS) == expected


def test_ambiguous_letter_case():
    assert catalog.members_named("ab", {"W": ["AB", "aB"]}) == [("W", "AB"), ("W", "aB")]
    assert catalog.members_named("w.x", {"W": ["X"], "w": ["X"]}) == [("w", "X")]


def test_letter_case_of_checkpoints(tmp_path):
    model = read(tmp_path, GOOD)["net"]
    for name in ("b", "default", "net_weights.B", "NET_WEIGHTS.default"):
        assert model.checkpoint(name).name == "B"
