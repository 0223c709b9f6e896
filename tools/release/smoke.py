"""Does the main job of an installed package: ``python -I smoke.py zoo_segmentation``, in an empty folder.

Needs the package and what it declares, and nothing else of this repository.
"""

import importlib
import importlib.util
import json
import pkgutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path


def zoo(*arguments: str) -> str:
    """Runs the installed command."""
    completed = subprocess.run(["zoo", *arguments], stdout=subprocess.PIPE, text=True, check=True)
    print(completed.stdout, end="", flush=True)
    return completed.stdout


def import_all(package: str) -> None:
    """Imports every module of a package, so that none needs what is not declared.

    Some need what an extra brings, and say so; those for an exporter need what the exporter does.
    """
    module = importlib.import_module(package)
    for info in pkgutil.walk_packages(module.__path__, f"{package}."):
        spec = importlib.util.find_spec(info.name)
        # Libraries of operators lie beside the modules, and a __main__ would run.
        if spec and isinstance(spec.loader, SourceFileLoader) and not info.name.endswith("__main__"):
            try:
                importlib.import_module(info.name)
            except ModuleNotFoundError as error:
                if type(error).__name__ != "MissingExtraError" and error.name != "onnxscript":
                    raise


def make_input(suffixes: frozenset[str]) -> Path:
    """A file for a task to look at."""
    from PIL import Image

    picture = Image.effect_mandelbrot((320, 240), (-2, -1.5, 1, 1.5), 40).convert("RGB")
    if ".png" in suffixes:
        picture.save("picture.png")
        return Path("picture.png")
    import av

    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        for angle in range(32):
            container.mux(stream.encode(av.VideoFrame.from_image(picture.rotate(angle))))
        container.mux(stream.encode(None))
    return Path("clip.mp4")


def save_checkpoint(name: str) -> None:
    """Puts a checkpoint of random parameters where the published one would be cached."""
    import inspect

    import torch

    from zoo_core import checkpoints, get_model_builder, get_model_weights

    builder = get_model_builder(name)
    without_backbone = {"weights_backbone": None} if "weights_backbone" in inspect.signature(builder).parameters else {}
    path = checkpoints.locate(get_model_weights(name)["DEFAULT"].url)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.save(builder(**without_backbone).state_dict(), path)


def main(package: str) -> None:
    import_all("zoo_core")
    import_all(package)
    from zoo_core import catalog
    from zoo_core.cli import facts

    models = [model for model in catalog.models().values() if model.source.package.partition(".")[0] == package]
    listed = {entry["name"] for entry in json.loads(zoo("list", "--json"))}
    assert {model.name for model in models} <= listed, "`zoo list` leaves out models of this package"
    if package == "zoo_core":
        assert not listed, f"models without any task package: {listed}"
        return
    task = models[0].task
    if any(model in models for model, _ in facts.embedded()):
        zoo("demo", "--task", task, "--output", "shown")
    else:
        from zoo_core.declarations import declaration

        published = [model for model in models if not model.checkpoint().embedded]
        smallest = min(published, key=lambda model: model.checkpoint().num_params or sys.maxsize)
        save_checkpoint(smallest.name)
        path = make_input(declaration(task).suffixes)
        zoo("predict", smallest.name, str(path), "--output", "shown")
    assert any(Path("shown").rglob("*.png")), "no picture was written"
    if package == "zoo_detection":
        from zoo_detection import ops

        assert ops.backend()["cpu"].startswith("compiled"), ops.backend()


if __name__ == "__main__":
    main(sys.argv[1])
