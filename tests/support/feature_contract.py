"""What holds of the features of every builder. A module of tests says of which builders, and takes those that it wants:

case = feature_contract.cases(["resnet18"])
test_maps_are_as_told = feature_contract.test_maps_are_as_told
"""

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo_core
from support import recording, reference
from zoo_core.features import FeatureModel, features, freeze, model_features
from zoo_core.features.freezing import parts_of

DETECTION_SIZES: dict[str, dict[str, Any]] = {"ssd": {}, "": {"min_size": 64, "max_size": 96}}


@dataclass
class Case:
    """A builder's model in eval mode, and small inputs of it."""

    name: str

    @property
    def task(self) -> str:
        return zoo_core.catalog.model(self.name).task

    @cached_property
    def model(self) -> nn.Module:
        if self.task != "detection":
            return recording.small_model(self.name).eval()
        sizes = DETECTION_SIZES["ssd" if self.name.startswith("ssd") else ""]
        with reference.no_random_init():
            model = zoo_core.get_model(self.name, weights_backbone=None, **sizes)
        return reference.fill_parameters(model).eval()

    @cached_property
    def inputs(self) -> tuple[Any, ...]:
        if self.task == "detection":
            return ([reference.image(seed, 3, 64, 64) for seed in (1, 2)],)
        if self.name.startswith(("alexnet", "vgg")):
            return (reference.image(1, 2, 3, 64, 72),)
        return recording.small_inputs(self.name, batch=1 if self.name.startswith("maxvit") else 2)

    @property
    def batch(self) -> tuple[int, ...]:
        """The size of what the stages see: of detectors after resizing."""
        if self.task == "detection":
            transform: Any = self.model.transform
            return transform.fixed_size or (64, 64)
        return tuple(self.inputs[0].shape[2:])

    @cached_property
    def all(self) -> dict[str, Any]:
        """Every stage, the embedding and the output, of one pass."""
        told = model_features(self.name)
        with torch.no_grad():
            return features(self.model, *self.inputs, layers=[*told.names, "embedding", "output"])

    @cached_property
    def output(self) -> Any:
        with torch.no_grad():
            return self.model(*self.inputs)


def cases(names: Iterable[str]) -> Any:
    """The fixture ``case``: one model at a time is in memory."""
    params = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]

    @pytest.fixture(scope="module", params=params)
    def case(request: pytest.FixtureRequest) -> Iterator[Case]:
        found = Case(request.param)
        yield found
        del found
        gc.collect()

    return case


def test_output_is_that_of_the_forward(case: Case) -> None:
    assert_equal(case.all["output"], case.output)
    if case.task in ("classification", "video", "quantized", "segmentation"):
        with torch.no_grad():
            logits = features(case.model, *case.inputs, layers="logits")["logits"]
        assert_equal(logits, case.output if isinstance(case.output, Tensor) else case.output["out"])


def test_head_on_the_last_features_gives_the_output(case: Case) -> None:
    told = model_features(case.name)
    with torch.no_grad():
        if case.task == "detection":
            output: Any = with_features_of(case, list(told.names))
            assert_equal(output, case.output)
        elif case.task == "segmentation":
            assert_close(segmentation_head(case), case.output["out"])
        elif case.task == "flow":
            assert_close(flow_of_features(case), case.output[-1])
        else:
            assert_close(head_of_classifier(case, told), case.output)


def head_of_classifier(case: Case, told: Any) -> Tensor:
    head = case.model.get_submodule(told.head)
    if told.head_takes == "map":
        return case.model.get_submodule(told.head.rpartition(".")[0])(case.all[told.names[-1]]).flatten(1)
    embedding = case.all["embedding"]
    assert embedding.shape == (case.inputs[0].shape[0], told.embedding)
    weight: Any = head.weight
    return head(embedding.reshape(*embedding.shape, *[1] * (weight.ndim - 2))).flatten(1)


def segmentation_head(case: Case) -> Tensor:
    model: Any = case.model
    told = model_features(case.name)
    last = case.all[told.names[-1]]
    given: Any = last
    if case.name.startswith("lraspp"):  # which has a branch of finer features
        given = {"low": features(case.model, *case.inputs, layers="backbone.4")["backbone.4"], "high": last}
    scores = model.classifier(given)
    return nn.functional.interpolate(scores, size=case.batch, mode="bilinear", align_corners=False)


def with_features_of(case: Case, names: list[str]) -> Any:
    """The output of a detector whose backbone is replaced by maps that were taken before."""
    model: Any = case.model
    levels = [name for name in names if name.startswith("pyramid")]
    if levels:
        maps = [case.all[name] for name in levels]
    else:
        maps = [case.all[name] for name in names]
        if hasattr(model.backbone, "scale_weight"):
            maps[0] = model.backbone.scale_weight.view(1, -1, 1, 1) * nn.functional.normalize(maps[0])
    keys = ["0", "1", "2", "3", "pool"] if "rcnn" in case.name else [str(index) for index in range(len(maps))]
    if case.name.startswith("fasterrcnn_mobilenet"):
        keys = ["0", "1", "pool"]

    class Given(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return dict(zip(keys, maps, strict=True))

    backbone = model.backbone
    try:
        model.backbone = Given()
        return model(*case.inputs)
    finally:
        model.backbone = backbone


def flow_of_features(case: Case) -> Tensor:
    """The flow of a RAFT whose feature encoder is replaced by features that were taken before."""
    model: Any = case.model
    encoder, taken = model.feature_encoder, case.all[model_features(case.name).names[-1]]

    class Given(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return taken

    try:
        model.feature_encoder = Given()
        return model(*case.inputs)[-1]
    finally:
        model.feature_encoder = encoder


def test_maps_are_as_told(case: Case) -> None:
    told = model_features(case.name)
    count = len(case.inputs[0]) * (2 if case.task == "flow" else 1)
    for stage in told:
        found = case.all[stage.name]
        assert found.shape[:2] == (count, stage.channels), stage
        spatial, reduced = case.batch[-2:], found.shape[-2:]
        for side, small in zip(spatial, reduced, strict=True):
            # Convolutions without padding, as Inception has them, lose a few places more.
            assert side / stage.reduction - 5 < small < side / stage.reduction + 1, (stage, found.shape)
        assert (stage.time_reduction is not None) == (case.task == "video") == (found.ndim == 5)
        if stage.time_reduction is not None:
            assert abs(found.shape[2] - case.batch[0] / stage.time_reduction) <= 1
    assert case.all["embedding"].ndim == 2
    assert case.all["embedding"].shape[1] == told.embedding


def test_stages_alone_give_the_same_and_stop(case: Case) -> None:
    """What comes later writes to no map; and what comes after the last layer does not run."""
    told = model_features(case.name)
    chosen = (told[0], told[len(told) // 2], told[-1])
    for stage in chosen:
        with torch.no_grad():
            found = features(case.model, *case.inputs, layers=stage.name)
        assert list(found) == [stage.name]
        assert_equal(found[stage.name], case.all[stage.name])
    ran: list[nn.Module] = []
    # With hooks on them, layers are called that are else passed by, which rounds otherwise.
    hooks = [m.register_forward_hook(lambda module, *_: ran.append(module)) for m in case.model.modules()]
    try:
        counts = []
        for stage in chosen:
            ran.clear()
            with torch.no_grad():
                found = features(case.model, *case.inputs, layers=stage.name)
            assert_close(found[stage.name], case.all[stage.name])
            counts.append(len(ran))
        assert counts == sorted(counts)
        assert case.model not in ran
    finally:
        for hook in hooks:
            hook.remove()


def test_gradients_flow(case: Case) -> None:
    if case.task == "detection":
        inputs: Any = ([x.clone().requires_grad_() for x in case.inputs[0]],)
        first = inputs[0][0]
    else:
        inputs = tuple(x.clone().requires_grad_() for x in case.inputs)
        first = inputs[0]
    found = features(case.model, *inputs)
    sum(value.float().square().mean() for value in found.values()).backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert first.grad.abs().max() > 0
    case.model.zero_grad(set_to_none=True)


def test_parts_are_disjoint_and_whole(case: Case) -> None:
    parts = parts_of(case.model)
    names = [name for part in parts.values() for name in part]
    assert sorted(names) == sorted(name for name, _ in case.model.named_parameters())
    assert {"head", "stage1"} <= parts.keys()
    try:
        frozen = freeze(case.model, "body")
        trainable = [name for name, parameter in case.model.named_parameters() if parameter.requires_grad]
        assert trainable == parts["head"]
        assert sorted(frozen + trainable) == sorted(names)
    finally:
        case.model.requires_grad_(True)


def test_module_exported(case: Case) -> None:
    module = FeatureModel(case.model, [0, -1, "embedding"]).eval()
    with torch.no_grad():
        program = torch.export.export(module, case.inputs)
        found, expected = program.module()(*case.inputs), module(*case.inputs)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert_close(found[name], value)
    # What the head computes is not part of the program, once what nothing uses is removed.
    lowered = program.run_decompositions({})
    told = model_features(case.name)
    if told.head is not None and case.task != "quantized":
        weight = f"model.{told.head}.weight"
        name = next(n for n, target in lowered.graph_signature.inputs_to_parameters.items() if target == weight)
        assert not next(node for node in lowered.graph.nodes if node.name == name).users


def assert_equal(found: Any, expected: Any) -> None:
    pairs = list(zip(recording.outputs(found), recording.outputs(expected), strict=True))
    assert pairs
    for a, b in pairs:
        assert torch.equal(a, b)


def assert_close(found: Any, expected: Any) -> None:
    for a, b in zip(recording.outputs(found), recording.outputs(expected), strict=True):
        scale = b.abs().max().clamp(min=1e-6)
        torch.testing.assert_close(a / scale, b / scale, rtol=1e-4, atol=1e-5)


def told_by_builders(name: str) -> None:
    """Checks that the file that says what features a model has is right."""
    from zoo_core.features.measuring import measured_without_storage

    assert measured_without_storage(name, {}) == model_features(name)
