"""`zoo evaluate` of optical flow: any number of processes, and interruptions, give the figures of formulas by hand."""

import itertools

import numpy as np
import pytest
import torch

from support import evaluations
from zoo_core.evaluating import evaluate, open_data
from zoo_core.images import open_image, write_png
from zoo_core.specs import find
from zoo_flow import Padding, Raft_Small_Weights, raft_small
from zoo_flow.data import open_flow_data
from zoo_flow.flo import write_flo


def frames(folder, count=evaluations.COUNT + 1, size=(128, 136)):
    """Noise that moves by whole pixels from frame to frame; a part of the motion is not known."""
    noise = torch.rand(1, 3, 200, 220, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)[0]
    ground = ((smooth - smooth.amin()) / (smooth.amax() - smooth.amin()) * 255).byte()
    for kind in ("frames", "flow"):
        (folder / kind).mkdir(parents=True)
    places = [(20 + 7 * number % 13, 30 + 5 * number % 17) for number in range(count)]
    for number, (top, left) in enumerate(places):
        window = ground[:, top : top + size[0], left : left + size[1]]
        write_png(window.contiguous(), str(folder / "frames" / f"{number:03d}.png"))
    for number, ((top, left), (next_top, next_left)) in enumerate(itertools.pairwise(places)):
        flow = torch.tensor([left - next_left, top - next_top]).float()[:, None, None].repeat(1, *size)
        flow[:, : number % 9, :40] = torch.nan
        write_flo(flow, folder / "flow" / f"{number:03d}.flo")
    return folder


def test_any_number_of_processes_gives_the_figures_of_the_formulas(tmp_path):
    data = frames(tmp_path / "data")
    evaluations.check("raft_small", data, tmp_path, stopped=False, weights="SYNTHETIC_V1", options={"updates": 1})

    found = evaluate("raft_small", data, weights="SYNTHETIC_V1", options={"updates": 2}, limit=20).metrics
    weights = Raft_Small_Weights.SYNTHETIC_V1
    model, transform = raft_small(weights=weights).eval(), weights.transforms()
    errors, lengths, means = [], [], []
    for sample in open_flow_data(data)[:20]:
        first, second = transform(*(open_image(file) for file in sample.files))
        padding = Padding(*first.shape[-2:])
        with torch.inference_mode():
            flow = padding.crop(model(padding.pad(first[None]), padding.pad(second[None]), num_flow_updates=2)[-1])[0]
        error, length = (np.hypot(*values.double().numpy()) for values in (flow - sample.truth, sample.truth))
        known = np.isfinite(length)
        errors.append(error[known])
        lengths.append(length[known])
        means.append(error[known].mean())
    errors, lengths = np.concatenate(errors), np.concatenate(lengths)
    assert found["epe"] == pytest.approx(errors.mean(), rel=1e-5)
    assert found["per_image_epe"] == pytest.approx(np.mean(means), rel=1e-5)
    for limit in (1, 3, 5):
        assert found[f"{limit}px"] == pytest.approx(100 * (errors < limit).mean(), abs=1e-3)
    outliers = (errors >= 3) & (errors / np.maximum(lengths, 1e-9) >= 0.05)
    assert found["fl_all"] == pytest.approx(100 * outliers.mean(), abs=1e-3)


def test_published_data_sets_bring_the_number_of_updates(tmp_path):
    sintel = tmp_path / "sintel"
    frames(tmp_path / "own", 2)
    for kind, name in (("clean", "frames"), ("flow", "flow")):
        (sintel / kind).mkdir(parents=True)
        (tmp_path / "own" / name).rename(sintel / kind / "alley_1")
    spec = find("raft_small", weights="SYNTHETIC_V1")
    assert open_data(spec, sintel)[0].options["updates"] == 32
    assert open_data(spec, sintel, options={"updates": 3})[0].options["updates"] == 3
    assert evaluate(spec, sintel, options={"updates": 1}).options["updates"] == 1
