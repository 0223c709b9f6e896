"""Features of some builders that are quick; `nox -s features` has all."""

from support import feature_contract

case = feature_contract.cases(["mc3_18", "mvit_v2_s", "swin3d_t", "x3d_xs"])

test_output_is_that_of_the_forward = feature_contract.test_output_is_that_of_the_forward
test_head_on_the_last_features_gives_the_output = feature_contract.test_head_on_the_last_features_gives_the_output
test_maps_are_as_told = feature_contract.test_maps_are_as_told
test_stages_alone_give_the_same_and_stop = feature_contract.test_stages_alone_give_the_same_and_stop
test_gradients_flow = feature_contract.test_gradients_flow
test_parts_are_disjoint_and_whole = feature_contract.test_parts_are_disjoint_and_whole
