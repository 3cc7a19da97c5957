"""What a server needs before it starts, how it reports a fault, and that nothing outlives its parent."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contracts.errors import BadInput, Conflict, GateRefused, NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.settings import Settings, environment_of_child, load_settings
from serving.faults import report_fault, take_fault
from serving.server import Server, announced, free_port, running_server


def test_a_fault_travels_as_it_was(home: Home) -> None:
    report_fault(home, 7, NotFound("champion", found="none", expected="one", next_step="promote"))
    assert take_fault(home, 8) is None
    fault = take_fault(home, 7)
    assert type(fault) is NotFound
    assert str(fault) == "champion: found none; expected one. Next: promote"
    assert take_fault(home, 7) is None


def test_every_kind_of_error_comes_back_as_its_kind(home: Home) -> None:
    for kind in (BadInput, Conflict, GateRefused, ServiceUnavailable):
        report_fault(home, 7, kind("s", found="f", expected="e", next_step="n"))
        assert type(take_fault(home, 7)) is kind


def test_a_bug_travels_as_a_service_that_does_not_start(home: Home) -> None:
    report_fault(home, 7, ZeroDivisionError("division by zero"))
    fault = take_fault(home, 7)
    assert type(fault) is ServiceUnavailable
    assert "ZeroDivisionError: division by zero" in str(fault)
    assert "serve.log" in str(fault)


def test_a_host_must_be_an_address(settings: Settings, home: Home) -> None:
    with pytest.raises(BadInput, match=r"host 'nowhere': found not an IP address.*--host"):
        Server(settings, home, "nowhere", 3000)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3000"),
        ("localhost", "http://127.0.0.1:3000"),
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("::1", "http://[::1]:3000"),
    ],
)
def test_the_address_to_call(settings: Settings, home: Home, host: str, url: str) -> None:
    assert Server(settings, home, host, 3000).url == url


def test_a_taken_port_is_refused_at_once(settings: Settings, home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Conflict, match=rf"127.0.0.1:{port}.*already in use.*another --host or --port"):
            Server(settings, home, "127.0.0.1", port).start()
    assert not home.root.exists()


def test_a_record_of_a_server_that_is_gone_is_no_server(home: Home) -> None:
    assert running_server(home) is None
    home.logs.mkdir(parents=True)
    (home.logs / "serving.0123.json").write_text(f'{{"url": "http://127.0.0.1:{free_port()}"}}')
    assert running_server(home) is None


def program(tmp_path: Path, body: str) -> str:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_child_that_ends_while_starting(
    settings: Settings, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.server.sys.executable", program(tmp_path, "echo cannot; exit 3"))
    server = Server(settings, home, "127.0.0.1", free_port())
    with pytest.raises(ServiceUnavailable, match=r"ended with code 3 while starting.*read .*serve.log"):
        server.start()
    assert server.log.read_text() == "cannot\n"


def test_a_child_that_never_answers_is_ended(
    settings: Settings, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.server._START_LIMIT_S", 0.5)
    monkeypatch.setattr("serving.server._STOP_LIMIT_S", 0.5)
    pid = tmp_path / "pid"
    # It ignores the polite request too.
    body = f"trap '' TERM; echo $$ > {pid}; while :; do sleep 0.1; done"
    monkeypatch.setattr("serving.server.sys.executable", program(tmp_path, body))
    with pytest.raises(ServiceUnavailable, match="no answer within 0 s"):
        Server(settings, home, "127.0.0.1", free_port()).start()
    assert ended(int(pid.read_text()), within_s=1.0)


def test_the_supervisor_does_not_start_for_a_parent_that_is_gone() -> None:
    command = [sys.executable, "-m", "serving.host", "127.0.0.1", str(free_port()), "999999999"]
    assert subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == -signal.SIGTERM


def test_the_announcement_is_there_for_the_length_of_the_block(home: Home) -> None:
    with announced(home, "http://127.0.0.1:1"):
        assert len(list(home.logs.glob("serving.*.json"))) == 1
        with announced(home, "http://127.0.0.1:2"):
            assert len(list(home.logs.glob("serving.*.json"))) == 2
        (kept,) = home.logs.glob("serving.*.json")
        assert "127.0.0.1:1" in kept.read_text()
    assert not list(home.logs.glob("serving.*.json"))


def test_a_process_follows_its_parent(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    child = "import os, time; from serving.lifeline import end_with_parent; end_with_parent(os.getppid()); "
    child += f"open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    process = subprocess.Popen([sys.executable, "-c", parent])
    while not (pids.exists() and pids.read_text()):
        time.sleep(0.02)
    pid = int(pids.read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert ended(pid, within_s=10.0)


def ended(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_a_child_reads_the_same_settings(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home", threads=1, database_url="postgresql://user:secret@host/db")
    script = "from contracts.settings import load_settings; print(load_settings().model_dump_json())"
    child = subprocess.run(
        [sys.executable, "-c", script], env=environment_of_child(settings), capture_output=True, check=True, text=True
    )
    assert Settings.model_validate_json(child.stdout).model_dump(exclude={"database_url"}) == settings.model_dump(
        exclude={"database_url"}
    )
    assert environment_of_child(settings)["BACKBEAT_DATABASE_URL"].endswith("secret@host/db")
