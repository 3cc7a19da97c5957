from collections.abc import Callable
from dataclasses import replace

import pytest

from contracts.errors import BadInput, NotFound
from training.experiments.catalogue import TABLES
from training.experiments.lookup import asked_study, known_table
from training.experiments.tables import Row, Table
from training.protocols import FULL_20
from training.splits import HoldOutShare, LeaveOneOut
from training.studies import Study

FEW, MANY = Study(LeaveOneOut(), FULL_20), Study(HoldOutShare(), FULL_20)


def test_an_unknown_table_is_told_the_nearest(table: Table) -> None:
    assert known_table("small", {"small": table}) is table
    with pytest.raises(NotFound, match=r"experiment 'smal': .*expected 'small'"):
        known_table("smal", {"small": table})


def test_a_model_is_judged_as_its_row_is(with_rows: Callable[..., Table]) -> None:
    tables = {"small": with_rows(Row("MF", "mf", study=FEW), Row("MF on lists", "mf-logit", service="listens_v1"))}
    assert asked_study("small", "mf", tables)[1:] == (None, FEW)
    assert asked_study("small", "mf-logit", tables)[1:] == ("listens_v1", tables["small"].study)


def test_a_model_without_a_row_is_judged_as_all_are(table: Table) -> None:
    tables = {"small": replace(table, service="interactions_v1")}
    assert asked_study("small", "nais", tables)[1:] == ("interactions_v1", table.study)


def test_groups_that_are_judged_in_several_ways_are_named(with_rows: Callable[..., Table]) -> None:
    rows = [Row("MF", "mf", study=study, group=group) for group, study in (("few ones", FEW), ("many", MANY))]
    tables = {"small": with_rows(*rows)}
    assert asked_study("small/many", "mf", tables).study == MANY
    with pytest.raises(BadInput, match="study 'small': found 2 ways to judge mf; expected small/GROUP with one of few"):
        asked_study("small", "mf", tables)
    with pytest.raises(NotFound, match=r"group of small 'mane': .*expected 'many'"):
        asked_study("small/mane", "mf", tables)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_be_asked_for(name: str) -> None:
    for row in TABLES[name].rows:
        if row.model is not None:
            asked = asked_study(f"{name}/{row.group}".rstrip("/"), row.model, TABLES)
            assert asked.study == (row.study or TABLES[name].study)
