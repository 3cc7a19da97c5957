"""Feast's registry in a file: whole or absent, and what a damaged one says."""

import os
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import BadInput
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.quiet import quietly
from feature_repo.store import applied_definitions, open_store
from feature_repo.stores.registry import REGISTRY_STORE_TYPE, WholeFileRegistryStore

with quietly():
    from feast import Project

SNAPSHOT = "0123456789ab"


@pytest.fixture
def store(settings: Settings, home: Home) -> Any:
    """A store of the local profile, with a project applied."""
    store = open_store(settings, home, SNAPSHOT)
    store.registry.apply_project(Project(name=store.project, tags={"backbeat.definitions": "d1"}))
    return store


def test_the_local_profile_uses_it(store: Any) -> None:
    inner = store.registry._registry_store
    assert isinstance(inner, WholeFileRegistryStore)
    assert f"{WholeFileRegistryStore.__module__}.{WholeFileRegistryStore.__qualname__}" == REGISTRY_STORE_TYPE
    assert applied_definitions(store) == "d1"


def test_a_reader_during_a_write_finds_the_registry_as_it_was(
    settings: Settings, home: Home, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment before the new file is in place, and where the writer is killed then."""
    sync, found = os.fsync, []

    def killed(descriptor: int) -> None:
        sync(descriptor)
        found.append(applied_definitions(open_store(settings, home, SNAPSHOT)))
        raise KeyboardInterrupt

    path = home.feast / "registry.pb"
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("contracts.files.os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            store.registry.apply_project(Project(name=store.project, tags={"backbeat.definitions": "d2"}))
    assert found == ["d1"]
    assert path.read_bytes() == before
    assert [each.name for each in home.feast.glob("*registry*")] == ["registry.pb"]
    store.refresh_registry()
    store.registry.apply_project(Project(name=store.project, tags={"backbeat.definitions": "d3"}))
    assert applied_definitions(open_store(settings, home, SNAPSHOT)) == "d3"


@pytest.mark.parametrize(("content", "found"), [(b"", "0 bytes without a version"), (b"\x0a", "1 bytes that are no")])
def test_a_damaged_registry_says_what_to_do(
    settings: Settings, home: Home, store: Any, content: bytes, found: str
) -> None:
    path: Path = home.feast / "registry.pb"
    half = path.read_bytes()[: path.stat().st_size // 2]
    for damaged, told in ((content, found), (half, "bytes")):
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match=rf"Feast's registry .*registry\.pb: found .*{told}.*`mv .*features apply`"):
            open_store(settings, home, SNAPSHOT)
    path.rename(path.with_suffix(".damaged"))
    assert applied_definitions(open_store(settings, home, SNAPSHOT)) is None
