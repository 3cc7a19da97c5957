"""Two processes that train one model, on the CPU."""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from feature_repo.frame import TrainingFrame
from training.batches import Samples
from training.models.lightgcn import LightGcn, LightGcnConfig
from training.models.mf import MatrixFactorisation, MfConfig
from training.models.vbpr import Vbpr, VbprConfig
from training.ranks import Ranks
from training.recommender import Catalogue, EpochReport, FitReport


def on_two(work: Callable[[int], None], directory: Path) -> None:
    """Run something in two processes of a group."""

    def child(rank: int) -> None:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{directory / 'group'}", rank=rank, world_size=2)
        work(rank)
        dist.destroy_process_group()

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=child, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]


SMALL = {"dimension": 8, "batch_size": 100, "max_epochs": 3}
BUILD = {
    "mf": lambda frame: MatrixFactorisation(MfConfig(**SMALL, negatives=3), Catalogue.of(frame)),
    "popular": lambda frame: MatrixFactorisation(MfConfig(**SMALL, sampler="in-batch"), Catalogue.of(frame)),
    "vbpr": lambda frame: Vbpr(VbprConfig(**SMALL), Catalogue.of(frame)),
    "lightgcn": lambda frame: LightGcn(LightGcnConfig(**SMALL, gradient_clip=0.5), Catalogue.of(frame)),
}


@pytest.mark.parametrize("name", BUILD)
def test_two_processes_learn_what_one_does(frame: TrainingFrame, tmp_path: Path, name: str) -> None:
    # 671 pairs: the last batch of 71 rows does not divide evenly, and a mean of means would be another gradient.
    frame = replace(frame, train=frame.train[:-1])
    alone = BUILD[name](frame)
    expected: list[EpochReport] = []
    alone.fit(frame, seed=0, on_epoch=expected.append)

    def work(rank: int) -> None:
        model, seen = BUILD[name](frame), list[EpochReport]()
        report = model.fit(frame, seed=0, on_epoch=seen.append, checkpoint=tmp_path / "checkpoint")
        assert [each.epoch for each in seen] == ([1, 2, 3] if rank == 0 else [])
        state = {"losses": losses(report), **model.state()}
        (tmp_path / f"{rank}").write_bytes(safetensors.torch.save(state))

    on_two(work, tmp_path)
    first, second = (safetensors.torch.load((tmp_path / f"{rank}").read_bytes()) for rank in range(2))
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key
    best = max(expected, key=lambda report: report.validation["recall_at_20"])
    assert first.pop("losses").tolist() == pytest.approx(list(best.losses.values()), rel=1e-4)
    for key, tensor in alone.state().items():
        assert torch.allclose(first[key], tensor, atol=1e-3), key


def losses(report: FitReport) -> Tensor:
    return torch.tensor(list(report.losses.values()), dtype=torch.float64)


def test_a_batch_is_split_and_weighted_by_its_parts() -> None:
    samples = Samples(
        users=torch.arange(5),
        positives=torch.arange(5) + 10,
        negatives=torch.arange(10).view(5, 2),
        log_probabilities=torch.zeros(5, 2),
        context={"video": torch.arange(5).unsqueeze(1)},
    )
    (first, heavy), (second, light) = (Ranks(rank, 2).share(samples) for rank in range(2))
    assert first.users.tolist() == [0, 2, 4]
    assert second.positives.tolist() == [11, 13]
    assert first.negatives.tolist() == [[0, 1], [4, 5], [8, 9]]
    assert second.context["video"].tolist() == [[1], [3]]
    assert (heavy, light) == (pytest.approx(3 * 2 / 5), pytest.approx(2 * 2 / 5))
    assert Ranks(3, 8).share(samples) == (samples, 1.0)
    assert Ranks().share(samples) == (samples, 1.0)


def test_what_the_first_process_says_reaches_the_others(tmp_path: Path) -> None:
    @dataclass
    class Holder:
        tensors: dict[str, Tensor]

        def state_dict(self) -> dict[str, Tensor]:
            return self.tensors

    def work(rank: int) -> None:
        ranks = Ranks.current()
        assert (ranks.rank, ranks.count, ranks.first) == (rank, 2, rank == 0)
        cpu = torch.device("cpu")
        assert ranks.told({"metric": 0.1 + 0.2, "name": "é"} if rank == 0 else None, cpu) == {
            "metric": 0.1 + 0.2,
            "name": "é",
        }
        assert ranks.mean({"a": float(rank), "b": 4.0}, cpu) == {"a": 0.5, "b": 4.0}
        holder: Any = Holder({"flags": torch.tensor([rank == 0, False]), "rows": torch.tensor([rank, 7])})
        ranks.equalise(holder)
        assert holder.tensors["flags"].tolist() == [True, False]
        assert holder.tensors["rows"].tolist() == [0, 7]

    on_two(work, tmp_path)


def test_one_process_talks_to_nobody() -> None:
    ranks, cpu = Ranks.current(), torch.device("cpu")
    assert ranks == Ranks(0, 1)
    assert ranks.told({"x": 1}, cpu) == {"x": 1}
    assert ranks.mean({"x": 1.0}, cpu) == {"x": 1.0}
