"""Features of every builder: what `zoo_core.features` tells of them holds, and the exported module gives the same."""

import pytest

from support import feature_contract, reference

NAMES = [*reference.catalog(), *reference.own_names()]

case = feature_contract.cases(NAMES)

test_output_is_that_of_the_forward = feature_contract.test_output_is_that_of_the_forward
test_head_on_the_last_features_gives_the_output = feature_contract.test_head_on_the_last_features_gives_the_output
test_maps_are_as_told = feature_contract.test_maps_are_as_told
test_stages_alone_give_the_same_and_stop = feature_contract.test_stages_alone_give_the_same_and_stop
test_gradients_flow = feature_contract.test_gradients_flow
test_parts_are_disjoint_and_whole = feature_contract.test_parts_are_disjoint_and_whole
test_module_exported = feature_contract.test_module_exported


@pytest.mark.parametrize("name", NAMES)
def test_what_is_told_is_what_is_built(name):
    """The committed tables, which `python -m tools.feature_tables` writes."""
    feature_contract.told_by_builders(name)
