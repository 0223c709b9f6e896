"""Models compiled for a runtime, beside the modules themselves; and what is kept of them."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core import kept_models, specs
from zoo_core.engines import EngineError, compile_for, identity
from zoo_core.engines import compiled as compiled_module
from zoo_core.engines.changes import Change, largest_change
from zoo_core.engines.eager import EagerEngine

CHECKPOINT = "FASHIONMNIST_V1"
RUNTIMES = ["onnxruntime", "openvino"]


class Net(nn.Module):
    """Gives a dict and a list, as models do that have several results."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.scale = scale
        with torch.no_grad():
            self.conv.weight.copy_(torch.linspace(-1, 1, 108).reshape(4, 3, 3, 3))
            self.conv.bias.copy_(torch.arange(4.0))

    def forward(self, x: Tensor, factor: float = 1.0) -> dict[str, Tensor | list[Tensor]]:
        features = F.relu(self.conv(x)) * (self.scale * factor)
        return {"logits": features.mean((2, 3)), "maps": [features, features[:, :1]]}


class Wayward(nn.Module):
    """Does not export: what it computes depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if float(x.sum()) > 0 else x - 1


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def images(batch: int = 4, height: int = 8, width: int = 8) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(batch + height))


def assert_same(found, expected, **tolerance) -> None:
    torch.testing.assert_close(found, expected, **tolerance)
    assert type(found) is type(expected)


@pytest.mark.parametrize("engine", RUNTIMES)
def test_inputs_and_outputs_are_the_models_own(engine: str) -> None:
    model = Net().eval()
    fast = compile_for(model, engine, arguments={"factor": 2.0})
    with torch.inference_mode():
        # The last batch of a row is smaller; then another size, and one more.
        for x in (images(4), images(3), images(3), images(1), images(4, 10, 6), images(2, 12, 7)):
            assert_same(fast(x), model(x, factor=2.0))
    (entry,) = kept_models.entries()
    assert entry.engines == (engine,)
    assert len(list(entry.path.glob("export-*.onnx"))) == 2  # one for the first size, and one for any


@pytest.mark.parametrize("engine", RUNTIMES)
def test_what_was_kept_is_not_exported_again(engine: str, monkeypatch) -> None:
    x = images()
    expected = Net()(x)
    compile_for(Net(), engine)(x)
    monkeypatch.setattr(compiled_module, "export_module", None)
    assert_same(compile_for(Net(), engine)(x), expected)


def test_other_parameters_settings_arguments_and_versions_are_another_model(monkeypatch) -> None:
    other = Net()
    with torch.no_grad():
        other.conv.bias[0] = 1e-3
    keys = [
        identity.module_key(Net(), {}),
        identity.module_key(other, {}),
        identity.module_key(Net(scale=2.0), {}),
        identity.module_key(Net(), {"factor": 2.0}),
    ]
    assert identity.module_key(Net(), {}) == keys[0]
    monkeypatch.setattr(identity, "versions", lambda: {"torch": "another"})
    keys.append(identity.module_key(Net(), {}))
    assert len(set(keys)) == 5


def test_code_that_changed_is_another_model() -> None:
    def make(body: str) -> type[nn.Module]:
        space = {"nn": nn}
        exec(f"class Plain(nn.Module):\n    def forward(self, x):\n        return {body}", space)
        return space["Plain"]  # type: ignore[return-value]

    assert identity.module_key(make("x + 1")(), {}) == identity.module_key(make("x + 1")(), {})
    assert identity.module_key(make("x + 1")(), {}) != identity.module_key(make("x + 2")(), {})
    assert identity.module_key(make("x.exp()")(), {}) != identity.module_key(make("x.log()")(), {})


def test_a_spec_has_the_key_of_its_file_arguments_and_versions(tmp_path: Path, monkeypatch) -> None:
    spec = specs.find("shufflenet_v2_x0_5", weights=CHECKPOINT)
    key = identity.spec_key(spec, {})
    assert key is not None
    assert key == identity.spec_key(spec, {})
    assert key != identity.spec_key(spec, {"factor": 2})
    path = tmp_path / "mine.pth"
    torch.save({"a": torch.zeros(1)}, path)
    first = identity.spec_key(specs.ModelSpec("mine", "classification", file=str(path)), {})
    torch.save({"a": torch.ones(1)}, path)
    assert first != identity.spec_key(specs.ModelSpec("mine", "classification", file=str(path)), {})
    monkeypatch.setattr(identity, "versions", lambda: {"torch": "another"})
    assert key != identity.spec_key(spec, {})
    assert identity.spec_key(specs.ModelSpec("mine", "classification", file=str(tmp_path / "none.pth")), {}) is None


@pytest.mark.parametrize("engine", RUNTIMES)
def test_damaged_files_are_made_anew(engine: str) -> None:
    x = images()
    expected = Net()(x)
    compile_for(Net(), engine)(x)
    (entry,) = kept_models.entries()
    for path in sorted(entry.path.iterdir()):
        whole = path.read_bytes()
        for damaged in (b"", whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]) if whole else b"x"):
            path.write_bytes(damaged)
            assert_same(compile_for(Net(), engine)(x), expected)
    # Nothing compiled, and an exported file that is not what its note says.
    for path in entry.path.iterdir():
        if path.name.startswith(engine):
            path.unlink()
        elif path.name.endswith(".onnx"):
            path.write_bytes(path.read_bytes()[::-1])
    assert_same(compile_for(Net(), engine)(x), expected)


def test_two_processes_make_an_entry_once(tmp_path: Path) -> None:
    code = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
from test_engines import Net, images
from zoo_core.engines import compile_for
said = []
found = compile_for(Net(), "openvino", tell=said.append)(images())
torch.testing.assert_close(found, Net()(images()))
print(json.dumps(said))
"""
    environment = {**os.environ, "TORCH_HOME": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    said = [json.loads(process.communicate()[0].splitlines()[-1]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(len(words) for words in said) == 1  # only one of them has exported it
    assert len(kept_models.entries()) == 1


def test_several_threads_may_call_before_it_is_compiled() -> None:
    fast = compile_for(Net(), "openvino", threads=1)
    wrong: list[BaseException] = []

    def work(batch: int) -> None:
        try:
            for _ in range(5):
                torch.testing.assert_close(fast(images(batch)), Net()(images(batch)))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(batch,)) for batch in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_model_that_cannot_be_exported() -> None:
    with pytest.raises(EngineError, match=r"Wayward does not run in openvino.*The engine torch runs it"):
        compile_for(Wayward(), "openvino")(images())
    said: list[str] = []
    fast = compile_for(Wayward(), "auto", tell=said.append)
    for x in (images(), -images()):
        torch.testing.assert_close(fast(x), Wayward()(x))
    assert [line for line in said if line.startswith("engine torch")]
    assert "openvino does not run it" in said[-1]
    again: list[str] = []
    compile_for(Wayward(), "auto", tell=again.append)(images())
    assert again == [said[-1] + " (measured before)"]  # not tried again


def test_auto_measures_once_and_says_what_it_took() -> None:
    said: list[str] = []
    fast = compile_for(Net(), tell=said.append)
    assert_same(fast(images()), Net()(images()))
    (choice,) = fast.choices.values()
    assert choice.milliseconds.keys() == {"torch", *RUNTIMES}
    assert choice.engine == min(choice.milliseconds, key=lambda name: choice.milliseconds[name])
    assert f"engine {choice.engine}" in said[-1]
    later = compile_for(Net())
    later(images())
    assert next(iter(later.choices.values())).remembered
    assert next(iter(later.choices.values())).engine == choice.engine


def test_auto_has_torch_where_nothing_else_is_installed(monkeypatch) -> None:
    monkeypatch.setattr(compiled_module, "installed", lambda: ("torch",))
    said: list[str] = []
    assert_same(compile_for(Net(), tell=said.append)(images()), Net()(images()))
    assert said == [
        "engine torch; none other is installed (pip install 'zoo-core[onnx,openvino]' brings ONNX Runtime and OpenVINO)"
    ]
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'zoo-core\[openvino\]'"):
        compile_for(Net(), "openvino")
    assert not kept_models.entries()


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_bf16_says_what_it_changes(engine: str) -> None:
    said: list[str] = []
    x = images(4, 32, 32)
    found = compile_for(Net(), engine, "bf16", tell=said.append)(x)
    exact = Net()(x)
    assert found["logits"].dtype is torch.float32
    assert not torch.equal(found["logits"], exact["logits"])
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0.02)
    change = largest_change(exact, found)
    assert said[-1].startswith(f"precision bf16: {change}")
    again: list[str] = []
    compile_for(Net(), engine, "bf16", tell=again.append)(x)
    assert again == said[-1:]  # known from before


def test_changes_of_detections_are_those_of_their_scores() -> None:
    exact = [{"boxes": torch.zeros(3, 4), "scores": torch.tensor([0.9, 0.5, 0.2])}]
    found = [{"boxes": torch.ones(2, 4), "scores": torch.tensor([0.88, 0.5])}]
    change = largest_change(exact, found)
    assert change == Change(pytest.approx(0.02), pytest.approx(0.9), (3, 2))
    assert str(change) == "the largest change of a score is 0.02 (2.22% of the largest); 3 detections became 2"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_torch_keeps_packed_weights_where_it_is_called_in_inference_mode(precision: str) -> None:
    """As `zoo predict` does; tensors made there are such that no copy of them may be kept."""
    with torch.inference_mode():
        fast = compile_for(Net(), "torch", precision)
        fast(images())
    (engine,) = (value for value in vars(fast).values() if isinstance(value, EagerEngine))
    assert not engine.model.conv.weight.is_inference()


def test_a_model_that_was_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model, x = Net(), images()
        assert_same(compile_for(model, "openvino")(x), model(x))


def test_what_goes_wrong_is_said() -> None:
    with pytest.raises(ValueError, match="unknown engine 'fast'; there are auto, torch, onnxruntime, openvino"):
        compile_for(Net(), "fast")
    with pytest.raises(ValueError, match="unknown precision 'fp8'"):
        compile_for(Net(), precision="fp8")
    with pytest.raises(ValueError, match="bf16 takes the engine openvino or torch"):
        compile_for(Net(), "onnxruntime", "bf16")
    with pytest.raises(ValueError, match="openvino runs on the CPU here, not on cuda"):
        compile_for(Net(), "openvino", device="cuda")
    # What the model itself refuses is an error of the input, and the next one goes on.
    fast = compile_for(Net(), "openvino")
    with pytest.raises(RuntimeError, match="channels"):
        fast(torch.zeros(1, 2, 8, 8))
    assert_same(fast(images()), Net()(images()))


def test_where_nothing_can_be_written_it_still_runs(tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file in the place of the folder")
    assert_same(compile_for(Net(), "onnxruntime")(images()), Net()(images()))
