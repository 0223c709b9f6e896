"""Every checkpoint says what is known about the licences of its weights and data."""

import tomllib

import pytest

from tools.distributions import ROOT

TABLES = tomllib.loads((ROOT / "shared/zoo-core/src/zoo_core/licences.toml").read_text())
CHECKPOINTS = {
    f"{path.parts[-3]}: {model}.{member}": entry
    for path in sorted(ROOT.glob("packages/*/src/*/catalog/*.toml"))
    for model, found in tomllib.loads(path.read_text()).items()
    for member, entry in found["checkpoints"].items()
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_terms_of_weights_and_data_are_known(name):
    entry = CHECKPOINTS[name]
    assert set(entry["trained_on"]) <= TABLES["data_sets"].keys()
    assert "license" in entry or entry["url"].startswith(tuple(TABLES["publishers"]))


def test_every_statement_has_its_source_and_is_used():
    for table in TABLES.values():
        for entry in table.values():
            assert entry.keys() == {"terms", "source"}
            assert entry["source"].startswith(("https://", "http://"))
    assert {name for entry in CHECKPOINTS.values() for name in entry["trained_on"]} == TABLES["data_sets"].keys()
    assert {entry["license"] for entry in CHECKPOINTS.values() if "license" in entry} >= TABLES["licences"].keys()


def test_all_checkpoints_are_looked_at():
    assert len(CHECKPOINTS) >= 169
