"""Makes the picture of the README from the contact sheet of `zoo demo`: a JPEG of moderate size.

nox -s demo && python -m tools.demo_picture [out/demo/contact-sheet.png] [.github/demo.jpg]
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from tools.distributions import ROOT

WIDTH, LARGEST = 1100, 300_000


def small(sheet: Image.Image) -> bytes:
    """The sheet as a JPEG file of less than ``LARGEST`` bytes, of the best quality that gives that.

    Raises:
        ValueError: there is none.
    """
    if sheet.width > WIDTH:
        sheet = sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width)), Image.Resampling.LANCZOS)
    for quality in range(92, 50, -2):
        buffer = io.BytesIO()
        sheet.convert("RGB").save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() < LARGEST:
            return buffer.getvalue()
    raise ValueError(f"a sheet of {sheet.width} x {sheet.height} pixels takes {buffer.tell():,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheet", type=Path, nargs="?", default=ROOT / "out" / "demo" / "contact-sheet.png")
    parser.add_argument("picture", type=Path, nargs="?", default=ROOT / ".github" / "demo.jpg")
    given = parser.parse_args()
    with Image.open(given.sheet) as sheet:
        given.picture.write_bytes(small(sheet))
    print(f"{given.picture}: {given.picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
