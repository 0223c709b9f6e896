"""The pictures of the documentation's pages that are diagrams and lines of code alone; see `tools/docs/pictures.py`."""

import re
from collections.abc import Sequence

from PIL import Image, ImageDraw

from tools.docs.drawn import GROUND, INK, Node, diagram, font


def export() -> Image.Image:
    return diagram(
        [
            [Node("weights", ["zoo export resnet50"]), Node("a checkpoint", ["--checkpoint mine.pth"])],
            [Node("zoo export", ["recorded once, compared", "with eager at four sizes"], ours=True)],
            [
                Node("resnet50.onnx", ["--format onnx"]),
                Node("resnet50.xml, .bin", ["--format openvino"]),
                Node("resnet50.pt2", ["--format pt2"]),
            ],
            [
                Node("ONNX Runtime, TensorRT, ..."),
                Node("OpenVINO"),
                Node("torch alone"),
                Node("zoo predict, zoo evaluate", ours=True),
            ],
        ],
        [
            *(("weights", "zoo export"), ("a checkpoint", "zoo export"), ("zoo export", "resnet50.onnx")),
            *(("zoo export", "resnet50.xml, .bin"), ("zoo export", "resnet50.pt2")),
            *(("resnet50.onnx", "ONNX Runtime, TensorRT, ..."), ("resnet50.xml, .bin", "OpenVINO")),
            *(("resnet50.pt2", "torch alone"), ("resnet50.onnx", "zoo predict, zoo evaluate")),
            *(("resnet50.xml, .bin", "zoo predict, zoo evaluate"), ("resnet50.pt2", "zoo predict, zoo evaluate")),
        ],
    )


def own_checkpoint() -> Image.Image:
    verbs = ("predict", "evaluate", "train", "embed", "export")
    return diagram(
        [
            [
                Node("mine.pth", ["a state dict, or one in", '{"model": ..., "epoch": ...}']),
                Node("mine.safetensors", ["names of torchvision or timm"]),
            ],
            [
                Node(
                    "resnet50, --checkpoint",
                    ["no code in it runs", "module. is taken off", "classes: read off the head"],
                    ours=True,
                )
            ],
            [Node(f"zoo {verb}") for verb in verbs],
        ],
        [
            ("mine.pth", "resnet50, --checkpoint"),
            ("mine.safetensors", "resnet50, --checkpoint"),
            *(("resnet50, --checkpoint", f"zoo {verb}") for verb in verbs),
        ],
    )


def from_torchvision() -> Image.Image:
    return _changed(
        [
            ("-", "from torchvision.models import resnet50, ResNet50_Weights"),
            ("+", "from zoo_classification import resnet50, ResNet50_Weights"),
            ("-", "from torchvision.models.detection import maskrcnn_resnet50_fpn"),
            ("+", "from zoo_detection import maskrcnn_resnet50_fpn"),
            ("-", "from torchvision.ops import nms, roi_align"),
            ("+", "from zoo_detection.ops import nms, roi_align"),
            (" ", ""),
            (" ", "model = resnet50(weights=ResNet50_Weights.DEFAULT).eval()"),
        ]
    )


def from_timm() -> Image.Image:
    return _changed(
        [
            ("-", 'model = timm.create_model("convnext_tiny", num_classes=37)'),
            ("+", 'model = zoo_core.get_model("convnext_tiny", checkpoint="convnext_tiny.safetensors")'),
            (" ", ""),
            ("-", "stem.0.weight                           stages.0.blocks.0.conv_dw.weight"),
            ("+", "features.0.0.weight                     features.1.0.block.0.weight"),
        ]
    )


def _changed(lines: Sequence[tuple[str, str]]) -> Image.Image:
    """Lines of code of which some go (-) and some come (+)."""
    colors = {"-": ((255, 235, 233), (150, 30, 30)), "+": ((230, 248, 234), (20, 95, 45)), " ": (GROUND, INK)}
    image = Image.new("RGB", (1520, 20 + 52 * len(lines)), GROUND)
    draw = ImageDraw.Draw(image)
    for number, (mark, text) in enumerate(lines):
        ground, ink = colors[mark]
        top = 10 + 52 * number
        draw.rectangle([0, top, image.width, top + 52], ground)
        for place, part in zip((16, 56, 780), (mark, *re.split(r" {4,}", text)), strict=False):
            draw.text((place, top + 12), part, ink, font(26))
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def own_package() -> Image.Image:
    verbs = ("list, info, catalog", "predict, embed", "evaluate", "train", "export, bench")
    return diagram(
        [
            [
                Node("my-models", ["pyproject.toml: zoo.catalogs", "catalog.toml, nets.py"], ours=True),
                Node("zoo-classification"),
                Node("zoo-detection, ..."),
            ],
            [Node("zoo-core", ["finds catalogues of all that", "is installed"])],
            [Node(f"zoo {verb}") for verb in verbs],
        ],
        [
            *((name, "zoo-core") for name in ("my-models", "zoo-classification", "zoo-detection, ...")),
            *(("zoo-core", f"zoo {verb}") for verb in verbs),
        ],
    )


def offline() -> Image.Image:
    return diagram(
        [
            [Node("where weights are published", ["download.pytorch.org"])],
            [
                Node("a machine with network", ["zoo download resnet50"]),
                Node("a mirror of yours", ["ZOO_MIRROR=https://..."]),
            ],
            [
                Node("a machine without", ["a copy of the cache", "ZOO_OFFLINE=1"], ours=True),
                Node("machines behind a firewall", ["hashes are those of the catalogue"], ours=True),
            ],
        ],
        [
            ("where weights are published", "a machine with network"),
            ("where weights are published", "a mirror of yours"),
            ("a machine with network", "a machine without"),
            ("a mirror of yours", "machines behind a firewall"),
        ],
    )


def clusters() -> Image.Image:
    return diagram(
        [
            [Node("zoo train ...", ["one line, everywhere"], ours=True)],
            [
                Node("a laptop", ["1 process"]),
                Node("a machine of 8 GPUs", ["--nproc-per-node 8"]),
                Node("8 machines of 8", ["torchrun, Slurm, Kubernetes"]),
            ],
            [
                Node(
                    "run/",
                    ["the same step, the same samples", "best.pth, last.pth, metrics", "--resume goes on with it"],
                    ours=True,
                )
            ],
        ],
        [
            *(("zoo train ...", name) for name in ("a laptop", "a machine of 8 GPUs", "8 machines of 8")),
            *((name, "run/") for name in ("a laptop", "a machine of 8 GPUs", "8 machines of 8")),
        ],
    )


def serving() -> Image.Image:
    return diagram(
        [
            [Node("client 1", ["POST an image"]), Node("client 2"), Node("client 3")],
            [Node("a server from the index", ["mosec: gathers requests", "that come at a time"])],
            [Node("process 1", ["a batch"]), Node("process 2", ["a batch"])],
            [Node("fashion.onnx", ["says what it is: labels,", "preprocessing, task"], ours=True)],
        ],
        [
            *((f"client {number}", "a server from the index") for number in (1, 2, 3)),
            *(("a server from the index", f"process {number}") for number in (1, 2)),
            *((f"process {number}", "fashion.onnx") for number in (1, 2)),
        ],
    )


def tested() -> Image.Image:
    compared = [
        (Node("names, state dicts, outputs", ["every builder"]), Node("torchvision", ["recorded, or run beside"])),
        (Node("NMS, RoIAlign"), Node("plain loops, cases by hand")),
        (Node("exported files"), Node("eager, in a second runtime")),
        (Node("figures"), Node("pycocotools, sums by hand", ["all held-out data"])),
        (Node("downloads"), Node("real servers", ["that break off, lie or crawl"])),
        (Node("interruptions"), Node("processes that are killed")),
        (Node("damaged files"), Node("a clear error, nothing lost")),
    ]
    links = [(one.title, other.title) for one, other in compared]
    return diagram([[one for one, _ in compared], [other for _, other in compared]], links)
