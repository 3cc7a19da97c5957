"""How often the suites find a fault in encoders' output, and how often they alarm without one, beside rivals.

Run: ``python benchmarks/quality.py [--json] [--trials N] [--only zero,NaN] [--data tiktok,simulated,clustered]
[--widths 128,512,768] [--jobs N] [--tiktok FOLDER] [--evidently PYTHON] [--plot] [--details FILE] [--speed]``.

Every fault is tried N times (100), in the worlds in turn: half of the times with bands from one accepted snapshot,
half with bands from five; in turn in an update of the accepted snapshot and in one without common items, where the
fault can be seen there. Sound resamples are judged between them. Rivals in the same run: core expectations of Great
Expectations, and Evidently's defaults where the interpreter that ``--evidently`` names has it (ours, if none is
named); they are slower, so they get fewer trials. ``--only none`` measures false alarms alone. ``--speed`` measures
seconds and memory of a large table instead (``--rows``, 1,000,000).
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from statistics import median

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before NumPy: one process per core

from _measure import Result, report
from _quality_picture import draw_picture
from _quality_rivals import EVIDENTLY, GX_CORE, Evidently
from _quality_speed import speed_results
from _quality_trials import FAULTS, OURS, Outcome, Task, play
from _quality_worlds import world_names
from scipy.stats import beta

FOUND, FALSE = 0.95, 0.01
"""Least share of faults found, largest share of sound runs with an alarm."""
RIVAL_TRIALS, EVIDENTLY_TRIALS = 21, 4
DAYS_OF_PLATFORM = 12
TIKTOK = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "tiktok"


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--only", default="", help="parts of the names of faults")
    parser.add_argument("--data", default="tiktok,simulated,clustered")
    parser.add_argument("--widths", default="128,512,768")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tiktok", type=Path, default=TIKTOK)
    parser.add_argument("--evidently", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--rival-trials", type=int, default=RIVAL_TRIALS)
    parser.add_argument("--plot", action="store_true", help="write docs/images/quality.png")
    parser.add_argument("--details", type=Path, help="add every outcome, as a line of JSON")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    return parser.parse_args()


def main() -> None:
    """Try all faults, or measure speed."""
    given = options()
    if given.speed:
        report(speed_results(given.rows))
        return
    outcomes = played(given)
    if given.plot:
        draw_picture(outcomes, Path(__file__).resolve().parent.parent / "docs" / "images" / "quality.png")
    if not given.json:
        sys.stdout.write("\n".join(lines_by_world(outcomes)) + "\n")
    report(results(outcomes))


def played(given: argparse.Namespace) -> list[Outcome]:
    """The outcomes of all stages, played in processes of their own."""
    data = given.data.split(",")
    if "tiktok" in data and not (given.tiktok / "image_feat.npy").is_file():
        sys.stderr.write(f"{given.tiktok}: no TikTok vectors there, so that world is left out; name them by --tiktok\n")
        data.remove("tiktok")
    todo = tasks(given, world_names(data, [int(width) for width in given.widths.split(",")]))
    outcomes = []
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as processes:
        for done, future in enumerate(as_completed([processes.submit(play, task) for task in todo]), 1):
            stage = future.result()
            outcomes += stage
            if given.details:
                with given.details.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(asdict(outcome), ensure_ascii=False) + "\n" for outcome in stage)
            sys.stderr.write(f"\r{done} of {len(todo)} stages")
    sys.stderr.write("\n")
    return sorted(outcomes, key=lambda outcome: outcome.task)


def tasks(given: argparse.Namespace, worlds: list[str]) -> list[Task]:
    """A stage per trial, and some of a whole platform."""
    wanted = [part.strip() for part in given.only.split(",") if part.strip()]
    faults = tuple(name for name in FAULTS if not wanted or any(part in name for part in wanted))
    evidently = given.evidently if Evidently.installed(given.evidently) else None
    asked, found = 0, []
    for number in range(given.trials):
        world = worlds[number % len(worlds)]
        ask = evidently is not None and world.endswith(" 128") and asked < EVIDENTLY_TRIALS
        asked += ask
        found.append(
            Task(
                number=number,
                world=world,
                learned=number // len(worlds) % 2 == 1,
                faults=faults,
                tiktok=given.tiktok,
                core=number < given.rival_trials,
                evidently=evidently if ask else None,
            )
        )
    platforms = [
        Task(given.trials + number, "platform", True, (), given.tiktok, False, None)
        for number in range(-(-given.trials // DAYS_OF_PLATFORM))
    ]
    return [*found, *platforms]


def results(outcomes: Sequence[Outcome]) -> list[Result]:
    """Shares found beside each rival's, false alarms, seconds."""
    draws = dict.fromkeys(o.draw for o in outcomes if o.fault)
    groups = {
        f"finds {fault}{'' if FAULTS[fault].listed else ', not in the issue'}": {(fault, draw) for draw in draws}
        for fault in dict.fromkeys(o.fault for o in outcomes if o.fault)
    }
    for title, listed in (("faults of the issue", True), ("faults that are not in the issue", False)):
        for draw in draws:
            pairs = {(f.name, draw) for f in FAULTS.values() if f.listed == listed}
            if any((o.fault, o.draw) in pairs for o in outcomes):
                groups[f"finds {title}, all kinds ({draw})"] = pairs
    found = [
        result
        for title, pairs in groups.items()
        for result in beside(outcomes, title, pairs, f"≥ {FOUND}", lambda ours: ours >= FOUND)
    ]
    draws = dict.fromkeys(o.draw for o in outcomes if not o.fault)
    for label, of_draw in [*((draw, {draw}) for draw in draws), ("all kinds", set(draws))]:
        pairs = {("", draw) for draw in of_draw}
        ours, runs = share(outcomes, OURS, pairs)
        low, high = clopper_pearson(round(ours * runs), runs)
        title = f"false alarms, {label} (95 % interval {low:.4f} to {high:.4f})"
        found += beside(outcomes, title, pairs, f"≤ {FALSE}", lambda ours: ours <= FALSE)
    return [*found, seconds_taken(outcomes)]


def beside(
    outcomes: Sequence[Outcome],
    title: str,
    pairs: set[tuple[str, str]],
    target: str,
    holds: Callable[[float], bool],
) -> Iterator[Result]:
    """Our share of alarms beside that of each rival that was asked."""
    ours, trials = share(outcomes, OURS, pairs)
    for rival in (GX_CORE, *EVIDENTLY):
        theirs, asked = share(outcomes, rival, pairs)
        if asked:
            label, value = f"{rival} ({asked})", theirs
        elif rival == GX_CORE or "all kinds" in title:
            label, value = f"{rival}: not asked, or not installed: rival skipped", None
        else:
            continue
        yield Result(title, ours, f"of {trials}", label, value, target, holds(ours))


def seconds_taken(outcomes: Sequence[Outcome]) -> Result:
    """The median judgement of two tables of vectors, in the stages in which the rival was asked, too."""
    asked = {o.task for o in outcomes if o.judge == GX_CORE} or {o.task for o in outcomes if o.world != "platform"}
    taken = {judge: [o.seconds for o in outcomes if o.judge == judge and o.task in asked] for judge in (OURS, GX_CORE)}
    theirs = median(taken[GX_CORE]) if taken[GX_CORE] else None
    name = "judging a snapshot with two tables of vectors, median"
    return Result(name, median(taken[OURS]), "s", GX_CORE, theirs, "none", True)


def share(outcomes: Sequence[Outcome], judge: str, pairs: set[tuple[str, str]]) -> tuple[float, int]:
    """Share of a judge's alarms among pairs of fault and draw, and how often it was asked."""
    alarms = [o.alarmed for o in outcomes if o.judge == judge and (o.fault, o.draw) in pairs]
    return (sum(alarms) / len(alarms) if alarms else 0.0), len(alarms)


def clopper_pearson(hits: int, trials: int) -> tuple[float, float]:
    """The exact 95 % interval of a share."""
    low = beta.ppf(0.025, hits, trials - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, trials - hits) if hits < trials else 1.0
    return float(low), float(high)


def lines_by_world(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Ours, by fault and world, with the suites that found it most often."""
    worlds = list(dict.fromkeys(o.world for o in outcomes if o.world != "platform"))
    yield "found of tried, by world: " + ", ".join(worlds)
    for fault, draw in dict.fromkeys((o.fault, o.draw) for o in outcomes if o.judge == OURS):
        mine = [o for o in outcomes if (o.judge, o.fault, o.draw) == (OURS, fault, draw)]
        cells = []
        for world in worlds:
            alarms = [o.alarmed for o in mine if o.world == world]
            cells.append(f"{sum(alarms)}/{len(alarms)}")
        rules: dict[str, int] = {}
        for outcome in mine:
            for rule in {text.split(": ")[1] for text in outcome.found}:
                rules[rule] = rules.get(rule, 0) + 1
        best = sorted(rules, key=lambda rule: -rules[rule])[:2]
        by = "; ".join(f"{rule} ({rules[rule]})" for rule in best)
        yield f"{fault or 'SOUND'} ({draw}): {' '.join(cells)}  {by}"


if __name__ == "__main__":
    main()
