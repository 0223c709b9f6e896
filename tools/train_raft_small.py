"""Trains the embedded weights of RAFT-S, from synthetic motion alone.

    python -m tools.train_raft_small --work DIRECTORY --pictures FOLDER --held-out-pictures FOLDER --output FOLDER

Needs no GPU. `--pictures` is any folder of free images whose textures the layers take beside the procedural ones; the
shipped weights used the photographs in the wheels of scikit-image and scikit-learn, without `chelsea`, `coffee` and
`motorcycle_*`, which are held out. Seeded and resumable: the working directory holds the pairs made so far and the
state of the training, and the same command goes on from there. Ends with the checkpoint, in half precision and named by
its hash, and with the errors of it that `tools.evaluate_flow` finds.

The schedule follows the paper's (AdamW, one cycle, clipped gradients, the sequence loss) with less of everything:
small crops and few updates.
"""

import argparse
import copy
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import Tensor, nn

from tools import embedded_checkpoints
from tools.evaluate_flow import evaluate, pictures_in
from tools.synthetic_motion import lengths, make_pairs, texture_bank
from zoo_flow import raft_small, sequence_loss

PAIRS_IN_CHUNK = 8
CHUNK_SIZE = 192
STEPS_PER_CHUNK = 24
FIRST_CHUNKS = 8
# Motion of less than a location of the features, 8 pixels, would be the harder one to begin with.
LARGEST_MOTION = 24.0
LARGEST_SHIFT = 16
BATCH = 3
SAVE_EVERY = 100
PEAK_RATE = 5e-4


@dataclass(frozen=True)
class Phase:
    """What is trained until a part of all steps is done."""

    until: float
    crop: int
    updates: int


PHASES = (Phase(0.5, 128, 4), Phase(0.85, 128, 6), Phase(1.0, 160, 8))


# Pairs to train on ---------------------------------------------------------------------------------------------------


def chunk_path(work: Path, number: int) -> Path:
    return work / "pairs" / f"{number:05d}.pt"


def make_chunks(work: Path, pictures: list[Path], seed: int, count: int) -> None:
    """Writes the chunks of pairs that are not there yet. Each depends on the seed and its number."""
    torch.set_num_threads(1)
    missing = [number for number in range(count) if not chunk_path(work, number).exists()]
    if not missing:
        return
    textures = texture_bank(seed, 60, pictures, views=5)
    for number in missing:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        pairs = make_pairs(PAIRS_IN_CHUNK, CHUNK_SIZE, LARGEST_MOTION, textures, generator)
        tensors = {
            "image1": (255 * pairs.image1).round().to(torch.uint8),
            "image2": (255 * pairs.image2).round().to(torch.uint8),
            "flow": pairs.flow.half(),
        }
        path = chunk_path(work, number)
        torch.save(tensors, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)


class Pool:
    """The pairs that are there for a step, growing as training goes on."""

    def __init__(self, work: Path, chunks: int, maker: BaseProcess) -> None:
        self.work = work
        self.chunks = chunks
        self.maker = maker
        self.loaded: list[dict[str, Tensor]] = []

    def batch(self, step: int, crop: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random crops, mirrored and turned at random: two images in [-1, 1] and the flow."""
        wanted = min(self.chunks, FIRST_CHUNKS + step // STEPS_PER_CHUNK)
        while len(self.loaded) < wanted:
            path = chunk_path(self.work, len(self.loaded))
            while not path.exists():
                if self.maker.exitcode:
                    raise RuntimeError(f"the process that makes the pairs failed before it wrote {path}")
                time.sleep(0.5)
            self.loaded.append(torch.load(path, weights_only=True))
        samples = [self._sample(crop, generator) for _ in range(BATCH)]
        image1, image2, flow = (torch.stack(parts) for parts in zip(*samples, strict=True))
        return _as_input(image1), _as_input(image2), flow

    def _sample(self, crop: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        def whole(high: int) -> int:
            return int(torch.randint(high, (), generator=generator))

        chunk, pair = self.loaded[whole(len(self.loaded))], whole(PAIRS_IN_CHUNK)
        room = CHUNK_SIZE - crop
        top, left = whole(room + 1), whole(room + 1)
        image1, flow = (chunk[name][pair, :, top : top + crop, left : left + crop] for name in ("image1", "flow"))
        # A part elsewhere in the second image, for half of the samples: as if the camera had moved as well.
        down, right = (whole(2 * LARGEST_SHIFT + 1) - LARGEST_SHIFT for _ in range(2)) if whole(2) else (0, 0)
        top2, left2 = min(max(top + down, 0), room), min(max(left + right, 0), room)
        image2 = chunk["image2"][pair, :, top2 : top2 + crop, left2 : left2 + crop]
        flow = flow.float() - torch.tensor([left2 - left, top2 - top])[:, None, None]
        if whole(2):
            image1, image2, flow = image1.flip(2), image2.flip(2), flow.flip(2) * torch.tensor([-1, 1])[:, None, None]
        if whole(2):
            image1, image2, flow = image1.flip(1), image2.flip(1), flow.flip(1) * torch.tensor([1, -1])[:, None, None]
        if whole(2):
            image1, image2, flow = image1.mT, image2.mT, flow.mT.flip(0)
        channels = torch.randperm(3, generator=generator)
        return image1[channels], image2[channels], flow


def _as_input(image: Tensor) -> Tensor:
    return (image.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


# Training ------------------------------------------------------------------------------------------------------------


def rate(done: float) -> float:
    """The learning rate when a part of all steps is done: up for 4 % of them, then down to nothing."""
    return PEAK_RATE * min(done / 0.04, (1 - done) / 0.96)


def train(pool: Pool, work: Path, steps: int, seed: int) -> nn.Module:
    """Trains, or goes on training, and returns the model with averaged parameters."""
    torch.manual_seed(seed)
    model: nn.Module = raft_small()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=1e-5, eps=1e-8)
    first = 0
    state_file = work / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    model.train()
    total_loss, total_error, started, since = 0.0, 0.0, time.perf_counter(), first
    for step in range(first, steps):
        done = step / steps
        phase = next(phase for phase in PHASES if done < phase.until)
        generator = torch.Generator().manual_seed(seed * 2_000_003 + step)
        image1, image2, flow = pool.batch(step, phase.crop, generator)
        with torch.autocast("cpu", torch.bfloat16):
            predictions = model(image1, image2, num_flow_updates=phase.updates)
        loss = sequence_loss(predictions, flow)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate(done)
        if torch.isfinite(norm):
            optimizer.step()
        with torch.no_grad():
            weight = min(0.998, (step + 1) / (step + 10))
            for kept, new in zip(averaged.parameters(), model.parameters(), strict=True):
                kept.lerp_(new, 1 - weight)
            total_loss += float(loss)
            total_error += float(lengths(predictions[-1].detach() - flow).mean())
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            count, seconds = step + 1 - since, time.perf_counter() - started
            print(
                f"step {step + 1:5d}: loss {total_loss / count:.3f}, error {total_error / count:.3f} px, "
                f"{seconds / count:.2f} s a step",
                flush=True,
            )
            total_loss, total_error, started, since = 0.0, 0.0, time.perf_counter(), step + 1
            parts = {"model": model.state_dict(), "averaged": averaged.state_dict()}
            torch.save(parts | {"optimizer": optimizer.state_dict(), "step": step + 1}, work / "state.part")
            (work / "state.part").replace(state_file)
    return averaged


def chunks_for(steps: int) -> int:
    return FIRST_CHUNKS + steps // STEPS_PER_CHUNK


def halved(model: nn.Module) -> dict[str, Tensor]:
    """The parameters in half precision."""
    return {key: value.half().contiguous() for key, value in model.state_dict().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for pairs and state; training resumes from it")
    parser.add_argument("--output", type=Path, default=Path("."), help="folder for the checkpoint")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="folders of images to train on")
    parser.add_argument("--held-out-pictures", type=Path, nargs="*", default=[], help="folders of images to test on")
    parser.add_argument("--steps", type=int, default=8500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    (arguments.work / "pairs").mkdir(parents=True, exist_ok=True)
    work, pictures, count = arguments.work, pictures_in(arguments.pictures), chunks_for(arguments.steps)
    maker = multiprocessing.get_context("spawn").Process(
        target=make_chunks, args=(work, pictures, arguments.seed, count), daemon=True
    )
    maker.start()
    model = train(Pool(work, count, maker), work, arguments.steps, arguments.seed)
    path = embedded_checkpoints.save(halved(model), arguments.output, "raft_small_synthetic")
    print(f"{path}: {path.stat().st_size / 2**20:.3f} MB")
    model.load_state_dict(torch.load(path, weights_only=True))
    print(evaluate(model, pictures_in(arguments.held_out_pictures)))


if __name__ == "__main__":
    main()
