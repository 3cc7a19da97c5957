"""The frame that a study trains on, and beside it the events that it holds out."""

from contracts.home import Home
from contracts.reports import AcceptedReport
from contracts.settings import Settings
from feature_repo.frame import TrainingFrame, load_all_events, load_training_frame
from training.protocols import HeldOut
from training.splits import GlobalInstants
from training.studies import Study

__all__ = ["parts_of_study", "training_part"]


def parts_of_study(
    settings: Settings, home: Home, feature_service: str, report: AcceptedReport, study: Study
) -> tuple[TrainingFrame, HeldOut]:
    """What a study trains and validates on, and what it tests on.

    Args:
        settings: Name the profile.
        home: Where the snapshot is.
        feature_service: Which events and features.
        report: As :func:`contracts.reports.require_passed` gives it.
        study: Says what is held out.

    Raises:
        NotFound: The service is unknown, or the snapshot lacks what it needs.
        BadInput: The study's cut leaves nothing for a part.
    """
    whole = load_training_frame(settings, home, feature_service, report)
    return study.cut.parts(whole, load_all_events(home, whole))


def training_part(
    settings: Settings, home: Home, feature_service: str, report: AcceptedReport, study: Study
) -> TrainingFrame:
    """What a study trains and validates on, for whoever chooses by it: no event of the test part leaves this function.

    Where the snapshot's own split is the study's, the test part is not even read. Arguments and errors are those of
    :func:`parts_of_study`.
    """
    if isinstance(study.cut, GlobalInstants):
        return load_training_frame(settings, home, feature_service, report)
    return parts_of_study(settings, home, feature_service, report, study)[0]
