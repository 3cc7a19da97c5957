import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from feature_repo.frame import TrainingFrame
from training.autoencoders import cross_modal_loss
from training.batches import PADDING, Samples, UserBatch
from training.models.amae import Amae, DmfAmae, LevelAttention, MfAmae
from training.models.amae_config import DmfAmaeConfig, MfAmaeConfig
from training.recommender import Catalogue, EpochReport

WIDTHS = {"textual": 6, "textual_handcrafted": 3, "visual": 5}
SMALL: dict[str, Any] = {"dimension": 8, "batch_size": 128, "learning_rate": 0.02, "max_epochs": 2}


@pytest.fixture(scope="module")
def posts(frame: TrainingFrame) -> TrainingFrame:
    """The blocks frame whose requests bring posts: user 0 has none, user 1 no pictures."""
    rng = np.random.default_rng(0)
    pairs = np.concatenate([frame.train, frame.validation])
    contexts: dict[str, Any] = {}
    for name, width in WIDTHS.items():
        tastes = rng.normal(size=(len(frame.users), width))
        tastes[[0, 1] if name == "visual" else [0]] = 0
        overall = tastes[pairs[:, 0]]
        recent = np.where(overall != 0, overall + 0.3 * rng.normal(size=overall.shape), 0)
        contexts |= {f"{name}_global": overall.astype(np.float32), f"{name}_recent": recent.astype(np.float32)}
    cut = len(frame.train)
    return replace(
        frame,
        contexts=contexts,
        train_context=np.arange(cut),
        validation_context=np.arange(cut, len(pairs)),
    )


def build(frame: TrainingFrame, base: str = "mf", **options: Any) -> Amae:
    config, model = {"mf": (MfAmaeConfig, MfAmae), "dmf": (DmfAmaeConfig, DmfAmae)}[base]
    return model(config(**{**SMALL, **options}), Catalogue.of(frame))


def started(frame: TrainingFrame, base: str = "mf", **options: Any) -> Amae:
    model = build(frame, base, **options)
    model.begin(frame, torch.Generator().manual_seed(0))
    model.refresh()
    with torch.no_grad():
        model.bias.copy_(torch.linspace(-1, 1, len(frame.items)))
    return model


def first_samples(frame: TrainingFrame, count: int) -> Samples:
    pairs = torch.from_numpy(frame.train[:count])
    context = {name: torch.from_numpy(table[:count]) for name, table in frame.contexts.items()}
    return Samples(pairs[:, 0], pairs[:, 1], torch.tensor([[7, 9, 11]] * count), torch.zeros(count, 3), context)


def requests(frame: TrainingFrame, events: list[int]) -> UserBatch:
    rows = frame.train[events, 0]
    context = {name: torch.from_numpy(table[events]) for name, table in frame.contexts.items()}
    return UserBatch(torch.from_numpy(rows), torch.from_numpy(frame.history[rows]), context)


def test_the_weight_of_the_global_code_by_hand() -> None:
    attention = LevelAttention(code=1, item=2, inner=2)
    with torch.no_grad():
        attention.code.copy_(torch.tensor([[1.0, -1.0]]))
        attention.user.copy_(torch.tensor([[2.0, 0.0]]))
        attention.item.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        attention.bias.copy_(torch.tensor([0.5, 0.0]))
        attention.out.copy_(torch.tensor([[1.0], [2.0]]))
    codes, user, items = torch.tensor([[[3.0], [1.0]]]), torch.tensor([[1.0]]), torch.tensor([[1.0, 1.0], [2.0, 3.0]])
    # Both levels see 2.5 of the user and the bias in the first unit, 2 and 5 of the items in the second.
    # Global: relu(2.5 + 3) + 2 relu(2 - 3) = 5.5 and 5.5 + 2 x 2 = 9.5; recent: 3.5 + 2 x 1 = 5.5 and 3.5 + 8 = 11.5.
    expected = [0.5, 1 / (1 + math.exp(11.5 - 9.5))]
    with torch.no_grad():
        assert attention(codes, user, items).tolist() == [pytest.approx(expected)]
        assert attention(codes, user, items.unsqueeze(0)).tolist() == [pytest.approx(expected)]


def plain_score(model: Amae, frame: TrainingFrame, event: int, item: int) -> float:
    """Eqs. 10-13 and the bias, for one request, one item and one modality at a time."""
    d = model.config.dimension
    user, q = model.base.users[frame.train[event, 0]], model.base.items[item]
    context = {name: torch.from_numpy(table[[event]]) for name, table in frame.contexts.items()}
    joined = [user]
    for modality, (values, there) in model.posts(context, 1).items():
        coder = model.autoencoder(modality)
        z = [coder.encode(values[0, level]) * there for level in range(values.shape[1])]
        if not (model.config.attention and len(z) == 2):
            joined += z
            continue
        layer = model.level_attention(modality)
        weights = torch.cat([layer.code, layer.user, layer.item])
        beta = [torch.relu(torch.cat([each, user, q]) @ weights + layer.bias) @ layer.out for each in z]
        alpha = torch.softmax(torch.cat(beta), dim=0)
        joined.append(alpha[0] * z[0] + alpha[1] * z[1])
    assert len(torch.cat(joined)) == len(q) == d * len(joined)
    return float(torch.cat(joined) @ q + model.bias[item])


@pytest.mark.parametrize("base", ["mf", "dmf"])
@pytest.mark.parametrize("options", [{}, {"attention": False}, {"features": "contextual"}, {"features": "textual"}])
def test_scores_are_eq_13(posts: TrainingFrame, base: str, options: dict[str, Any]) -> None:
    model = started(posts, base, **options)
    events = [0, 40, 41, len(posts.train) - 1]
    with torch.no_grad():
        scores = model.score(requests(posts, events))
        expected = [[plain_score(model, posts, event, item) for item in range(len(posts.items))] for event in events]
        assert torch.allclose(scores, torch.tensor(expected), atol=1e-5)
        some = torch.tensor([5, 2, 60])
        assert torch.allclose(model.score(requests(posts, events), some), scores[:, some], atol=1e-6)
        own = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])
        assert torch.allclose(model.score(requests(posts, events), own), scores.gather(1, own), atol=1e-6)


def test_items_are_scored_in_chunks(posts: TrainingFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    model = started(posts)
    with torch.no_grad():
        whole = model.score(requests(posts, [3, 4]))
        monkeypatch.setattr("training.models.amae._CHUNK", 7)
        assert torch.allclose(model.score(requests(posts, [3, 4])), whole, atol=1e-6)


def test_losses_are_those_of_the_formulas(posts: TrainingFrame) -> None:
    model, samples = started(posts, regularisation=0.5, autoencoder_regularisation=0.25), first_samples(posts, 6)
    with torch.no_grad():
        scores = [
            [plain_score(model, posts, event, int(item)) for item in (samples.positives[event], 7, 9, 11)]
            for event in range(6)
        ]
        likely = torch.sigmoid(torch.tensor(scores))
        likely[:, 1:] = 1 - likely[:, 1:]
        terms = model.loss_terms(samples)
        assert float(terms["cross_entropy"]) == pytest.approx(float(-likely.log().mean()), rel=1e-5)
        used = [
            model.base.users[samples.users],
            model.base.items[samples.positives],
            model.base.items[samples.negatives],
        ]
        assert float(terms["l2"]) == pytest.approx(0.5 * float(sum(t.square().sum() for t in used)) / 12, rel=1e-5)

        first = model.autoencoder_terms(samples)
        reconstruction, posted = 0.0, model.posts(samples.context, 6)
        for modality, (values, there) in posted.items():
            coder = model.autoencoder(modality)
            errors = (coder.decode(coder.encode(values)) - values).square().sum(2) / 2
            reconstruction += float((errors * there.unsqueeze(1)).sum()) / 6
        assert float(first["reconstruction"]) == pytest.approx(reconstruction, rel=1e-5)
        norm = sum(float(parameter.square().sum()) for parameter in model.autoencoders.parameters())
        assert float(first["l2_autoencoders"]) == pytest.approx(0.25 * norm / 2, rel=1e-5)


def test_every_pair_of_modalities_and_every_level_is_brought_together(posts: TrainingFrame) -> None:
    model, samples = started(posts), first_samples(posts, 40)
    with torch.no_grad():
        terms = model.autoencoder_terms(samples)
        codes = {
            modality: model.autoencoder(modality).encode(values) * posted[:, None, None]
            for modality, (values, posted) in model.posts(samples.context, 40).items()
        }
    there = samples.users > 1  # user 0 posted nothing, user 1 no picture
    expected = sum(
        float(cross_modal_loss(codes[a][:, level], codes[b][:, level], there))
        for a, b in (("textual", "visual"), ("visual", "textual"))
        for level in (0, 1)
    )
    assert not there.all()
    assert float(terms["cross_modal"]) == pytest.approx(expected, rel=1e-5)


def test_without_posts_the_base_is_left(posts: TrainingFrame) -> None:
    model = started(posts)
    with torch.no_grad():
        batch = requests(posts, [0])
        assert int(batch.rows) == 0
        user, items = model.base.users[0], model.base.items[:, : model.config.dimension]
        assert torch.allclose(model.score(batch)[0], items @ user + model.bias, atol=1e-6)
        # A request that says nothing of posts is one of a user without posts.
        silent = UserBatch(batch.rows, batch.history)
        assert torch.allclose(model.score(silent), model.score(batch), atol=1e-6)


def test_who_posted_is_scored_though_unknown(posts: TrainingFrame) -> None:
    model = started(posts)
    event = int(np.flatnonzero(posts.train[:, 0] == 5)[0])
    known = requests(posts, [event, event, 0])
    batch = UserBatch(torch.tensor([5, PADDING, PADDING]), known.history, known.context)
    with torch.no_grad():
        assert model.can_score(batch).tolist() == [True, True, False]
        scores = model.score(batch)
        assert scores[1].any()
        assert not torch.equal(scores[0], scores[1])
        assert torch.equal(scores[2], model.bias)


def trained(frame: TrainingFrame, **options: Any) -> tuple[Amae, Any, list[EpochReport]]:
    model, epochs = build(frame, **options), list[EpochReport]()
    report = model.fit(frame, seed=0, on_epoch=epochs.append)
    return model, report, epochs


def test_two_stages(posts: TrainingFrame) -> None:
    model, report, epochs = trained(posts, autoencoder_epochs=2)
    assert set(report.losses) == {"reconstruction", "cross_modal", "l2_autoencoders", "cross_entropy", "l2"}
    assert [set(epoch.losses) for epoch in epochs] == [{"cross_entropy", "l2"}] * 2
    assert model.bias.any()
    # Stage one alone, from the same seed: what it leaves is what stage two starts from.
    fixed, _, _ = trained(posts, autoencoder_epochs=2, fine_tuning=False)
    longer, _, _ = trained(posts, autoencoder_epochs=2, fine_tuning=False, max_epochs=4)
    for a, b in zip(fixed.autoencoders.parameters(), longer.autoencoders.parameters(), strict=True):
        assert torch.equal(a, b)
    for modality in ("textual", "visual"):
        tuned, kept = model.autoencoder(modality), fixed.autoencoder(modality)
        assert not torch.equal(tuned.encoder[0], kept.encoder[0])
        # The second stage has no use for the decoders.
        assert torch.equal(tuned.decoder[0], kept.decoder[0])


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({"reconstruction": False}, {"cross_modal", "l2_autoencoders"}),
        ({"cross_modal": False}, {"reconstruction", "l2_autoencoders"}),
        ({"reconstruction": False, "cross_modal": False}, set()),
        ({"autoencoder_epochs": 0}, set()),
        ({"reconstruction": False, "features": "textual"}, set()),
        ({"features": "visual"}, {"reconstruction", "l2_autoencoders"}),
        ({"item_bias": False}, {"reconstruction", "cross_modal", "l2_autoencoders"}),
    ],
)
def test_ablations_of_the_first_stage(posts: TrainingFrame, options: dict[str, Any], terms: set[str]) -> None:
    model, report, _ = trained(posts, **{"autoencoder_epochs": 1, "max_epochs": 1, **options})
    assert set(report.losses) == terms | {"cross_entropy", "l2"}
    decodes = any("decoder" in name for name, _ in model.named_parameters())
    assert decodes == options.get("reconstruction", True)
    assert bool(model.bias.any()) == options.get("item_bias", True)


def test_items_meet_one_code_per_modality_with_attention_and_two_without(posts: TrainingFrame) -> None:
    assert build(posts).base.items.shape[1] == 8 * 3
    assert build(posts, attention=False).base.items.shape[1] == 8 * 5
    assert build(posts, features="global").base.items.shape[1] == 8 * 3
    assert not build(posts, features="global").attention


def test_the_first_stage_learns_to_reconstruct(posts: TrainingFrame) -> None:
    model, report, _ = trained(posts, autoencoder_epochs=8, max_epochs=1, batch_size=64)
    with torch.no_grad():
        before = started(posts).autoencoder_terms(first_samples(posts, 200))
    assert report.losses["reconstruction"] < 0.8 * float(before["reconstruction"])
    assert report.losses["cross_modal"] < float(before["cross_modal"])
    assert isinstance(model, MfAmae)
