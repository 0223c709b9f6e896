import math
import subprocess
import sys

import pytest

from zoo_core.extras import MissingExtraError, require


def test_an_installed_library_is_imported():
    assert require("math", extra="none", purpose="to count") is math


def test_a_missing_library_is_named_with_the_command_that_installs_it():
    with pytest.raises(MissingExtraError) as raised:
        require("not_there.inner", extra="video", purpose="to read videos", distribution="zoo-flow")
    assert str(raised.value) == (
        "not_there is needed to read videos and is not installed: pip install 'zoo-flow[video]'"
    )
    assert raised.value.name == "not_there"


def test_what_an_installed_library_lacks_itself_is_not_taken_for_the_extra(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import what_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_needs") as raised:
        require("half_there", extra="half", purpose="to fail")
    assert not isinstance(raised.value, MissingExtraError)


def test_the_module_imports_no_torch():
    code = "import sys, zoo_core.extras; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
