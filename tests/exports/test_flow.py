"""Every builder of flow, recorded by each of the tools but torch.fx, which cannot see how often it is to refine."""

from support import recorded, reference

case = recorded.cases(reference.builder_names("flow"))

test_jit_trace = recorded.test_jit_trace
test_onnx_with_a_dynamic_batch = recorded.test_onnx_with_a_dynamic_batch
test_onnx_in_openvino = recorded.test_onnx_in_openvino
test_onnx_with_a_fixed_batch = recorded.test_onnx_with_a_fixed_batch
test_onnx_by_the_older_exporter = recorded.test_onnx_by_the_older_exporter
