"""One trial of ``quality.py`` after the other: resample, break, judge, ask the rivals."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from _quality_faults import ISSUE, Case
from _quality_more_faults import UNLISTED
from _quality_platform import platform_snapshots
from _quality_rivals import EVIDENTLY, GX_CORE, Evidently, core_alarms
from _quality_worlds import Delivery, Stage, pool

from contracts.snapshot import Snapshot
from validation.judge import Judged, judge
from validation.material import Baseline, Material, history_key

__all__ = ["FAULTS", "OURS", "Outcome", "Task", "play"]

OURS = "backbeat"
FAULTS = {fault.name: fault for fault in [*ISSUE, *UNLISTED]}
_ACCEPTED = 5
"""Snapshots that a learned stage has accepted before."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Task:
    """One stage to play: its number says which world, and seeds all chance."""

    number: int
    world: str
    learned: bool
    """Bands are learned from several accepted snapshots, not from one."""
    faults: tuple[str, ...]
    tiktok: Path
    core: bool
    """Ask GX core, too."""
    evidently: str | None
    """Interpreter that has Evidently; None: do not ask it."""


@dataclass(frozen=True)
class Outcome:
    """One delivery judged."""

    task: int
    world: str
    learned: bool
    draw: str
    fault: str
    """Empty where the delivery is sound."""
    judge: str
    alarmed: bool
    seconds: float
    modality: str = ""
    found: tuple[str, ...] = field(default=())
    """``suite/table: rule: observed`` of every finding of ours."""


@dataclass(frozen=True)
class _Accepted:
    """A sound delivery and what later ones are compared with."""

    delivery: Delivery
    baseline: Baseline


def play(task: Task) -> list[Outcome]:
    """Play one stage."""
    if task.world == "platform":
        return list(_platform(task))
    rival = Evidently(task.evidently) if task.evidently else None
    try:
        return list(_stage(task, rival))
    finally:
        if rival is not None:
            rival.close()


def _stage(task: Task, rival: Evidently | None) -> Iterator[Outcome]:
    rng = np.random.default_rng([20_261_121, task.number])
    stage = Stage.of(pool(task.world, task.tiktok), rng)

    def outcomes(draw: str, before: _Accepted, now: Delivery, fault: str = "", modality: str = "") -> Iterator[Outcome]:
        outcome = partial(Outcome, task.number, task.world, task.learned, draw, fault)
        judged, seconds = _judged(now, before.baseline)
        found = _found(judged)
        yield outcome(OURS, bool(found), seconds, modality, found)
        if task.core:
            started = time.perf_counter()
            alarmed = core_alarms(before.delivery, now)
            yield outcome(GX_CORE, alarmed, time.perf_counter() - started)
        if rival is not None:
            started, table = time.perf_counter(), modality or next(iter(now.tables))
            alarms = rival.alarms(before.delivery.tables[table].matrix, now.tables[table].matrix)
            for name in EVIDENTLY:
                yield outcome(name, alarms[name], time.perf_counter() - started)

    before = _accepted(stage.first())
    yield from outcomes("growth", before, stage.growth(before.delivery))
    for _ in range(_ACCEPTED - 1 if task.learned else 0):
        now = stage.update(before.delivery, rng)
        yield from outcomes("update", before, now)
        before = _accepted(now, before)
    half, other = stage.halves()
    opening = _accepted(half)
    yield from outcomes("update", before, stage.update(before.delivery, rng))
    yield from outcomes("disjoint", opening, other)
    yield from outcomes("re-encoded", before, _re_encoded(stage.update(before.delivery, rng), rng))
    modalities = list(stage.vectors)
    for place, name in enumerate(task.faults):
        fault = FAULTS[name]
        draw = fault.draws[(task.number + place) % len(fault.draws)]
        base = before if draw == "update" else opening
        now = stage.update(before.delivery, rng) if draw == "update" else other.copy()
        modality = modalities[int(rng.integers(len(modalities)))]
        fault.inject(Case(stage, base.delivery, now, modality, rng))
        yield from outcomes(draw, base, now, name, modality)


def _re_encoded(now: Delivery, rng: np.random.Generator) -> Delivery:
    """Everything encoded again by the same encoder, on hardware that sums in another order."""
    for modality, vectors in now.tables.items():
        noise = _ROUNDING * rng.standard_normal(vectors.matrix.shape)
        now.tables[modality].matrix = np.asarray(vectors.matrix * (1 + noise), np.float32)
    return now


def _platform(task: Task) -> Iterator[Outcome]:
    """A simulated platform from day to day, with all of its tables; every snapshot is accepted."""
    baseline: Baseline | None = None
    for snapshot, tables, now in platform_snapshots(task.number):
        started = time.perf_counter()
        judged = judge(Material(snapshot, tables, now, baseline=baseline))
        seconds, found = time.perf_counter() - started, _found(judged)
        draw = "first" if baseline is None else "day"
        yield Outcome(task.number, "platform", baseline is not None, draw, "", OURS, bool(found), seconds, found=found)
        baseline = _next_baseline(snapshot, judged, baseline)


def _judged(now: Delivery, baseline: Baseline | None) -> tuple[Judged, float]:
    snapshot, tables = now.written(f"{0 if baseline is None else 1:016x}")
    started = time.perf_counter()
    judged = judge(Material(snapshot, tables, now.now, baseline=baseline))
    return judged, time.perf_counter() - started


def _accepted(delivery: Delivery, before: _Accepted | None = None) -> _Accepted:
    baseline = before.baseline if before else None
    judged, _ = _judged(delivery, baseline)
    return _Accepted(delivery, _next_baseline(delivery.written("f" * 16)[0], judged, baseline))


def _next_baseline(snapshot: Snapshot, judged: Judged, before: Baseline | None) -> Baseline:
    history: dict[str, Sequence[Mapping[str, float]]] = dict(before.history) if before else {}
    for table, statistics in judged.statistics.items():
        key = history_key(snapshot, table) or table
        history[key] = [*history.get(key, []), statistics]
    return Baseline(snapshot=snapshot, profiles=judged.profiles, history=history)


def _found(judged: Judged) -> tuple[str, ...]:
    return tuple(
        f"{judgement.verdict.suite}/{judgement.verdict.table}: {finding.rule}: {finding.observed}"
        for judgement in judged.judgements
        for finding in judgement.verdict.findings
        if not judgement.verdict.success
    )
