"""Keeps a running engine in step with the registry's aliases, beside the requests.

A new champion is loaded beside the old one, proves itself, and takes over by one assignment; the old one stays loaded,
so that an alias that goes back is followed at once. What cannot be loaded or does not prove itself changes nothing and
raises an alert; it is tried again, at growing intervals, as long as it holds the alias. While the registry does not
answer, the service goes on with what it has, and says so.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from contracts.clock import utc_now
from contracts.errors import BackbeatError
from contracts.experiments import Experiment
from serving.engine import Engine
from serving.experiments.live import LiveExperiment
from serving.lineup import Lineup, ShadowFault
from serving.metrics import ServingMetrics
from serving.recommend import Ranker
from serving.shadow import Shadow
from serving.watching import Watch

__all__ = ["Alert", "Follower", "Loads", "is_shadow"]

_Loaded = TypeVar("_Loaded")

_LONGEST_WAIT_S = 600.0
"""Between two tries of a version that was refused."""

_KINDS = ("registry", "champion", "shadow", "experiment", "withdrawals", "newcomers")

_LOG = logging.getLogger("backbeat.serving")


def is_shadow(alias: str) -> bool:
    """Whether the holder of an alias answers aside: ``shadow``, or ``shadow-`` and whatever follows."""
    return alias == "shadow" or alias.startswith("shadow-")


@dataclass(frozen=True)
class Alert:
    """Something that somebody should look at; the service goes on."""

    kind: str
    """``registry``, ``champion``, ``shadow``, ``experiment``, ``withdrawals`` or ``newcomers``."""
    version: str | None
    fault: str
    since: str
    """UTC, ISO 8601."""


class Loads(Protocol):
    """Brings versions into this process; :class:`serving.loader.Loader` in a running service."""

    def champion(self, version: str) -> Lineup:
        """A version that has proved itself, with what it is served with and no shadows."""
        ...

    def shadow(self, version: str) -> Shadow:
        """A version whose process is being started; what it finds wrong is the shadow's own fault."""
        ...

    def challenger(self, version: str) -> Ranker:
        """A version that has proved itself, ready to answer in an experiment."""
        ...


@dataclass(frozen=True)
class _Refusal:
    fault: str
    tries: int
    again_at: float


class Follower:
    """Looks at the aliases now and then, in a thread of its own once it is started.

    Args:
        engine: Whose line-up follows.
        holders: Alias → version, as the registry has them; raises where it does not answer.
        loads: Brings versions in.
        metrics: Where swaps and alerts are counted.
        interval_s: Seconds between looks.
        clock: Seconds that only grow.
        experiments: Says which experiment runs.
        watches: Keep the engine in step with other things; started and closed with this.
    """

    def __init__(
        self,
        engine: Engine,
        holders: Callable[[], Mapping[str, str]],
        loads: Loads,
        metrics: ServingMetrics,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
        experiments: Callable[[], Experiment | None] = lambda: None,
        watches: Sequence[Watch] = (),
    ) -> None:
        self._engine = engine
        self._holders = holders
        self._loads = loads
        self._metrics = metrics
        self._interval_s = interval_s
        self._clock = clock
        self._experiments = experiments
        self._watches = tuple(watches)
        self._kept: Lineup | None = None
        self._aside: dict[str, Shadow] = {}
        """Shadows whose processes were started, those that are still loading too."""
        self._refusals: dict[tuple[str, str], _Refusal] = {}
        self._alerts: dict[tuple[str, str | None], Alert] = {}
        self._looked_at: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look_until_closed, name="follower", daemon=True)
        self._say()

    def start(self) -> None:
        """Look at every interval from here on."""
        self._thread.start()
        for watch in self._watches:
            watch.start()

    def close(self) -> None:
        """Stop looking, after what is being loaded, and let go of the version kept for going back."""
        self._closing.set()
        for watch in self._watches:
            watch.close()
        if self._thread.ident is not None:
            self._thread.join()
        if self._kept is not None:
            self._kept.features.close()
            self._kept = None
        for shadow in self._aside.values():
            if shadow not in self._engine.lineup.shadows:  # those are the engine's to close
                shadow.close()

    def await_shadows(self, within_s: float) -> None:
        """Before the first request: wait for shadows that are loading, so that they are asked from the first one on."""
        until = time.monotonic() + within_s
        for shadow in self._aside.values():
            shadow.settled(max(0.0, until - time.monotonic()))
        self.look()

    def status(self) -> dict[str, Any]:
        """When the registry last answered, the version that is kept, and the alerts."""
        kept = self._kept
        return {
            "registry_answered_at": self._looked_at,
            "kept": kept and {"version": kept.champion.version, "model": kept.champion.model},
            "alerts": [asdict(alert) for alert in list(self._alerts.values())],
        }

    def look(self) -> None:
        """Look once, and follow. Not for two threads at once."""
        self._ask_watches()
        try:
            holders = self._holders()
        except Exception as error:  # noqa: BLE001 - whatever the registry does, the service goes on
            self._alert("registry", None, _said(error))
        else:
            self._looked_at = utc_now().isoformat()
            self._settle("registry", ())
            self._follow_champion(holders.get("champion"))
            self._follow_shadows(holders)
        self._follow_experiment()
        self._say()

    def _look_until_closed(self) -> None:
        while not self._closing.wait(self._interval_s):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a fault of one look must not end the following
                _LOG.exception("following the registry")

    def _ask_watches(self) -> None:
        for watch in self._watches:
            if self._thread.ident is None:  # before the first request; from then on it looks by itself
                watch.look()
            if (fault := watch.fault) is not None:
                self._alert(watch.kind, None, fault)
            else:
                self._settle(watch.kind, ())

    def _follow_champion(self, wanted: str | None) -> None:
        lineup = self._engine.lineup
        if wanted is None:
            self._settle("champion", {None})
            self._alert("champion", None, f"no version is champion any more; version {lineup.champion.version} serves")
            return
        self._settle("champion", {wanted})
        if wanted == lineup.champion.version:
            self._settle("champion", ())
            return
        if self._kept is not None and self._kept.champion.version == wanted:
            self._take(lineup, self._kept, "rolled_back")
            return
        taken = self._tried("champion", wanted, partial(self._loads.champion, wanted))
        if taken is None:
            return
        dismissed = self._kept
        self._take(lineup, taken, "swapped")
        if dismissed is not None:
            dismissed.features.close()

    def _take(self, before: Lineup, after: Lineup, outcome: str) -> None:
        self._engine.swap(replace(after, shadows=before.shadows, faults=before.faults, experiment=None))
        self._kept = before
        self._metrics.swaps.labels(self._engine.surface, outcome).inc()
        self._settle("champion", ())
        _LOG.warning("version %s serves; version %s is kept", after.champion.version, before.champion.version)

    def _follow_shadows(self, holders: Mapping[str, str]) -> None:
        lineup = self._engine.lineup
        aliases = sorted(alias for alias in holders if is_shadow(alias))
        # The champion is no shadow of its own: a promotion moves one alias after the other.
        wanted = [v for v in dict.fromkeys(holders[a] for a in aliases) if v != lineup.champion.version]
        self._settle("shadow", wanted)
        for version in wanted:
            if version not in self._aside:
                begun = self._tried("shadow", version, partial(self._loads.shadow, version))
                if begun is not None:
                    self._aside[version] = begun
            if version in self._aside:
                self._watch(self._aside[version])
        # One whose process has ended is asked as before: what it misses is counted.
        shadows = tuple(self._aside[v] for v in wanted if v in self._aside and self._aside[v].started)
        faults = tuple(
            ShadowFault(version, alert.fault)
            for version in wanted
            if (alert := self._alerts.get(("shadow", version))) is not None
        )
        if (shadows, faults) != (lineup.shadows, lineup.faults):
            self._engine.swap(replace(lineup, shadows=shadows, faults=faults))
        for version in [version for version in self._aside if version not in wanted]:
            self._aside.pop(version).close()

    def _watch(self, shadow: Shadow) -> None:
        """A shadow starts its process by itself, also again; here it is only told that it does not run."""
        if (fault := shadow.fault) is not None:
            self._alert("shadow", shadow.version, fault)
        else:
            self._alerts.pop(("shadow", shadow.version), None)

    def _follow_experiment(self) -> None:
        try:
            wanted = self._experiments()
        except Exception as error:  # noqa: BLE001 - what runs goes on
            self._alert("experiment", None, _said(error))
            return
        lineup = self._engine.lineup
        serves, running = lineup.champion.version, lineup.experiment
        self._settle("experiment", () if wanted is None else {wanted.challenger or wanted.champion})
        if wanted is not None and wanted.champion != serves:
            fault = f"{wanted.name} is about champion {wanted.champion}; while {serves} serves, no request takes part"
            self._alert("experiment", wanted.challenger or wanted.champion, f"{fault}; end it with `backbeat ab stop`")
            wanted = None
        if wanted == (running and running.experiment):
            return
        live, ranker = None, None
        if wanted is not None and wanted.challenger is not None:
            ranker = self._tried("experiment", wanted.challenger, partial(self._loads.challenger, wanted.challenger))
        if wanted is not None and (ranker is not None or wanted.challenger is None):
            live = LiveExperiment(wanted, ranker)
            self._settle("experiment", ())
        if live is not running:
            self._engine.swap(replace(lineup, experiment=live))
            _LOG.warning("experiment: %s", "none" if live is None else live.status())

    def _tried(self, kind: str, version: str, load: Callable[[], _Loaded]) -> _Loaded | None:
        """What was loaded; None where it was refused, now or lately."""
        before = self._refusals.get((kind, version))
        if before is not None and self._clock() < before.again_at:
            return None
        try:
            loaded = load()
        except Exception as error:  # noqa: BLE001 - whatever a package does, those loaded before it go on
            _LOG.exception("%s version %s is refused", kind, version)
            tries = 1 if before is None else before.tries + 1
            wait_s = min(self._interval_s * 2**tries, _LONGEST_WAIT_S)
            self._refusals[kind, version] = _Refusal(_said(error), tries, self._clock() + wait_s)
            self._alert(kind, version, _said(error))
            if kind == "champion":
                self._metrics.swaps.labels(self._engine.surface, "refused").inc()
            return None
        self._refusals.pop((kind, version), None)
        self._alerts.pop((kind, version), None)
        # What has come to stay is spared the garbage collector, whose full rounds would show in the latency.
        gc.collect()
        gc.freeze()
        return loaded

    def _alert(self, kind: str, version: str | None, fault: str) -> None:
        before = self._alerts.get((kind, version))
        if before is None or before.fault != fault:
            _LOG.error("alert: %s%s: %s", kind, "" if version is None else f" version {version}", fault)
            self._alerts[kind, version] = Alert(kind, version, fault, utc_now().isoformat())

    def _settle(self, kind: str, wanted: Collection[str | None]) -> None:
        """Drop alerts and refusals of a kind that are about no version of these."""
        for key in [key for key in self._alerts if key[0] == kind and key[1] not in wanted]:
            del self._alerts[key]
        for refused in [key for key in self._refusals if key[0] == kind and key[1] not in wanted]:
            del self._refusals[refused]

    def _say(self) -> None:
        self._metrics.champion.labels(self._engine.surface).set(int(self._engine.lineup.champion.version))
        for kind in _KINDS:
            self._metrics.alerts.labels(self._engine.surface, kind).set(sum(key[0] == kind for key in self._alerts))


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, BackbeatError) else f"{type(error).__name__}: {error}"
