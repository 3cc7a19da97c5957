"""Running a table: train what is missing of it, and collect the figures."""

import hashlib
import json
import math
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from contracts.clock import utc_now
from contracts.console import note
from contracts.database import Database
from contracts.errors import BackbeatError, BadInput, Conflict, StorageFull, TrainingDiverged, unknown_name
from contracts.home import Home
from contracts.protocol import ProtocolFingerprint
from contracts.reports import AcceptedReport, require_passed
from contracts.revision import code_revision
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.surfaces import Tag
from feature_repo.encoders.device import prepare_torch
from feature_repo.frame import load_all_events, load_training_frame
from feature_repo.offline import current_snapshot
from training.config import RecommenderConfig, resolve_config
from training.experiments.chance import expected_by_chance
from training.experiments.lookup import require_data
from training.experiments.pages import picture_of, read_results, write_result
from training.experiments.report import markdown_of
from training.experiments.results import NOT_ASKED, Measured, RowResult, SeedResult, TableResult
from training.experiments.tables import CHANCE, Row, Table
from training.models import model_entry
from training.questions import question_of
from training.studies import Study, study_of
from training.tracking import TrackedRun, Tracker
from training.train import train

__all__ = ["run_table"]

_TABLE = "backbeat.table"
"""Tag of the run that stands for a table."""


def run_table(
    settings: Settings,
    home: Home,
    table: Table,
    seeds: Sequence[int],
    docs: Path,
    rows: Sequence[str] = (),
    force: bool = False,
) -> TableResult:
    """Train each row with each seed on the home's snapshot, and write the table with its picture into ``docs``.

    A row that cannot be trained, or whose training diverges, is in the table with the reason. Rows that are not asked
    for keep the figures of an earlier run, as long as data, options and protocol are what they were. A run of the
    table's own in MLflow stands above those of its trainings, and holds Markdown, picture and figures.

    Args:
        settings: As for :func:`training.train.train`.
        home: Holds the snapshot; the caller is its writer.
        table: What to run.
        seeds: At least one, distinct.
        docs: Directory of ``results.json`` and ``results.md``; the picture goes to ``images/results``.
        rows: Labels, or ``GROUP/LABEL``, of the rows to run; all if empty.
        force: Train again even where a row has been trained before.

    Raises:
        NotFound: There is no such row, or no snapshot.
        BadInput: The snapshot is of another data set, there are no seeds or one stands twice, or ``results.json`` is
            damaged.
        ValidationFailed: The snapshot has no passed validation report.
        StorageFull: The disk ran out of space.
    """
    _require_seeds(table, seeds)
    chosen = _chosen(table, rows)
    before = read_results(docs).get(table.name)
    snapshot = current_snapshot(home)
    require_data(table, snapshot)
    report = require_passed(Database(settings, home), home, snapshot.id)
    prepare_torch(settings)
    bench = _Bench(settings, home, table, snapshot, report)
    tags = {_TABLE: table.name, Tag.SNAPSHOT: snapshot.id, Tag.CODE_REVISION: code_revision()}
    with Tracker(settings, home).run(f"table {table.name}", tags) as run:
        results = []
        for row in table.rows:
            if row not in chosen or row.model is None:
                results.append(bench.kept(row, before))
                continue
            note(f"{table.name}, row {chosen.index(row) + 1} of {len(chosen)}: {row.key}")
            results.append(bench.measured(row, seeds, force, run))
        result = TableResult.of(
            table,
            rows=tuple(results),
            snapshot=snapshot.id,
            protocols=bench.protocols,
            command=_command(table, {*seeds, *_seeds_of(results)}),
            finished=utc_now(),
        )
        write_result(docs, result)
        _record(run, result, _command(table, seeds, rows), docs)
    return result


@dataclass(frozen=True)
class _Bench:
    """What all rows of a table are measured on."""

    settings: Settings
    home: Home
    table: Table
    snapshot: Snapshot
    report: AcceptedReport
    protocols: dict[str, str] = field(default_factory=dict)
    """Fills with what the rows are measured by."""

    def measured(self, row: Row, seeds: Sequence[int], force: bool, run: TrackedRun) -> RowResult:
        """Train a row, or find what was trained, seed by seed."""
        try:
            facts = self._facts(row)
        except BadInput as error:
            return _without_figures(row, None, _reason(error))
        done, reasons = [], []
        for seed in (None,) if row.model == CHANCE else tuple(seeds):
            try:
                done.append(self._chance(row) if seed is None else self._trained(row, seed, force, run))
            except (StorageFull, Conflict):
                raise
            except TrainingDiverged as error:
                reasons.append(f"seed {seed}: {_reason(error)}")
            except BadInput as error:
                reasons.append(_reason(error))
                break  # What is missing for one seed is missing for all.
        for reason in reasons:
            note(f"  not run: {reason}")
        return _without_figures(row, facts, "; ".join(reasons) or None).model_copy(
            update={"seeds": tuple(done), "code_revision": code_revision()}
        )

    def kept(self, row: Row, before: TableResult | None) -> RowResult:
        """A row with what an earlier run measured of just that."""
        if row.model is None:
            return _without_figures(row, None, None)
        try:
            facts = self._facts(row)
        except BadInput as error:
            return _without_figures(row, None, _reason(error))
        empty = _without_figures(row, facts, NOT_ASKED)
        earlier = [known for known in before.rows if known.key == row.key] if before is not None else []
        if before is None or before.snapshot != self.snapshot.id or [known.measured for known in earlier] != [facts]:
            return empty
        kept = earlier[0]
        return empty.model_copy(
            update={"seeds": kept.seeds, "code_revision": kept.code_revision, "not_run": kept.not_run}
        )

    def _facts(self, row: Row) -> Measured:
        """What decides the figures of a row.

        Raises:
            NotFound: The model, an option or the service is unknown.
            BadInput: An option has an impossible value.
        """
        assert row.model is not None
        options = json.loads(json.dumps(dict(row.overrides)))
        config = RecommenderConfig()
        if row.model != CHANCE:
            config = resolve_config(row.model, model_entry(row.model).config, row.overrides)
        fingerprint = self._fingerprint(row)
        digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:12]
        return Measured(
            model=row.model,
            variant=config.variant,
            options=options,
            config=digest,
            service=self._service(row),
            protocol=fingerprint.digest,
        )

    def _service(self, row: Row) -> str:
        given = row.service or self.table.service
        return given or model_entry(str(row.model)).feature_service

    def _study(self, row: Row, seed: int | None = None) -> Study:
        if seed is not None and row.study is None and self.table.draws is not None:
            return self.table.draws(seed)
        return row.study or self.table.study or study_of(question_of(self._service(row)))

    def _fingerprint(self, row: Row) -> ProtocolFingerprint:
        fingerprint = self._study(row).fingerprint(self.snapshot)
        seeds = f"; drawn with seeds {', '.join(map(str, fingerprint.seeds))}" if fingerprint.seeds else ""
        if row.study is None and self.table.draws is not None:
            seeds = "; drawn anew for each seed, this being the first draw"
        self.protocols[fingerprint.digest] = f"{fingerprint.split}; ranked: {fingerprint.candidates}{seeds}"
        return fingerprint

    def _trained(self, row: Row, seed: int, force: bool, run: TrackedRun) -> SeedResult:
        assert row.model is not None
        trained = train(
            self.settings,
            self.home,
            row.model,
            row.overrides,
            seed=seed,
            force=force,
            service=self._service(row),
            study=self._study(row, seed),
        )
        run.adopt(trained.run_id)
        figures = self._figures(trained.metrics)
        note(
            f"  seed {seed}: version {trained.version} of {trained.surface}"
            f"{' (trained before)' if trained.reused else ''}, "
            + ", ".join(f"{label} {value:.{self.table.digits}f}" for label, value in list(figures.items())[:3])
        )
        return SeedResult(
            seed=seed,
            figures=figures,
            seconds=trained.metrics["train_seconds"],
            surface=trained.surface,
            version=trained.version,
            run_id=trained.run_id,
        )

    def _chance(self, row: Row) -> SeedResult:
        whole = load_training_frame(self.settings, self.home, self._service(row), self.report)
        study = self._study(row)
        frame, held = study.cut.parts(whole, load_all_events(self.home, whole))
        expected = expected_by_chance(frame, held, study.protocol)
        return SeedResult(
            seed=None, figures=self._figures({f"test_{name}": value for name, value in expected.items()}), seconds=0
        )

    def _figures(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The columns that the metrics fill.

        Raises:
            BadInput: They fill none.
        """
        figures = {
            column.label: metrics[column.metric]
            for column in self.table.columns
            if math.isfinite(metrics.get(column.metric, math.nan))
        }
        if not figures:
            raise BadInput(
                f"columns of table {self.table.name}",
                found=f"no finite metric {' or '.join(column.metric for column in self.table.columns)}",
                expected="at least one that the protocol measures",
                next_step="correct the table",
            )
        return figures


def _without_figures(row: Row, facts: Measured | None, reason: str | None) -> RowResult:
    return RowResult(
        label=row.label,
        group=row.group,
        paper=dict(row.paper),
        tuned=row.tuned,
        measured=facts,
        not_run=reason,
    )


def _reason(error: BackbeatError) -> str:
    return f"{error.subject}: found {error.found}"


def _require_seeds(table: Table, seeds: Sequence[int]) -> None:
    twice = [str(seed) for seed, times in Counter(seeds).items() if times > 1]
    if not seeds or twice:
        raise BadInput(
            f"experiment {table.name!r}",
            found=f"seed {twice[0]} more than once" if twice else "no seeds",
            expected="at least one, each once: the deviation is over different trainings",
            next_step="give `--seeds 0,1,2`",
        )


def _chosen(table: Table, names: Sequence[str]) -> list[Row]:
    """The rows of those names that can be run; all if there are no names."""
    able = [row for row in table.rows if row.model is not None]
    known = {name for row in able for name in (row.label, row.key)}
    for name in names:
        if name not in known:
            raise unknown_name(
                f"row of {table.name}", name, known, next_step=f"run `backbeat experiment {table.name} --rows LABEL`"
            )
    return [row for row in able if not names or row.label in names or row.key in names]


def _seeds_of(rows: Sequence[RowResult]) -> set[int]:
    return {each.seed for row in rows for each in row.seeds if each.seed is not None}


def _command(table: Table, seeds: Collection[int], rows: Sequence[str] = ()) -> str:
    chosen = [word for row in rows for word in ("--rows", row)]
    return shlex.join(["backbeat", "experiment", table.name, "--seeds", ",".join(map(str, sorted(seeds))), *chosen])


def _record(run: TrackedRun, result: TableResult, command: str, docs: Path) -> None:
    """Leave the table with its run: means as metrics; Markdown, picture and the whole document as files."""
    run.log_params({"command": command, "rows": len(result.rows)})
    for row in result.rows:
        means = {
            f"{_metric_name(row.key)}/{_metric_name(label)}": figure.mean
            for label in result.columns
            if (figure := row.figure(label)) is not None
        }
        if means:
            run.log_metrics(means, step=0)
    with TemporaryDirectory() as scratch:
        files = Path(scratch)
        picture = files / f"{result.name}.png"
        shutil.copyfile(docs / picture_of(result.name), picture)
        (files / f"{result.name}.md").write_text(markdown_of(result, picture.name), encoding="utf-8")
        (files / f"{result.name}.json").write_text(result.model_dump_json(indent=2), encoding="utf-8")
        run.store_files(files)


def _metric_name(text: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^A-Za-z0-9_.:/ -]", "_", text)
