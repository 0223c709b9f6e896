"""``zoo predict --output``, as processes of their own: mirrored folders, formats, and a disk that is full."""

import json
import resource
from pathlib import Path

from PIL import Image

from .running import paint, run


def test_folders_are_mirrored_in_the_formats_of_their_files(toys, pictures):
    for name in ("album/a.jpg", "album/deep/a.PNG", "album/deep/a.webp", "album/b.tif", "c.jpeg"):
        paint(pictures / name, 250, (400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (600, 400), "white").save("album/turned.jpg", exif=exif)
    process = run(toys.path, "predict", "brightnet", "album", "c.jpeg", "--output", "out", "--json")
    assert process.returncode == 0, process.stderr
    written = {result["file"]: result["output"][0] for result in json.loads(process.stdout)["results"]}
    assert written == {
        "album/a.jpg": "out/a.jpg",
        "album/b.tif": "out/b.png",
        "album/deep/a.PNG": "out/deep/a.PNG",
        "album/deep/a.webp": "out/deep/a-2.webp",
        "album/turned.jpg": "out/turned.jpg",
        "c.jpeg": "out/c.jpeg",
    }
    assert {str(path) for path in Path("out").rglob("*") if path.is_file()} == set(written.values())
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
    for path in map(Path, written.values()):
        with Image.open(path) as image:
            assert image.format == formats[path.suffix.lower()]
            assert image.width == 400
            assert not dict(image.getexif())


def test_a_full_disk(toys, pictures):
    """What was finished before is told; the file that found no room is named, and nothing of it is left."""
    for name in ("1.jpg", "3.jpg"):
        paint(pictures / "album" / name, 250, (400, 300))
    Image.effect_noise((2000, 1500), 90).convert("RGB").save("album/2.jpg", quality=95)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    process = run(toys.path, "predict", "brightnet", "album", "--output", "out", "--batch-size", "1", preexec_fn=limit)
    assert process.returncode == 1
    assert process.stderr == "error: out/2.jpg: File too large\n"
    assert process.stdout.splitlines()[:3] == ["album/1.jpg", "  bright", "  -> out/1.jpg"]
    assert "2.jpg" not in process.stdout
    assert {path.name for path in Path("out").iterdir()} <= {"1.jpg", "3.jpg"}
    with Image.open("out/1.jpg") as image:
        image.load()
