"""Files of what a model saw: their format, their size, what they keep of the input, and what a full disk leaves."""

import errno
import io
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageCms, JpegImagePlugin

from zoo_core.images import open_image
from zoo_core.predicting import Failure, Prediction, Saver, Source
from zoo_core.predicting.saving import image_suffix, write_image
from zoo_core.whole_files import write_beside

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


class Echo:
    """A task that draws the input itself, and writes what a test asks for beside it."""

    def __init__(self, files=None, draw=None):
        self._files = files or {}
        self._draw = draw or (lambda input: input)

    def draw(self, input, result):
        return self._draw(input)

    def files(self, result):
        return self._files


def photo(size=(320, 240)):
    """Something between a photograph and noise."""
    image = Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 40)
    grain = Image.effect_noise(size, 40)
    return Image.merge("RGB", (image, ImageChops.blend(image, grain, 0.3), grain))


def predicted(path, *, task=None, index=0, numbered=False, input=None):
    source = Source((path,), numbered, path.stem)
    return Prediction(task or Echo(), source, index, open_image(path) if input is None else input, None)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def saved(path, out, **options):
    (written,) = Saver(out, **options).save(predicted(path))
    return written


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("x.jpg", ".jpg"),
        ("x.JPEG", ".JPEG"),
        ("x.png", ".png"),
        ("x.webp", ".webp"),
        ("x.heic", ".jpg"),
        ("x.AVIF", ".jpg"),
        ("x.jp2", ".jpg"),
        ("x.tif", ".png"),
        ("x.gif", ".png"),
        ("x.bmp", ".png"),
        ("x.mp4", ".png"),
        ("x", ".png"),
    ],
)
def test_formats(name, suffix):
    assert image_suffix(name) == suffix
    assert image_suffix(name, "webp") == ".webp"


@pytest.mark.parametrize(
    ("suffix", "format"), [(".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP"), (".tif", "PNG"), (".jp2", "JPEG")]
)
def test_an_image_has_the_format_of_its_input(tmp_path, out, suffix, format):
    photo().save(tmp_path / f"x{suffix}")
    written = saved(tmp_path / f"x{suffix}", out)
    with Image.open(written) as image:
        assert (image.format, image.mode, image.size) == (format, "RGB", (320, 240))
    assert [path.name for path in out.iterdir()] == [written.name]


@pytest.mark.parametrize("save", ["png", "jpg", "webp"])
def test_a_format_that_was_chosen(tmp_path, out, save):
    photo().save(tmp_path / "x.png")
    written = saved(tmp_path / "x.png", out, save=save)
    with Image.open(written) as image:
        assert image.format == {"jpg": "JPEG"}.get(save, save.upper())
    with pytest.raises(ValueError, match="png, jpg, webp, not 'gif'"):
        Saver(out, save="gif")


def quality_of(path):
    """The quality of a JPEG file, by Pillow's own tables for each."""
    with Image.open(path) as image:
        tables = image.quantization
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as image:
            if image.quantization == tables:
                return quality
    return None


@pytest.mark.parametrize(("quality", "expected"), [(100, 90), (95, 90), (90, 90), (80, 80), (40, 40)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_is_no_finer_than_its_input(tmp_path, out, quality, expected, subsampling):
    path = tmp_path / "x.jpg"
    photo().save(path, quality=quality, subsampling=subsampling)
    written = saved(path, out)
    assert quality_of(written) == expected
    with Image.open(written) as image:
        assert JpegImagePlugin.get_sampling(image) == subsampling
    assert written.stat().st_size <= 1.1 * path.stat().st_size


def test_png_files_of_photographs_and_of_drawings(tmp_path, out):
    """Neither is much larger than its input, which was compressed as much as can be."""
    drawing = Image.new("RGB", (900, 600), "white")
    for number in range(40):
        drawing.paste((number, 5 * number, 90), (20 * number, 10 * number, 20 * number + 90, 10 * number + 50))
    for image in (photo((900, 600)), drawing):
        path = tmp_path / "x.png"
        image.save(path, optimize=True)
        assert saved(path, out).stat().st_size <= 1.3 * path.stat().st_size


def test_a_grey_jpeg(tmp_path, out):
    photo().convert("L").save(tmp_path / "x.jpg", quality=60)
    with Image.open(saved(tmp_path / "x.jpg", out)) as image:
        assert image.mode == "RGB"
        red, green, _ = image.split()
        assert ImageChops.difference(red, green).getextrema()[1] < 10


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_pixels_are_upright_and_the_profile_stays(tmp_path, out, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "where somebody lives"
    photo().save(tmp_path / f"x{suffix}", exif=exif, icc_profile=PROFILE)
    with Image.open(saved(tmp_path / f"x{suffix}", out)) as image:
        assert image.size == (240, 320)
        assert not dict(image.getexif())
        assert image.info["icc_profile"] == PROFILE


def test_a_profile_of_other_colours_is_left_out(tmp_path, out):
    grey = PROFILE[:16] + b"GRAY" + PROFILE[20:]
    photo().save(tmp_path / "x.jpg", icc_profile=grey)
    with Image.open(saved(tmp_path / "x.jpg", out)) as image:
        assert "icc_profile" not in image.info


def test_an_image_too_long_for_its_format(tmp_path, out):
    Image.new("RGB", (16_400, 4)).save(tmp_path / "x.png")
    assert saved(tmp_path / "x.png", out, save="webp").name == "x.png"
    assert saved(tmp_path / "x.png", out, save="jpg").name == "x.jpg"


def test_what_a_task_writes_beside(tmp_path, out):
    photo().save(tmp_path / "x.jpg")
    task = Echo({".mask.png": lambda path: path.write_bytes(b"mask"), ".flo": lambda path: path.write_bytes(b"flow")})
    written = Saver(out).save(predicted(tmp_path / "x.jpg", task=task))
    assert written == [out / "x.jpg", out / "x.mask.png", out / "x.flo"]
    assert written[1].read_bytes() == b"mask"
    assert sorted(out.iterdir()) == sorted(written)
    assert predicted(tmp_path / "x.jpg", task=task).save(out) == written, "from Python"


def test_results_come_in_order_while_others_are_being_written(tmp_path, out):
    photo((40, 30)).save(tmp_path / "x.png")
    second = threading.Event()
    source = Source((tmp_path / "x.png",), False, "x")

    def draw(number):
        def drawn(input):
            assert number or second.wait(30), "the second is drawn while the first is not done"
            if number == 1:
                second.set()
            return input

        return Echo(draw=drawn)

    outcomes = [
        Prediction(draw(n), Source((tmp_path / "x.png",), False, f"x{n}"), 0, photo((40, 30)), None) for n in range(9)
    ]
    outcomes.insert(4, Failure(source, None, "bad"))
    asked = []

    def made():
        for outcome in outcomes:
            asked.append(outcome)
            yield outcome

    got = []
    with Saver(out, workers=2) as saver:
        for outcome, paths in saver.follow(made()):
            assert all(path.exists() for path in paths)
            assert len(asked) - len(got) <= 6, "so many are held at a time"
            got.append((outcome, [path.name for path in paths]))
    assert [outcome for outcome, _ in got] == outcomes
    assert [paths for _, paths in got] == [
        [] if outcome is outcomes[4] else [f"{outcome.source.stem}.png"] for outcome in outcomes
    ]


def test_a_caller_who_has_enough(tmp_path, out):
    photo((40, 30)).save(tmp_path / "x.png")
    prediction = predicted(tmp_path / "x.png")
    threads = threading.active_count()
    closed = []

    def endless():
        try:
            while True:
                yield prediction
        finally:
            closed.append(True)

    followed = Saver(out).follow(endless())
    next(followed)
    followed.close()
    assert closed
    assert threading.active_count() == threads


def test_what_is_finished_when_the_model_stops_is_not_lost(tmp_path, out):
    photo((40, 30)).save(tmp_path / "x.png")
    predictions = [
        Prediction(Echo(), Source((tmp_path / "x.png",), False, f"x{number}"), 0, photo((40, 30)), None)
        for number in range(3)
    ]

    def interrupted():
        yield from predictions
        raise KeyboardInterrupt

    followed = Saver(out, workers=2).follow(interrupted())
    got = [next(followed)[0] for _ in predictions]
    with pytest.raises(KeyboardInterrupt):
        next(followed)
    assert got == predictions


def test_an_error_comes_where_its_file_would(tmp_path, out):
    photo((40, 30)).save(tmp_path / "a.png")
    good, bad = predicted(tmp_path / "a.png"), predicted(tmp_path / "a.png", task=Echo({"/b.txt": Path.touch}))
    followed = Saver(out, workers=1).follow([good, good, bad, good])
    assert len([next(followed), next(followed)]) == 2
    with pytest.raises(OSError, match=r"b\.txt") as caught:
        next(followed)
    assert caught.value.filename == str(out / "a" / "b.txt")


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    code = """
        import resource, sys
        from pathlib import Path
        from PIL import Image
        from zoo_core.predicting.saving import write_image

        image = Image.effect_noise((600, 500), 90).convert("RGB")
        for size in (0, 30_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            for path in map(Path, sys.argv[1:]):
                try:
                    write_image(image, path)
                except OSError as error:
                    sys.stdout.write(f"{error.errno} {error.filename}\\n")
    """
    paths = [tmp_path / f"x{suffix}" for suffix in (".jpg", ".png", ".webp")]
    for path in paths:
        path.write_bytes(b"what was there")
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, paths)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [f"{errno.EFBIG} {path}" for path in paths] * 2
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert {path.read_bytes() for path in paths} == {b"what was there"}


def test_an_error_that_is_none_of_the_files_comes_as_it_is(tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        write_beside(tmp_path / "x", fail)
    assert not list(tmp_path.iterdir())


def test_no_folder(tmp_path):
    with pytest.raises(OSError, match="No such file") as caught:
        write_image(photo(), tmp_path / "none" / "x.jpg")
    assert caught.value.filename == str(tmp_path / "none" / "x.jpg")
