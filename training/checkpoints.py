"""Where a training stood after its last whole epoch, so that one that was killed goes on as if it had not been.

One safetensors file, written whole or not at all: the tensors of the model, of its best epoch, of the running mean, of
Adam and of the generator of order and negatives, and in its header, as JSON, the epochs so far and whose they are.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.torch
from torch import Tensor

from contracts.errors import BadInput
from contracts.files import file_written_whole
from training.recommender import EpochReport

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame
    from training.learned import LearnedRecommender

__all__ = ["Checkpoint", "Standing", "facts_of"]

_HEADER = "backbeat"
_MODEL, _BEST, _MEAN, _ADAM, _GENERATOR = "model.", "best.", "mean.", "adam.", "generator"


@dataclass
class Standing:
    """A training between two epochs."""

    model: dict[str, Tensor]
    """State of the model."""
    best: dict[str, Tensor]
    """State of its best epoch; empty where that is :attr:`model`."""
    mean: dict[str, Tensor]
    """State of the running mean of the parameters; empty where there is none."""
    adam: dict[str, Any]
    """State of the optimizer."""
    generator: Tensor
    """State of the generator of order and negatives."""
    reports: list[EpochReport]
    """Of all epochs so far."""
    seconds: float
    """Wall clock so far."""


class Checkpoint:
    """A file that keeps the standing of one training.

    Args:
        path: The file; nobody else writes it meanwhile.
        facts: Whose training it is, see :func:`facts_of`.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self._path = path
        self._facts: dict[str, Any] = json.loads(json.dumps(facts))

    def save(self, standing: Standing) -> None:
        """Replace what the file holds.

        Raises:
            StorageFull: There is no room; the standing before is kept.
        """
        adam = {
            f"{_ADAM}{row}.{name}": value
            for row, state in standing.adam["state"].items()
            for name, value in state.items()
        }
        tensors = {
            **{_MODEL + name: tensor for name, tensor in standing.model.items()},
            **{_BEST + name: tensor for name, tensor in standing.best.items()},
            **{_MEAN + name: tensor for name, tensor in standing.mean.items()},
            **adam,
            _GENERATOR: standing.generator,
        }
        reports = [dataclasses.asdict(report) for report in standing.reports]
        document = {"facts": self._facts, "reports": reports, "seconds": standing.seconds}
        with file_written_whole(self._path) as scratch:
            safetensors.torch.save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                scratch,
                {_HEADER: json.dumps(document)},
            )

    def load(self) -> Standing | None:
        """What the file holds, None where there is none.

        Raises:
            BadInput: It is no checkpoint, or one of another model, configuration, seed or data.
        """
        if not self._path.exists():
            return None
        try:
            with safetensors.safe_open(self._path, "pt") as handle:
                document = json.loads((handle.metadata() or {}).get(_HEADER, "null"))
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        except safetensors.SafetensorError as error:
            raise self._unreadable(str(error)) from None
        if document is None:
            raise self._unreadable("tensors of something else")
        self._require_same(document["facts"])
        adam: dict[int, dict[str, Tensor]] = {}
        for name in tensors:
            if name.startswith(_ADAM):
                row, key = name.removeprefix(_ADAM).split(".")
                adam.setdefault(int(row), {})[key] = tensors[name]
        return Standing(
            model=_under(_MODEL, tensors),
            best=_under(_BEST, tensors),
            mean=_under(_MEAN, tensors),
            adam={"state": adam},
            generator=tensors[_GENERATOR],
            reports=[EpochReport(**report) for report in document["reports"]],
            seconds=document["seconds"],
        )

    def remove(self) -> None:
        """Leave nothing, not even what a writer left that was killed."""
        for path in (self._path, *self._path.parent.glob(f".{self._path.name}.*.partial")):
            path.unlink(missing_ok=True)

    def _unreadable(self, found: str) -> BadInput:
        return BadInput(
            f"checkpoint {self._path}",
            found=found,
            expected="the standing of a training",
            next_step="remove the file; the training then starts at its first epoch",
        )

    def _require_same(self, facts: dict[str, Any]) -> None:
        differing = [name for name in sorted(self._facts | facts) if self._facts.get(name) != facts.get(name)]
        if differing:
            found, expected = (
                ", ".join(f"{name} {json.dumps(each.get(name))}" for name in differing) for each in (facts, self._facts)
            )
            raise BadInput(
                f"checkpoint {self._path}",
                found=f"a training with {found}",
                expected=f"one with {expected}",
                next_step="continue that training as it was begun, or remove the file",
            )


def facts_of(model: "LearnedRecommender", frame: "TrainingFrame", seed: int, stage: str) -> dict[str, Any]:
    """What must be equal for a training to be the same.

    Args:
        model: Its class and configuration.
        frame: The snapshot, the pairs, and the shapes of what else it holds; not each component of its vectors.
        seed: Of the training.
        stage: Name of the objective.
    """
    digest = hashlib.sha256()
    tables = {
        "train": frame.train,
        "validation": frame.validation,
        "train_context": frame.train_context,
        "validation_context": frame.validation_context,
    }
    for name, table in tables.items():
        if table is not None:
            digest.update(f"{name} {table.shape}".encode())
            digest.update(np.ascontiguousarray(table).view(np.uint8).data)
    for name, values in {**frame.modalities, **frame.contexts}.items():
        digest.update(f"{name} {values.shape} {values.dtype}".encode())
    return {
        "model": type(model).__name__,
        **model.config.model_dump(mode="json"),
        "frame": f"{frame.snapshot.id}/{frame.feature_service}/{digest.hexdigest()[:12]}",
        "seed": seed,
        "stage": stage,
        "device": model.device.type,
    }


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
