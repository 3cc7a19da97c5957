"""Each model's scores against its equations, worked out one user and one item at a time."""

import numpy as np
import pytest
import torch
from torch import Tensor

from feature_repo.frame import TrainingFrame
from training.batches import PADDING, Samples, UserBatch
from training.content import concatenated_content
from training.learned import LearnedRecommender
from training.losses import bpr
from training.models.lightgcn import LightGcn, LightGcnConfig
from training.models.m3csr import M3csr
from training.models.m3csr_config import PLAIN, M3csrConfig
from training.models.mf import MatrixFactorisation, MfConfig
from training.models.popularity import Popularity, PopularityConfig
from training.models.vbpr import Vbpr, VbprConfig
from training.recommender import Catalogue

USERS, ITEMS = [0, 3, 17], [2, 5, 40]


def prepared(model: LearnedRecommender, frame: TrainingFrame) -> LearnedRecommender:
    """Initialised, and moved away from the start so that no parameter is zero."""
    generator = torch.Generator().manual_seed(0)
    model.begin(frame, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.refresh()
    return model


def scores(model: LearnedRecommender | Popularity, frame: TrainingFrame) -> Tensor:
    with torch.no_grad():
        return model.score(UserBatch(torch.tensor(USERS), torch.from_numpy(frame.history[USERS])))[:, ITEMS]


def samples(users: list[int], positives: list[int], negatives: list[int]) -> Samples:
    drawn = torch.tensor(negatives).unsqueeze(1)
    return Samples(torch.tensor(users), torch.tensor(positives), drawn, torch.zeros(drawn.shape))


def test_popularity_counts_views(frame: TrainingFrame) -> None:
    model = Popularity(PopularityConfig(), Catalogue.of(frame))
    model.fit(frame, seed=0)
    views = [float((frame.train[:, 1] == item).sum()) for item in ITEMS]
    assert scores(model, frame).tolist() == [views] * 3


def test_mf(frame: TrainingFrame) -> None:
    model = prepared(MatrixFactorisation(MfConfig(dimension=6), Catalogue.of(frame)), frame)
    expected = [
        [sum((model.users[u, d] * model.items[i, d]).item() for d in range(6)) + model.bias[i].item() for i in ITEMS]
        for u in USERS
    ]
    assert scores(model, frame).tolist() == pytest.approx(np.array(expected), abs=1e-5)


def test_vbpr(frame: TrainingFrame) -> None:
    model = prepared(Vbpr(VbprConfig(dimension=6, content_dimension=4), Catalogue.of(frame)), frame)
    content = concatenated_content(frame, "centred")
    expected = torch.stack(
        [
            torch.stack(
                [
                    model.bias[i, 0]
                    + model.users[u, :6] @ model.items[i]
                    + model.users[u, 6:] @ (model.projection.T @ content[i])
                    + model.content_bias[:, 0] @ content[i]
                    for i in ITEMS
                ]
            )
            for u in USERS
        ]
    )
    assert torch.allclose(scores(model, frame), expected, atol=1e-5)


def test_lightgcn(frame: TrainingFrame) -> None:
    model = prepared(LightGcn(LightGcnConfig(dimension=6, layers=3), Catalogue.of(frame)), frame)
    users, items = len(frame.users), len(frame.items)
    neighbours = {node: [] for node in range(users + items)}
    for user, item in frame.train.tolist():
        neighbours[user].append(users + item)
        neighbours[users + item].append(user)
    layers = [model.embeddings.detach()]
    for _ in range(3):
        following = torch.zeros_like(layers[0])
        for node, others in neighbours.items():
            for other in others:
                following[node] += layers[-1][other] / (len(others) * len(neighbours[other])) ** 0.5
        layers.append(following)
    final = torch.stack(layers).mean(0)
    expected = final[USERS] @ final[users:][ITEMS].T
    assert torch.allclose(scores(model, frame), expected, atol=1e-5)


D, HEADS = 8, 2


def attend(attention: torch.nn.Module, query: Tensor, encodings: list[Tensor]) -> Tensor:
    """Multi-head attention of one query, head by head."""
    asked, heads = query @ attention.query, []
    width = asked.shape[0] // HEADS
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        keys = [(encoding @ attention.key)[part] for encoding in encodings]
        values = [(encoding @ attention.value)[part] for encoding in encodings]
        weights = torch.softmax(torch.stack([asked[part] @ key for key in keys]) / width**0.5, dim=0)
        heads.append(sum(w * v for w, v in zip(weights, values, strict=True)))
    return torch.cat(heads) @ attention.out


def m3csr_tower(model: M3csr, frame: TrainingFrame, query: Tensor, history: list[int]) -> tuple[Tensor, Tensor]:
    """h_u^final and the weighted interests, by eqs. 1-9."""
    behaviour = attend(model.behaviour, query, [model.items[i] for i in history])
    interests, intensities = [], []
    for m in range(2):
        known = [i for i in history if not frame.missing[sorted(frame.modalities)[m]][i]]
        interest = attend(model.tastes[m], query, [m3csr_encoding(model, frame, i, m) for i in known])
        interests.append(interest)
        intensities.append((torch.cat([behaviour, interest]) @ model.intensity)[0])
    shares = torch.softmax(torch.stack(intensities) / model.config.temperature, dim=0)
    weighted = [share * interest for share, interest in zip(shares, interests, strict=True)]
    return torch.cat([behaviour, *weighted]), torch.stack(weighted)


def m3csr_encoding(model: M3csr, frame: TrainingFrame, item: int, m: int) -> Tensor:
    name = sorted(frame.modalities)[m]
    content = torch.from_numpy(frame.modalities[name][item])
    if frame.missing[name][item]:
        return torch.zeros(2 * D)
    return torch.cat([content @ model.maps[m] + model.map_biases[m], model.cluster_tables[m][model.cluster[item]]])


def m3csr_item(model: M3csr, frame: TrainingFrame, item: int) -> Tensor:
    """h_i^final, by eqs. 10-11."""
    views = int(frame.popularity[item])
    bin_ = min((views + 1).bit_length() - 1, model.config.popularity_bins - 1)
    delta = torch.sigmoid(model.popularity[bin_] @ model.gate + model.gate_bias)
    parts = [(1 - delta) * model.items[item]]
    return torch.cat([*parts, *(delta * m3csr_encoding(model, frame, item, m) for m in range(2))])


@pytest.fixture
def m3csr(frame: TrainingFrame) -> M3csr:
    options = {**PLAIN, "dimension": D, "heads": HEADS, "clusters": 4, "popularity_bins": 4, "temperature": 0.5}
    model = prepared(M3csr(M3csrConfig(**options), Catalogue.of(frame)), frame)
    assert isinstance(model, M3csr)
    return model


def test_m3csr(frame: TrainingFrame, m3csr: M3csr) -> None:
    with torch.no_grad():
        towers = [
            m3csr_tower(m3csr, frame, m3csr.users[u], [i for i in frame.history[u].tolist() if i != PADDING])[0]
            for u in USERS
        ]
        expected = torch.stack(towers) @ torch.stack([m3csr_item(m3csr, frame, i) for i in ITEMS]).T
    assert torch.allclose(scores(m3csr, frame), expected, atol=1e-4)


def test_m3csr_asks_with_the_mean_embedding_for_an_unknown_user(frame: TrainingFrame, m3csr: M3csr) -> None:
    history = torch.tensor([[7, 9, PADDING]])
    with torch.no_grad():
        found = m3csr.user_vectors(UserBatch(torch.tensor([PADDING]), history))[0]
        expected, _ = m3csr_tower(m3csr, frame, m3csr.users.mean(0), [7, 9])
    assert torch.allclose(found, expected, atol=1e-4)


def test_m3csr_objective_leaves_the_target_out_of_the_history(frame: TrainingFrame, m3csr: M3csr) -> None:
    # Rows 0 and 1: the same user with two targets of the own history; row 2: a target that is not in it.
    seen = frame.history[0][frame.history[0] != PADDING].tolist()
    stranger = next(i for i in range(len(frame.items)) if i not in frame.history[3])
    users, positives, negatives = [0, 0, 3], [seen[0], seen[2], stranger], [11, 12, 13]
    with torch.no_grad():
        towers, interests = [], []
        for user, positive in zip(users, positives, strict=True):
            history = [i for i in frame.history[user].tolist() if i not in (PADDING, positive)]
            tower, weighted = m3csr_tower(m3csr, frame, m3csr.users[user], history)
            towers.append(tower)
            interests.append(weighted)
        liked = [tower @ m3csr_item(m3csr, frame, i) for tower, i in zip(towers, positives, strict=True)]
        other = [tower @ m3csr_item(m3csr, frame, i) for tower, i in zip(towers, negatives, strict=True)]
        terms = m3csr.loss_terms(samples(users, positives, negatives))
    orthogonality = sum(float(pair[0] @ pair[1]) ** 2 for pair in interests) / 3
    norm = sum(parameter.square().sum().item() for parameter in m3csr.parameters())
    assert terms["bpr"].item() == pytest.approx(bpr(torch.stack(liked), torch.stack(other)).item(), rel=1e-4)
    assert terms["orthogonality"].item() == pytest.approx(m3csr.config.orthogonality * orthogonality, rel=1e-3)
    assert terms["l2"].item() == pytest.approx(m3csr.config.regularisation * norm, rel=1e-4)


def test_m3csr_stops_the_gradients_that_the_paper_stops(frame: TrainingFrame, m3csr: M3csr) -> None:
    # Eq. 4: the query of a modality's interest is cut off; with the behavioural part silenced, nothing reaches it.
    with torch.no_grad():
        m3csr.behaviour.out.zero_()
    terms = m3csr.loss_terms(samples([0, 3], [1, 2], [11, 12]))
    sum(terms[name] for name in ("bpr", "orthogonality")).backward()
    assert not m3csr.users.grad.any()
    assert m3csr.tastes[0].query.grad.any()
    # Eq. 5: the behavioural interest enters the intensity cut off as well; only eq. 9 trains its matrices.
    assert m3csr.intensity.grad.any()
