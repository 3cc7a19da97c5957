"""Items taken for cold while training: what is left out of them, and what has to do alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.batches import Samples
from training.cold_items import ColdItems
from training.config import resolve_config
from training.models.m3csr import M3csr
from training.models.m3csr_config import M3csrConfig
from training.models.vbpr import Vbpr, VbprConfig
from training.recommender import Catalogue

NEARLY_ALL = 1 - 1e-9


@pytest.fixture(scope="module")
def frame(make_frame: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> TrainingFrame:
    made: TrainingFrame = make_frame(tmp_path_factory.mktemp("blocks"))[0]
    return made


def started(model: ColdItems, frame: TrainingFrame) -> ColdItems:
    model.begin(frame, torch.Generator().manual_seed(0))
    model.start_epoch(1, torch.Generator().manual_seed(0))
    return model.train()


def vbpr(frame: TrainingFrame, cold_rate: float) -> ColdItems:
    return started(Vbpr(VbprConfig(dimension=4, cold_rate=cold_rate), Catalogue.of(frame)), frame)


def moved(model: ColdItems, name: str, loss: torch.Tensor) -> torch.Tensor:
    """Which rows of a parameter the loss would move, bool ``[n]``."""
    (gradient,) = torch.autograd.grad(loss, model.get_parameter(name), retain_graph=True, allow_unused=True)
    table = model.get_parameter(name)
    return torch.zeros(len(table), dtype=torch.bool) if gradient is None else gradient.view(len(table), -1).any(1)


def some_samples(frame: TrainingFrame) -> Samples:
    user, positive = torch.from_numpy(frame.train[:40]).T
    negatives = torch.arange(80).view(40, 2) % len(frame.items)
    return Samples(user, positive, negatives, torch.zeros(40, 2))


def test_a_share_is_drawn_while_training_alone(frame: TrainingFrame) -> None:
    model = vbpr(frame, 0.3)
    drawn = model.taken_for_cold(10_000)
    assert drawn is not None
    assert drawn.float().mean().item() == pytest.approx(0.3, abs=0.02)
    again = vbpr(frame, 0.3).taken_for_cold(10_000)
    assert again is not None
    assert torch.equal(again, drawn), "the seed of the epoch decides"
    assert model.eval().taken_for_cold(3) is None
    assert vbpr(frame, 0.0).taken_for_cold(3) is None


@pytest.mark.parametrize("rate", ["1", "-0.1"])
def test_a_share_of_all_is_refused(rate: str) -> None:
    with pytest.raises(BadInput, match="vbpr option 'cold_rate'"):
        resolve_config("vbpr", VbprConfig, {"cold_rate": rate})


def test_vbpr_compares_cold_items_by_content_alone(frame: TrainingFrame) -> None:
    cold, warm = vbpr(frame, NEARLY_ALL), vbpr(frame, 0.0)
    with torch.no_grad():
        warm.get_parameter("items").zero_()
        cold.get_parameter("items").fill_(9.0)
        cold.get_parameter("bias").fill_(-3.0)
    losses = [model.loss_terms(some_samples(frame))["bpr"] for model in (cold, warm)]
    assert losses[0].item() == losses[1].item()
    assert not moved(cold, "items", losses[0]).any()
    assert moved(cold, "projection", losses[0]).any()


def test_m3csr_puts_cold_items_into_the_coldest_bin(frame: TrainingFrame) -> None:
    options: dict[str, Any] = {"dimension": 8, "heads": 2, "clusters": 4, "popularity_bins": 5, "popularity_bias": True}
    for rate in (0.0, NEARLY_ALL):
        model = started(M3csr(M3csrConfig(**options, cold_rate=rate), Catalogue.of(frame)), frame)
        bpr = model.loss_terms(some_samples(frame))["bpr"]
        assert torch.isfinite(bpr)
        bins = moved(model, "popularity", bpr)
        assert bins[0] or not rate
        assert bins[1:].any() == (rate == 0), "only the gate of the coldest bin decides"
        assert moved(model, "bias", bpr).any() == (rate == 0)
