import json
import shutil
import socket
import sys
from collections import namedtuple

import pytest

from backbeat import doctor
from backbeat.cli import invoke
from backbeat.doctor import CHECKS, examine
from contracts.home import HOME_FORMAT, Home
from contracts.settings import Settings, load_settings


def outcomes(settings: Settings) -> dict[str, tuple[str, str, str]]:
    return {f.check: (f.outcome, f.found, f.next_step) for f in examine(settings, Home.open(settings))}


def test_a_sound_installation_has_no_fault(settings: Settings, capsys) -> None:
    assert invoke(["doctor", "--json", "--home", str(settings.home)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["faults"] == 0
    assert {f["check"] for f in document["findings"]} == set(CHECKS) - {"database", "data", "packages", "ray"}
    assert not settings.home.exists()


def test_every_fault_says_what_to_do(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["torch>=99", "no-such-library"])
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1))
    usage = namedtuple("usage", "total used free")(10, 9, 1)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    found = outcomes(load_settings(home=settings.home, device="cuda:99"))
    assert found["python"][0] == "fault"
    assert "3.9.1" in found["python"][1]
    assert "no-such-library is missing" in found["libraries"][1]
    assert "not >=99" in found["libraries"][1]
    assert found["device"][0] == "fault"
    assert found["disk"][0] == "warn"
    assert all(next_step for outcome, _, next_step in found.values() if outcome != "ok")


def test_a_home_with_leftovers_of_a_killed_command(settings: Settings, home: Home) -> None:
    with home.writing("test"):
        (home.offline / ".x.1.partial").mkdir(parents=True)
    found = outcomes(settings)
    assert found["home"][:2] == ("ok", f"{home.root} (format {HOME_FORMAT})")
    assert found["leftovers"][0] == "warn"
    assert "database" not in found
    shutil.rmtree(home.offline)
    assert "leftovers" not in outcomes(settings)


def test_a_home_that_is_being_written(settings: Settings, home: Home) -> None:
    with home.writing("backbeat train mf"):
        assert "backbeat train mf" in outcomes(settings)["writer"][1]


def test_a_host_that_has_no_address(settings: Settings) -> None:
    found = outcomes(load_settings(home=settings.home, serve_host="no.such.host.invalid"))
    assert found["port"][0] == "fault"


def test_ipv6_is_an_address_too(settings: Settings) -> None:
    assert outcomes(load_settings(home=settings.home, serve_host="::1"))["port"][0] in ("ok", "warn")


@pytest.mark.parametrize(("address", "port"), [("https://127.0.0.1", 443), ("http://127.0.0.1", 80)])
def test_an_mlflow_server_is_looked_for_at_its_scheme_s_port(settings: Settings, address: str, port: int) -> None:
    found = outcomes(load_settings(home=settings.home, profile="production", mlflow_url=address))
    assert f"127.0.0.1:{port}" in found["mlflow_url"][1]


def test_a_taken_port(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = outcomes(load_settings(home=settings.home, serve_port=other.getsockname()[1]))
    assert found["port"][0] == "warn"


def test_servers_that_are_not_configured_or_do_not_answer(settings: Settings) -> None:
    production = load_settings(
        home=settings.home,
        profile="production",
        redis_url="127.0.0.1:1,db=3",
        database_url="postgresql+psycopg://me@127.0.0.1:1/x",
    )
    found = outcomes(production)
    assert found["redis_url"][0] == found["database"][0] == "fault"
    assert "127.0.0.1:1" in found["redis_url"][1]
    assert "BACKBEAT_MLFLOW_URL is not set" in found["mlflow_url"][1]


@pytest.mark.service
def test_servers_that_answer(settings: Settings) -> None:
    production = load_settings(
        home=settings.home,
        profile="production",
        redis_url="127.0.0.1:6379",
        mlflow_url="postgresql://root@127.0.0.1:5432/test",
        feast_registry_url="postgresql+psycopg://root@127.0.0.1:5432/test",
    )
    found = outcomes(production)
    assert [found[c][0] for c in ("redis_url", "mlflow_url", "feast_registry_url")] == ["ok"] * 3


def test_ray_is_looked_at_where_it_is_configured(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, found, _ = outcomes(settings.model_copy(update={"engine": "ray"}))["ray"]
    assert (outcome, found.split(",")[1]) == ("ok", " a cluster on this machine when one is needed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        there = settings.model_copy(update={"ray_address": address})
        assert outcomes(there)["ray"][1].endswith(f"{address} answers")
    outcome, found, next_step = outcomes(there)["ray"]
    assert outcome == "fault"
    assert found.startswith(f"Ray cluster {address}: ")
    assert "BACKBEAT_RAY_ADDRESS" in next_step
    monkeypatch.setitem(sys.modules, "ray", None)
    assert outcomes(there)["ray"] == ("fault", "Ray: not installed", "pip install 'backbeat[ray]'")
