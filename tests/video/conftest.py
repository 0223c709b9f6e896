import pytest

from support.painted import encode

from .video_formats import FORMATS


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with a video of 60 numbered frames of 128 by 160 pixels, 30 a second, in every format."""
    folder = tmp_path_factory.mktemp("videos")
    for name, options in FORMATS.items():
        encode(folder / name, **options)
    return folder
