"""The rivals of ``quality.py``: what a careful engineer writes with GX core only, and Evidently's defaults."""

import json
import logging
import subprocess
import tempfile
from pathlib import Path

import great_expectations as gx
import numpy as np
import pandas as pd
from _quality_worlds import Delivery, Floats, Vectors
from great_expectations import expectations as gxe
from great_expectations.expectations import Expectation

__all__ = ["EVIDENTLY", "GX_CORE", "Evidently", "core_alarms"]

GX_CORE = "GX core"
EVIDENTLY = ("Evidently embeddings drift", "Evidently DataDriftPreset")
_ERRORS = 4.0
"""Standard errors that a mean or a deviation may move: seldom by chance, however many there are."""
_ROUNDING = 1e-3
"""Relative change that nobody minds, so that unit norms may round otherwise."""
_SCALARS = ("norm", "mean", "deviation", "least", "greatest")


def core_alarms(before: Delivery, now: Delivery) -> bool:
    """Whether core expectations on scalar columns, bounded by the last good delivery, find anything."""
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("snapshot")
    for modality, vectors in now.tables.items():
        old, new = _scalars(before.tables[modality]), _scalars(vectors)
        batches = source.add_dataframe_asset(modality).add_batch_definition_whole_dataframe("all")
        suite = gx.ExpectationSuite(name=modality, expectations=_expectations(old))
        if not batches.get_batch({"dataframe": new}).validate(suite).success:
            return True
    return False


def _scalars(vectors: Vectors) -> pd.DataFrame:
    matrix = np.asarray(vectors.matrix, np.float64)
    width = np.full(len(matrix), matrix.shape[1])
    width[vectors.short] -= 1
    with np.errstate(all="ignore"):
        return pd.DataFrame(
            {
                "id": vectors.items,
                "width": width,
                "norm": np.linalg.norm(matrix, axis=1),
                "mean": matrix.mean(axis=1),
                "deviation": matrix.std(axis=1),
                "least": matrix.min(axis=1),
                "greatest": matrix.max(axis=1),
                "bits": [hash(row.tobytes()) for row in vectors.matrix],
            }
        )


def _expectations(old: pd.DataFrame) -> list[Expectation]:
    rows, unique = len(old), old["bits"].nunique() / len(old)
    width = int(old["width"].iloc[0])
    expected: list[Expectation] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=int(0.8 * rows), max_value=int(1.5 * rows)),
        gxe.ExpectColumnValuesToBeUnique(column="id"),
        gxe.ExpectColumnValuesToBeBetween(column="width", min_value=width, max_value=width),
        gxe.ExpectColumnProportionOfUniqueValuesToBeBetween(column="bits", min_value=unique - 0.005),
    ]
    for column in _SCALARS:
        values = old[column].to_numpy()
        low, high, mean, deviation = values.min(), values.max(), values.mean(), values.std()
        rounding = _ROUNDING * max(abs(mean), deviation)
        tolerance = _ERRORS * deviation * np.sqrt(2 / rows) + rounding
        kurtosis = np.mean((values - mean) ** 4) / max(deviation**4, 1e-300)
        spread = _ERRORS * deviation * np.sqrt(max(kurtosis - 1, 0.1) / (2 * rows)) + rounding
        room = (high - low) / 4 + rounding
        expected += [
            gxe.ExpectColumnValuesToNotBeNull(column=column),
            gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low - room, max_value=high + room),
            gxe.ExpectColumnMeanToBeBetween(column=column, min_value=mean - tolerance, max_value=mean + tolerance),
            gxe.ExpectColumnStdevToBeBetween(
                column=column, min_value=max(0.0, deviation - spread), max_value=deviation + spread
            ),
        ]
    return expected


class Evidently:
    """A child process in an interpreter that has Evidently, asked once per table."""

    def __init__(self, python: str) -> None:
        """Start it.

        Args:
            python: The interpreter; which one need not be ours, as Evidently is none of our dependencies.
        """
        self._python = python
        self._process: subprocess.Popen[str] | None = None

    @staticmethod
    def installed(python: str) -> bool:
        """Whether an interpreter has it."""
        argv = [python, "-c", "import evidently"]
        try:
            return subprocess.run(argv, capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    def alarms(self, before: Floats, now: Floats) -> dict[str, bool]:
        """Name of the default → whether it alarms.

        Args:
            before: Matrix ``[n, width]`` of the last good delivery.
            now: Matrix ``[m, width]``; one of another width is found without asking.
        """
        if before.shape[1] != now.shape[1]:
            return dict.fromkeys(EVIDENTLY, True)
        if self._process is None:
            argv = [self._python, str(Path(__file__).parent / "_quality_evidently.py")]
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "pair.npz"
            np.savez(path, before=before, now=now)
            self._process.stdin.write(f"{path}\n")
            self._process.stdin.flush()
            answer: dict[str, bool] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
