"""Great Expectations as this room uses it: one context in memory for a process, and frames held against rules."""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import great_expectations as gx
import numpy as np
import numpy.typing as npt
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.expectations import Expectation

__all__ = ["RULE", "hold", "offending_rows"]

RULE = "rule"
"""Key of an expectation's ``meta``: its place among those that were held against the frame."""


@cache
def _batches(asset: str) -> Any:
    # Assets hold no data. These are made once: the library writes its whole configuration at each change.
    return _source().add_dataframe_asset(asset).add_batch_definition_whole_dataframe("all")


@cache
def _source() -> Any:
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context.data_sources.add_pandas("snapshot")


def hold(
    suite: str, asset: str, frame: pd.DataFrame, expectations: Sequence[Expectation]
) -> ExpectationSuiteValidationResult:
    """Hold a frame against expectations.

    Args:
        suite: Name of the suite.
        asset: ``rows`` or ``batch``.
        frame: What is judged.
        expectations: What is expected of it.

    Returns:
        The library's own result; ``meta[RULE]`` of a result's expectation is its place in ``expectations``.
    """
    result = _validated(suite, asset, frame, expectations, "BASIC")
    for one in result.results:
        value = one.result.get("observed_value")
        if isinstance(value, np.generic):  # which the library's own renderers refuse
            one.result["observed_value"] = value.item()
    return result


def offending_rows(
    suite: str, frame: pd.DataFrame, expectations: Sequence[Expectation]
) -> list[tuple[int, npt.NDArray[np.int64], list[Any]]]:
    """Which rows break expectations on every row.

    Returns:
        For each expectation that could be evaluated its place, the numbers of the rows, and their values.
    """
    # Results with all rows are asked for only where something is broken: they cost more than the judgement.
    found = _validated(suite, "rows", frame, expectations, "COMPLETE")
    return [
        (
            one.expectation_config.meta[RULE],
            np.asarray(one.result["unexpected_index_list"], np.int64),
            one.result["unexpected_list"],
        )
        for one in found.results
        if one.result.get("unexpected_index_list")
    ]


def _validated(
    suite: str, asset: str, frame: pd.DataFrame, expectations: Sequence[Expectation], detail: str
) -> ExpectationSuiteValidationResult:
    placed = [one.copy(update={"meta": {RULE: place}}) for place, one in enumerate(expectations)]
    batch = _batches(asset).get_batch({"dataframe": frame})
    return batch.validate(
        gx.ExpectationSuite(name=suite, expectations=placed),
        result_format={"result_format": detail, "partial_unexpected_count": 5, "return_unexpected_index_query": False},
    )
