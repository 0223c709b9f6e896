"""What the page on clusters is computed with: by hand, and at its limits."""

import dataclasses

import pytest

from tools import scaling

# Round numbers: a step of 100 ms for 100 samples, all of it in proportion to them; messages of 400 MB.
PLAIN = scaling.Figures(
    samples=1_000_000,
    held_out=0,
    bytes_per_sample=1e5,
    samples_per_core=1e9,
    cores_per_accelerator=1,
    accelerators_per_node=8,
    inner_bandwidth=100e9,
    inner_latency=0.0,
    outer_bandwidth=10e9,
    outer_latency=0.0,
    backward_share=0.5,
    bucket_bytes=0,
    jitter=0.0,
    evaluation_speed=3,
    parameters=100_000_000,
    batch_size=100,
    step_seconds=0.1,
    floor_seconds=0.0,
)


def change(**values):
    return dataclasses.replace(PLAIN, **values)


def test_ring():
    """Of 400 MB, each of 8 sends 7/8 twice: 700 MB, over 100 GB/s in a node, and of 16 15/8 over 10 GB/s outside."""
    assert scaling.ring_seconds(400e6, 1, PLAIN) == 0
    assert scaling.ring_seconds(400e6, 2, PLAIN) == pytest.approx(0.004)
    assert scaling.ring_seconds(400e6, 8, PLAIN) == pytest.approx(0.007)
    assert scaling.ring_seconds(400e6, 16, PLAIN) == pytest.approx(0.075)
    # The latency of 14 and of 30 steps.
    slow = change(inner_latency=1e-3, outer_latency=2e-3)
    assert scaling.ring_seconds(400e6, 8, slow) == pytest.approx(0.007 + 0.014)
    assert scaling.ring_seconds(400e6, 16, slow) == pytest.approx(0.075 + 0.060)


def test_what_is_hidden_behind_the_backward_pass():
    """50 ms of 100 are backward: of 75 ms 25 are left, and of 7 none."""
    assert scaling.step(PLAIN, 16, 100).exposed == pytest.approx(0.025)
    assert scaling.step(PLAIN, 16, 100).total == pytest.approx(0.125)
    assert scaling.step(PLAIN, 8, 100).total == pytest.approx(0.1)
    # But for the last bucket, here an eighth of the message.
    assert scaling.step(change(bucket_bytes=50e6), 8, 100).exposed == pytest.approx(0.007 / 8)


def test_a_step_of_fewer_samples_keeps_its_floor():
    assert scaling.step(change(floor_seconds=0.02), 1, 50).compute == pytest.approx(0.02 + 0.04)


def test_all_wait_for_the_slowest_and_for_readers():
    assert scaling.step(change(jitter=0.01), 1, 100).compute == pytest.approx(0.1)
    assert scaling.step(change(jitter=0.01), 512, 100).compute == pytest.approx(0.1 * 1.0353, rel=1e-4)
    readers = change(samples_per_core=125, cores_per_accelerator=4)
    assert scaling.step(readers, 1, 100).total == pytest.approx(0.2)


def test_an_epoch():
    assert scaling.epoch_seconds(PLAIN, 1, 100) == pytest.approx(1000)
    assert scaling.epoch_seconds(PLAIN, 8, 100) == pytest.approx(125)
    # 30,000 held-out samples, three times as fast, 8 at a time.
    assert scaling.epoch_seconds(change(held_out=30_000), 8, 100) == pytest.approx(125 + 10 / 8)


def test_where_it_stops():
    """800 samples a step: 8 have 100 each. 16 have 50, in 50 ms, which hide 25 of 75: half the speed."""
    assert scaling.efficiency(PLAIN, 8, 100, 100) == pytest.approx(1)
    assert scaling.efficiency(PLAIN, 16, 50, 100) == pytest.approx(0.5)
    assert scaling.limit(PLAIN, 800) == 16
    assert scaling.limit(change(outer_bandwidth=9.9e9), 800) == 8
    assert scaling.limit(change(outer_bandwidth=1e15, inner_bandwidth=1e15), 800) == 512


def test_other_figures(capsys):
    content = scaling.read(scaling.FIGURES, ["models.resnet50.step_seconds=0.2", "accelerators_per_node=4"])
    figures = scaling.of(content, "resnet50", next(iter(content["networks"])))
    assert (figures.step_seconds, figures.accelerators_per_node) == (0.2, 4)
    assert scaling.step(figures, 1, 256).total == pytest.approx(0.2)
    scaling.main(["--set", "models.resnet50.step_seconds=0.2"])
    shown = capsys.readouterr().out
    assert "| 1 | 256 |  | 200.0 |" in shown
    assert "| step_seconds of resnet50 | 0.2 | yours | given |" in shown


@pytest.mark.parametrize("wrong", ["step_second=1", "models.resnet50=1", "models.vgg.step_seconds=1", "jitter"])
def test_a_wrong_key_is_named(wrong):
    with pytest.raises(ValueError, match=r"is no figure of scaling\.toml"):
        scaling.read(scaling.FIGURES, [wrong])
    with pytest.raises(ValueError, match="jitter must be a number, not 'much'"):
        scaling.read(scaling.FIGURES, ["jitter=much"])


def test_every_figure_says_where_it_is_from():
    content = scaling.read(scaling.FIGURES)
    entries = [*content["figures"].values(), *content["networks"].values()]
    entries += [entry for model in content["models"].values() for entry in model.values()]
    assert {entry["how"] for entry in entries} <= {"exact", "measured", "assumed"}
    assert all(entry["why"] for entry in entries)


def test_the_page_is_up_to_date():
    """`python -m tools.scaling --write` writes its tables."""
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert scaling.with_tables(page, scaling.read(scaling.FIGURES)) == page
