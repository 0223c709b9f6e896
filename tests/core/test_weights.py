"""Weights and their enums: values from a catalogue or from code, names, copies."""

import copy
import functools
import pickle
import subprocess
import sys
from enum import auto
from pathlib import Path

import pytest
import torch

from support import toy_package
from zoo_core import catalog, presets
from zoo_core.weights import Weights, WeightsEnum

TRANSFORMS = functools.partial(presets.ImageClassification, crop_size=224)


class Written_Weights(WeightsEnum):
    """An enum as torchvision's users write it."""

    V1 = Weights(
        url="https://example.org/written-0123abcd.pth",
        transforms=TRANSFORMS,
        meta={"categories": ["cat", "dog"], "num_params": 3},
    )
    V2 = Weights(url="https://example.org/written.pth", transforms=TRANSFORMS, meta={})
    DEFAULT = V2


class Lost_Weights(WeightsEnum):
    """Has no catalogue file beside it."""

    V1 = auto()


@pytest.fixture
def toyzoo(tmp_path):
    toy_package.write(tmp_path)
    with toy_package.installed(tmp_path):
        from toyzoo import brightnet

        yield brightnet


def test_members_written_in_code():
    member = Written_Weights.V1
    assert isinstance(member.value, Weights)
    assert member.url == member.value.url == "https://example.org/written-0123abcd.pth"
    assert member.meta["categories"] == ["cat", "dog"]
    assert member.transforms is TRANSFORMS
    assert isinstance(member.transforms(), presets.ImageClassification)
    assert member.sha256_prefix == "0123abcd"
    assert Written_Weights.V2.sha256_prefix is None
    assert [m.name for m in Written_Weights] == ["V1", "V2"]
    assert Written_Weights.DEFAULT is Written_Weights.V2
    assert Written_Weights["DEFAULT"] is Written_Weights.V2
    assert list(Written_Weights.__members__) == ["V1", "V2", "DEFAULT"]


def test_names_and_text():
    assert str(Written_Weights.V1) == repr(Written_Weights.V1) == f"{Written_Weights.V1}" == "Written_Weights.V1"
    assert Written_Weights.DEFAULT.name == "V2"


def test_values_from_the_catalogue(toyzoo):
    enum = toyzoo.BrightNet_Weights
    member = enum.HAND_V1
    assert enum.DEFAULT is member
    assert [m.name for m in enum] == ["HAND_V1", "FILE_V1", "REMOTE_V1"]
    assert isinstance(member.value, Weights)
    assert member.url.startswith("package:toyzoo/checkpoints/brightnet-")
    assert member.sha256_prefix == catalog.model("brightnet").checkpoint("HAND_V1").sha256_prefix
    assert member.meta == {
        "categories": ["dark", "bright"],
        "num_params": 8,
        "min_size": (1, 1),
        "recipe": "set by hand",
        "_metrics": {"Toys": {"acc@1": 87.5, "acc@5": 100.0}},
        "_ops": 0.25,
        "_file_size": 0.5,
    }
    preprocess = member.transforms()
    assert isinstance(preprocess, presets.ImageClassification)
    assert preprocess(torch.full((3, 20, 30), 255, dtype=torch.uint8)).shape == (3, 8, 8)
    assert member.transforms(crop_size=4)(torch.zeros(3, 20, 30)).shape == (3, 4, 4)


def test_a_catalogue_file_without_the_member(tmp_path):
    toys = toy_package.write(tmp_path)
    module = toys.root / "brightnet.py"
    module.write_text(module.read_text().replace("    DEFAULT =", "    EXTRA_V1 = auto()\n    DEFAULT ="))
    with toy_package.installed(tmp_path):
        from toyzoo.brightnet import BrightNet_Weights

        with pytest.raises(
            catalog.CatalogError, match=r"has no checkpoint EXTRA_V1 for BrightNet_Weights; add its table"
        ):
            _ = BrightNet_Weights.EXTRA_V1.url


def test_no_catalogue_file():
    with pytest.raises(catalog.CatalogError, match=r"catalog.test_weights\.toml: cannot be read"):
        _ = Lost_Weights.V1.meta


@pytest.mark.parametrize("member", [Written_Weights.V1, Written_Weights.V2, Lost_Weights.V1], ids=str)
def test_copies_of_a_member_are_the_member(member):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(member, protocol)) is member
    assert copy.deepcopy(member) is member
    assert copy.copy(member) is member
    assert copy.deepcopy({"weights": [member]}) == {"weights": [member]}
    assert hash(member) == hash(copy.deepcopy(member))


def test_copies_of_a_catalogue_member(toyzoo):
    member = toyzoo.BrightNet_Weights.FILE_V1
    assert pickle.loads(pickle.dumps(member)) is member
    assert copy.deepcopy(member) is member


def test_copies_of_weights_are_equal():
    weights = Written_Weights.V1.value
    for other in (copy.deepcopy(weights), pickle.loads(pickle.dumps(weights))):
        assert other is not weights
        assert other == weights
    other.meta["num_params"] = 4
    assert other != weights
    assert weights != Weights(weights.url, functools.partial(presets.ImageClassification, crop_size=225), weights.meta)
    assert weights != "https://example.org/written-0123abcd.pth"
    with pytest.raises(TypeError, match="unhashable"):
        hash(weights)


def test_verify():
    member = Written_Weights.V1
    for obj in (member, "V1", "Written_Weights.V1", "v1", "written_weights.v1"):
        assert Written_Weights.verify(obj) is member
    assert Written_Weights.verify("DEFAULT") is Written_Weights.verify("Written_Weights.DEFAULT") is Written_Weights.V2
    assert Written_Weights.verify(None) is None
    with pytest.raises(ValueError, match=r"Written_Weights has no member 'V3'; there are V1, V2, DEFAULT"):
        Written_Weights.verify("V3")
    with pytest.raises(ValueError, match=r"has no member 'Lost_Weights\.V1'"):
        Written_Weights.verify("Lost_Weights.V1")
    with pytest.raises(KeyError) as caught:  # as torchvision
        Written_Weights.verify("V3")
    assert str(caught.value) == "Written_Weights has no member 'V3'; there are V1, V2, DEFAULT"
    for wrong in (Lost_Weights.V1, 3, member.value, ["V1"]):
        with pytest.raises(TypeError, match=r"must be a member of Written_Weights, its name or None, not .* of type"):
            Written_Weights.verify(wrong)


def test_get_state_dict(toyzoo, tmp_path):
    for member in (toyzoo.BrightNet_Weights.HAND_V1, toyzoo.BrightNet_Weights.FILE_V1):
        for weights in (member, member.value):
            state_dict = weights.get_state_dict(progress=False, check_hash=True)
            assert list(state_dict) == ["body.weight", "body.bias", "fc.weight", "fc.bias"]
            assert state_dict["fc.weight"].tolist() == [[-10], [10]]


def test_get_state_dict_takes_the_arguments_of_torchvision(toyzoo, tmp_path, server, cache):
    """Those of torch.hub.load_state_dict_from_url, by position too."""
    content = Path(toyzoo.BrightNet_Weights.FILE_V1.url.removeprefix("file://").replace("%20", " ")).read_bytes()
    weights = Weights(server.add("/toy.pth", content), transforms=lambda: None, meta={})
    loaded = weights.get_state_dict(tmp_path / "mine", "meta", False, True, "other.pth", False)
    assert loaded["fc.weight"].is_meta
    assert (tmp_path / "mine" / "other.pth").read_bytes() == content
    assert weights.get_state_dict(model_dir=str(tmp_path / "mine"), progress=False)["fc.bias"].device.type == "cpu"
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["other.pth", "toy.pth"]
    assert not cache.exists()
    weights.get_state_dict(file_name="renamed.pth", progress=False)
    assert [path.name for path in cache.iterdir()] == ["renamed.pth"]


def test_weights_named_in_meta_are_found_when_they_are_read(tmp_path):
    """To find them means to import their module, which is to cost those nothing who do not ask."""
    toys = toy_package.write(tmp_path)
    file = toys.root / "catalog" / "brightnet.toml"
    file.write_text(file.read_text().replace("num_params = 8", 'unquantized = "other_weights.v1"\nnum_params = 8'))
    (toys.root / "catalog" / "other.toml").write_text(
        """
        [othernet]
        builder = "toyzoo.other:othernet"
        weights = "Other_Weights"
        default = "V1"
        [othernet.checkpoints.V1]
        url = "https://example.invalid/other.pth"
        transforms = { preset = "ObjectDetection" }
        """
    )
    (toys.root / "other.py").write_text(
        "from enum import auto\nfrom zoo_core.weights import WeightsEnum\n"
        "class Other_Weights(WeightsEnum):\n    V1 = auto()\n"
    )
    with toy_package.installed(tmp_path):
        from toyzoo.brightnet import BrightNet_Weights

        meta = BrightNet_Weights.HAND_V1.meta
        assert isinstance(meta, dict)
        assert meta["num_params"] == 8
        assert "unquantized" in meta
        assert "toyzoo.other" not in sys.modules
        from toyzoo.other import Other_Weights

        assert meta["unquantized"] is Other_Weights.V1
        assert pickle.loads(pickle.dumps(BrightNet_Weights.HAND_V1.value)) == BrightNet_Weights.HAND_V1.value


def test_weights_do_not_need_the_registry():
    code = (
        "import sys, zoo_core.weights; print([m for m in sys.modules if m in ('zoo_core.registry', 'zoo_core.legacy')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
