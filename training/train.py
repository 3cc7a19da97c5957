"""From a validated snapshot to a registered version."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from contracts.clock import utc_now
from contracts.console import progress
from contracts.database import Database
from contracts.errors import BadInput
from contracts.home import Home
from contracts.manifest import IndexInfo, ModelManifest
from contracts.protocol import ProtocolFingerprint
from contracts.reports import AcceptedReport, require_passed
from contracts.revision import code_revision, library_versions
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.surfaces import Tag
from feature_repo.encoders.device import prepare_torch
from feature_repo.frame import TrainingFrame, load_test_events, load_training_frame
from feature_repo.offline import current_snapshot, snapshot_directory
from training.config import LearnedConfig, RecommenderConfig, resolve_config
from training.evaluation import evaluate
from training.models import ModelEntry, model_entry
from training.packages import write_package
from training.protocols import HeldOut
from training.questions import Question, question_of
from training.recommender import Catalogue, EpochReport, FitReport, Recommender
from training.sources import sources_digest
from training.tracking import TrackedRun, Tracker

__all__ = ["TrainedVersion", "train", "training_key"]

_CHECKPOINTS = "training"
"""Directory of the home's cache."""


@dataclass(frozen=True)
class TrainedVersion:
    """What a training left in the registry."""

    surface: str
    version: str
    model: str
    metrics: dict[str, float]
    """``validation_…`` and ``test_…`` metrics and ``train_seconds``."""
    run_id: str
    reused: bool
    """True where the same training had been done before and nothing was trained."""


@dataclass(frozen=True)
class _Plan:
    """Everything that decides what a training will make."""

    name: str
    entry: ModelEntry
    feature_service: str
    config: RecommenderConfig
    seed: int
    device: str
    """Type of the device, ``cpu`` or ``cuda``."""
    snapshot: Snapshot
    report: AcceptedReport

    @property
    def question(self) -> Question:
        return question_of(self.feature_service)

    @property
    def protocol(self) -> ProtocolFingerprint:
        return self.question.fingerprint(self.snapshot)

    @property
    def key(self) -> str:
        return training_key(self.name, self.config, self.seed, self.snapshot, self.feature_service, device=self.device)

    @property
    def tags(self) -> dict[str, str]:
        return {
            Tag.MODEL: self.name,
            Tag.VARIANT: self.config.variant,
            Tag.SURFACE: self.question.surface,
            Tag.SNAPSHOT: self.snapshot.id,
            Tag.FEATURE_SERVICE: self.feature_service,
            Tag.VALIDATION_REPORT: self.report.id,
            Tag.PROTOCOL: self.protocol.digest,
            Tag.CODE_REVISION: code_revision(),
            Tag.TRAINING_KEY: self.key,
            Tag.SEED: str(self.seed),
        }


def training_key(
    model: str, config: RecommenderConfig, seed: int, snapshot: Snapshot, feature_service: str, *, device: str
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
        "snapshot": snapshot.id,
        "feature_service": feature_service,
        "protocol": question_of(feature_service).fingerprint(snapshot).digest,
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
    plan = _Plan(model, entry, service or entry.feature_service, config, seed, device.type, snapshot, report)
    surface, protocol = plan.question.surface, plan.question.protocol
    tracker = Tracker(settings, home)
    if not force and (known := tracker.find(surface, plan.key)) is not None:
        version, run_id, metrics = known
        return TrainedVersion(surface, version, model, _reported(metrics), run_id, reused=True)

    frame = load_training_frame(settings, home, plan.feature_service, report)
    with tracker.run(f"{model}-{config.variant}-seed{seed}", plan.tags) as run:
        run.log_params({"model": model, "seed": seed, **config.model_dump(mode="json")})
        run.log_input(snapshot, snapshot_directory(home, snapshot.id).as_uri())
        with _memory_suffices(plan):
            recommender = entry.model(config, Catalogue.of(frame)).to(device)
            fitted = _fit(recommender, frame, plan, run, home.cache / _CHECKPOINTS / plan.key)
        test = load_test_events(home, frame)
        tested = evaluate(recommender, frame, HeldOut(test.pairs, test.context), protocol)
        metrics = {
            **{f"validation_{name}": value for name, value in fitted.validation.items()},
            **{f"test_{name}": value for name, value in tested.items()},
            "train_seconds": fitted.seconds,
        }
        manifest = _manifest(plan, frame, metrics)
        package, sealed = run.store_package(lambda into: write_package(into, recommender, frame, manifest))
        run.log_metrics(metrics, step=fitted.epochs + 1)
        tags = {**plan.tags, Tag.PACKAGE_SHA256: sealed.package_sha256}
        version = run.register(surface, package, {**tags, Tag.STATE: "registered"})
    return TrainedVersion(surface, version, model, metrics, run.run_id, reused=False)


@contextmanager
def _memory_suffices(plan: _Plan) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On the CPU torch says so in a plain RuntimeError.
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "allocate" not in str(error):
            raise
        sizes = {name: value for name, value in plan.config if name in ("dimension", "batch_size")}
        raise BadInput(
            f"{plan.name} with {', '.join(f'{name} {value:,}' for name, value in sizes.items())}",
            found="not enough memory on the device for it",
            expected="a model and batches that fit",
            next_step=f"lower {' or '.join(f'`--set {name}=…`' for name in sizes)}, or use a larger device",
        ) from None


def _fit(recommender: Recommender, frame: TrainingFrame, plan: _Plan, run: TrackedRun, checkpoint: Path) -> FitReport:
    protocol = plan.question.protocol
    total = plan.config.max_epochs if isinstance(plan.config, LearnedConfig) else 1
    with progress(f"train {plan.name}", total) as advance:

        def on_epoch(report: EpochReport) -> None:
            run.log_epoch(report)
            advance(1, f"validation {protocol.stopping} {report.validation[protocol.stopping]:.4f}")

        return recommender.fit(frame, seed=plan.seed, on_epoch=on_epoch, protocol=protocol, checkpoint=checkpoint)


def _manifest(plan: _Plan, frame: TrainingFrame, metrics: dict[str, float]) -> ModelManifest:
    catalogue = Catalogue.of(frame)
    return ModelManifest(
        model=plan.name,
        variant=plan.config.variant,
        surface=plan.question.surface,
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
        index=IndexInfo(kind="exact", recall=1.0),
        library_versions=library_versions(),
        created_at=utc_now(),
    )


def _reported(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics of a finished run without its loss curves."""
    return {name: value for name, value in metrics.items() if not name.startswith("loss")}
