"""A way to judge models other than their feature service's own: what is held out, and how it is ranked."""

from typing import NamedTuple

from contracts.protocol import ProtocolFingerprint
from contracts.snapshot import Snapshot
from training.protocols import Protocol
from training.questions import Question
from training.splits import Cut, GlobalInstants

__all__ = ["Study", "study_of"]


class Study(NamedTuple):
    """What a training holds out, and what decides and reports how good it is."""

    cut: Cut
    protocol: Protocol
    events: str = ""
    """What is held out, where a surface has more than one kind of it."""

    def fingerprint(self, snapshot: Snapshot) -> ProtocolFingerprint:
        """Of metrics measured so on a snapshot; of equal digest with :meth:`training.questions.Question.fingerprint`
        where the study is the question's own."""
        rule = self.cut.describe(snapshot.split)
        return self.protocol.fingerprint(
            snapshot, f"{rule}; {self.events}" if self.events else rule, seeds=self.cut.seeds
        )


def study_of(question: Question) -> Study:
    """What a surface asks: the snapshot's own split, and the question's protocol."""
    return Study(GlobalInstants(), question.protocol, question.events)
