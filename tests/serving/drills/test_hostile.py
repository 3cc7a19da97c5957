"""Malformed, oversized and hostile bodies against a running service: refused in the platform's form, and no harm."""

import json
import os
import pickle
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from tests.serving.drills.conftest import Served, Site

PATHS = ("/recommend", "/recommend/batch", "/feedback")


@pytest.fixture(scope="module")
def served(trained: Site) -> Iterator[Served]:
    with trained.served() as served:
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client:
        yield client


def refused_or_answered(response: httpx.Response) -> int:
    """The status, of an answer or of an error in the platform's form."""
    assert response.status_code < 500, (response.status_code, response.text[:500])
    if response.status_code != 200:
        assert response.json()["error"].keys() == {"code", "subject", "found", "expected", "next"}
        assert len(response.content) < 10_000, "an error does not give back what was sent"
    return response.status_code


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_bodies_by_the_description_and_against_it(client: httpx.Client, path: str, mode: GenerationMode) -> None:
    document = client.get("/openapi.json").json()
    operation = schemathesis.openapi.from_dict(document)[path]["POST"]
    # Feedback on lists that nobody was served waits a second for them.
    examples = 6 if path == "/feedback" and mode is GenerationMode.POSITIVE else 60
    statuses = []

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        sent = case.as_transport_kwargs(base_url=str(client.base_url))
        sent = {name: value for name, value in sent.items() if name in ("method", "url", "json", "data", "headers")}
        if isinstance(sent.get("data"), bytes | str):
            sent["content"] = sent.pop("data")
        statuses.append(refused_or_answered(client.request(**sent)))

    ask()
    assert statuses


def nested(depth: int, opening: str, closing: str) -> bytes:
    return (opening * depth + closing * depth).encode()


def crafted() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Path, body and headers of requests that nobody sends by mistake."""
    whole = {
        "/recommend": {"user_id": "u1", "k": 5, "exclude": ["v1"], "filters": {"longest": 60}},
        "/recommend/batch": {"user_ids": ["u1", "u2"], "k": 5},
        "/feedback": {
            "response_id": "0" * 32,
            "events": [{"event_id": "e", "kind": "click", "item_id": "v1", "at": "2026-01-31T12:00:00Z"}],
        },
    }
    numbers = ["NaN", "-Infinity", "1e999", "-1", "0", "501", "10" * 400, "1.5", "true", '"5"', "[]", "{}", "null"]
    texts = [
        "",
        "\x00",
        "\ud800",
        "😀" * 300,
        "x" * 10**6,
        "../../etc/passwd",
        "'; DROP TABLE responses; --",
        "{{7*7}}",
    ]
    for path, body in whole.items():
        for number in numbers:
            yield path, json.dumps(body).replace('"k": 5', f'"k": {number}').encode(), {}
        for text in texts:
            for field in body:
                yield path, json.dumps({**body, field: text}).encode(), {}
                yield path, json.dumps({**body, field: [text]}).encode(), {}
            yield path, json.dumps({**body, text: 1}).encode(), {}
        for depth in (100, 10_000, 500_000):
            yield path, nested(depth, "[", "]"), {}
            yield path, nested(depth, '{"filters":', "}"), {}
            yield path, b'{"user_id": "u1", "filters": ' + nested(depth, "[", "]") + b"}", {}
        for kind in ("application/vnd.bentoml+pickle", "application/octet-stream", "text/html", "multipart/form-data"):
            yield path, pickle.dumps(Hostile()), {"content-type": kind}
        yield path, json.dumps(body).encode(), {"content-encoding": "gzip", "content-type": "application/json"}
        yield path, b"\xff\xfe" + json.dumps(body).encode("utf-16-le"), {}
        yield path, b'{"user_id": "u1", "user_id": "u2"}', {}
        yield path, b" " * (4 * 2**20) + b"{}", {}
        yield path, json.dumps({**body, "exclude": ["v1"] * 10_001}).encode(), {}
        yield path, b"", {}
        mutant = random.Random(0)
        sound = json.dumps(body).encode()
        for _ in range(300):
            spoilt = bytearray(sound)
            for _ in range(mutant.randint(1, 6)):
                spoilt[mutant.randrange(len(spoilt))] = mutant.randrange(256)
            yield path, bytes(spoilt), {}


class Hostile:
    """A pickle of it makes a directory where it is read."""

    ran = Path("/tmp") / f"backbeat-hostile-{os.getpid()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.ran),)


def test_crafted_bodies_are_refused_and_harm_nothing(client: httpx.Client, served: Served) -> None:
    requests = list(crafted())
    assert len(requests) >= 1_000
    for path, body, headers in requests:
        response = client.post(path, content=body, headers=headers)
        refused_or_answered(response)
    assert not Hostile.ran.exists()
    assert served.ask().status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET",
        b"\x00" * 5_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{",
        b"POST /recommend HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /recommend HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 5_000 + b"\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_what_is_not_http_harms_nobody_else(served: Served, sent: bytes) -> None:
    url = httpx.URL(served.url)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        with suppress(OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
    assert served.ask().status_code == 200
