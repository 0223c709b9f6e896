"""A dict with late values: nobody who reads it can tell it from an ordinary one, and nothing is looked up early."""

import copy
import json
import pickle
import pprint

import pytest

from zoo_core.late_dict import LateDict

PLAIN = {"first": 1, "late": "FOUND", "last": [3]}


@pytest.fixture
def asked():
    return []


@pytest.fixture
def late(asked):
    def look_up(name):
        asked.append(name)
        return name.upper()

    return LateDict({"first": 1, "late": "found", "last": [3]}, {"late": look_up, "absent": look_up})


def test_nothing_is_looked_up_before_it_is_read(late, asked):
    assert len(late) == 3
    assert list(late) == list(late.keys()) == ["first", "late", "last"]
    assert list(reversed(late)) == ["last", "late", "first"]
    assert "late" in late
    assert late["first"] == 1
    assert late.get("first") == 1
    assert late.get("absent", 7) == 7
    late["more"] = 4
    assert late.pop("more") == 4
    assert asked == []
    assert late["late"] == "FOUND"
    assert late["late"] == late.get("late") == "FOUND"
    assert asked == ["found"], "once is enough"


@pytest.mark.parametrize(
    "read",
    [
        dict,
        lambda d: {**d},
        lambda d: dict(**d),
        lambda d: d.copy(),
        lambda d: copy.copy(d),
        lambda d: copy.deepcopy(d),
        lambda d: pickle.loads(pickle.dumps(d)),
        lambda d: pickle.loads(pickle.dumps(d, 0)),
        lambda d: d | {},
        lambda d: {} | d,
        lambda d: dict(d.items()),
        lambda d: dict(zip(d, d.values(), strict=True)),
        lambda d: {key: d[key] for key in d},
        lambda d: json.loads(json.dumps(d)),
        lambda d: eval(repr(d)),
        lambda d: eval(pprint.pformat(d)),
        lambda d: eval(f"{d}"),
        lambda d: {key: d.pop(key) for key in list(d)},
        lambda d: dict(reversed([d.popitem() for _ in range(3)])),
        lambda d: {key: d.setdefault(key) for key in list(d)},
    ],
    ids=range(20),
)
def test_whoever_reads_it_gets_what_was_looked_up(late, read):
    found = read(late)
    assert found == PLAIN
    assert list(found) == list(PLAIN)


def test_updates_of_other_dicts(late):
    plain: dict = {}
    plain.update(late)
    assert plain == PLAIN
    plain = {"late": 0}
    plain |= late
    assert plain["late"] == "FOUND"


def test_equality(late, asked):
    assert late == PLAIN
    assert PLAIN == late  # noqa: SIM300
    assert not late != PLAIN  # noqa: SIM202
    assert not PLAIN != late  # noqa: SIM202, SIM300
    assert late != PLAIN | {"late": "found"}
    assert late == LateDict({"first": 1, "late": "FOUND", "last": [3]}, {})
    assert late != 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(late)


def test_pattern_matching(late):
    match late:
        case {"late": value}:
            assert value == "FOUND"
        case _:
            raise AssertionError


def test_it_may_be_changed(late, asked):
    late["late"] = "mine"
    assert late["late"] == "mine"
    late |= {"late": "yours"}
    assert isinstance(late, LateDict)
    late.update(late="ours", more=1)
    assert (late["late"], late["more"]) == ("ours", 1)
    del late["late"]
    with pytest.raises(KeyError, match="late"):
        late["late"]
    late.clear()
    assert late == {}
    assert asked == []


def test_what_cannot_be_looked_up_is_tried_again(asked):
    def look_up(name):
        asked.append(name)
        if len(asked) == 1:
            raise ValueError("not there")
        return name

    late = LateDict({"late": "x"}, {"late": look_up})
    with pytest.raises(ValueError, match="not there"):
        late["late"]
    assert late["late"] == "x"
