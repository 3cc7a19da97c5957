"""Rules on what stands beside the vectors: their specs, items that are encoded again, rows and clusters."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.reports import Finding, SuiteVerdict
from validation.judge import judge
from validation.material import Baseline, Material
from validation.probes import Probe

TABLE = "embedding_visual"


def _verdicts(material: Material) -> dict[str, SuiteVerdict]:
    verdicts = [judgement.verdict for judgement in judge(material).judgements]
    return {verdict.table: verdict for verdict in verdicts if verdict.suite != "splits"}


def _findings(material: Material, table: str = TABLE) -> dict[str | None, Finding]:
    return {finding.column: finding for finding in _verdicts(material)[table].findings}


# Specs


def test_another_spec_is_a_finding_that_names_what_differs(many, accepted: Baseline) -> None:
    spec = many.raw.specs["visual"]
    many.raw.specs["visual"] = spec.model_copy(update={"revision": "2"})
    verdict = _verdicts(many.material(accepted))[TABLE]
    (finding,) = verdict.findings
    assert (finding.column, finding.observed) == ("spec", "test 2: revision '2' instead of '1'")
    assert any("no vectors of embedding_visual's spec" in note for note in verdict.notes)


def test_a_spec_that_was_accepted_beside_the_one_in_use_may_be_switched_to(many, accepted: Baseline) -> None:
    spec = many.raw.specs["visual"]
    second = spec.model_copy(update={"revision": "2"})
    beside = accepted.snapshot.model_copy(
        update={"embeddings": accepted.snapshot.embeddings | {f"visual@{second.digest[:8]}": second}}
    )
    many.raw.specs["visual"] = second
    assert "spec" not in _findings(many.material(Baseline(beside, accepted.profiles, accepted.history)))


def test_what_a_model_expects_must_be_there_in_use_or_beside(many) -> None:
    spec = many.raw.specs["visual"]
    second = spec.model_copy(update={"revision": "2"})
    (finding,) = _findings(many.material(expected={"champion 3": {"visual": second}})).values()
    assert finding.rule == "the snapshot has the visual vectors that champion 3 was made for"
    assert finding.observed == "test 1: revision '1' instead of '2'"
    assert _findings(many.material(expected={"champion 3": {"visual": spec}})) == {}
    many.raw.specs[f"visual@{second.digest[:8]}"] = second
    many.tables[f"{TABLE}@{second.digest[:8]}"] = many.tables[TABLE]
    assert _findings(many.material(expected={"champion 3": {"visual": second}})) == {}


def test_a_table_that_was_accepted_and_is_not_there_is_judged(many, accepted: Baseline) -> None:
    for table in ("embedding_acoustic", "interactions"):
        del many.tables[table]
    del many.raw.specs["acoustic"]
    judged = judge(many.material(accepted))
    verdicts = _verdicts(many.material(accepted))
    assert "spec" in {finding.column for finding in verdicts["embedding_acoustic"].findings}
    assert verdicts["interactions"].findings[0].rule == "there is at least one event"
    assert many.raw.specs["visual"].digest in judged.profiles
    assert len(judged.profiles) == 1, "nothing is kept of what is not there"


# Probes


@pytest.mark.parametrize(
    ("probe", "columns"),
    [
        (Probe(probed=12, worst=0.001, median=0.0, drift=0.002, compared=8), set()),
        (Probe(reason="ready-made vectors"), set()),
        (Probe(probed=12, worst=0.5, median=0.1, moved=(("v3", "v4"),)), {"probe_distance"}),
        (Probe(probed=12, worst=0.0, drift=0.4, compared=8, farthest=(("v1", 0.4),)), {"probe_drift"}),
        (Probe(probed=12, worst=0.0, stale=("v1", "v2")), set()),
        (Probe(probed=12, stale=tuple(f"v{n}" for n in range(7))), {"probe_stale_share"}),
    ],
)
def test_probes(many, probe: Probe, columns: set[str]) -> None:
    assert set(_findings(many.material(probes={"visual": probe}))) == columns


def test_probes_name_rows_that_carry_others_and_say_why_there_are_none(many) -> None:
    probe = Probe(probed=12, worst=0.5, moved=(("v3", "v4"),), farthest=(("v3", 0.5),))
    finding = _findings(many.material(probes={"visual": probe}))["probe_distance"]
    assert finding.examples == ["the vector of v3 stands at v4", "v3 (0.5 standard deviations)"]
    assert "other items' vectors" in finding.advice
    unread = Probe(probed=1, worst=0.0, unread=(("v9", "the file is gone"),))
    for probe, note in ((Probe(reason="no weights"), "no weights"), (unread, "v9: the file is gone")):
        assert any(note in said for said in _verdicts(many.material(probes={"visual": probe}))[TABLE].notes)


# Rows and clusters


def test_rows_that_are_gone(many, accepted: Baseline) -> None:
    many.tables["interactions"] = many.tables["interactions"].slice(0, 250)
    assert {"rows", "distinct_user"} <= set(_findings(many.material(accepted), "interactions"))


def test_kinds_and_weights_as_they_were_after_three_accepted_snapshots(many, accepted: Baseline) -> None:
    many.put("interactions", "weight", [3.0] * 360)
    many.put("interactions", "kind", ["like"] * 180 + ["view"] * 180)
    found = _findings(many.material(accepted), "interactions")
    assert set(found) == {"weight_mean", "share_view", "share_like"}
    twice = replace_history(accepted, 2)
    assert set(_findings(many.material(twice), "interactions")) == {"weight_mean"}
    many.put("interactions", "weight", [1.4] * 360)
    verdict = _verdicts(many.material(twice))["interactions"]
    assert verdict.success
    assert "from 3 accepted snapshots on; there are 2" in verdict.notes[0]


def replace_history(baseline: Baseline, times: int) -> Baseline:
    """The same after fewer accepted snapshots."""
    return replace(baseline, history={table: pasts[:times] for table, pasts in baseline.history.items()})


def test_a_kind_that_was_never_seen_may_come_once(many, accepted: Baseline) -> None:
    many.put("interactions", "kind", ["share"] + ["view"] * 359)
    assert _findings(many.material(accepted), "interactions") == {}


def test_videos_that_all_fall_into_one_cluster(many, accepted: Baseline) -> None:
    for modality in ("visual", "acoustic"):
        matrix = np.full((400, 16), 9, np.float32) + np.random.default_rng(0).normal(size=(400, 16)) * 1e-3
        many.put_matrix(matrix.astype(np.float32), modality)
    assert {"largest_share", "distance_median"} <= set(_findings(many.material(accepted), "clusters"))


def test_clusters_of_other_encoders_are_not_compared(many, accepted: Baseline) -> None:
    many.raw.specs["visual"] = many.raw.specs["visual"].model_copy(update={"revision": "2"})
    verdict = _verdicts(many.material(accepted))["clusters"]
    assert verdict.success
    assert "absolute rules only" in verdict.notes[0]


def test_turnover_of_videos_with_long_tails_leaves_the_clusters_alone(many) -> None:
    rng = np.random.default_rng(2)
    worlds = {m: rng.normal(size=(900, 16)) * np.exp(0.6 * rng.normal(size=(900, 1))) for m in ("visual", "acoustic")}
    for modality, world in worlds.items():
        many.put_matrix(world[:400].astype(np.float32), modality)
    baseline = many.accepted()
    for modality, world in worlds.items():
        many.put_matrix(world[500:].astype(np.float32), modality)
    for table in ("videos", "interactions", TABLE, "embedding_acoustic"):
        many.put(table, "video_id", [f"w{video[1:]}" for video in many.tables[table]["video_id"].to_pylist()])
    assert _findings(many.material(baseline), "clusters") == {}
    assert judge(many.material()).statistics["clusters"]["rows"] == 200, "centres are held against other videos"


@pytest.mark.parametrize("with_baseline", [False, True], ids=["first", "compared"])
def test_monstrous_vectors_get_a_verdict(many, accepted: Baseline, with_baseline: bool) -> None:
    matrix = many.matrix().copy()
    matrix[:3] = 3e38
    many.put_matrix(matrix)
    assert not _verdicts(many.material(accepted if with_baseline else None))[TABLE].success
    many.put_matrix(np.full_like(matrix, 3e38) * np.sign(matrix))
    assert not _verdicts(many.material(accepted if with_baseline else None))[TABLE].success


def test_what_is_at_fault_comes_before_what_follows_from_it(many, accepted: Baseline) -> None:
    many.put_matrix(np.roll(many.matrix(), 1, axis=0))
    worst = judge(many.material(accepted)).judgements[0].verdict.findings
    assert worst[0].column == "moved_share"
    columns = [finding.column for finding in worst]
    consequences = [place for place, column in enumerate(columns) if column == "neighbour_overlap"]
    assert consequences
    assert consequences[0] > columns.index("changed_share")
