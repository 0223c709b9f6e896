"""What is done with the inputs of any task to embed them: they are read and prepared as the task does."""

import base64
import dataclasses
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from zoo_core import specs
from zoo_core.declarations import Table
from zoo_core.engines import EagerEngine, Engine, compile_for
from zoo_core.features import FeatureModel, model_features
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Sample, Score, Task, check_finite, task_class

__all__ = ["EmbeddingTask", "load", "unpacked"]


class EmbeddingTask(Task[Any, Tensor]):
    """Embeds the inputs of another task. A result is the embedding, float32 Tensor[D] on the CPU.

    Args:
        spec: the model.
        options: of its task.
        normalize: make vectors of length 1.
        packed: write embeddings into records as base64 of little-endian float32, in the place of lists of numbers.

    Raises:
        ValueError: the model has no embedding.

    Attributes:
        size: D.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: Mapping[str, Any] | None = None,
        *,
        normalize: bool = False,
        packed: bool = False,
    ) -> None:
        super().__init__(spec, options)
        if spec.format != "state_dict":
            raise ValueError(
                f"{spec}: an exported file gives what it was exported for, and no embedding; name the model it is of"
            )
        arguments = {key: value for key, value in spec.arguments.items() if key != "num_classes"}
        size = model_features(spec.name, **arguments).embedding
        if size is None:
            raise ValueError(f"{spec} has no embedding")
        self.size = size
        self.normalize = normalize
        self.packed = packed
        self.of = task_class(spec.task)(spec, options)
        columns = {f"e{index}": f"embedding.{index}" for index in range(size)}
        self.declaration = dataclasses.replace(self.declaration, table=Table(None, columns))

    def read(self, path: Path) -> Any:
        return self.of.read(path)

    def prepare(self, input: Any) -> Sample:
        return self.of.prepare(input)

    def run(self, engine: Engine, samples: Sequence[Sample]) -> list[Tensor]:
        outputs = self.of.embeddings(engine, samples)
        check_finite(outputs, self.spec)
        return outputs

    def result(self, output: Tensor, input: Any) -> Tensor:
        embedding = output.float()
        return (F.normalize(embedding, dim=0) if self.normalize else embedding).cpu()

    def describe(self, result: Tensor) -> list[str]:
        first = ", ".join(f"{value:.4f}" for value in result[:4].tolist())
        return [f"[{first}, ...]  {len(result)} numbers, length {float(result.norm()):.4f}"]

    def draw(self, input: Any, result: Tensor) -> Image.Image:
        raise ValueError("an embedding cannot be drawn")

    def record(self, result: Tensor) -> dict[str, Any]:
        values = result.tolist()
        if self.packed:
            return {"embedding": base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()}
        # As many digits as tell a float32 from its neighbours.
        return {"embedding": [float(f"{value:.9g}") for value in values]}

    def score(self) -> Score[Tensor]:
        raise ValueError("embeddings are not scored")


def unpacked(text: str) -> bytes:
    """The numbers of a packed embedding, little-endian float32."""
    return base64.b64decode(text, validate=True)


class _Embedder(nn.Module):
    """Gives the embedding alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.features = FeatureModel(model, "embedding")

    def forward(self, *inputs: Any, **arguments: Any) -> Tensor:
        found: Tensor = self.features(*inputs, **arguments)["embedding"]
        return found


def load(
    task: EmbeddingTask,
    device: torch.device | str = "cpu",
    *,
    engine: str | None = "torch",
    precision: str = "fp32",
    tell: Callable[[str], None] | None = None,
) -> Engine:
    """Builds the model of a task as an engine that gives embeddings, Tensor[N, D].

    Args:
        task: of the model.
        device: where it runs.
        engine, precision, tell: what runs it, see :func:`zoo_core.engines.compile_for`.

    Raises:
        zoo_core.checkpoints.CheckpointError: its weights cannot be obtained, read, or do not fit.
        zoo_core.extras.MissingExtraError: the engine is not installed.
        ValueError: engine, precision and device do not go together.
    """
    model = _Embedder(specs.build(task.spec))
    if engine in (None, "torch") and precision == "fp32":
        return EagerEngine(model, device, task.of.forward_arguments)
    return compile_for(
        model, engine or "torch", precision, device=device, arguments=task.of.forward_arguments, tell=tell
    )
