import pytest

from support.own_checkpoints import check_fits


@pytest.mark.parametrize("quantize", [False, True])
def test_the_form_and_the_number_of_classes_are_read_off_the_file(tmp_path, quantize):
    check_fits(tmp_path, "quantized_shufflenet_v2_x0_5", num_classes=7, quantize=quantize)
