from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from contracts.database import Database
from contracts.errors import BadInput, Conflict, ServiceUnavailable
from contracts.home import Home
from contracts.settings import Settings, load_settings
from training.tuning.store import open_study

FACTS = {"model": "mf", "seed": 0}


def test_what_is_no_database_of_tunings_is_refused(settings: Settings, home: Home) -> None:
    with home.writing("tests"):
        home.tuning_database.write_bytes(b"no database " * 500)
    with pytest.raises(
        BadInput, match=r"database of tunings sqlite.*tuning\.db: found .*not a database; expected tables"
    ):
        with open_study(settings, home, "name", FACTS):
            pass


def test_trials_and_facts_are_kept(settings: Settings, home: Home) -> None:
    with home.writing("tests"):
        with open_study(settings, home, "name", FACTS) as study:
            study.add_trial(_trial())
        with open_study(settings, home, "name", {"seed": 0, "model": "mf"}) as study:
            assert [trial.value for trial in study.trials] == [0.5]
        with pytest.raises(Conflict, match=r'found trials with model "mf", width null; expected .* model "x", width 2'):
            with open_study(settings, home, "name", {"model": "x", "seed": 0, "width": 2}):
                pass


def _trial() -> object:
    import optuna

    return optuna.trial.create_trial(value=0.5)


@pytest.mark.service
def test_production_has_them_beside_the_platforms_tables_one_process_at_a_time(
    home: Home, new_postgres: Callable[[], AbstractContextManager[str]]
) -> None:
    with new_postgres() as url:
        settings = load_settings(home=home.root, profile="production", database_url=url)
        database = Database(settings, home)
        with database.session():
            pass
        with open_study(settings, home, "name", FACTS) as study:
            study.add_trial(_trial())
            with pytest.raises(Conflict, match="tuning 'name': found another process that works on it; expected one"):
                with open_study(settings, home, "name", FACTS):
                    pass
            with open_study(settings, home, "other", FACTS) as other:
                assert other.trials == []
        with open_study(settings, home, "name", FACTS) as study:
            assert len(study.trials) == 1
        with database.session():
            pass
        database.close()
    assert not home.tuning_database.exists()


def test_a_server_that_does_not_answer_is_named(home: Home) -> None:
    pytest.importorskip("psycopg")
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/platform"
    settings = load_settings(home=home.root, profile="production", database_url=url)
    with pytest.raises(ServiceUnavailable, match="BACKBEAT_DATABASE_URL"):
        with open_study(settings, home, "name", FACTS):
            pass
