"""From files to tensors, and from tensors to models."""

import copy
import hashlib
import io
import os
import pickle
import random
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo_core.checkpoints import (
    CheckpointNotFoundError,
    HashMismatchError,
    StateDictError,
    UnreadableCheckpointError,
    assign_state_dict,
    get_state_dict,
    read_state_dict,
)


class Net(nn.Module):
    """A small model with parameters, persistent and other buffers."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, num_classes)
        self.register_buffer("scale", torch.full((8, 1, 1), 2.0))
        self.register_buffer("cache", torch.zeros(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.bn(self.conv(x)) * self.scale
        return self.fc(features.relu().mean((2, 3)))


@pytest.fixture
def net() -> Net:
    """A model whose every value is random."""
    generator = torch.Generator().manual_seed(0)
    net = Net()
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    net.bn.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    return net.eval()


def on_meta(**kwargs: Any) -> Net:
    with torch.device("meta"):
        return Net(**kwargs).eval()


def save(path: Path, content: object, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def assert_equal(first: nn.Module, second: nn.Module) -> None:
    one, two = first.state_dict(), second.state_dict()
    assert list(one) == list(two)
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=0, atol=0)


# Reading.


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_both_formats_plain_and_wrapped(tmp_path: Path, net: Net, legacy: bool, key: str | None) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    content = (
        net.state_dict() if key is None else {key: net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    )
    model = on_meta()
    assign_state_dict(model, read_state_dict(save(tmp_path / "x.pth", content, legacy)), source="x")
    assert_equal(model, net)
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model(x), net(x), rtol=0, atol=0)


def test_a_mapped_model_trains_and_the_file_stays_as_it_was(tmp_path: Path, net: Net) -> None:
    path = save(tmp_path / "x.pth", net.state_dict())
    before = path.read_bytes()
    model = on_meta()
    assign_state_dict(model, read_state_dict(path), source="x")
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.rand(4, 3, 8, 8)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.conv.weight, net.conv.weight)
    assert not torch.equal(model.bn.running_mean, net.bn.running_mean)  # type: ignore[arg-type]
    with torch.no_grad():
        model.fc.weight.fill_(0)
    assert path.read_bytes() == before
    torch.testing.assert_close(read_state_dict(path)["fc.weight"], net.fc.weight.detach())


def test_a_mapped_model_can_be_copied_pickled_and_saved_in_its_own_size(tmp_path: Path) -> None:
    big = {"weight": torch.rand(100, 1000), "bias": torch.rand(100)}
    with torch.device("meta"):
        model = nn.Linear(1000, 100)
    assign_state_dict(model, read_state_dict(save(tmp_path / "x.pth", big)), source="x")
    (tmp_path / "x.pth").unlink()  # as `zoo cache --clear` does
    torch.testing.assert_close(copy.deepcopy(model).weight.detach(), big["weight"])
    torch.testing.assert_close(pickle.loads(pickle.dumps(model)).weight.detach(), big["weight"])
    saved = io.BytesIO()
    torch.save({"bias": model.bias}, saved)
    assert len(saved.getvalue()) < 5000
    model.share_memory()
    torch.testing.assert_close(model.weight.detach(), big["weight"])


def test_several_state_dicts_are_ambiguous(tmp_path: Path, net: Net) -> None:
    path = save(tmp_path / "x.pth", {"model": net.state_dict(), "model_ema": net.state_dict()})
    with pytest.raises(UnreadableCheckpointError, match="several state dicts \\(model, model_ema\\)"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [[torch.ones(3)], torch.ones(3), {"epoch": 3}, {3: torch.ones(3)}, 5])
def test_files_without_state_dict(tmp_path: Path, content: object) -> None:
    with pytest.raises(UnreadableCheckpointError, match="no state dict"):
        read_state_dict(save(tmp_path / "x.pth", content))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("part", [0, 0.02, 0.3, 0.7, 0.97])
def test_truncated_files(tmp_path: Path, net: Net, legacy: bool, part: float) -> None:
    path = save(tmp_path / "x.pth", net.state_dict(), legacy)
    os.truncate(path, int(path.stat().st_size * part))
    with pytest.raises(UnreadableCheckpointError, match="truncated or damaged") as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    assert "zoo verify" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"<html><body>404 Not Found</body></html>",
        b"PK\x03\x04" + bytes(1000),
        bytes(5000),
        b"\x80\x02.",
        b"\x80\x02K\x01.",
        b"hello" * 1000,
        *(random.Random(seed).randbytes(2000) for seed in range(20)),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(UnreadableCheckpointError) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Malicious:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_files_is_not_run(tmp_path: Path, legacy: bool) -> None:
    victim = tmp_path / "made by the file"
    path = save(tmp_path / "x.pth", {"a": torch.ones(3), "b": Malicious(victim)}, legacy)
    with pytest.raises(UnreadableCheckpointError, match=r"Python object, posix\.mkdir.*refused"):
        read_state_dict(path)
    assert not victim.exists()


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCheckpointError, match=r"torch\.nn\.modules\.linear\.Linear.*refused"):
        read_state_dict(save(tmp_path / "x.pth", nn.Linear(2, 2)))


def test_missing_files_and_directories(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"none\.pth"):
        read_state_dict(tmp_path / "none.pth")
    with pytest.raises(UnreadableCheckpointError, match=r"cannot read .*directory"):
        read_state_dict(tmp_path)


def test_map_location(tmp_path: Path, net: Net) -> None:
    path = save(tmp_path / "x.pth", net.state_dict())
    assert all(tensor.is_meta for tensor in read_state_dict(path, map_location="meta").values())
    with torch.device("meta"):
        assert all(tensor.device.type == "cpu" for tensor in read_state_dict(path).values())


def test_get_state_dict(tmp_path: Path, net: Net) -> None:
    path = save(tmp_path / "x.pth", net.state_dict())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = get_state_dict(path.as_uri(), sha256_prefix=sha256[:8], progress=False)
    torch.testing.assert_close(dict(loaded), dict(net.state_dict()))
    with pytest.raises(HashMismatchError):
        get_state_dict(path.as_uri(), sha256_prefix="00000000", progress=False)


# Assigning.


def test_parameters_stay_leaves_as_constructed(net: Net) -> None:
    model = on_meta()
    model.conv.requires_grad_(False)
    assign_state_dict(model, net.state_dict(), source="x")
    assert_equal(model, net)
    for name, parameter in model.named_parameters():
        assert type(parameter) is nn.Parameter
        assert parameter.is_leaf
        assert parameter.requires_grad == (name != "conv.weight")
        assert parameter.data_ptr() == net.get_parameter(name).data_ptr(), "copied"
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in net.named_parameters()]


def test_also_into_a_model_with_storage(net: Net) -> None:
    model = Net().eval()
    assign_state_dict(model, net.state_dict(), source="x")
    assert_equal(model, net)


def test_the_given_state_dict_is_left_as_it_was(net: Net) -> None:
    state_dict = net.state_dict(keep_vars=True)
    values = dict(state_dict)
    metadata = copy.deepcopy(state_dict._metadata)  # type: ignore[attr-defined]
    model = on_meta().requires_grad_(False).half()
    assign_state_dict(model, state_dict, source="x")
    assert all(state_dict[key] is value for key, value in values.items())
    assert all(value.dtype != torch.half for value in values.values())
    assert net.fc.weight.requires_grad
    assert state_dict._metadata == metadata  # type: ignore[attr-defined]


def test_a_parameter_in_the_file_fills_a_buffer(net: Net) -> None:
    """As in files whose batch norm was frozen only afterwards."""
    state_dict = net.state_dict()
    state_dict["scale"] = nn.Parameter(state_dict["scale"])
    model = on_meta()
    assign_state_dict(model, state_dict, source="x")
    assert "scale" in dict(model.named_buffers())
    assert not model.scale.requires_grad
    assert_equal(model, net)


@pytest.mark.parametrize(
    ("in_file", "in_model"),
    [(torch.float16, torch.float32), (torch.float32, torch.float64), (torch.bfloat16, torch.float32)],
)
def test_dtypes_are_the_models_own(net: Net, in_file: torch.dtype, in_model: torch.dtype) -> None:
    default = torch.get_default_dtype()
    torch.set_default_dtype(in_model)
    try:
        model = on_meta()
    finally:
        torch.set_default_dtype(default)
    state_dict = net.to(in_file).state_dict()
    assign_state_dict(model, state_dict, source="x")
    for key, value in model.state_dict().items():
        assert value.dtype == (torch.long if key == "bn.num_batches_tracked" else in_model)
        torch.testing.assert_close(value, state_dict[key].to(value.dtype), rtol=0, atol=0)
    assert model.conv.weight.requires_grad
    assert model.conv.weight.is_leaf
    model(torch.rand(2, 3, 8, 8, dtype=in_model)).sum().backward()


@pytest.mark.parametrize("with_metadata", [False, True])
@pytest.mark.parametrize("make", [on_meta, Net])
def test_counters_that_old_files_lack_start_at_zero(net: Net, with_metadata: bool, make: Any) -> None:
    state_dict = net.state_dict()
    del state_dict["bn.num_batches_tracked"]
    model = make()
    assign_state_dict(model, state_dict if with_metadata else dict(state_dict), source="x")
    assert model.bn.num_batches_tracked.device.type == "cpu"
    assert model.bn.num_batches_tracked.dtype == torch.long
    assert model.bn.num_batches_tracked.item() == 0
    with torch.device("meta"):
        model = make()
        assign_state_dict(model, state_dict if with_metadata else dict(state_dict), source="x")
    assert model.bn.num_batches_tracked.item() == 0


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.third = self.first


@pytest.mark.parametrize("missing", [(), ("second.weight",), ("first.weight", "third.weight")])
def test_shared_parameters_stay_shared(missing: tuple[str, ...]) -> None:
    original = Tied()
    with torch.device("meta"):
        model = Tied().double()
    state_dict = {key: value for key, value in original.state_dict().items() if key not in missing}
    assign_state_dict(model, state_dict, source="x")
    assert model.second.weight is model.first.weight
    assert model.third is model.first
    assert_equal(model, original.double())


class Renamed(nn.Module):
    """Reads files in which ``weight`` was called ``kernel``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_load_state_dict_pre_hook(self._rename)

    @staticmethod
    def _rename(module: nn.Module, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}kernel" in state_dict:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}kernel")


class OlderVersion(nn.Module):
    """Reads files of version 1, which hold the square; and drops what it no longer needs."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("root", torch.zeros(3, dtype=torch.float64))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        state_dict.pop(f"{prefix}unused", None)
        if local_metadata.get("version", 1) < 2:
            state_dict[f"{prefix}root"] = state_dict[f"{prefix}root"].sqrt()
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def test_older_spellings_are_left_to_the_modules() -> None:
    with torch.device("meta"):
        model = nn.Sequential(Renamed(), nn.Sequential(OlderVersion()))
    old = {"0.kernel": torch.ones(3), "1.0.root": torch.full((3,), 9.0), "1.0.unused": torch.ones(7)}
    assign_state_dict(model, old, source="x")
    assert torch.equal(model[0].weight, torch.ones(3))  # type: ignore[arg-type]
    assert model[1][0].root.tolist() == [3, 3, 3]  # type: ignore[index]
    assert model[1][0].root.dtype == torch.float64  # type: ignore[index]
    new = OrderedDict(model.state_dict())
    new._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    assign_state_dict(model, new, source="x")
    assert model[1][0].root.tolist() == [3, 3, 3]  # type: ignore[index]


class WithExtraState(nn.Linear):
    extra: object = None

    def get_extra_state(self) -> object:
        return self.extra

    def set_extra_state(self, state: object) -> None:
        self.extra = state


def test_extra_state(tmp_path: Path) -> None:
    original = WithExtraState(2, 2)
    original.extra = {"version": 3, "names": ["a", "b"]}
    with torch.device("meta"):
        model = WithExtraState(2, 2)
    assign_state_dict(model, read_state_dict(save(tmp_path / "x.pth", original.state_dict())), source="x")
    assert model.extra == original.extra
    assert torch.equal(model.weight, original.weight)


@pytest.fixture
def quantized_engine() -> Iterator[str]:
    engine = next(name for name in ("fbgemm", "x86", "qnnpack") if name in torch.backends.quantized.supported_engines)
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    yield engine
    torch.backends.quantized.engine = before


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("legacy", [False, True])
def test_quantized_modules(tmp_path: Path, quantized_engine: str, legacy: bool) -> None:
    from torch.ao.nn import quantized

    def make() -> nn.Module:
        return nn.Sequential(
            quantized.Quantize(0.1, 3, torch.quint8),
            quantized.Conv2d(3, 4, 3),
            nn.Flatten(),
            quantized.Linear(4 * 36, 5),
            quantized.DeQuantize(),
        )

    torch.manual_seed(0)
    original = make()
    weight = torch.quantize_per_channel(
        torch.randn(4, 3, 3, 3), torch.rand(4).double() / 50 + 0.01, torch.zeros(4).long(), 0, torch.qint8
    )
    original[1].set_weight_bias(weight, torch.randn(4))  # type: ignore[index]
    original[3].set_weight_bias(  # type: ignore[index]
        torch.quantize_per_tensor(torch.randn(5, 144), 0.02, 0, torch.qint8), torch.randn(5)
    )
    path = save(tmp_path / "x.pth", original.state_dict(), legacy)
    model = make()
    assign_state_dict(model, read_state_dict(path), source="x")
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(model(x), original(x))
    assert model(x).abs().sum() > 0

    with pytest.raises(StateDictError, match=r"x does not fit Sequential: it lacks the key '1\.weight'"):
        assign_state_dict(model, {"0.scale": torch.ones(1), "0.zero_point": torch.zeros(1)}, source="x")


# What does not fit.


def test_everything_that_does_not_fit_is_reported_at_once(net: Net) -> None:
    state_dict = dict(net.state_dict())
    del state_dict["conv.weight"]
    state_dict |= {f"old.{i}": torch.ones(1) for i in range(10)}
    with pytest.raises(StateDictError) as caught:
        assign_state_dict(on_meta(num_classes=7), state_dict, source="net-12345678.pth")
    assert str(caught.value).splitlines() == [
        "net-12345678.pth does not fit Net:",
        "  1 entry missing from the checkpoint: conv.weight",
        "  10 entries unknown to the model: old.0, old.1, old.2, old.3, old.4, old.5, old.6, old.7, and 2 more",
        "  2 entries of another shape: fc.weight (checkpoint [5, 8], model [7, 8]), "
        "fc.bias (checkpoint [5], model [7])",
        "  Was it saved by another variant of the model, or for another num_classes?",
    ]


def test_each_misfit_on_its_own(net: Net) -> None:
    complete: dict[str, Any] = dict(net.state_dict())
    misfits: list[tuple[dict[str, Any], str]] = [
        ({"scale": torch.ones(8, 1)}, r"1 entry of another shape: scale \(checkpoint \[8, 1\], model \[8, 1, 1\]\)"),
        ({"bn.num_batches_tracked": torch.zeros(2)}, r"num_batches_tracked \(checkpoint \[2\], model \[\]\)"),
        ({"extra": torch.ones(1)}, "1 entry unknown to the model: extra"),
        ({"cache": torch.zeros(3)}, "1 entry unknown to the model: cache"),
        ({"fc.weight": "no tensor"}, 'parameter named "fc.weight", expected torch.Tensor'),
        ({"fc.weight": torch.empty(5, 8, device="meta")}, "1 entry left without a value.*: fc.weight"),
    ]
    for change, message in misfits:
        with pytest.raises(StateDictError, match=message):
            assign_state_dict(on_meta(), complete | change, source="x")
    for key in complete:
        if key != "bn.num_batches_tracked":
            with pytest.raises(StateDictError, match=f"1 entry missing from the checkpoint: {key}\n"):
                assign_state_dict(on_meta(), {k: v for k, v in complete.items() if k != key}, source="x")


def test_what_may_be_missing(net: Net) -> None:
    body = {key: value for key, value in net.state_dict().items() if not key.startswith("fc.")}
    model = on_meta(num_classes=9)
    assign_state_dict(model, body, source="x", allow_missing=["fc.*"])
    assert model.fc.weight.is_meta
    assert torch.equal(model.conv.weight, net.conv.weight)
    with pytest.raises(StateDictError, match=r"missing from the checkpoint: fc\.weight\n"):
        assign_state_dict(on_meta(), body, source="x", allow_missing=["fc.bias"])


def test_errors_of_a_modules_own_loading_are_passed_on() -> None:
    class Strict(nn.Module):
        def _load_from_state_dict(self, *args: Any) -> None:
            raise RuntimeError("files of version 1 cannot be read")

    with pytest.raises(RuntimeError, match="files of version 1 cannot be read"):
        assign_state_dict(Strict(), {}, source="x")
