"""Checks of the installation, the home and the configured services, each with what to do about a fault."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from contracts.database import Database
from contracts.errors import BackbeatError
from contracts.home import HOME_FORMAT, Home
from contracts.settings import PREFIX, Settings
from contracts.surfaces import SURFACES

__all__ = ["CHECKS", "Finding", "examine"]

_LOW_DISK_BYTES = 2 * 2**30
_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Finding:
    """What one look showed."""

    check: str
    outcome: Literal["ok", "warn", "fault"]
    found: str
    next_step: str = ""

    def as_dict(self) -> dict[str, str]:
        """The JSON form."""
        return asdict(self)


def check_python(settings: Settings, home: Home) -> Iterator[Finding]:
    """The interpreter is one the pinned libraries run on."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == (3, 11):
        yield Finding("python", "ok", found)
    else:
        yield Finding("python", "fault", f"{found}, not 3.11", "make install PYTHON=/path/to/python3.11")


def check_libraries(settings: Settings, home: Home) -> Iterator[Finding]:
    """Every dependency is installed, in a version that pyproject.toml allows."""
    wrong = []
    needed = [Requirement(line) for line in requires("backbeat") or []]
    needed = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found.split("+")[0], prereleases=True):
            wrong.append(f"{requirement.name} is {found}, not {requirement.specifier}")
    if wrong:
        yield Finding("libraries", "fault", "; ".join(wrong), "make clean install")
    else:
        yield Finding("libraries", "ok", f"{len(needed)} dependencies in allowed versions")


def check_device(settings: Settings, home: Home) -> Iterator[Finding]:
    """The torch device that the settings ask for is there."""
    import torch

    from feature_repo.encoders.device import resolve_device

    try:
        device = resolve_device(settings.device)
    except BackbeatError as error:
        yield Finding("device", "fault", error.found, error.next_step)
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    yield Finding("device", "ok", f"{device} ({name})")


def check_home(settings: Settings, home: Home) -> Iterator[Finding]:
    """The home can be read and written, and what is in it fits this version."""
    if not home.exists:
        yield Finding("home", "warn", f"{home.root} does not exist yet", "backbeat demo")
        return
    if os.access(home.root, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("home", "ok", f"{home.root} (format {HOME_FORMAT})")
    else:
        yield Finding("home", "fault", f"{home.root} cannot be written", f"chown -R $(id -un) {home.root}")
    if (writer := home.writer()) is not None:
        yield Finding("writer", "warn", writer, "wait until it has ended before you run a command that writes")
    leftovers = [str(path.relative_to(home.root)) for path in home.root.rglob("*.partial")]
    if leftovers:
        yield Finding(
            "leftovers",
            "warn",
            f"{len(leftovers)} unfinished files of a command that was killed, e.g. {leftovers[0]}",
            f"find {home.root} -name '*.partial' -prune -exec rm -r {{}} +",
        )


def check_disk(settings: Settings, home: Home) -> Iterator[Finding]:
    """There is room for packages and indexes."""
    place = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 2**30:,.1f} GiB free at {place}"
    if free < _LOW_DISK_BYTES:
        yield Finding("disk", "warn", found, f"free some space, or set {PREFIX}HOME to another disk")
    else:
        yield Finding("disk", "ok", found)


def check_database(settings: Settings, home: Home) -> Iterator[Finding]:
    """The platform's tables answer and have this version's schema."""
    if settings.profile == "local" and not home.platform_database.exists():
        return
    try:
        database = Database(settings, home)
        address = database.engine.url.render_as_string(hide_password=True)
        database.close()
    except BackbeatError as error:
        yield Finding("database", "fault", f"{error.subject}: {error.found}", error.next_step)
    else:
        yield Finding("database", "ok", address)


_PORTS = {"": 6379, "redis": 6379, "http": 80, "https": 443}
"""Scheme of an address → port where it names none; databases are Postgres."""


def _reachable(check: str, address: str) -> Finding:
    # Feast writes Redis as host:port,option=…; the others are URLs.
    target = urlsplit(address if "://" in address else f"//{address.split(',')[0]}")
    host, port = target.hostname or "127.0.0.1", target.port or _PORTS.get(target.scheme, 5432)
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_S).close()
    except OSError as error:
        return Finding(check, "fault", f"{host}:{port}: {error}", f"start it, or correct {PREFIX}{check.upper()}")
    return Finding(check, "ok", f"{host}:{port} answers")


def check_data(settings: Settings, home: Home) -> Iterator[Finding]:
    """The current snapshot has all its tables."""
    if not home.exists:
        return
    from feature_repo.offline import current_snapshot, snapshot_directory

    try:
        snapshot = current_snapshot(home)
    except BackbeatError as error:
        yield Finding("data", "warn", f"{error.subject}: {error.found}", error.next_step)
        return
    directory = snapshot_directory(home, snapshot.id)
    lost = [name for name in snapshot.tables if not (directory / f"{name}.parquet").is_file()]
    if lost:
        yield Finding("data", "fault", f"snapshot {snapshot.id} lost {', '.join(lost)}", "ingest the data again")
    else:
        yield Finding("data", "ok", f"snapshot {snapshot.id} ({snapshot.dataset}), {len(snapshot.tables)} tables")


def check_packages(settings: Settings, home: Home) -> Iterator[Finding]:
    """The packages of the versions that hold an alias are there and as sealed."""
    if settings.profile != "local" or not home.mlflow_database.exists():
        return  # a server that does not answer would keep MLflow trying for minutes
    from contracts.manifest import verify
    from registry.store import ModelStore

    store = ModelStore(settings, home)
    for surface in SURFACES:
        try:
            for version in store.versions(surface):
                for alias in version.aliases:
                    verify(store.package_path(version))
                    yield Finding(alias, "ok", f"{surface} version {version.version} ({version.model})")
        except BackbeatError as error:
            yield Finding("packages", "fault", f"{error.subject}: {error.found}", error.next_step)


def check_services(settings: Settings, home: Home) -> Iterator[Finding]:
    """The servers that the production profile names can be reached."""
    if settings.profile == "local":
        yield Finding("services", "ok", "none needed in the local profile")
        return
    for field in ("redis_url", "feast_registry_url", "mlflow_url"):
        value = getattr(settings, field)
        if value is None:
            name = PREFIX + field.upper()
            yield Finding(field, "fault", f"{name} is not set", f"export {name}=…, or unset {PREFIX}PROFILE")
        else:
            yield _reachable(field, value.get_secret_value())


def check_ray(settings: Settings, home: Home) -> Iterator[Finding]:
    """Ray is installed, and its cluster answers where the settings name one."""
    if settings.ray_address is None and settings.engine == "local":
        return
    from contracts.cluster import probe_cluster, require_ray

    try:
        found = f"Ray {require_ray()}"
        if settings.ray_address is None:
            found += ", a cluster on this machine when one is needed"
        else:
            probe_cluster(settings.ray_address)
            found += f", {settings.ray_address} answers"
    except BackbeatError as error:
        yield Finding("ray", "fault", f"{error.subject}: {error.found}", error.next_step)
    else:
        yield Finding("ray", "ok", found)


def check_port(settings: Settings, home: Home) -> Iterator[Finding]:
    """Nothing listens yet where the service would."""
    address = f"{settings.serve_host}:{settings.serve_port}"
    try:
        socket.create_connection((settings.serve_host, settings.serve_port), timeout=_TIMEOUT_S).close()
    except socket.gaierror as error:
        yield Finding("port", "fault", f"{address}: {error.strerror}", f"correct {PREFIX}SERVE_HOST")
    except OSError:
        yield Finding("port", "ok", f"{address} is free")
    else:
        yield Finding("port", "warn", f"{address} is in use", "backbeat serve --port with another number")


CHECKS: dict[str, Callable[[Settings, Home], Iterator[Finding]]] = {
    "python": check_python,
    "libraries": check_libraries,
    "device": check_device,
    "home": check_home,
    "disk": check_disk,
    "database": check_database,
    "data": check_data,
    "packages": check_packages,
    "services": check_services,
    "ray": check_ray,
    "port": check_port,
}
"""All checks, in the order they are shown."""


def examine(settings: Settings, home: Home) -> list[Finding]:
    """Run every check."""
    return [finding for check in CHECKS.values() for finding in check(settings, home)]
