"""Exported files in the runtimes that users run them in."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

Program = Callable[..., list[Tensor]]


def onnx_runtime(path: Path) -> Program:
    """An ONNX file in ONNX Runtime: tensors in the order of its inputs -> tensors in the order of its outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        given = {name: value.detach().contiguous().numpy() for name, value in zip(names, inputs, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, given)]

    return run


def openvino(path: Path) -> Program:
    """An ONNX file in OpenVINO on the CPU, computed in float32."""
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = ov.Core().compile_model(str(path), "CPU", settings)

    def run(*inputs: Tensor) -> list[Tensor]:
        result = model([value.detach().contiguous().numpy() for value in inputs])
        return [torch.from_numpy(result[output].copy()) for output in model.outputs]

    return run


RUNTIMES: dict[str, Callable[[Path], Program]] = {"onnxruntime": onnx_runtime, "openvino": openvino}
