"""The picture of ``quality.py``: share of alarms by fault and world, ours beside the rivals'."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _quality_rivals import EVIDENTLY, GX_CORE
from _quality_trials import FAULTS, OURS, Outcome

__all__ = ["draw_picture"]

_ROW_INCHES = 0.17


def draw_picture(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write a PNG: a panel per judge, a row per fault and resample, a column per world; no trial, no colour."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    pairs = dict.fromkeys((o.fault, o.draw) for o in outcomes if o.fault)
    rows = [
        *(pair for pair in pairs if FAULTS[pair[0]].listed),
        *(pair for pair in pairs if not FAULTS[pair[0]].listed),
        *dict.fromkeys((o.fault, o.draw) for o in outcomes if not o.fault and o.world != "platform"),
    ]
    worlds = sorted(
        {o.world for o in outcomes if o.world != "platform"}, key=lambda w: (w.split()[0], int(w.split()[1]))
    )
    judges = [judge for judge in (OURS, GX_CORE, *EVIDENTLY) if any(o.judge == judge for o in outcomes)]
    figure, panels = pyplot.subplots(
        1, len(judges), figsize=(4 + 1.7 * len(judges), 1.5 + _ROW_INCHES * len(rows)), sharey=True, squeeze=False
    )
    for panel, judge in zip(panels[0], judges, strict=True):
        shares = [[_share(outcomes, judge, world, *row) for world in worlds] for row in rows]
        image = panel.imshow(np.array(shares), vmin=0, vmax=1, cmap="Blues", aspect="auto")
        panel.set_title(judge.replace("Evidently ", "Evidently\n"), fontsize=8)
        panel.set_xticks(range(len(worlds)), worlds, rotation=90, fontsize=6)
        panel.axhline(len(rows) - sum(not row[0] for row in rows) - 0.5, color="black", linewidth=1)
    labels = [f"{fault} ({draw})" if fault else f"nothing wrong ({draw}): no alarm wanted" for fault, draw in rows]
    panels[0][0].set_yticks(range(len(rows)), labels, fontsize=6)
    figure.colorbar(image, ax=list(panels[0]), label="share of trials with an alarm", fraction=0.03, pad=0.02)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def _share(outcomes: Sequence[Outcome], judge: str, world: str, fault: str, draw: str) -> float:
    alarms = [o.alarmed for o in outcomes if (o.judge, o.world, o.fault, o.draw) == (judge, world, fault, draw)]
    return float(np.mean(alarms)) if alarms else float("nan")
