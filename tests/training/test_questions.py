"""What services ask, and that figures of different questions are never taken for comparable."""

import pytest

from contracts.clock import utc_now
from contracts.errors import NotFound
from contracts.snapshot import Snapshot, SplitInstants
from contracts.surfaces import PRIMARY_METRICS
from feature_repo.services import RANKINGS, SERVICES
from training.metrics import METRICS
from training.models import MODELS
from training.questions import QUESTIONS, question_of


def test_every_ranking_has_a_question_and_every_service_a_surface() -> None:
    assert QUESTIONS.keys() == RANKINGS.keys()
    assert {question_of(name).surface for name in SERVICES} == PRIMARY_METRICS.keys()
    assert {question_of(entry.feature_service).surface for entry in MODELS.values()} == PRIMARY_METRICS.keys()


def test_training_stops_by_what_versions_are_selected_on() -> None:
    for question in QUESTIONS.values():
        assert PRIMARY_METRICS[question.surface] == f"validation_{question.protocol.stopping}"
        name, _, depth = question.protocol.stopping.rpartition("_at_")
        assert name in METRICS
        assert int(depth) in question.protocol.cutoffs


def test_no_two_questions_have_one_fingerprint() -> None:
    now = utc_now()
    snapshot = Snapshot(
        id="s",
        dataset="d",
        source="a test",
        created_at=now,
        tables={},
        embeddings={},
        split=SplitInstants(train_until=now, validation_until=now.replace(year=now.year + 1), nominal=False),
    )
    assert len({question.fingerprint(snapshot).digest for question in QUESTIONS.values()}) == len(QUESTIONS)


def test_a_service_that_is_not_there() -> None:
    with pytest.raises(NotFound, match="feature service 'no_v1': found no feature service of that name"):
        question_of("no_v1")
