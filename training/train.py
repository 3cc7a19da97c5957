"""From a validated snapshot to a registered version."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from contracts.actor import current_actor
from contracts.clock import utc_now
from contracts.console import note, progress
from contracts.database import Database
from contracts.home import Home
from contracts.manifest import IndexInfo, ModelManifest
from contracts.metric_names import SYSTEM_METRICS
from contracts.protocol import ProtocolFingerprint
from contracts.reports import AcceptedReport, require_passed
from contracts.revision import code_revision, library_versions
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.surfaces import OTHER_STUDY, OWN_STUDY, Tag
from contracts.user_figures import UserFigures
from feature_repo.encoders.device import prepare_torch
from feature_repo.frame import TrainingFrame
from feature_repo.offline import current_snapshot, snapshot_directory
from training.candidate_choice import chosen_candidates
from training.candidate_generation import Candidates
from training.config import LearnedConfig, RecommenderConfig, resolve_config
from training.figures import CURVE, draw_figures
from training.frames import parts_of_study
from training.indexes import build_index, index_kind, proven_index
from training.machine import environment_of
from training.memory import memory_suffices
from training.models import ModelEntry, model_entry
from training.outcome import data_metrics, metrics_of_part, user_figures
from training.packages import item_vectors_of, write_package
from training.protocols import validation_of
from training.questions import question_of
from training.ranking import Standing, stand
from training.recommender import Catalogue, EpochReport, FitReport, Recommender
from training.retrieval import Index
from training.serving_cost import INDEX_DEPTHS, serving_metrics, some_user_vectors
from training.sources import sources_digest
from training.studies import Study, study_of
from training.tracking import TrackedRun, Tracker

__all__ = ["TrainedVersion", "train", "training_key"]

_INDEX_RECALL = "index_recall_at_20"
"""The metric that the manifest tells; lists have 20 items where nothing is said."""

_CHECKPOINTS = "training"
"""Directory of the home's cache."""


@dataclass(frozen=True)
class TrainedVersion:
    """What a training left in the registry."""

    surface: str
    version: str
    model: str
    metrics: dict[str, float]
    """``validation_…`` and ``test_…`` metrics of :mod:`training.outcome`, the 95 % interval of the one that decides as
    ``…_low`` and ``…_high``, those of :mod:`training.serving_cost`, and ``train_seconds``."""
    run_id: str
    reused: bool
    """True where the same training had been done before and nothing was trained."""


@dataclass(frozen=True)
class _Plan:
    """Everything that decides what a training will make."""

    name: str
    entry: ModelEntry
    feature_service: str
    study: Study
    config: RecommenderConfig
    seed: int
    device: str
    """Type of the device, ``cpu`` or ``cuda``."""
    snapshot: Snapshot
    report: AcceptedReport

    @property
    def surface(self) -> str:
        return question_of(self.feature_service).surface

    @property
    def protocol(self) -> ProtocolFingerprint:
        return self.study.fingerprint(self.snapshot)

    @property
    def key(self) -> str:
        return training_key(self.name, self.config, self.seed, self.protocol, self.feature_service, device=self.device)

    @property
    def facts(self) -> dict[str, object]:
        """What runs are compared by in MLflow, beside the options."""
        return {
            "model": self.name,
            "seed": self.seed,
            "snapshot": self.snapshot.id,
            "feature_service": self.feature_service,
            "validation_report": self.report.id,
            "protocol": self.protocol.digest,
            "device": self.device,
        }

    @property
    def tags(self) -> dict[str, str]:
        return {
            Tag.MODEL: self.name,
            Tag.VARIANT: self.config.variant,
            Tag.SURFACE: self.surface,
            Tag.SNAPSHOT: self.snapshot.id,
            Tag.FEATURE_SERVICE: self.feature_service,
            Tag.VALIDATION_REPORT: self.report.id,
            Tag.PROTOCOL: self.protocol.digest,
            Tag.CODE_REVISION: code_revision(),
            Tag.TRAINING_KEY: self.key,
            Tag.SEED: str(self.seed),
            Tag.AUTHOR: current_actor(),
            Tag.STUDY: OWN_STUDY if self.study == study_of(question_of(self.feature_service)) else OTHER_STUDY,
        }


def training_key(
    model: str,
    config: RecommenderConfig,
    seed: int,
    protocol: ProtocolFingerprint,
    feature_service: str,
    *,
    device: str,
) -> str:
    """Hash of what decides the outcome of a training; equal keys need no second training.

    Data, options, seed, protocol, the code (:func:`training.sources.sources_digest`), the versions of the libraries
    it stands on, and the type of the device. Not the processor and its number of threads, which can
    move the last digits of a sum, far less than another seed does.
    """
    facts = {
        "model": model,
        "config": config.model_dump(mode="json"),
        "seed": seed,
        "snapshot": protocol.snapshot,
        "feature_service": feature_service,
        "protocol": protocol.digest,
        "sources": sources_digest(),
        "libraries": library_versions(),
        "device": device,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def train(
    settings: Settings,
    home: Home,
    model: str,
    overrides: Mapping[str, object] | None = None,
    seed: int = 0,
    force: bool = False,
    service: str | None = None,
    study: Study | None = None,
) -> TrainedVersion:
    """Train a model on the home's current snapshot and register it; the same training is not done twice.

    Args:
        settings: Name the device and, in production, the servers.
        home: Holds the snapshot; the caller is its writer.
        model: A name in :data:`training.models.MODELS`.
        overrides: Options that differ from the model's defaults.
        seed: Fixes everything random. On the CPU equal seeds give equal metrics.
        force: Train again even where the same training, by :func:`training_key`, has a version.
        service: Feature service that feeds it, which decides the surface too; the model's own if None.
        study: What is held out and how it is ranked; as the surface asks if None.

    Raises:
        NotFound: The model, the service or an option is unknown, there is no snapshot, or it lacks what the service
            needs.
        BadInput: An option has an impossible value, or the device is not there.
        ValidationFailed: The snapshot has no passed validation report.
        TrainingDiverged: A loss term, a weight or a score became NaN or infinite; the run is marked FAILED.
        StorageFull: The package did not fit on the disk; nothing is registered.
        BadInput: The model or its batches do not fit into memory; nothing is registered.
    """
    entry = model_entry(model)
    config = resolve_config(model, entry.config, overrides or {})
    device = prepare_torch(settings)
    snapshot = current_snapshot(home)
    report = require_passed(Database(settings, home), home, snapshot.id)
    feature_service = service or entry.feature_service
    study = study or study_of(question_of(feature_service))
    plan = _Plan(model, entry, feature_service, study, config, seed, device.type, snapshot, report)
    surface = plan.surface
    tracker = Tracker(settings, home)
    if not force and (known := tracker.find(surface, plan.key)) is not None:
        version, run_id, metrics = known
        return TrainedVersion(surface, version, model, _reported(metrics), run_id, reused=True)

    frame, held = parts_of_study(settings, home, plan.feature_service, report, study)
    with tracker.run(f"{model}-{config.variant}-seed{seed}", plan.tags) as run, tracker.watched(run):
        run.log_params({**plan.facts, **config.model_dump(mode="json")})
        run.log_document("environment.json", environment_of(device))
        run.log_document("protocol.json", {**plan.protocol.model_dump(mode="json"), "digest": plan.protocol.digest})
        run.log_input(snapshot, snapshot_directory(home, snapshot.id).as_uri())
        with memory_suffices(model, config):
            recommender = entry.model(config, Catalogue.of(frame)).to(device)
            fitted, epochs = _fit(recommender, frame, plan, run, home.cache / _CHECKPOINTS / plan.key)
        standing = stand(recommender, frame, held, study.protocol, depth=CURVE)
        found, figures = _validated(recommender, frame, plan)
        index = _index(settings, recommender, frame)
        seen = question_of(plan.feature_service).protocol.exclude_seen
        choice = chosen_candidates(settings, recommender, frame, exclude_seen=seen, depths=INDEX_DEPTHS)
        metrics = {
            **found,
            **{f"validation_{name}": value for name, value in fitted.validation.items()},
            **metrics_of_part("test", standing, frame, held, study.protocol),
            **data_metrics(frame),
            **serving_metrics(recommender, frame, index, choice),
            "train_seconds": fitted.seconds,
        }
        candidates = None if choice is None else choice.candidates
        manifest = _manifest(plan, frame, metrics, index, candidates)
        package, sealed = run.store_package(
            lambda into: write_package(into, recommender, frame, manifest, figures, index, candidates)
        )
        run.log_metrics(metrics, step=fitted.epochs + 1)
        tags = {**plan.tags, Tag.PACKAGE_SHA256: sealed.package_sha256}
        version = run.register(surface, package, {**tags, Tag.STATE: "registered"})
        _draw(run, plan, recommender, frame, standing, epochs)
    return TrainedVersion(surface, version, model, metrics, run.run_id, reused=False)


def _fit(
    recommender: Recommender, frame: TrainingFrame, plan: _Plan, run: TrackedRun, checkpoint: Path
) -> tuple[FitReport, list[EpochReport]]:
    protocol = plan.study.protocol
    epochs: list[EpochReport] = []
    total = plan.config.max_epochs if isinstance(plan.config, LearnedConfig) else 1
    with progress(f"train {plan.name}", total) as advance:

        def on_epoch(report: EpochReport) -> None:
            run.log_epoch(report)
            epochs.append(report)
            advance(1, f"validation {protocol.stopping} {report.validation[protocol.stopping]:.4f}")

        fitted = recommender.fit(frame, seed=plan.seed, on_epoch=on_epoch, protocol=protocol, checkpoint=checkpoint)
    return fitted, epochs


def _validated(recommender: Recommender, frame: TrainingFrame, plan: _Plan) -> tuple[dict[str, float], UserFigures]:
    """What promotion asks of the validation events: metrics, those of slices and users too, and an interval."""
    held, protocol = validation_of(frame), plan.study.protocol
    standing = stand(recommender, frame, held, protocol)
    metrics = metrics_of_part("validation", standing, frame, held, protocol)
    figures = user_figures(standing, frame, protocol)
    main = f"validation_{protocol.stopping}"
    _, low, high = figures.interval(main)
    return {**metrics, f"{main}_low": low, f"{main}_high": high}, figures


def _draw(
    run: TrackedRun,
    plan: _Plan,
    recommender: Recommender,
    frame: TrainingFrame,
    standing: Standing,
    epochs: Sequence[EpochReport],
) -> None:
    title = f"{plan.name} ({plan.config.variant}), seed {plan.seed}, on {plan.snapshot.dataset}"
    try:
        with TemporaryDirectory() as scratch:
            figures = Path(scratch) / "figures"
            figures.mkdir()
            draw_figures(figures, title, recommender, frame, standing, epochs, plan.seed)
            run.store_files(Path(scratch))
    except Exception as error:  # noqa: BLE001 - the version is registered; no picture is worth losing it
        note(f"no figures of run {run.run_id}: {type(error).__name__}: {error}")


def _index(settings: Settings, model: Recommender, frame: TrainingFrame) -> Index | None:
    """What will find the candidates of a two-tower model in the service, so that it is what is measured."""
    vectors = item_vectors_of(model)
    if vectors is None:
        return None
    kind = index_kind(settings.index, len(vectors), settings.index_most_exact, model.device)
    index = build_index(vectors, kind, model.device, settings.index_dtype)
    return proven_index(index, vectors, some_user_vectors(model, frame), settings.index, settings.index_dtype)


def _manifest(
    plan: _Plan, frame: TrainingFrame, metrics: dict[str, float], index: Index | None, candidates: Candidates | None
) -> ModelManifest:
    catalogue = Catalogue.of(frame)
    if candidates is not None:
        index = candidates.index
    return ModelManifest(
        model=plan.name,
        variant=plan.config.variant,
        surface=plan.surface,
        shape=plan.entry.model.shape,
        config=plan.config.model_dump(mode="json"),
        seed=plan.seed,
        code_revision=code_revision(),
        feature_service=plan.feature_service,
        snapshot=plan.snapshot.id,
        validation_report=plan.report.id,
        embedding_specs={**frame.specs, **frame.context_specs},
        widths=dict(catalogue.widths),
        contexts=dict(catalogue.contexts),
        vocabularies={"users": frame.users.digest, "items": frame.items.digest},
        protocol=plan.protocol,
        metrics=metrics,
        index=IndexInfo(kind="exact" if index is None else index.kind, recall=metrics.get(_INDEX_RECALL, 1.0)),
        candidates=0 if candidates is None else candidates.count,
        library_versions=library_versions(),
        created_at=utc_now(),
    )


def _reported(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics of a finished run without its loss curves and what the machine did."""
    return {name: value for name, value in metrics.items() if not name.startswith(("loss", SYSTEM_METRICS))}
