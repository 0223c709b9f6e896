"""Source distributions and wheels, checked."""

import shutil
import sys
import tempfile
from pathlib import Path

from tools.distributions import Distribution
from tools.release import contents
from tools.release.commands import run

# What a wheel of zoo-detection finds in the torch that it is installed beside, or in the driver.
_NOT_OURS = ("libtorch*.so*", "libc10*.so*", "libcuda*.so*", "libnv*.so*", "libcu*.so*")


def build(distribution: Distribution, directory: Path, *, isolated: bool = True, epoch: int) -> list[Path]:
    """Builds a distribution into a directory and checks what came out.

    Args:
        distribution: what to build.
        directory: where the source distribution and the wheel go.
        isolated: with build requirements installed for this build alone, or with those that this environment has.
        epoch: the time of the files in the archives, in seconds; the same sources give the same archives.

    Returns:
        The source distribution and the wheel. A compiled wheel is repaired on Linux, and so has a manylinux tag.

    Raises:
        ReleaseError: the build failed, or its result is not fit for release.
    """
    how = [] if isolated else ["--no-isolation"]
    with tempfile.TemporaryDirectory(prefix="zoo-build-") as scratch:
        released, direct = Path(scratch, "released"), Path(scratch, "direct")
        # Without --wheel, the wheel is built from the source distribution.
        for options, out in (([], released), (["--wheel"], direct)):
            run(
                [sys.executable, "-m", "build", *how, *options, "--outdir", out, distribution.folder],
                SOURCE_DATE_EPOCH=str(epoch),
            )
        (source,), (wheel,), (from_checkout,) = released.glob("*.tar.gz"), released.glob("*.whl"), direct.glob("*.whl")
        contents.check_equal(wheel, from_checkout)
        wheel = repair(wheel, Path(scratch, "repaired"))
        contents.check_source(distribution, source)
        contents.check_wheel(distribution, wheel)
        run([sys.executable, "-m", "twine", "check", "--strict", source, wheel])
        directory.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.move(path, directory / path.name)) for path in (source, wheel)]


def repair(wheel: Path, directory: Path) -> Path:
    """The wheel with a manylinux tag instead of a plain Linux one, where it has that; otherwise the same wheel.

    Raises:
        ReleaseError: it needs a library that is neither on every Linux nor torch's.
    """
    if "-linux_" not in wheel.name:
        return wheel
    excluded = [part for pattern in _NOT_OURS for part in ("--exclude", pattern)]
    run([sys.executable, "-m", "auditwheel", "repair", *excluded, "--wheel-dir", directory, wheel])
    (repaired,) = directory.glob("*.whl")
    return repaired
