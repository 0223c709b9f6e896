"""What the command says of weights that lie in packages: what they know, the calls that run them, how to get them."""

import json

import pytest

from zoo_core import catalog
from zoo_core.cli import facts

from .running import zoo


def rewrite(toys, *replacements):
    """Changes the catalogue of the toy package."""
    file = toys.root / "catalog" / "brightnet.toml"
    text = file.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    catalog.clear_cache()


@pytest.fixture
def knowing(toys):
    """The toy package, whose embedded weights are not the default, and say what they know."""
    rewrite(
        toys,
        ('default = "HAND_V1"', 'default = "REMOTE_V1"'),
        (f'checkpoints/{toys.embedded.name}"', f'checkpoints/{toys.embedded.name}"\nknows = "night and day"'),
    )
    return toys


def test_list_and_info_print_the_same_call_and_it_works(knowing, pictures, capsys):
    call = "zoo predict brightnet photo.jpg --weights HAND_V1"
    zoo("list")
    assert f"without network, night and day: {call}" in capsys.readouterr().err
    zoo("info", "brightnet")
    lines = capsys.readouterr().out.splitlines()
    assert "  knows           night and day" in lines
    start = lines.index("Without network: HAND_V1, night and day")
    assert lines[start + 1 :] == [f"  {call}", '  model = brightnet(weights="HAND_V1").eval()']
    (pictures / "snow.jpg").rename("photo.jpg")
    zoo(*call.split()[1:])
    assert "bright" in capsys.readouterr().out
    zoo("list", "brightnet", "--json")
    printed = capsys.readouterr()
    assert not printed.err
    (model,) = json.loads(printed.out)
    assert [weights["knows"] for weights in model["weights"]] == ["night and day", None, None]
    assert model["torchvision"] is False


def test_weights_that_are_named_are_in_the_call(toys, capsys):
    zoo("info", "brightnet", "--weights", "FILE_V1")
    assert "  zoo predict brightnet FILE... --weights FILE_V1" in capsys.readouterr().out.splitlines()


def test_an_extra_that_is_not_installed_is_named(knowing, pictures, capsys):
    """In a catalogue of a package of the zoo, or of any other."""
    rewrite(
        knowing,
        ("package:toyzoo/checkpoints", "package:absent_toys/checkpoints"),
        ("knows =", 'extra = "big"\nknows ='),
    )
    install = "pip install 'toyzoo[big]'"
    zoo("info", "brightnet")
    lines = capsys.readouterr().out.splitlines()
    assert f"  file            512.0 KiB, not installed: {install}" in lines
    assert f"  {install}    # once" in lines
    zoo("info", "brightnet", "--json")
    hand = json.loads(capsys.readouterr().out)["weights"][0]
    assert (hand["path"], hand["available"], hand["extra"]) == (None, None, "big")
    for words in (
        ["predict", "brightnet", "night.png", "--weights", "HAND_V1"],
        ["download", "brightnet", "--weights", "HAND_V1"],
    ):
        zoo(*words, expect=1)
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert "the weights HAND_V1 of brightnet come with an extra that is not installed" in error
        assert error.endswith(f"{install}\n")


def checkpoint(**changes):
    values = {"name": "A", "url": "package:pack/a.pth", "transforms": None, "metrics": {}} | changes
    return catalog.Checkpoint(**values)


def model(name, task, package="zoo_pack", **changes):
    source = catalog.Source(task, package, "")
    found = checkpoint(**changes)
    return catalog.Model(name, task, f"{package}.x", name, "W", "A", "A", {"A": found}, source), found


def test_without_a_model_the_most_knowing_serves():
    few, many = tuple("abcdefghij"), tuple(map(str, range(1000)))
    garments = model("garments", "classification", "zoo_classification", categories=few)
    boxes = model("boxes", "detection", "zoo_detection", categories=("__background__", *few), file_size=0.1)
    int8 = model("int8", "quantized", "zoo_quantized", categories=many, file_size=4)
    large = model("large", "classification", "zoo_classification", categories=many, file_size=20)
    small = model("small", "classification", "zoo_classification", categories=many, file_size=10)
    flow = model("motion", "flow", "zoo_flow")
    foreign = model("foreign", "classification", "elsewhere", categories=(*many, "more"))
    order = [small, large, int8, garments, boxes, flow, foreign]
    assert facts.most_knowing(reversed(order)) == order
