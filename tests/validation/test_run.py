"""Reports: stored whole, reused while data and rules stand, shown in pages that open anywhere."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from contracts.current import make_current
from contracts.database import Database
from contracts.errors import BadInput, Conflict, NotFound, ValidationFailed
from contracts.home import Home
from contracts.platform import ValidationRow
from contracts.reports import ValidationReport, latest_report, require_passed
from contracts.settings import Settings
from contracts.snapshot import Snapshot, table_path
from contracts.surfaces import VIDEO_FEED
from feature_repo.offline import write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from validation import rules
from validation.champion import Holder
from validation.mending import mend_snapshot
from validation.override import accept_report
from validation.probes import not_probed
from validation.run import validate_snapshot


def test_a_passed_report_is_stored_and_opens_the_gate(settings: Settings, home: Home, database: Database, data) -> None:
    snapshot = data.ingest(home)
    report = validate_snapshot(settings, home)
    assert report.success
    assert report.snapshot == snapshot.id
    assert require_passed(database, home, snapshot.id) == report
    beside = Path(report.data_docs).with_name("report.json")
    assert ValidationReport.model_validate_json(beside.read_text()) == report


def test_a_failed_report_is_stored_and_keeps_the_gate_shut(
    settings: Settings, home: Home, database: Database, few_users
) -> None:
    snapshot = few_users.ingest(home)
    report = validate_snapshot(settings, home)
    assert not report.success
    assert report.failed[0].startswith("splits/"), "the worst comes first"
    with pytest.raises(ValidationFailed, match="failed suites splits"):
        require_passed(database, home, snapshot.id)


def test_nothing_ingested(settings: Settings, home: Home) -> None:
    with pytest.raises(NotFound, match="nothing there"):
        validate_snapshot(settings, home)


def test_a_report_is_reused_until_something_it_stands_on_changes(
    settings: Settings, home: Home, database: Database, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = data.ingest(home)
    first = validate_snapshot(settings, home)
    assert validate_snapshot(settings, home) == first
    forced = validate_snapshot(settings, home, force=True)
    assert forced.id != first.id
    assert latest_report(database, first.snapshot) == forced
    table_path(home, snapshot.id, "users").touch()
    with pytest.raises(ValidationFailed, match=f"changed files since report {forced.id}"):
        require_passed(database, home, snapshot.id)
    touched = validate_snapshot(settings, home)
    assert touched.id != forced.id, "the files are judged again"
    require_passed(database, home, snapshot.id)
    shutil.rmtree(home.quality / touched.id)
    again = validate_snapshot(settings, home)
    assert again.id != touched.id, "its pages are gone"
    priced = validate_snapshot(settings, home, impact=True)
    assert priced.impact is not None, "which the other one had not measured"
    assert validate_snapshot(settings, home) == validate_snapshot(settings, home, impact=True) == priced
    monkeypatch.setattr("validation.run.rules_digest", lambda: "other rules")
    assert validate_snapshot(settings, home).id != priced.id


def test_a_second_snapshot_is_compared_with_the_first(settings: Settings, home: Home, database: Database, data) -> None:
    first = data.ingest(home)
    alone = validate_snapshot(settings, home)
    assert (alone.baseline, alone.learned_from, alone.dataset) == (None, 0, "sound")
    data.put("videos", "title", ["a new title"] * data.tables["videos"].num_rows)
    second = data.ingest(home)
    compared = validate_snapshot(settings, home)
    assert compared.success
    assert (compared.baseline, compared.learned_from) == (first.id, 1)
    assert set(compared.statistics) >= {"embedding_visual", "embedding_acoustic"}
    assert set(compared.stamps) == set(second.tables)
    kept = Path(compared.data_docs).parent
    assert {path.name for path in (kept / "profiles").iterdir()} == {s.digest for s in second.embeddings.values()}
    assert Snapshot.model_validate_json((kept / "snapshot.json").read_text()) == second
    absolute = validate_snapshot(settings, home, baseline="none")
    assert absolute.id != compared.id, "another baseline, another report"
    assert absolute.baseline is None
    shutil.rmtree(Path(alone.data_docs).parent / "profiles")
    with pytest.raises(NotFound, match=f"baseline snapshot {first.id} .report {alone.id}.*--baseline none"):
        validate_snapshot(settings, home)
    assert latest_report(database, second.id) == absolute


def test_vectors_of_other_items_are_found_by_comparison(settings: Settings, home: Home, data) -> None:
    data.ingest(home)
    assert validate_snapshot(settings, home).success
    data.put_matrix(np.roll(data.matrix(), 1, axis=0))
    data.ingest(home)
    report = validate_snapshot(settings, home)
    assert not report.success
    assert "visual/embedding_visual" in report.failed
    assert validate_snapshot(settings, home, baseline="none").success, "by itself each vector is as good as ever"


def test_declining_the_comparison_accepts_nothing(settings: Settings, home: Home, database: Database, data) -> None:
    sound = data.ingest(home)
    assert validate_snapshot(settings, home, baseline="none").accepted, "there is nothing to decline"
    data.put("videos", "title", ["a new title"] * data.tables["videos"].num_rows)
    better = data.ingest(home)
    assert validate_snapshot(settings, home).accepted
    data.put_matrix(np.roll(data.matrix(), 1, axis=0))
    faulty = data.ingest(home)
    for asked, against in (("none", None), (sound.id, sound.id)):
        report = validate_snapshot(settings, home, baseline=asked)
        assert (report.baseline, report.declined, report.accepted) == (against, better.id, False)
        with pytest.raises(ValidationFailed, match=f"report {report.id}.*validate override {report.id} --reason"):
            require_passed(database, home, faulty.id)
    data.put("videos", "title", ["another title"] * data.tables["videos"].num_rows)
    data.ingest(home)
    assert validate_snapshot(settings, home).baseline == better.id, "what was not accepted is no baseline"
    with home.writing("test"):
        make_current(home, faulty.id)
    absolute = validate_snapshot(settings, home, baseline="none")
    assert absolute.success
    with pytest.raises(ValidationFailed, match=r"found a declined comparison.*without --baseline"):
        mend_snapshot(settings, home, database, absolute)
    accept_report(database, absolute.id, "re-encoded on purpose, by hand", "ann")
    assert require_passed(database, home, faulty.id).id == absolute.id
    assert validate_snapshot(settings, home).id == absolute.id, "a person's decision stands"
    forced = validate_snapshot(settings, home, force=True)
    assert (forced.success, forced.declined) == (False, None)


def test_a_report_without_probes_does_not_stand_for_one_with_them(settings: Settings, home: Home, data) -> None:
    data.ingest(home)
    without = validate_snapshot(settings, home, probes=False)
    assert not without.probed
    assert validate_snapshot(settings, home, probes=False) == without
    probed = validate_snapshot(settings, home)
    assert (probed.id != without.id, probed.probed) == (True, True)
    assert validate_snapshot(settings, home, probes=False) == probed, "more was looked at, and it passed"


def test_a_report_is_for_what_the_versions_in_use_expect(
    settings: Settings, home: Home, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.ingest(home)
    before = validate_snapshot(settings, home)
    other = data.raw.specs["visual"].model_copy(update={"revision": "99"})
    for module in ("champion", "run"):
        monkeypatch.setattr(
            f"validation.{module}.expected_specs", lambda *_: {"champion 3 of video-feed": {"visual": other}}
        )
    after = validate_snapshot(settings, home)
    assert (after.id != before.id, after.success) == (True, False)
    assert validate_snapshot(settings, home) == after


def test_a_price_is_for_the_champion_of_today(
    settings: Settings, home: Home, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measurement is another room's; here it counts when it is asked for."""
    data.ingest(home)
    validate_snapshot(settings, home)
    data.put("videos", "title", ["a new title"] * data.tables["videos"].num_rows)
    data.ingest(home)
    missing = validate_snapshot(settings, home, impact=True)
    assert missing.impact is not None
    assert "no champion" in missing.impact["missing"]
    assert validate_snapshot(settings, home, impact=True) == missing, "still missing for the same reason"

    champion = Holder(VIDEO_FEED, "champion", "1", "mf", None)
    monkeypatch.setattr("validation.impact.holders", lambda *_: [champion])
    monkeypatch.setattr("validation.run.impact_of", lambda *_: {"surface": VIDEO_FEED, "champion": champion.version})
    priced = validate_snapshot(settings, home, impact=True)
    assert priced.impact == {"surface": VIDEO_FEED, "champion": "1"}
    assert validate_snapshot(settings, home, impact=True) == priced
    champion = replace(champion, version="2")
    again = validate_snapshot(settings, home, impact=True)
    assert again.impact == {"surface": VIDEO_FEED, "champion": "2"}
    assert validate_snapshot(settings, home) == again


def test_one_damaged_old_manifest_stops_nothing(settings: Settings, home: Home, data) -> None:
    accepted = []
    for title in ("one", "two", "three"):
        data.put("videos", "title", [title] * data.tables["videos"].num_rows)
        data.ingest(home)
        accepted.append(validate_snapshot(settings, home))
    oldest, _, newest = accepted
    (home.quality / oldest.id / "snapshot.json").write_text("{")
    shutil.rmtree(home.offline / oldest.snapshot)
    data.put("videos", "title", ["four"] * data.tables["videos"].num_rows)
    data.ingest(home)
    report = validate_snapshot(settings, home)
    assert (report.accepted, report.baseline, report.learned_from) == (True, newest.snapshot, 2)
    assert report.notes == [
        f"nothing was learned from accepted snapshot {oldest.snapshot}: report {oldest.id} has lost its manifest"
    ]
    assert report.notes[0] in (home.quality / report.id / "index.html").read_text()
    assert validate_snapshot(settings, home, baseline="none").declined == newest.snapshot
    (home.quality / newest.id / "snapshot.json").write_text("{")
    shutil.rmtree(home.offline / newest.snapshot)
    with pytest.raises(BadInput, match=f"baseline snapshot {report.baseline} .report {newest.id}.: found a damaged"):
        validate_snapshot(settings, home, baseline=newest.snapshot)


def test_what_fails_after_the_report_is_stored_undoes_nothing(
    settings: Settings, home: Home, database: Database, data, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = data.ingest(home)
    (home.quality / "index.html").mkdir(parents=True)
    report = validate_snapshot(settings, home)
    assert "page of past runs is not up to date" in capsys.readouterr().err
    assert require_passed(database, home, snapshot.id) == report


def test_a_manifest_changed_by_hand_is_refused(settings: Settings, home: Home, database: Database, data) -> None:
    snapshot = data.ingest(home)
    validate_snapshot(settings, home)
    path = home.offline / snapshot.id / "snapshot.json"
    path.write_text(path.read_text().replace('"encoder": "test"', '"encoder": "another"'))
    with pytest.raises(BadInput, match=f"snapshot {snapshot.id}: found a manifest {path} that is not as it was"):
        validate_snapshot(settings, home)


def test_a_snapshot_that_changes_while_it_is_judged_leaves_no_report(
    settings: Settings, home: Home, database: Database, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = data.ingest(home)
    monkeypatch.setattr(
        "validation.probes.probe_tables",
        lambda *arguments: table_path(home, snapshot.id, "users").touch() or not_probed(snapshot, {}, "test"),
    )
    with pytest.raises(Conflict, match="users changed while it was being validated"):
        validate_snapshot(settings, home)
    assert latest_report(database, snapshot.id) is None
    assert not home.quality.exists()


def test_reusing_a_report_does_not_load_great_expectations(settings: Settings, home: Home, data) -> None:
    data.ingest(home)
    validate_snapshot(settings, home)
    script = (
        "import sys; from pathlib import Path; from contracts.settings import load_settings\n"
        "from contracts.home import Home; from validation.run import validate_snapshot\n"
        f"s = load_settings(home=Path({str(home.root)!r})); validate_snapshot(s, Home.open(s))\n"
        "print('great_expectations' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_digest_covers_whatever_judging_loads() -> None:
    """Every module of the room that is in memory after judging decides, or is one of those that are known not to."""
    here = Path(rules.__file__).parent
    script = (
        "import sys, validation.judge, validation.material, validation.probes, validation.baselines\n"
        "print(*(m.__file__ for n, m in sorted(sys.modules.items()) if n.startswith('validation.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {Path(name) for name in done.stdout.split()}
    assert here / "statistics" / "profile.py" in loaded
    sources = set(rules.rule_sources())
    assert loaded <= sources
    repository = here.with_name("feature_repo")
    assert {repository / "views" / "kmeans.py", repository / "encoders" / "probe.py"} <= sources
    assert here / "examination.py" in sources, "it chooses what is judged and what with"
    assert re.fullmatch("[0-9a-f]{12}", rules.rules_digest())


def test_a_full_database_leaves_no_pages_behind(
    settings: Settings, home: Home, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.ingest(home)
    commit = Session.flush

    def full(self: Session, *arguments: object) -> None:
        if any(isinstance(row, ValidationRow) for row in self.new):
            raise OperationalError("insert", None, Exception("database or disk is full"))
        commit(self, *arguments)

    monkeypatch.setattr(Session, "flush", full)
    with pytest.raises(OperationalError, match="disk is full"):
        validate_snapshot(settings, home)
    assert list(home.quality.iterdir()) == []


def test_an_interruption_leaves_nothing(
    settings: Settings, home: Home, database: Database, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = data.ingest(home)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("validation.pages.write_pages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        validate_snapshot(settings, home)
    assert list(home.quality.iterdir()) == []
    assert latest_report(database, snapshot.id) is None
    monkeypatch.undo()
    assert validate_snapshot(settings, home).success


def test_tiktok_passes(settings: Settings, home: Home, public_data: Path) -> None:
    with home.writing("test"):
        write_snapshot(home, read_mmssl(public_data / "tiktok", None))
    report = validate_snapshot(settings, home)
    assert report.success
    assert json.loads(Path(report.data_docs).with_name("report.json").read_text())["success"] is True
