"""Train on several processes: ``torchrun --nproc-per-node 2 -m training.distributed MODEL [NAME=VALUE …] [--seed N]``.

The processes share each batch and average their gradients (:mod:`training.ranks`), so that the result is that of one
process but for the order of sums. The home and the device are those of the environment's settings; with CUDA each
process takes a card of its own. The first process is the home's writer: it evaluates, keeps the checkpoint and
registers the version, printed as one JSON document. A training that a version exists of is done again.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from contracts.console import emit, note
from contracts.database import Database
from contracts.errors import BackbeatError, BadInput
from contracts.home import Home
from contracts.process import prepare_process
from contracts.reports import require_passed
from contracts.settings import load_settings
from feature_repo.encoders.device import prepare_torch, resolve_device
from feature_repo.frame import load_training_frame
from feature_repo.offline import current_snapshot
from training.config import resolve_config
from training.models import model_entry
from training.ranks import Ranks
from training.recommender import Catalogue
from training.train import train

if TYPE_CHECKING:
    from contracts.settings import Settings

__all__ = ["main", "take_part", "train_together"]


def train_together(
    settings: "Settings", model: str, overrides: Mapping[str, object], seed: int, service: str | None = None
) -> dict[str, Any] | None:
    """Train in every process of torchrun's group.

    Args:
        settings: Name the home and the device.
        model: A name in :data:`training.models.MODELS`.
        overrides: Options that differ from the model's defaults.
        seed: Fixes everything random.
        service: Feature service that feeds it; the model's own if None.

    Returns:
        In the first process what :func:`training.train.train` returns, as a document; None in the others.

    Raises:
        BadInput: torchrun has not started this process.
        BackbeatError: Whatever training raises.
    """
    if not dist.is_torchelastic_launched():
        raise BadInput(
            "distributed training",
            found="a process without a group",
            expected="one of several that torchrun has started",
            next_step="run `torchrun --nproc-per-node 2 -m training.distributed MODEL`",
        )
    cuda = resolve_device(settings.device).type == "cuda"
    if cuda:
        settings = settings.model_copy(update={"device": f"cuda:{dist.get_node_local_rank()}"})
    device = prepare_torch(settings)
    home = Home.open(settings)
    dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    try:
        if not Ranks.current().first:
            take_part(settings, home, model, overrides, seed, service)
            return None
        with home.writing(f"training.distributed {model}"):
            trained = train(settings, home, model, overrides, seed=seed, force=True, service=service)
            return dataclasses.asdict(trained)
    finally:
        dist.destroy_process_group()


def take_part(
    settings: "Settings", home: Home, model: str, overrides: Mapping[str, object], seed: int, service: str | None
) -> None:
    """Fit the same model on the same frame as the first process does, and leave the rest to it.

    Raises:
        BackbeatError: As for :func:`training.train.train`.
    """
    entry = model_entry(model)
    config = resolve_config(model, entry.config, overrides)
    report = require_passed(Database(settings, home), home, current_snapshot(home).id)
    frame = load_training_frame(settings, home, service or entry.feature_service, report)
    recommender = entry.model(config, Catalogue.of(frame)).to(prepare_torch(settings))
    recommender.fit(frame, seed=seed)


def main(arguments: Sequence[str]) -> int:
    """Run one of the processes; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.distributed", description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--service")
    given = parser.parse_args(arguments)
    try:
        with redirect_stdout(sys.stderr):
            settings = load_settings()
            prepare_process(settings.threads)
            overrides = dict(_option(text) for text in given.options)
            document = train_together(settings, given.model, overrides, given.seed, given.service)
    except BackbeatError as error:
        note(f"error: {error}")
        return error.exit_code
    if document is not None:
        emit(document, as_json=True)
    return 0


def _option(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise BadInput(f"option {text!r}", found="no `=`", expected="NAME=VALUE", next_step="write e.g. `dimension=32`")
    return name, value


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
