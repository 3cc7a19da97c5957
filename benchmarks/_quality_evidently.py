"""Evidently's defaults, in an interpreter that has it: a child process of ``quality.py``.

Reads the path of an ``.npz`` with matrices ``before`` and ``now`` per line, and answers each with a line of JSON:
whether the default method of its embeddings drift alarmed, and whether ``DataDriftPreset`` found more than half of the
columns drifted. Where it cannot take the data at all, that counts as an alarm.
"""

import json
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from evidently import Report
from evidently.legacy.metrics.data_drift.embedding_drift_methods import model
from evidently.metrics import DriftedColumnsCount

__all__: list[str] = []


def embeddings_drift(before: pd.DataFrame, now: pd.DataFrame) -> bool:
    """What ``EmbeddingsDriftMetric`` decides by; the metric itself would draw a t-SNE as well."""
    return bool(model(bootstrap=len(before) < 1000)(now.copy(), before.copy())[1])


def drifted_columns(before: pd.DataFrame, now: pd.DataFrame) -> bool:
    """What ``DataDriftPreset`` says of the data set; the preset itself would draw every column as well."""
    counted = Report([DriftedColumnsCount()], include_tests=True).run(now, before).dict()["tests"][0]
    return str(counted["status"]).split(".")[-1].upper() == "FAIL"


def alarmed(judge: Callable[[pd.DataFrame, pd.DataFrame], bool], before: pd.DataFrame, now: pd.DataFrame) -> bool:
    """Its verdict; data that it refuses are found, too."""
    try:
        return judge(before, now)
    except Exception as refusal:  # noqa: BLE001 - whatever a rival raises, it has not let the data pass
        sys.stderr.write(f"{refusal}\n")
        return True


def frame(matrix: np.ndarray) -> pd.DataFrame:
    """A column per component."""
    return pd.DataFrame(matrix, columns=[f"c{number}" for number in range(matrix.shape[1])])


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        with np.load(line.strip(), allow_pickle=False) as arrays:
            before, now = frame(arrays["before"]), frame(arrays["now"])
        answer = {
            "Evidently embeddings drift": alarmed(embeddings_drift, before, now),
            "Evidently DataDriftPreset": alarmed(drifted_columns, before, now),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
