"""torchvision's compiled operators on a CPU torch, as a black box to measure against.

Its published builds are for CUDA torches and ask for CUDA libraries when they are loaded. Their CPU kernels call
nothing of those, so libraries that merely have the names are put in their place; only CUDA's runtime, which comes with
torchvision, is the real one. That needs a C compiler, and the torchvision for the installed torch.
"""

import ctypes
import functools
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

from tools import oracle


@functools.cache
def torchvision_operators() -> Any:
    """`torch.ops.torchvision` with its CPU kernels.

    Raises:
        ImportError: torchvision is not installed.
        OSError: its library does not fit the installed torch.
    """
    _load("_C.so")
    return torch.ops.torchvision


@functools.cache
def torchvision_codecs() -> Any:
    """The module `torchvision`, whose `io` decodes and encodes images. To be called before anything else imports it.

    Raises:
        ImportError: torchvision is not installed.
        OSError: its library does not fit the installed torch.
    """
    ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_python.so"), mode=ctypes.RTLD_GLOBAL)
    _load("image.so")
    return oracle.torchvision()


def _load(name: str) -> None:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("torchvision is not installed: pip install --no-deps the release for this torch")
    library = Path(spec.submodule_search_locations[0]) / name
    # Libraries stay loaded when their files are gone.
    with tempfile.TemporaryDirectory(prefix="torchvision-operators-") as folder:
        if torch.version.cuda is None:
            _pretend_cuda(library, Path(folder))
        torch.ops.load_library(str(library))


def _symbols(path: Path, which: str) -> set[str]:
    listing = subprocess.run(["nm", "-D", which, str(path)], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].partition("@")[0] for line in listing.splitlines()}


def _pretend_cuda(library: Path, folder: Path) -> None:
    """Loads libraries of the names that a CUDA build of torch has, with the symbols that `library` wants from them."""
    for runtime in (library.parents[1] / "torchvision.libs").glob("libcudart*.so.*"):
        name = f"libcudart.so.{runtime.suffix[1:]}"
        shutil.copy(runtime, folder / name)
        ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    torch_libraries = (Path(torch.__file__).parent / "lib").glob("lib*.so")
    known = set().union(*(_symbols(path, "--defined-only") for path in torch_libraries))
    wanted = sorted(
        name
        for name in _symbols(library, "--undefined-only") - known
        if "cuda" in name and not name.startswith(("cuda", "__cuda"))
    )
    labels = "".join(f".globl {name}\n{name}:\n" for name in wanted)
    (folder / "names.s").write_text(f'.data\n{labels}.zero 4096\n.section .note.GNU-stack,"",%progbits\n')
    (folder / "nothing.c").write_text("")
    for name, source in (("libc10_cuda.so", "names.s"), ("libtorch_cuda.so", "nothing.c")):
        command = ["cc", "-shared", f"-Wl,-soname,{name}", "-o", str(folder / name), str(folder / source)]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
