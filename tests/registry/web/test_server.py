"""Who may be reached by whom, and the running server."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from contracts.actor import current_actor
from contracts.database import Database
from contracts.errors import BadInput
from contracts.home import Home
from contracts.jobs import JobState, find_job
from contracts.materializing import materialization_parameters, order_materialization
from contracts.settings import environment_of_child, load_settings
from registry.web.people import add_user
from registry.web.server import owner_of, run_ui
from tests.registry.web.conftest import PASSWORD


@pytest.fixture
def made(home: Home) -> Home:
    with home.writing("test"):
        pass
    return home


def test_alone_on_this_machine_the_owner_needs_no_account(made: Home) -> None:
    assert owner_of(load_settings(home=made.root), made) == current_actor()


@pytest.mark.parametrize(
    ("options", "found"),
    [({"ui_host": "0.0.0.0"}, "address 0.0.0.0"), ({"profile": "production"}, "the production profile")],
)
def test_where_others_reach_it_there_must_be_accounts(made: Home, options: dict[str, str], found: str) -> None:
    if "profile" in options:
        options = {**options, "database_url": f"sqlite:///{made.platform_database}"}
    settings = load_settings(home=made.root, **options)
    with pytest.raises(BadInput, match=rf"{found}, which others reach, and no account.*backbeat users add"):
        owner_of(settings, made)
    named = {**options, "ui_url": "https://registry.example.org"}
    assert owner_of(load_settings(home=made.root, oidc_issuer="https://login.example.org", **named), made) is None
    database = Database(settings, made)
    add_user(database, "ada", "admin", PASSWORD, "test")
    database.close()
    assert owner_of(load_settings(home=made.root, **named), made) is None
    if "ui_host" in options:
        with pytest.raises(BadInput, match=r"no name.*BACKBEAT_UI_URL"):
            owner_of(settings, made)


def test_a_provider_s_settings_are_read_at_the_start(made: Home) -> None:
    for fault in ({"oidc_issuer": "http://login.example.org"}, {"oidc_issuer": "https://l.org", "oidc_roles": "a=b"}):
        with pytest.raises(BadInput, match="setting BACKBEAT_OIDC"):
            owner_of(load_settings(home=made.root, **fault), made)


def test_a_taken_port_is_said_before_anything_starts(made: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=rf"address 127.0.0.1:{port}.*Address already in use.*backbeat ui --port"):
            run_ui(load_settings(home=made.root, ui_port=port), made, False, lambda *_: pytest.fail("announced"))


def test_the_command_serves_works_and_stops(made: Home, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = load_settings(home=made.root, ui_port=port)
    database = Database(settings, made)
    # A job that cannot succeed, so that the worker is seen to have tried.
    job = order_materialization(database, "no-such-snapshot", ["v"], materialization_parameters())
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "backbeat", "ui", "--json"],
        env=environment_of_child(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    told = json.loads("".join(iter(lambda: server.stdout.readline().rstrip() or "}", "}")) + "}")  # type: ignore[union-attr]
    try:
        assert told["url"] == f"http://127.0.0.1:{port}"
        answer = httpx.get(told["link"], trust_env=False)
        assert (answer.status_code, "Enter as" in answer.text) == (200, True)
        assert "server" not in answer.headers
        until = time.monotonic() + 60
        while find_job(database, job).state in (JobState.QUEUED, JobState.RUNNING) and time.monotonic() < until:
            time.sleep(0.2)
        assert find_job(database, job).state == JobState.FAILED
    finally:
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=60)
        database.close()
    assert server.returncode == 0, said
    assert said.splitlines()[-1] == "stopped"
    assert told["link"].partition("token=")[2] not in said
