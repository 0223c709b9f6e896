"""What torch.fx, torch.jit and the exporters to ONNX make of the models.

One builder of each family, the smallest; `nox -s exports` has all of them, and fixed batches beside dynamic ones.
"""

from support import recorded, recording, reference

case = recorded.cases([*recording.smallest_of_each_family("video"), *reference.own_names("video")])
test_symbolic_trace = recorded.test_symbolic_trace
test_jit_trace = recorded.test_jit_trace
test_onnx_with_a_dynamic_batch = recorded.test_onnx_with_a_dynamic_batch
test_onnx_by_the_older_exporter = recorded.test_onnx_by_the_older_exporter
test_pt2_file = recorded.test_pt2_file
test_openvino_file = recorded.test_openvino_file
