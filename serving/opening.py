"""Brings surfaces into a running process: at its start, and later those that get their first sound champion."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.errors import BackbeatError
from contracts.surfaces import Surface
from serving.engine import Engine
from serving.metrics import ServingMetrics
from serving.surfaces import Surfaces

__all__ = ["Opener"]

_LONGEST_WAIT_S = 600.0
"""Between two tries of a champion that was refused."""

_NO_CHAMPION = "no version is champion"

_LOG = logging.getLogger("backbeat.serving")


@dataclass(frozen=True)
class _Refusal:
    version: str
    tries: int
    again_at: float


class Opener:
    """Looks now and then whether the surfaces without an engine have a champion that can be loaded.

    One that cannot is an alert, and tried again after twice the time at each try. A surface without a champion is an
    alert only where somebody asked for that surface.

    Args:
        surfaces: Where engines are added.
        wanted: What is to be served.
        required: Whether each of them was asked for by name.
        champion: Number of a surface's champion; None where no version is.
        open_engine: Makes the engine of a surface with a version.
        metrics: Where alerts are counted.
        interval_s: Seconds between looks.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        surfaces: Surfaces,
        wanted: Sequence[Surface],
        required: bool,
        champion: Callable[[Surface], str | None],
        open_engine: Callable[[Surface, str], Engine],
        metrics: ServingMetrics,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._surfaces = surfaces
        self._wanted = tuple(wanted)
        self._required = required
        self._champion = champion
        self._open_engine = open_engine
        self._metrics = metrics
        self._interval_s = interval_s
        self._clock = clock
        self._refusals: dict[Surface, _Refusal] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look_until_closed, name="opener", daemon=True)

    def start(self) -> None:
        """Look at every interval from here on."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking, after what is being loaded."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> list[Exception]:
        """Open what can be opened.

        Returns:
            What is wrong with champions that were tried now and cannot be served.

        Raises:
            ServiceUnavailable: The registry does not answer.
        """
        faults = []
        for surface in self._wanted:
            if surface not in self._surfaces.engines:
                version = self._champion(surface)
                if version is None:
                    self._leave(surface)
                elif (fault := self._tried(surface, version)) is not None:
                    faults.append(fault)
        return faults

    def _look_until_closed(self) -> None:
        while not self._closing.wait(self._interval_s):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the followers of what is served raise the alert
                _LOG.warning("cannot tell whether other surfaces are to be served: %s", error)

    def _leave(self, surface: Surface) -> None:
        self._refusals.pop(surface, None)
        self._surfaces.leave_waiting(surface, _NO_CHAMPION, refused=False)
        self._metrics.alerts.labels(surface, "champion").set(int(self._required))

    def _tried(self, surface: Surface, version: str) -> Exception | None:
        before = self._refusals.get(surface)
        before = before if before is not None and before.version == version else None
        if before is not None and self._clock() < before.again_at:
            return None
        try:
            engine = self._open_engine(surface, version)
        except Exception as error:  # noqa: BLE001 - whatever a package does, the other surfaces are served
            _LOG.exception("alert: surface %s is not served: version %s is refused", surface, version)
            tries = 1 if before is None else before.tries + 1
            wait_s = min(self._interval_s * 2**tries, _LONGEST_WAIT_S)
            self._refusals[surface] = _Refusal(version, tries, self._clock() + wait_s)
            said = str(error) if isinstance(error, BackbeatError) else f"{type(error).__name__}: {error}"
            self._surfaces.leave_waiting(surface, f"version {version}: {said}", refused=True)
            self._metrics.alerts.labels(surface, "champion").set(1)
            return error
        self._refusals.pop(surface, None)
        self._surfaces.add(engine)
        _LOG.warning("surface %s is served, by version %s", surface, version)
        return None
