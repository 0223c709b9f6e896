import pytest

from support.own_checkpoints import check_fits


@pytest.mark.parametrize("name", ["s3d", "mvit_v2_s", "x3d_xs"])
def test_the_number_of_classes_is_read_off_the_head(tmp_path, name):
    check_fits(tmp_path, name, num_classes=7)
