"""What a tuning searches, and on what: everything that its trials have in common."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from contracts.database import Database
from contracts.home import Home
from contracts.reports import AcceptedReport, require_passed
from contracts.revision import code_revision
from contracts.settings import Settings
from contracts.surfaces import Tag
from feature_repo.encoders.device import prepare_torch
from feature_repo.frame import TrainingFrame
from feature_repo.offline import current_snapshot
from training.config import RecommenderConfig, resolve_config
from training.frames import training_part
from training.models import ModelEntry, model_entry
from training.questions import question_of
from training.sources import sources_digest
from training.spaces import Range
from training.studies import Study, study_of
from training.tuning.space import said, space_of_text

__all__ = ["TuningTask", "task_of"]


@dataclass(frozen=True)
class TuningTask:
    """A model, the data it is fitted and validated on, and the options that are searched.

    The data are a training frame: its pairs train or validate, and no test pair is in it.
    """

    model: str
    entry: ModelEntry
    service: str
    study: Study
    frame: TrainingFrame
    report: AcceptedReport
    fixed: Mapping[str, object]
    """Options that all trials have and that differ from the defaults."""
    space: Mapping[str, Range]
    seed: int
    """Of the search, and of every training in it."""
    device: torch.device

    @property
    def metric(self) -> str:
        """The validation metric that is maximised."""
        return self.study.protocol.stopping

    def config(self, options: Mapping[str, object]) -> RecommenderConfig:
        """The configuration of a trial.

        Raises:
            BadInput: The model does not allow these options together.
        """
        return resolve_config(self.model, self.entry.config, {**self.fixed, **options})

    def defaults(self) -> dict[str, object]:
        """The values that the searched options have where nobody says anything."""
        config = self.config({})
        return {name: getattr(config, name) for name in self.space}

    @property
    def facts(self) -> dict[str, object]:
        """What decides the outcome of a trial beside its options; trials of other facts are not comparable."""
        config = self.config({})
        return {
            "model": self.model,
            "snapshot": self.frame.snapshot.id,
            "service": self.service,
            "protocol": self.study.fingerprint(self.frame.snapshot).digest,
            "fixed": {name: getattr(config, name) for name in sorted(self.fixed)},
            "space": {name: said(declared) for name, declared in sorted(self.space.items())},
            "seed": self.seed,
            "device": self.device.type,
            "sources": sources_digest(),
        }

    @property
    def name(self) -> str:
        """What the tuning is called where nobody says: the model, and a hash of the facts."""
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.model}-{digest}"

    @property
    def tags(self) -> dict[str, str]:
        """Of every run of the tuning."""
        snapshot = self.frame.snapshot
        return {
            Tag.MODEL: self.model,
            Tag.SURFACE: question_of(self.service).surface,
            Tag.SNAPSHOT: snapshot.id,
            Tag.FEATURE_SERVICE: self.service,
            Tag.VALIDATION_REPORT: self.report.id,
            Tag.PROTOCOL: self.study.fingerprint(snapshot).digest,
            Tag.CODE_REVISION: code_revision(),
            Tag.SEED: str(self.seed),
        }


def task_of(
    settings: Settings,
    home: Home,
    model: str,
    fixed: Mapping[str, object] | None = None,
    space: Mapping[str, str] | None = None,
    *,
    seed: int = 0,
    service: str | None = None,
    study: Study | None = None,
) -> TuningTask:
    """What is to be tuned on the home's current snapshot.

    Args:
        settings: Name the device and, in production, the servers.
        home: Holds the snapshot.
        model: A name in :data:`training.models.MODELS`.
        fixed: Options that all trials have.
        space: Ranges beside, or in place of, the model's own, as :func:`training.tuning.space.space_of_text` reads
            them.
        seed: Fixes everything random.
        service: Feature service that feeds it; the model's own if None.
        study: What is held out and how validation is ranked; as the surface asks if None.

    Raises:
        NotFound: The model, the service or an option is unknown, there is no snapshot, or it lacks what the service
            needs.
        BadInput: An option or a range has an impossible value, or the device is not there.
        ValidationFailed: The snapshot has no passed validation report.
    """
    entry = model_entry(model)
    fixed = dict(fixed or {})
    resolve_config(model, entry.config, fixed)
    searched = space_of_text(model, entry.config, fixed, space or {})
    device = prepare_torch(settings)
    service = service or entry.feature_service
    study = study or study_of(question_of(service))
    report = require_passed(Database(settings, home), home, current_snapshot(home).id)
    frame = training_part(settings, home, service, report, study)
    return TuningTask(model, entry, service, study, frame, report, fixed, searched, seed, device)
