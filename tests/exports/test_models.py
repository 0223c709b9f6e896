"""Every builder of images and videos, recorded by each of the tools."""

from support import recorded, reference

TASKS = ("video", "segmentation", "quantized", "classification")

case = recorded.cases([name for task in TASKS for name in reference.builder_names(task)])

test_symbolic_trace = recorded.test_symbolic_trace
test_jit_trace = recorded.test_jit_trace
test_onnx_with_a_dynamic_batch = recorded.test_onnx_with_a_dynamic_batch
test_onnx_in_openvino = recorded.test_onnx_in_openvino
test_onnx_with_a_fixed_batch = recorded.test_onnx_with_a_fixed_batch
test_onnx_by_the_older_exporter = recorded.test_onnx_by_the_older_exporter
