"""What became of the requests, and what users of each arm did beside what was to be expected of them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import fsum
from typing import Any

import numpy as np

from contracts.feedback import FeedbackReceipt
from serving.traffic.look import Act

__all__ = ["Shown", "Tally", "TrafficResult"]


@dataclass(frozen=True)
class Shown:
    """What visitors were shown by one version in one arm, and how it did: outcomes are means per impression."""

    experiment: str | None
    arm: str | None
    model: str
    version: str
    requests: int
    users: int
    impressions: int
    observed: dict[str, float]
    """``ctr``, ``like`` and so on, as the users' draws came out."""
    true: dict[str, float]
    """The same, as it was to be expected of these lists before any draw: without noise."""


@dataclass(frozen=True)
class TrafficResult:
    """How the traffic went."""

    url: str
    surface: str
    sent: int
    ok: int
    failures: dict[str, int]
    """Code of an error, of the service's or of the connection → requests, for lists or with feedback."""
    seconds: float
    requests_per_s: float
    p50_ms: float | None
    """Median time from sending a request for a list to having read it; None where none was answered."""
    p99_ms: float | None
    behind_s: float
    """The longest that a visitor waited to be let in, as all places were taken."""
    users: int
    strangers: int
    """Of the users: those nobody knows."""
    events: dict[str, int]
    """``stored``, ``duplicate``, of the stored ``late``, and ``lost``: those that were sent and not acknowledged."""
    unknown_items: int
    """Impressions of items that the platform was not made with; nobody clicks them."""
    shown: list[Shown]
    """By experiment, arm and version; in each experiment the champion first."""

    def as_dict(self) -> dict[str, Any]:
        """The result as one JSON document."""
        return asdict(self)


@dataclass(eq=False)
class _Group:
    model: str
    requests: int = 0
    users: set[int] = field(default_factory=set)
    acts: Counter[str] = field(default_factory=Counter)
    watched_s: list[float] = field(default_factory=list)
    expected: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


_Group_key = tuple[str, str, str]


class Tally:
    """Counts while traffic runs."""

    def __init__(self, known: int) -> None:
        self._known = known
        self._groups: dict[_Group_key, _Group] = {}
        self._milliseconds: list[float] = []
        self._users: set[int] = set()
        self._failures: Counter[str] = Counter()
        self._events = Counter({"stored": 0, "duplicate": 0, "late": 0, "lost": 0})
        self._unknown_items = 0
        self.behind_s = 0.0
        self.sent = 0

    def failed(self, code: str) -> None:
        """A request was not answered as it should be."""
        self._failures[code] += 1

    def answered(self, user: int, milliseconds: float) -> None:
        """A list came."""
        self._users.add(user)
        self._milliseconds.append(milliseconds)

    def looked(
        self, user: int, answer: Mapping[str, Any], acts: Sequence[Act], expected: Mapping[str, float], unknown: int
    ) -> None:
        """A visitor has done with a list what there was to do, and so much was to be expected."""
        key = (answer.get("experiment") or "", answer.get("arm") or "", answer["version"])
        group = self._groups.setdefault(key, _Group(answer["model"]))
        group.requests += 1
        group.users.add(user)
        group.acts.update(act.kind for act in acts)
        group.watched_s += [act.seconds for act in acts if act.seconds is not None]
        for name, value in expected.items():
            group.expected[name].append(value)
        self._unknown_items += unknown

    def received(self, receipt: FeedbackReceipt) -> None:
        """Events were acknowledged."""
        for event in receipt.events:
            self._events[event.state] += 1
            self._events["late"] += event.state == "stored" and event.late

    def lost(self, events: int) -> None:
        """Events were not."""
        self._events["lost"] += events

    def result(self, url: str, surface: str, seconds: float) -> TrafficResult:
        """All of it, after so many seconds."""
        ok = len(self._milliseconds)
        p50, p99 = np.percentile(self._milliseconds, [50, 99]) if ok else (None, None)
        return TrafficResult(
            url=url,
            surface=surface,
            sent=self.sent,
            ok=ok,
            failures=dict(self._failures),
            seconds=round(seconds, 3),
            requests_per_s=round(self.sent / seconds, 1),
            p50_ms=None if p50 is None else round(float(p50), 3),
            p99_ms=None if p99 is None else round(float(p99), 3),
            behind_s=round(self.behind_s, 3),
            users=len(self._users),
            strangers=sum(user >= self._known for user in self._users),
            events=dict(self._events),
            unknown_items=self._unknown_items,
            shown=[_shown(key, self._groups[key]) for key in sorted(self._groups, key=_champion_first)],
        )


def _champion_first(key: _Group_key) -> tuple[str, bool, str, str]:
    experiment, arm, version = key
    return experiment, arm != "champion", arm, version


def _shown(key: _Group_key, group: _Group) -> Shown:
    impressions = group.acts["impression"]
    counts = {"ctr": float(group.acts["click"]), "like": group.acts["like"], "follow": group.acts["follow"]}
    counts["watch_time"] = fsum(group.watched_s)
    expected = {name: fsum(values) for name, values in group.expected.items()}  # in whatever order visitors came back
    names = [name for name in counts if name in expected]
    experiment, arm, version = key
    return Shown(
        experiment=experiment or None,
        arm=arm or None,
        model=group.model,
        version=version,
        requests=group.requests,
        users=len(group.users),
        impressions=impressions,
        observed={name: counts[name] / impressions for name in names} if impressions else {},
        true={name: expected[name] / expected["impressions"] for name in names} if impressions else {},
    )
