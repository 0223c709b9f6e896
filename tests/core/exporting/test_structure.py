"""Arguments and results as flat lists of named tensors, and back."""

import json
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo_core.graphs.structure import NamedTensor, Signature, filled, named_tensors

IMAGES = torch.zeros(2, 3, 8, 8)


def leaves():
    return st.builds(torch.zeros, st.integers(0, 3))


def results():
    """Whatever nests tensors; keys of dicts are unique in all of it, as names of outputs are to be."""
    return st.recursive(
        leaves(), lambda inner: st.one_of(st.lists(inner, min_size=1, max_size=3), inner.map(lambda v: (v, v)))
    )


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return one is other
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))


@given(results())
def test_a_result_comes_back_from_names_alone(result):
    signature = Signature.of((IMAGES,), result, output_name="logits")
    again = Signature.from_dict(json.loads(json.dumps(signature.as_dict())))
    assert again == signature
    flat = signature.flat_outputs(result)
    assert len({tensor.name for tensor in signature.outputs}) == len(flat)
    assert same(again.result_of(flat), result)


def test_one_tensor():
    signature = Signature.of((IMAGES,), torch.zeros(2, 10), output_name="logits")
    assert signature.inputs == (NamedTensor("images", "float32", (2, 3, 8, 8)),)
    assert signature.outputs == (NamedTensor("logits", "float32", (2, 10)),)
    assert signature.result == "logits"


def test_a_dict_of_scores_has_its_own_names_or_others():
    result = OrderedDict(out=torch.zeros(2, 21, 8, 8), aux=torch.ones(2, 21, 8, 8))
    signature = Signature.of((IMAGES,), result, renamed={"out": "logits"})
    assert [tensor.name for tensor in signature.outputs] == ["logits", "aux"]
    assert same(signature.result_of(signature.flat_outputs(result)), dict(result))


def test_a_detector_takes_a_list_and_gives_a_dict_for_each_image():
    images = list(IMAGES)
    result = [{"boxes": torch.zeros(n, 4), "labels": torch.zeros(n, dtype=torch.int64)} for n in (3, 1)]
    signature = Signature.of((images,), result)
    assert [tensor.name for tensor in signature.inputs] == ["images"]
    assert [tensor.name for tensor in signature.outputs] == ["boxes_0", "labels_0", "boxes_1", "labels_1"]
    (flat,) = signature.flat_inputs(images)
    assert flat.shape == (2, 3, 8, 8)
    assert torch.equal(signature.flat_inputs(IMAGES)[0], flat)
    (again,) = signature.arguments_of([flat])
    assert [image.shape for image in again] == [(3, 8, 8)] * 2
    assert same(signature.result_of(signature.flat_outputs(result)), result)
    # Of one image, no numbers are needed.
    assert [tensor.name for tensor in Signature.of((images[:1],), result[:1]).outputs] == ["boxes", "labels"]


def test_images_of_several_sizes_are_no_batch():
    signature = Signature.of((list(IMAGES),), torch.zeros(1))
    with pytest.raises(ValueError, match="images must have one shape"):
        signature.flat_inputs([torch.zeros(3, 8, 8), torch.zeros(3, 9, 8)])


def test_padded_detections_are_cut_to_their_number():
    template = {"padded": {"boxes": "boxes", "scores": "scores"}, "count": "num_detections"}
    tensors = {"boxes": torch.rand(2, 5, 4), "scores": torch.rand(2, 5), "num_detections": torch.tensor([2, 0])}
    found = filled(template, tensors)
    assert [len(image["boxes"]) for image in found] == [2, 0]
    assert torch.equal(found[0]["boxes"], tensors["boxes"][0, :2])


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({"a": [torch.zeros(1)], "b": {"a": torch.zeros(1)}}, "outputs must differ in their names"),
        ({1: torch.zeros(1)}, "keys of a dict of outputs must be strings"),
        ([torch.zeros(1), "text"], "must give tensors"),
        (None, "not a NoneType"),
    ],
)
def test_what_has_no_signature(result, error):
    with pytest.raises((ValueError, TypeError), match=error):
        Signature.of((IMAGES,), result)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"inputs": "images"}, "expected a list of tensors"),
        ({"outputs": [{"name": "logits", "dtype": "strange", "shape": []}]}, "no name, dtype and shape"),
        ({"outputs": [{"name": "logits", "dtype": "float32", "shape": [-1]}]}, "no name, dtype and shape"),
        ({"result": {"list": ["logits"]}}, "this is no template"),
        ({"result": ["logits", "more"]}, "the templates name"),
        ({"arguments": []}, "the templates name"),
        ({"arguments": None}, "arguments must be a list"),
    ],
)
def test_what_is_no_signature(change, error):
    values = Signature.of((IMAGES,), torch.zeros(2, 10), output_name="logits").as_dict() | change
    with pytest.raises(ValueError, match=error):
        Signature.from_dict(values)
    del values[next(iter(change))]
    with pytest.raises(ValueError, match="the signature lacks"):
        Signature.from_dict(values)


@pytest.mark.parametrize(
    ("template", "value", "error"),
    [
        ("logits", [torch.zeros(1)], "expected a tensor logits, not a list of 1"),
        (["a", "b"], (torch.zeros(1),), "expected 2 of a tensor a, a tensor b, not a tuple of 1"),
        ({"dict": {"out": "logits"}}, {"output": torch.zeros(1)}, "expected a dict of out, not a dict of output"),
        ({"items": "images"}, [], "expected a list of tensors images"),
    ],
)
def test_a_value_of_another_form(template, value, error):
    with pytest.raises(ValueError, match=error):
        named_tensors(template, value)
