"""From a response or a version to the data behind it."""

import json
import shutil
from datetime import timedelta
from typing import Any

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.manifest import read_manifest, seal
from contracts.platform import ResponseRow, ValidationOverrideRow
from contracts.snapshot import SNAPSHOT_MANIFEST, Snapshot, SplitInstants, TableInfo
from contracts.surfaces import Tag
from registry.commands import models
from registry.dependents import Dependent, dependents_of
from registry.lineage import lineage_of, trace, validation_of

SURFACE = "video-feed"


def _tagged(shelf: Any, report_id: str) -> str:
    version = shelf.register()
    shelf.client.set_model_version_tag(SURFACE, version, Tag.VALIDATION_REPORT, report_id)
    return str(version)


def _shown(shelf: Any, version: str, *options: str) -> object:
    arguments = ["show", version, "--home", str(shelf.home.root), *options]
    return models(arguments, standalone_mode=False)


def test_it_is_the_report_of_the_tags_and_not_the_newest(shelf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    mine = shelf.judge(success=False)
    version = _tagged(shelf, mine)
    shelf.judge(success=True)
    database = Database(shelf.settings, shelf.home)
    with database.session() as session:
        session.add(ValidationOverrideRow(report_id=mine, at=utc_now(), actor="ann", reason="checked by hand"))
    database.close()
    _shown(shelf, version)
    shown = capsys.readouterr().out
    assert f"report {mine}: overridden" in shown
    assert "ann: checked by hand" in shown
    assert "index.html" in shown
    _shown(shelf, version, "--json")
    judged = json.loads(capsys.readouterr().out)["validation"]
    assert (judged["report"], judged["verdict"], judged["data_docs"]) == (mine, "overridden", "index.html")
    assert (judged["override"]["actor"], judged["override"]["reason"]) == ("ann", "checked by hand")


def test_a_version_without_and_one_whose_report_is_gone(shelf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    without, lost = shelf.register(), _tagged(shelf, "r0")
    assert validation_of(shelf.settings, shelf.home, shelf.store.get(SURFACE, without)) is None
    _shown(shelf, without)
    assert "no report is named by its tags" in capsys.readouterr().out
    judged = validation_of(shelf.settings, shelf.home, shelf.store.get(SURFACE, lost))
    assert judged == {"report": "r0", "verdict": "gone", "override": None, "data_docs": None}


def spec(revision: str, modality: Any = "visual") -> EmbeddingSpec:
    return EmbeddingSpec(
        modality=modality,
        encoder="resnet50",
        revision=revision,
        preprocessing="none",
        width=8,
        dtype="float32",
        normalisation="none",
    )


def embedded(shelf: Any, *specs: EmbeddingSpec) -> str:
    """A version that was trained with such vectors, sealed anew."""
    version = shelf.register()
    package = shelf.package(version)
    manifest = read_manifest(package).model_copy(update={"embedding_specs": {each.name: each for each in specs}})
    seal(package, manifest)
    return str(version)


def stored(shelf: Any, *specs: EmbeddingSpec) -> None:
    """Snapshot snap-1, of interactions and such vectors."""
    tables = {"interactions": TableInfo(rows=7, sha256="a" * 64)}
    tables |= {f"embedding_{each.name}": TableInfo(rows=3, sha256="b" * 64) for each in specs}
    now = utc_now()
    snapshot = Snapshot(
        id="snap-1",
        dataset="tiny",
        source="/data/tiny",
        created_at=now,
        tables=tables,
        embeddings={each.name: each for each in specs},
        split=SplitInstants(train_until=now, validation_until=now + timedelta(days=1), nominal=True),
    )
    folder = shelf.home.offline / "snap-1"
    folder.mkdir(parents=True)
    (folder / SNAPSHOT_MANIFEST).write_text(snapshot.model_dump_json())


def test_from_a_response_to_the_source_tables(shelf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stored(shelf, spec("r1"), spec("r1", "acoustic"))
    version, report = embedded(shelf, spec("r1")), shelf.judge()
    for tag, value in (
        (Tag.VALIDATION_REPORT, report),
        (Tag.FEATURE_SERVICE, "m3csr_v1"),
        (Tag.CODE_REVISION, "c0ffee"),
    ):
        shelf.client.set_model_version_tag(SURFACE, version, tag, value)
    database = Database(shelf.settings, shelf.home)
    with database.session() as session:
        session.add(
            ResponseRow(
                id="resp-1",
                at=utc_now(),
                surface=SURFACE,
                version=version,
                user_id="u<b>7",
                items=["v1", "v2"],
                latency_ms=1.0,
            )
        )
    database.close()
    run = shelf.store.get(SURFACE, version).run_id
    document = trace(shelf.settings, shelf.home, "resp-1").as_dict()
    assert {(edge["source"], edge["relation"], edge["target"]) for edge in document["edges"]} == {
        ("response:resp-1", "made by", "version:video-feed/1"),
        ("version:video-feed/1", "made by", f"run:{run}"),
        ("version:video-feed/1", "retrieved by", "index:video-feed/1"),
        (f"run:{run}", "fed by", "service:m3csr_v1"),
        (f"run:{run}", "trained on", "snapshot:snap-1"),
        ("snapshot:snap-1", "judged by", f"report:{report}"),
        ("snapshot:snap-1", "made of", "table:snap-1/interactions"),
        ("version:video-feed/1", "embedded by", "encoder:resnet50@r1/visual"),
        ("encoder:resnet50@r1/visual", "written to", "table:snap-1/embedding_visual"),
    }
    facts = {node["id"]: node["facts"] for node in document["nodes"]}
    assert facts["response:resp-1"]["items"] == 2
    assert facts[f"run:{run}"] == {"code": "c0ffee"}
    assert facts[f"report:{report}"] == {"verdict": "passed"}
    assert facts["table:snap-1/interactions"] == {"rows": 7, "sha256": "a" * 12}
    assert json.loads(json.dumps(document)) == document
    lines = trace(shelf.settings, shelf.home, "resp-1").lines()
    assert lines[0] == "response resp-1"
    assert "  made by video-feed version 1 (mf)" in lines
    assert "      trained on snapshot snap-1" in lines
    assert "        made of table interactions" in lines


def test_what_is_gone_is_said_to_be(shelf: Any) -> None:
    version = _tagged(shelf, "r0")
    shutil.rmtree(shelf.package(version))
    nodes = {
        n.kind: n.facts for n in lineage_of(shelf.settings, shelf.home, shelf.store.get(SURFACE, "1")).nodes.values()
    }
    assert nodes["version"] == {"state": "registered", "package": "gone or damaged"}
    assert nodes["snapshot"] == {"manifest": "gone or damaged"}
    assert nodes["report"] == {"verdict": "gone"}
    assert "encoder" not in nodes
    database = Database(shelf.settings, shelf.home)
    with database.session() as session:
        row = {"surface": SURFACE, "version": "99", "user_id": "u", "items": [], "latency_ms": 1.0}
        session.add(ResponseRow(id="old", at=utc_now(), **row))
    database.close()
    assert trace(shelf.settings, shelf.home, "old").lines()[-1] == "    state gone from MLflow"
    with pytest.raises(NotFound, match="response 'never'"):
        trace(shelf.settings, shelf.home, "never")


def test_what_hangs_on_an_encoder_a_snapshot_a_report(shelf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    embedded(shelf, spec("aaaa1111"))
    embedded(shelf, spec("aaaa2222"), spec("bbbb", "acoustic"))
    without = _tagged(shelf, "report-9")
    shelf.register(snapshot="snap-2")

    def asked(kind: Any, name: str) -> list[str]:
        return [found.version for found in dependents_of(shelf.settings, shelf.home, kind, name)]

    assert asked("encoder", "resnet50") == ["2", "1"]
    assert asked("encoder", "resnet50@aaaa") == ["2", "1"]
    assert asked("encoder", "resnet50@aaaa1") == ["1"]
    assert asked("encoder", "resnet") == []
    assert asked("snapshot", "snap-1") == ["3", "2", "1"]
    assert asked("report", "report-9") == [without]
    (one,) = dependents_of(shelf.settings, shelf.home, "encoder", "resnet50@bbbb")
    assert one == Dependent(SURFACE, "2", "mf", "registered", "exact", ("acoustic",))
    with pytest.raises(BadInput, match="name of the encoder"):
        asked("encoder", "@aaaa")

    def typed(*arguments: str) -> str:
        models(["dependents", *arguments, "--home", str(shelf.home.root)], standalone_mode=False)
        return capsys.readouterr().out

    assert typed("--encoder", "resnet50@bbbb").split() == [
        *("video-feed", "2", "mf", "registered", "exact", "index", "by", "acoustic"),
    ]
    assert typed("--snapshot", "none") == "No version depends on snapshot none.\n"
    for bad in ((), ("--encoder", "x", "--report", "y")):
        with pytest.raises(BadInput, match="expected one of --encoder, --snapshot and --report"):
            typed(*bad)
