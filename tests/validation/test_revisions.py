"""Another encoder's vectors beside those in use, put in use and taken back: each step is validated and passes."""

import numpy as np
import pytest

from contracts.home import Home
from contracts.reports import ValidationReport
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.encoders.revisions import use_revision
from validation.judge import judge
from validation.material import history_key
from validation.run import validate_snapshot

TABLE = "embedding_visual"


@pytest.fixture
def seen(many):
    """Visual and acoustic vectors that see the same thing, so that their agreement is judged, too."""
    rng = np.random.default_rng(3)
    things = rng.normal(size=(400, 6))
    for modality in ("visual", "acoustic"):
        matrix = things @ rng.normal(size=(6, 16)) + rng.normal(size=(400, 16)) * 0.1
        many.put_matrix(matrix.astype(np.float32), modality)
    return many


def _with_a_second(data) -> str:
    """Longer vectors of fewer directions stand beside; gives the first digits of their spec's digest."""
    spec = data.raw.specs["visual"].model_copy(update={"revision": "2"})
    name = f"visual@{spec.digest[:8]}"
    matrix = data.matrix().copy()
    matrix[:, 8:] *= 0.01
    data.raw.specs[name] = spec
    data.tables[f"embedding_{name}"] = data.tables[TABLE]
    data.put_matrix(10 * matrix + 3, name)
    return spec.digest[:8]


def _failed(report: ValidationReport) -> list[str]:
    return [f"{v.table}: {f.column} {f.observed}" for v in report.suites for f in v.findings]


def test_a_revision_is_added_used_and_taken_back(settings: Settings, home: Home, seen) -> None:
    def validated() -> ValidationReport:
        return validate_snapshot(settings, home, probes=False)

    first: Snapshot = seen.ingest(home)
    assert _failed(validated()) == []
    digits = _with_a_second(seen)
    seen.ingest(home)
    assert _failed(validated()) == [], "a candidate has no accepted spec, and needs none"
    for revision in (digits, first.embeddings["visual"].digest[:8], digits):
        with home.writing("test"):
            use_revision(home, "visual", revision)
        report = validated()
        assert _failed(report) == []
        assert any(name.startswith("margin_") for name in report.statistics[TABLE])


def test_vectors_of_a_revision_are_held_against_its_own(seen) -> None:
    digits = _with_a_second(seen)
    accepted = seen.accepted(times=3)
    name = f"visual@{digits}"
    first, second = seen.raw.specs["visual"], seen.raw.specs[name]
    assert history_key(seen.snapshot, TABLE) == first.digest
    assert history_key(seen.snapshot, f"embedding_{name}") == second.digest
    other = f"visual@{first.digest[:8]}"
    seen.tables[f"embedding_{other}"] = seen.tables[TABLE]
    seen.put_matrix(seen.matrix(name) * 1.5)  # in use from now on, and longer than they were accepted
    del seen.tables[f"embedding_{name}"], seen.raw.specs[name]
    seen.raw.specs.update({"visual": second, other: first})
    judged = judge(seen.material(accepted))
    failed = {j.verdict.table: {f.column for f in j.verdict.findings} for j in judged.judgements if j.severity}
    assert {"norm_median", "changed_share"} <= failed.pop(TABLE)
    assert set(failed) <= {"clusters"}


def test_a_spec_that_nobody_accepted_needs_one_in_use_that_was(many, accepted) -> None:
    spec = many.raw.specs["visual"]
    third = spec.model_copy(update={"revision": "3"})
    many.raw.specs[f"visual@{third.digest[:8]}"] = third
    many.tables[f"{TABLE}@{third.digest[:8]}"] = many.tables[TABLE]

    def failed() -> set[str]:
        judged = judge(many.material(accepted)).judgements
        return {j.verdict.table for j in judged if "spec" in {f.column for f in j.verdict.findings}}

    assert failed() == set()
    many.raw.specs["visual"] = spec.model_copy(update={"revision": "2"})
    assert failed() == {TABLE, f"{TABLE}@{third.digest[:8]}"}
