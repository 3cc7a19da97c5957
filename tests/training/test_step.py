"""A step of training and the samples that it is given."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from contracts.errors import TrainingDiverged
from feature_repo.frame import TrainingFrame
from training.batches import Samples
from training.feed import Feed
from training.models.lightgcn import LightGcn, LightGcnConfig
from training.models.m3csr import M3csr
from training.models.m3csr_config import M3csrConfig
from training.models.mf import MatrixFactorisation, MfConfig
from training.models.vbpr import Vbpr, VbprConfig
from training.ranks import Ranks
from training.recommender import Catalogue
from training.step import Step


def mf(frame: TrainingFrame, **options: Any) -> MatrixFactorisation:
    model = MatrixFactorisation(MfConfig(**{"dimension": 8, "batch_size": 64, **options}), Catalogue.of(frame))
    model.begin(frame, torch.Generator().manual_seed(0))
    return model


def step_of(model: MatrixFactorisation, **options: Any) -> Step:
    options = {"learning_rate": 0.1, "clip": None, "halved": False, "averaging": None, "ranks": Ranks(), **options}
    return Step(model, model.loss_terms, model.parameters(), **options)


def epoch_of(model: MatrixFactorisation, frame: TrainingFrame, seed: int = 0) -> list[Samples]:
    return list(Feed(model, frame).samples(torch.Generator().manual_seed(seed)))


def test_an_epoch_visits_every_pair_once_with_its_negatives(frame: TrainingFrame) -> None:
    found = epoch_of(mf(frame, negatives=3), frame)
    pairs = torch.cat([torch.stack([samples.users, samples.positives], dim=1) for samples in found])
    assert sorted(map(tuple, pairs.tolist())) == sorted(map(tuple, frame.train.tolist()))
    assert [len(samples) for samples in found] == [64] * 10 + [32]
    assert all(samples.negatives.shape == samples.log_probabilities.shape == (len(samples), 3) for samples in found)
    assert all(not samples.context for samples in found)


def test_each_pair_brings_its_own_context(frame: TrainingFrame) -> None:
    # The row in the contexts is the pair's position counted from the end; the context says which pair it is of.
    count = len(frame.train)
    rows = np.arange(count)[::-1].copy()
    contexts = {"pair": frame.train[rows].astype(np.float32), "number": rows[:, None]}
    with_contexts = replace(frame, contexts=contexts, train_context=rows)
    for samples in epoch_of(mf(frame), with_contexts):
        assert samples.context["pair"].tolist() == torch.stack([samples.users, samples.positives], 1).float().tolist()
        assert frame.train[samples.context["number"][:, 0]].tolist() == samples.context["pair"].long().tolist()


def test_hard_negatives_are_hard_for_the_model_of_the_moment(frame: TrainingFrame) -> None:
    model = mf(frame, sampler="hard")
    with torch.no_grad():
        model.bias[:, 0] = 100 * torch.arange(len(frame.items))
    hard, plain = (
        torch.cat([samples.negatives for samples in epoch_of(each, frame)]).float().mean()
        for each in (model, mf(frame))
    )
    # The best of eight of about 57 items is the highest: around 64 · 8/9, against 32.
    assert hard > 52
    assert plain < 36
    assert model.training


def test_the_gradient_is_scaled_down_to_the_largest_norm(frame: TrainingFrame) -> None:
    norms = []
    for clip in (None, 1e-3):
        model = mf(frame)
        step_of(model, clip=clip)(epoch_of(model, frame)[0])
        norms.append(torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm().item())
    assert norms[0] > 2e-3
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


BUILD = {
    "mf": lambda frame, **o: MatrixFactorisation(MfConfig(**o), Catalogue.of(frame)),
    "lightgcn": lambda frame, **o: LightGcn(LightGcnConfig(**o), Catalogue.of(frame)),
    "vbpr": lambda frame, **o: Vbpr(VbprConfig(**o), Catalogue.of(frame)),
    "m3csr": lambda frame, **o: M3csr(M3csrConfig(**o), Catalogue.of(frame)),
}


@pytest.mark.parametrize("name", BUILD)
def test_bfloat16_learns_about_the_same_and_keeps_parameters_in_float32(frame: TrainingFrame, name: str) -> None:
    options = {"dimension": 8, "batch_size": 128, "max_epochs": 4, "learning_rate": 0.02}
    full, halved = (BUILD[name](frame, **options, precision=precision) for precision in ("fp32", "bf16"))
    expected, found = full.fit(frame, seed=0), halved.fit(frame, seed=0)
    assert {tensor.dtype for tensor in halved.parameters()} == {torch.float32}
    assert found.validation["recall_at_20"] == pytest.approx(expected.validation["recall_at_20"], abs=0.1)
    # Only matrix products are rounded: MF and LightGCN's objectives have none.
    same = all(torch.equal(*pair) for pair in zip(full.parameters(), halved.parameters(), strict=True))
    assert same == (name in ("mf", "lightgcn"))


def test_a_part_of_the_parameters_leaves_the_others_as_they_are(frame: TrainingFrame) -> None:
    model = mf(frame)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    options = {"learning_rate": 0.1, "clip": None, "halved": False, "averaging": None, "ranks": Ranks()}
    Step(model, model.loss_terms, [model.items], **options)(epoch_of(model, frame)[0])
    assert not torch.equal(model.items, before["items"])
    assert torch.equal(model.users, before["users"])
    assert torch.equal(model.bias, before["bias"])


def test_a_step_that_diverges_names_the_term(frame: TrainingFrame) -> None:
    model = mf(frame)
    samples = epoch_of(model, frame)[0]
    with torch.no_grad():
        model.bias[samples.positives[0]] = 1e25  # Finite, unlike its square.
    with pytest.raises(TrainingDiverged, match=r"MatrixFactorisation: loss term 'l2': found inf.*learning_rate=0.1"):
        step_of(model)(samples)
