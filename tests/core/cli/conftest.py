"""The toy package, images to look at, and catalogues for the command."""

import importlib.metadata
import shutil

import pytest

from zoo_core import catalog, declarations

from .running import paint, write_models


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The current directory, with pictures in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    paint(folder / "night.png", 0)
    paint(folder / "snow.jpg", 255, (40, 20))
    paint(folder / "fog.png", 140, (9, 30))  # brightness 0.55 makes 0.73 of "bright"
    return folder


@pytest.fixture
def many(tmp_path, cache, monkeypatch):
    """Models with all kinds of facts, and nothing else."""
    monkeypatch.setattr(catalog, "_added_sources", [])
    tasks = tmp_path / "tasks" / "declared"
    tasks.mkdir(parents=True)
    (tasks / "__init__.py").touch()
    entry_points = []
    for task, metric in (("classification", '"acc@1", better = "higher"'), ("flow", '"epe", better = "lower"')):
        (tasks / f"{task}.toml").write_text(
            f'title = "{task}"\nimages = 1\nfiles = ["image"]\nexamples = "x.png"\nmetric = {{ name = {metric} }}\n'
        )
        entry_points.append(importlib.metadata.EntryPoint(task, f"declared.{task}:Task", "zoo.tasks"))
    monkeypatch.syspath_prepend(tasks.parent)
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group=None, **_: entry_points if group == "zoo.tasks" else []
    )
    catalog.clear_cache()
    declarations.clear_cache()
    write_models(
        tmp_path / "a",
        "classification",
        {
            "big": 'num_params = 900\nops = 5.0\nfile_size = 1.0\nmetrics = { D = { "acc@1" = 70.0 } }',
            "wise": 'num_params = 500\nops = 7.5\nfile_size = 2.0\nmetrics = { D = { "acc@1" = 90.0 } }',
            "blank": "",
            "odd": "num_params = 700\nmetrics = { D = { other = 3.0, nothing = nan } }",
        },
    )
    write_models(
        tmp_path / "b",
        "flow",
        {
            "sharp": "num_params = 100\nmetrics = { K = { fl_all = 5.0 }, S = { epe = 0.5 } }",
            "blurred": "num_params = 200\nmetrics = { S = { epe = 2.5 } }",
        },
    )
    yield
    catalog.clear_cache()
    declarations.clear_cache()


@pytest.fixture
def filled(toys, cache):
    cache.mkdir(parents=True)
    shutil.copy(toys.file, cache / toys.remote)
    (cache / "stranger.bin").write_bytes(b"x" * 2048)
    return cache
