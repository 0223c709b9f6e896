"""`torch.hub.load` from a source checkout, in an interpreter that sees third-party packages but none of ours."""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(code, **environment):
    # Without `site` the editable installs of our packages are not seen; their dependencies are.
    prelude = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r}); import torch\n"
    completed = subprocess.run(
        [sys.executable, "-S", "-c", prelude + code], capture_output=True, text=True, env=environment, check=False
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_the_interpreter_sees_none_of_our_packages():
    assert run("import importlib.util; print(importlib.util.find_spec('zoo_core'))") == "None\n"


def test_load_with_and_without_weights(tmp_path):
    code = f"""
torch.manual_seed(0)
model = torch.hub.load({str(ROOT)!r}, "resnet18", source="local")
enum = torch.hub.load({str(ROOT)!r}, "get_model_weights", source="local", name="resnet18")
weights = torch.hub.load({str(ROOT)!r}, "get_weight", source="local", name="ResNet18_Weights.IMAGENET1K_V1")
assert enum.DEFAULT is weights
cache = torch.hub.get_dir() + "/checkpoints"
import os; os.makedirs(cache)
torch.save(model.state_dict(), cache + "/resnet18-f37072fd.pth")
loaded = torch.hub.load({str(ROOT)!r}, "resnet18", source="local", weights="DEFAULT")
assert torch.equal(loaded.conv1.weight, model.conv1.weight)
sys.path.insert(0, {str(ROOT)!r}); import hubconf
print(*(name for name in dir(hubconf) if name.startswith("resnet")))
"""
    assert run(code, TORCH_HOME=str(tmp_path)).split() == ["resnet101", "resnet152", "resnet18", "resnet34", "resnet50"]


def test_a_package_that_only_some_models_need(tmp_path):
    code = f"""
sys.modules["av"] = None
try:
    torch.hub.load({str(ROOT)!r}, "r3d_18", source="local", weights=None)
except ModuleNotFoundError as error:
    print(error)
torch.hub.load({str(ROOT)!r}, "shufflenet_v2_x0_5", source="local", weights=None)
"""
    assert run(code, TORCH_HOME=str(tmp_path)) == "r3d_18 needs av, which is not installed: pip install av\n"


def test_old_calls_warn_at_the_users_line(tmp_path):
    code = f"""
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    torch.hub.load({str(ROOT)!r}, "resnet18", source="local", pretrained=False)
print(*(f"{{w.category.__name__}} {{w.filename}}" for w in caught if "pretrained=False" in str(w.message)))
"""
    assert run(code, TORCH_HOME=str(tmp_path)) == "UserWarning <string>\n"
