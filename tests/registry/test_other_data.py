"""A champion of one snapshot against candidates of another: real data, training, packages and clean processes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import GateRefused
from contracts.home import Home
from contracts.reports import ValidationReport, store_report
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.surfaces import PRIMARY_METRICS
from feature_repo.apply import apply_features
from feature_repo.offline import write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from registry.evidence import Measurement, remeasure_in_clean_process
from registry.moves import Promotion
from registry.promotion import promote
from registry.store import ModelStore
from training.train import train

PRIMARY = PRIMARY_METRICS["video-feed"]

WEAK = {"dimension": 8, "max_epochs": 1, "learning_rate": 1e-4}
STRONG = {"dimension": 8, "max_epochs": 30, "learning_rate": 0.05, "batch_size": 64}


def test_a_champion_is_judged_by_its_own_figure_on_the_candidates_data(
    make_mmssl: Callable[..., Path], tmp_path: Path, settings: Settings, home: Home, database: Database
) -> None:
    def ingested(seed: int, videos: int) -> Snapshot:
        folder = make_mmssl(tmp_path / f"data-{seed}", videos=videos, seed=seed)
        snapshot, _ = write_snapshot(home, read_mmssl(folder, "blocks"))
        apply_features(settings, home)
        report = ValidationReport(
            id=f"r{seed}", snapshot=snapshot.id, created_at=utc_now(), success=True, suites=[], data_docs="-"
        )
        if seed not in reported:
            store_report(database, report)
            reported.add(seed)
        return snapshot

    def promoted(version: str) -> Promotion:
        return promote(settings, home, "video-feed", version, "champion", "test", "tester")

    reported: set[int] = set()
    store = ModelStore(settings, home)
    with home.writing("test"):
        first = ingested(seed=1, videos=128)
        weak = train(settings, home, "mf", WEAK)
        promoted(weak.version)
        second = ingested(seed=2, videos=144)
        strong = train(settings, home, "mf", STRONG)

        sentence = promoted(strong.version).verdicts[2].sentence
        figures = re.fullmatch(
            rf"{PRIMARY} is (\S+), champion 1 has (\S+) when measured on snapshot {second.id}: "
            r"difference \S+, 95 % interval \S+ to \S+ over 96 users; better",
            sentence,
        )
        assert figures is not None, sentence
        assert float(figures[1]) == pytest.approx(strong.metrics[PRIMARY], abs=1e-4)
        assert float(figures[2]) < float(figures[1])

        assert ingested(seed=1, videos=128) == first
        again = train(settings, home, "mf", WEAK, seed=5)
        with pytest.raises(GateRefused, match=rf"champion 2 has 0\.\d+ when measured on snapshot {first.id}"):
            promoted(again.version)
    assert store.get("video-feed", "champion").version == strong.version

    package = store.package_path(store.get("video-feed", weak.version))
    at_home = remeasure_in_clean_process(settings, package, first.id)
    assert isinstance(at_home, Measurement)
    assert at_home.metrics[PRIMARY] == pytest.approx(weak.metrics[PRIMARY])
    assert at_home.users is not None
    assert at_home.users.mean(PRIMARY) == pytest.approx(weak.metrics[PRIMARY])
    assert at_home.protocol == store.get("video-feed", weak.version).protocol
    fault = remeasure_in_clean_process(settings, package, "gone")
    assert isinstance(fault, str)
    assert fault.startswith("snapshot gone: found no")
