"""The compiled libraries: what they need, what they offer, and what happens without them."""

import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from zoo_detection import ops
from zoo_detection.ops import _library

CPU_LIBRARY = _library._find_library("_ops_cpu")
CUDA_LIBRARY = _library._find_library("_ops_cuda")

# A program that works with nothing but torch and the library under test.
LOAD_AND_RUN = f"""
import json, sys, torch
library = torch.library.Library("zoo", "DEF")
for schema in {_library.SCHEMAS!r}:
    library.define(schema)
torch.ops.load_library(sys.argv[1])
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
x = torch.arange(32.0).reshape(1, 2, 4, 4)
rois = torch.tensor([[0.0, 0, 0, 3, 3]])
levels = torch.tensor([1])
print(json.dumps({{
    "torch": torch.__version__,
    "nms": torch.ops.zoo.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist(),
    "batched_nms": torch.ops.zoo.batched_nms(
        boxes, torch.tensor([0.5, 0.9, 0.1]), torch.tensor([0, 1, 0]), 0.5).tolist(),
    "roi_align": torch.ops.zoo.roi_align(x, rois, 1.0, 1, 1, 1, False).tolist(),
    "multiscale_roi_align": torch.ops.zoo.multiscale_roi_align(
        [x[:, :, :1, :1], x], rois, levels, [0.5, 1.0], 1, 1, 1, False).tolist(),
    "backward": [g.sum().item() for g in torch.ops.zoo.multiscale_roi_align_backward(
        torch.ones(1, 2, 1, 1), rois, levels, [0.5, 1.0], 1, 1, 1, 2, [1, 4], [1, 4], 1, False)],
}}))
"""
EXPECTED = {
    "nms": [1, 2],
    "batched_nms": [1, 0, 2],
    "roi_align": [[[[7.5]], [[23.5]]]],
    "multiscale_roi_align": [[[[7.5]], [[23.5]]]],
    "backward": [0.0, 2.0],
}


def dynamic_symbols(path: Path) -> tuple[set[str], set[str]]:
    """Names that an ELF library (64 bits, little endian) imports and exports."""
    data = path.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01", "these tests read ELF files"
    section_table, entry_size, count = (
        struct.unpack_from("<Q", data, 40)[0],
        *struct.unpack_from("<HH", data, 58),
    )
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, section_table + i * entry_size) for i in range(count)]
    imported: set[str] = set()
    exported: set[str] = set()
    for _, kind, _, _, offset, size, link, _, _, _ in sections:
        if kind != 11:  # SHT_DYNSYM
            continue
        names = sections[link][4]
        for at in range(offset + 24, offset + size, 24):
            name, _, _, section = struct.unpack_from("<IBBH", data, at)
            start = names + name
            (imported if section == 0 else exported).add(data[start : data.index(b"\0", start)].decode())
    return imported, exported


def libraries() -> list[Path]:
    return [path for path in (CPU_LIBRARY, CUDA_LIBRARY) if path is not None]


def test_the_cpu_library_is_there_and_small() -> None:
    assert CPU_LIBRARY is not None, "install packages/zoo-detection, which builds its operators"
    assert CPU_LIBRARY.stat().st_size < 1_000_000


@pytest.mark.parametrize("path", libraries(), ids=lambda path: path.name)
def test_only_the_stable_abi_is_used(path: Path) -> None:
    """No C++ symbol of torch, and of its C interface only what torch 2.10 has."""
    imported, exported = dynamic_symbols(path)
    torch_names = {name for name in imported if name.startswith(("aoti_torch_", "torch_"))}
    assert "torch_library_impl" in torch_names
    mangled = {name for name in imported if name.startswith("_Z")}
    foreign = {name for name in mangled if any(part in name for part in ("2at", "3c10", "5torch", "5caffe"))}
    assert not foreign
    assert torch_names <= TORCH_2_10_INTERFACE, f"newer than torch 2.10: {sorted(torch_names - TORCH_2_10_INTERFACE)}"
    if path == CPU_LIBRARY:
        loaded = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        assert not {name for name in torch_names if not hasattr(loaded, name)}
        assert not {name for name in exported if "torch" in name}  # the headers' inline functions stay inside


# What we use of the C interface of torch 2.10.0. All of it is among the symbols of its published libraries.
TORCH_2_10_INTERFACE = {
    "aoti_torch_abi_version",
    "aoti_torch_create_device_guard",
    "aoti_torch_delete_device_guard",
    "aoti_torch_delete_library_object",
    "aoti_torch_delete_tensor_object",
    "aoti_torch_device_type_cpu",
    "aoti_torch_device_type_cuda",
    "aoti_torch_device_type_meta",
    "aoti_torch_device_type_mps",
    "aoti_torch_device_type_privateuse1",
    "aoti_torch_device_type_xpu",
    "aoti_torch_dtype_bfloat16",
    "aoti_torch_dtype_bool",
    "aoti_torch_dtype_complex128",
    "aoti_torch_dtype_complex32",
    "aoti_torch_dtype_complex64",
    "aoti_torch_dtype_element_size",
    "aoti_torch_dtype_float16",
    "aoti_torch_dtype_float32",
    "aoti_torch_dtype_float64",
    "aoti_torch_dtype_float8_e4m3fn",
    "aoti_torch_dtype_float8_e4m3fnuz",
    "aoti_torch_dtype_float8_e5m2",
    "aoti_torch_dtype_float8_e5m2fnuz",
    "aoti_torch_dtype_int16",
    "aoti_torch_dtype_int32",
    "aoti_torch_dtype_int64",
    "aoti_torch_dtype_int8",
    "aoti_torch_dtype_uint16",
    "aoti_torch_dtype_uint32",
    "aoti_torch_dtype_uint64",
    "aoti_torch_dtype_uint8",
    "aoti_torch_get_current_cuda_stream",
    "aoti_torch_get_device_index",
    "aoti_torch_get_device_type",
    "aoti_torch_get_dim",
    "aoti_torch_get_dtype",
    "aoti_torch_get_numel",
    "aoti_torch_get_size",
    "aoti_torch_get_stride",
    "aoti_torch_layout__mkldnn",
    "aoti_torch_layout_jagged",
    "aoti_torch_layout_sparse_bsc",
    "aoti_torch_layout_sparse_bsr",
    "aoti_torch_layout_sparse_coo",
    "aoti_torch_layout_sparse_csc",
    "aoti_torch_layout_sparse_csr",
    "aoti_torch_layout_strided",
    "aoti_torch_library_init_impl",
    "aoti_torch_memory_format_channels_last",
    "aoti_torch_memory_format_channels_last_3d",
    "aoti_torch_memory_format_contiguous_format",
    "aoti_torch_memory_format_preserve_format",
    "aoti_torch_new_tensor_handle",
    "torch_call_dispatcher",
    "torch_delete_list",
    "torch_get_const_data_ptr",
    "torch_get_mutable_data_ptr",
    "torch_get_num_threads",
    "torch_library_impl",
    "torch_list_get_item",
    "torch_list_push_back",
    "torch_list_size",
    "torch_new_list_reserve_size",
    "torch_parallel_for",
}


def other_interpreters() -> list[str]:
    """Pythons with other releases of torch: the environment variable ``ZOO_TEST_PYTHONS``, separated as in PATH."""
    return [path for path in os.environ.get("ZOO_TEST_PYTHONS", "").split(os.pathsep) if path]


@pytest.mark.parametrize("python", [sys.executable, *other_interpreters()])
def test_one_library_serves_every_torch(python: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(
        [python, "-c", LOAD_AND_RUN, str(CPU_LIBRARY)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    version = result.pop("torch")
    assert tuple(int(part) for part in version.split(".")[:2]) >= (2, 10)
    assert result == EXPECTED


USE = """
import warnings, torch
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from zoo_detection import ops
    assert not [w for w in caught if "pure torch" in str(w.message)], "importing does not warn"
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
    for _ in range(3):
        print(ops.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist())
    x = torch.ones(1, 2, 8, 8, requires_grad=True)
    ops.roi_align(x, [boxes / 4], 2).sum().backward()
    print(x.grad.sum().item())
    for w in caught:
        if "pure torch" in str(w.message):
            print(w.category.__name__, w.message)
print(ops.backend()["cpu"])
"""


def run_with(source: Path | None, **environment: str) -> list[str]:
    """The output of USE, with the package found at ``source`` instead of where it is installed."""
    variables = {**os.environ, **environment}
    code = USE
    if source is not None:
        variables["PYTHONPATH"] = os.pathsep.join([str(source), variables.get("PYTHONPATH", "")])
        # An editable installation answers imports before the path does.
        code = f"import sys\nsys.meta_path = [f for f in sys.meta_path if 'editable' not in type(f).__module__]\n{USE}"
    run = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_pure_torch_serves_on_request_with_one_warning() -> None:
    *results, gradient, warning, backend = run_with(None, ZOO_OPS="python")
    assert results == ["[1, 2]"] * 3
    assert float(gradient) == pytest.approx(3 * 2 * 4)
    assert warning.startswith("RuntimeWarning NMS and RoIAlign run in pure torch, slower than compiled: ")
    assert "ZOO_OPS is 'python'" in warning
    assert "C++20 compiler" in warning
    assert backend == "the environment variable ZOO_OPS is 'python'"


def test_a_library_that_does_not_load_is_no_error(tmp_path: Path) -> None:
    package = tmp_path / "zoo_detection"
    source = Path(ops.__file__).parents[1]
    package.mkdir()
    for entry in source.iterdir():
        if not entry.name.startswith(("_ops_", "__pycache__")):
            (package / entry.name).symlink_to(entry)
    (package / "ops").unlink()
    # The library is looked for beside this folder.
    shutil.copytree(source / "ops", package / "ops", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "_ops_cpu.so").write_bytes(b"not a library")
    *results, _, warning, backend = run_with(tmp_path)
    assert results == ["[1, 2]"] * 3
    assert "_ops_cpu.so did not load" in warning
    assert "_ops_cpu.so did not load" in backend


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "_find_library", lambda name: None)
    monkeypatch.setattr(_library, "_failures", {})
    monkeypatch.setattr(_library, "_library_paths", {})
    _library._load_compiled()
    assert "no compiled library for CPU" in ops.backend()["cpu"]


def test_unknown_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_OPS", "fast")
    with pytest.raises(ValueError, match="ZOO_OPS is 'fast'; expected 'auto' or 'python'"):
        _library._load_compiled()


def test_other_devices_say_that_they_have_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "_warned", False)
    with pytest.warns(RuntimeWarning, match="zoo-detection has no kernels for 'mps' devices"):
        _library._warn_once(torch.device("mps"))


PRINT_RESULTS = """
import torch
from zoo_detection import ops
g = torch.Generator().manual_seed(0)
corner = torch.rand(3000, 2, generator=g) * 300
boxes = torch.cat((corner, corner + 1 + 50 * torch.rand(3000, 2, generator=g)), 1)
scores = torch.rand(3000, generator=g)
print(ops.backend()["cpu"])
for dtype in (torch.float32, torch.float64):
    print(ops.nms(boxes.to(dtype), scores.to(dtype), 0.3).tolist())
rois = torch.cat((torch.zeros(50, 1), boxes[:50]), 1)
features = torch.randn(1, 70, 80, 90, generator=g)
print(ops.roi_align(features, rois, 5, 0.25, 2).double().sum().item().__round__(2))
"""


def test_instruction_sets_decide_alike() -> None:
    """Of those that this processor has."""
    results = {}
    for isa in ("baseline", "avx2", "avx512"):
        environment = {**os.environ, "ZOO_OPS_ISA": isa, "ZOO_OPS": "auto"}
        run = subprocess.run(
            [sys.executable, "-c", PRINT_RESULTS], env=environment, capture_output=True, text=True, check=True
        )
        name, results[isa] = run.stdout.split("\n", 1)
        if isa == "baseline":
            assert name == "compiled (baseline)"
    assert results["baseline"] == results["avx2"] == results["avx512"]
