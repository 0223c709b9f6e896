"""The release on an index: each package comes alone, with what it needs, and does its job."""

import json
import sys

import pytest

from support.sharing import once
from tools import distributions
from tools.distributions import ROOT
from tools.release import environments
from tools.release.errors import ReleaseError

from .conftest import copy_files, run

# What installing a package brings of ours.
BROUGHT = {
    "zoo-core": {"zoo-core"},
    "zoo-classification": {"zoo-core", "zoo-classification"},
    "zoo-quantized": {"zoo-core", "zoo-classification", "zoo-quantized"},
    "zoo-segmentation": {"zoo-core", "zoo-classification", "zoo-segmentation"},
    "zoo-detection": {"zoo-core", "zoo-classification", "zoo-detection"},
    "zoo-video": {"zoo-core", "zoo-video"},
    "zoo-flow": {"zoo-core", "zoo-flow"},
}
DIRECT = {"pillow", "requests", "filelock", "click", "rich"}


@pytest.fixture(scope="session")
def fresh(shared_directory):
    """Environments with torch, for all test processes."""
    directory = once(shared_directory, "environments", lambda path: environments.Environments(path).prepare())
    return environments.Environments(directory)


@pytest.fixture(scope="module")
def index(serve, released, third_party):
    """An index that has the release, uploaded by the command, and everything that it needs from others but torch."""
    index = serve(third_party)
    credentials = {"TWINE_USERNAME": "anyone", "TWINE_PASSWORD": "anything"}
    command = [sys.executable, "-m", "tools.release.publish", "--index", index.url]
    printed = run(*command, cwd=released.root, **credentials)
    assert printed.endswith(f"{2 * len(BROUGHT)} files uploaded to {index.url}\n")
    # What is there already is left out, for one package and for all.
    for names in (["zoo-detection"], []):
        assert run(*command, *names, cwd=released.root, **credentials).endswith(f"0 files uploaded to {index.url}\n")
    return index


@pytest.fixture(autouse=True)
def only_this_index(monkeypatch):
    """pip as a newcomer has it: no settings, and no index but the one that the test names."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def install(environment, index, *requirements):
    environments.install(environment, requirements, "--index-url", index.simple)


def test_the_table_is_complete():
    assert list(BROUGHT) == list(distributions.find(ROOT)) or BROUGHT.keys() == distributions.find(ROOT).keys()


@pytest.mark.parametrize("name", BROUGHT)
def test_a_package_alone(name, index, released, fresh, third_party, tmp_path):
    environment = fresh.fresh(name)
    before = environment.installed()
    assert "torch" in before
    assert not any(installed.startswith("zoo") for installed in before)
    install(environment, index, name)
    after = environment.installed()
    ours = {installed for installed in after if installed.startswith("zoo-")}
    assert ours == BROUGHT[name]
    assert {after[installed] for installed in ours} == {released.version}
    brought = after.keys() - before.keys() - ours
    direct = DIRECT | ({"av"} if name in ("zoo-video", "zoo-flow") else set())
    assert direct <= after.keys()  # torch has some of them already
    assert ("av" in brought) == (name in ("zoo-video", "zoo-flow"))
    assert not {"torchvision", "numpy", "pytest"} & after.keys()

    environments.smoke_test(environment, distributions.find(ROOT)[name].package, tmp_path / "work")
    check_what_it_says_of_the_others(environment, ours)


def check_what_it_says_of_the_others(environment, ours):
    """`zoo` lists what is installed, and says which package has the rest."""
    zoo = environment.scripts / "zoo"
    absent = BROUGHT.keys() - ours
    tasks = {name.removeprefix("zoo-") for name in ours - {"zoo-core"}}
    text = run(zoo, "list", code=0 if tasks else 1)
    for name in absent:
        assert name in text, f"zoo list does not say that {name} is not installed:\n{text}"
    assert {model["task"] for model in json.loads(run(zoo, "list", "--json"))} == tasks
    for model, name in (("raft_small", "zoo-flow"), ("fasterrcnn_resnet50_fpn", "zoo-detection")):
        if name in absent:
            for command in (["info", model], ["predict", model, "photo.jpg"], ["download", model]):
                said = run(zoo, *command, code=1)
                assert f"pip install {name}" in said, said


def test_two_versions_do_not_mix(index, released, fresh, tmp_path):
    """pip refuses packages of two releases, asked for together or one after the other."""
    old = distributions.find(ROOT)["zoo-core"].version
    assert old != released.version
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    for folder in ("shared/zoo-core", "packages/zoo-classification"):
        run(*build, ROOT / folder)
    copy_files(tmp_path.glob("*.whl"), index.directory)
    environment = fresh.fresh("mixed")
    for requirements in (
        [f"zoo-segmentation=={released.version}", f"zoo-core=={old}"],
        [f"zoo-segmentation=={released.version}", f"zoo-classification=={old}"],
        [f"zoo-classification=={old}", f"zoo-video=={released.version}"],
    ):
        with pytest.raises(ReleaseError, match="conflict"):
            install(environment, index, *requirements)
    assert not any(name.startswith("zoo-") for name in environment.installed())

    # The newer package moves the older ones along with it.
    install(environment, index, f"zoo-classification=={old}")
    install(environment, index, f"zoo-segmentation=={released.version}")
    ours = {name: version for name, version in environment.installed().items() if name.startswith("zoo-")}
    assert ours == dict.fromkeys(BROUGHT["zoo-segmentation"], released.version)
    environment.pip("check")
