"""The oldest versions that the packages allow, with which `nox -s minimums` tests them."""

import pytest

from tools import distributions


def write(root, folder, dependencies, extras=""):
    path = root / folder
    path.mkdir(parents=True)
    (path / "pyproject.toml").write_text(
        f'[project]\nname = "{path.name}"\nversion = "1"\ndependencies = {dependencies}\n{extras}'
    )


def test_every_requirement_at_its_oldest_version(tmp_path):
    write(tmp_path, "shared/zoo-core", ["pillow>=10.3", "torch >= 2.10, <3"])
    extras = '[project.optional-dependencies]\nvideo = ["av>=12; python_version < \'3.13\'", "zoo-core==1"]'
    write(tmp_path, "packages/zoo-flow", ["zoo-core==1", "pillow>=10.3"], extras)
    assert distributions.minimums(tmp_path) == ["av==12; python_version < '3.13'", "pillow==10.3", "torch==2.10"]


@pytest.mark.parametrize("requirement", ["pillow", "pillow<11", "pillow==10.3", "pillow>=10,>=11"])
def test_a_requirement_without_an_oldest_version_is_refused(tmp_path, requirement):
    write(tmp_path, "shared/zoo-core", [requirement])
    with pytest.raises(ValueError, match="from which version on"):
        distributions.minimums(tmp_path)


def test_weights_as_an_extra_are_left_out(tmp_path):
    extras = '[project.optional-dependencies]\nphotographs = ["some-weights==0.1.0"]\nvideo = ["av>=17"]'
    write(tmp_path, "shared/zoo-core", ["pillow>=10.3"], extras)
    assert distributions.minimums(tmp_path) == ["av==17", "pillow==10.3"]


def test_ours_all_have_one():
    oldest = distributions.minimums()
    assert "torch==2.10" in oldest
    names = [requirement.partition("==")[0] for requirement in oldest]
    assert len(names) == len(set(names)), "one oldest version of each for all packages"
