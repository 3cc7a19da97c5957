"""What a failed snapshot's broken tables and rows are set aside as."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.reports import Quarantine
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from validation.baselines import Reference
from validation.material import CLUSTERS_TABLE, MOST_BY_ROW

if TYPE_CHECKING:
    from validation.judge import Judged, Judgement

__all__ = ["BROKEN_RULE", "ROW", "SetAside", "replacement_name", "set_aside"]

ROW = "quarantine_row"
"""Column of a quarantine's file: the row's number in its table."""
BROKEN_RULE = "quarantine_rule"
"""Column of a quarantine's file: the rules that the row breaks, in words."""

_RULES_TOLD = 3


@dataclass(frozen=True)
class SetAside:
    """A quarantine that is not written yet."""

    quarantine: Quarantine
    rows: pa.Table | None
    """The offending rows with :data:`ROW` and :data:`BROKEN_RULE`; None where the whole table is at fault."""

    def save(self, directory: Path) -> Quarantine:
        """Write the rows, where there are any, into a report's directory."""
        if self.rows is not None and self.quarantine.file is not None:
            pq.write_table(self.rows, directory / self.quarantine.file, compression="zstd")
        return self.quarantine


def set_aside(
    snapshot: Snapshot, tables: Mapping[str, pa.Table], judged: "Judged", reference: Reference | None
) -> list[SetAside]:
    """What is at fault of each failed table, and what can be done about it.

    Few offending rows may be all that is at fault of a table whose statistics are broken too: a single vector of huge
    numbers breaks most of them. Clusters are computed from vectors: where these are broken, clusters are not listed.

    Args:
        snapshot: What was judged.
        tables: Its tables.
        judged: The verdicts.
        reference: Whose rows could stand in for those of a broken embedding table.
    """
    failed: dict[str, list[Judgement]] = {}
    for judgement in judged.judgements:
        if not judgement.verdict.success:
            failed.setdefault(judgement.verdict.table, []).append(judgement)
    if any(name.startswith(EMBEDDING_PREFIX) for name in failed):
        failed.pop(CLUSTERS_TABLE, None)
    return [_of_table(snapshot, tables, name, judgements, reference) for name, judgements in failed.items()]


def _of_table(
    snapshot: Snapshot,
    tables: Mapping[str, pa.Table],
    name: str,
    judgements: "list[Judgement]",
    reference: Reference | None,
) -> SetAside:
    rules = list(dict.fromkeys(finding.rule for each in judgements for finding in each.verdict.findings))
    more = f"; and {len(rules) - _RULES_TOLD} more" if len(rules) > _RULES_TOLD else ""
    reason = "; ".join(rules[:_RULES_TOLD]) + more
    offenders = np.unique(np.concatenate([each.offenders for each in judgements]))
    count = snapshot.tables[name].rows if name in snapshot.tables else 0
    remedy: Literal["replace", "none"] = "none" if replacement_name(snapshot, name, reference) is None else "replace"
    if not 0 < len(offenders) <= MOST_BY_ROW * count:
        return SetAside(Quarantine(table=name, whole=True, rows=count, file=None, reason=reason, remedy=remedy), None)
    rows = tables[name].take(pa.array(offenders))
    rows = rows.append_column(ROW, pa.array(offenders, pa.int64()))
    rows = rows.append_column(BROKEN_RULE, _broken(judgements, offenders))
    file = f"quarantine-{name}.parquet"
    more_than_rows = remedy == "replace" or any(each.whole for each in judgements)
    return SetAside(
        Quarantine(
            table=name,
            whole=False,
            rows=len(rows),
            file=file,
            reason=reason,
            remedy="drop",
            otherwise=remedy if more_than_rows else None,
        ),
        rows,
    )


def _broken(judgements: "list[Judgement]", offenders: npt.NDArray[np.int64]) -> pa.Array:
    """The rules that each of the rows breaks, joined."""
    told = [""] * len(offenders)
    for judgement in judgements:
        for rule, rows in judgement.broken.items():
            for place in np.searchsorted(offenders, rows):
                told[place] += f"; {rule}" if told[place] else rule
    return pa.array(told, pa.string())


def replacement_name(snapshot: Snapshot, table: str, reference: Reference | None) -> str | None:
    """Table of the reference with vectors of the same spec; None where there is none."""
    if reference is None or not table.startswith(EMBEDDING_PREFIX):
        return None
    spec = snapshot.embeddings.get(table.removeprefix(EMBEDDING_PREFIX))
    if spec is None:  # there should be such a table, and is not
        return None
    return next(
        (EMBEDDING_PREFIX + name for name, known in reference.snapshot.embeddings.items() if known == spec), None
    )
