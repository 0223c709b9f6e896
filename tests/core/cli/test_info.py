"""``zoo info``."""

import json

from .running import zoo


def test_info(toys, cache, capsys):
    zoo("info", "BrightNet")
    text = capsys.readouterr().out
    for line in (
        "brightnet: toys, in the package toyzoo",
        "BrightNet_Weights.HAND_V1  (default)",
        "  Toys            acc@1 87.5, acc@5 100",
        "  smallest input  1x1 (height x width)",
        "  labels          2: dark, bright",
        f"  file            512.0 KiB, embedded: {toys.embedded}",
        "  recipe          set by hand",
        f"  file           local: {toys.file}",
        "  file           3.0 MiB, not downloaded yet",
        f"  url            https://example.invalid/models/{toys.remote}",
        "  from toyzoo.brightnet import BrightNet_Weights, brightnet",
        "  zoo predict brightnet FILE...",
    ):
        assert line in text.splitlines(), line


def test_a_file_that_a_broken_install_lacks(toys, capsys):
    toys.embedded.unlink()
    zoo("info", "brightnet")
    assert "  file            512.0 KiB, missing: reinstall toyzoo" in capsys.readouterr().out.splitlines()


def test_the_python_that_info_shows_runs(toys, capsys):
    zoo("info", "brightnet", "--weights", "FILE_V1")
    text = capsys.readouterr().out
    assert "REMOTE_V1" not in text
    code = text.split("In Python\n")[1].split("\nIn the shell")[0].replace("\n  ", "\n").strip()
    names: dict[str, object] = {}
    exec(code, names)
    assert str(names["weights"]) == "BrightNet_Weights.FILE_V1"
    assert type(names["preprocess"]).__name__ == "ImageClassification"


def test_info_as_json(toys, cache, capsys):
    zoo("info", "brightnet", "--json")
    model = json.loads(capsys.readouterr().out)
    assert model["builder"] == "toyzoo.brightnet:brightnet"
    hand, _, remote = model["weights"]
    assert hand["categories"] == ["dark", "bright"]
    assert hand["preprocessing"]["preset"] == "ImageClassification"
    assert hand["preprocessing"]["mean"] == [0, 0, 0]
    assert remote["path"] == str(cache / toys.remote)
    assert remote["available"] is None
