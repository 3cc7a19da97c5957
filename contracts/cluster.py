"""The Ray cluster that work is sent to, beyond one process and one machine.

What travels between the processes of a cluster is serialised by Ray, inside the cluster and nowhere else; nothing
that was made elsewhere is unpickled. Our own errors come back as data, so that they end a command as they would here.
"""

import _thread
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from contracts.errors import BackbeatError, NotFound, ServiceUnavailable
from contracts.process import prepare_process
from contracts.settings import PREFIX, Settings

__all__ = ["Cluster", "Resources", "cluster_of", "join_cluster", "probe_cluster", "require_ray"]

T = TypeVar("T")
_RETRIES = 3
_PORTS = {"": 6379, "ray": 10001}
"""Scheme of an address → port where it names none."""
_TIMEOUT_S = 5.0
_ENDING_S = 30.0
_LISTEN_S = 0.5


@dataclass(frozen=True)
class Resources:
    """What one task takes of its node."""

    cpus: int = 1
    gpus: int = 0

    @classmethod
    def of(cls, settings: Settings, cluster: "Cluster") -> Self:
        """What settings ask for: ``threads`` CPUs, or one; a GPU for ``cuda``, or for ``auto`` where there is one.

        Raises:
            NotFound: CUDA is asked for and no node has a GPU, or more CPUs than any node has.
        """
        cpus = settings.threads or 1
        if cpus > cluster.largest_cpus:
            raise NotFound(
                f"{cpus} CPUs on one node of the Ray cluster",
                found=f"{cluster.largest_cpus} on the largest",
                expected=f"as many as {PREFIX}THREADS asks for",
                next_step=f"lower {PREFIX}THREADS, or start a larger node",
            )
        wanted = settings.device.startswith("cuda") or (settings.device == "auto" and cluster.gpus > 0)
        if wanted and not cluster.gpus:
            raise NotFound(
                f"device {settings.device!r} on Ray",
                found="no GPU on any node of the cluster",
                expected="a node with one",
                next_step=f"start one, or set {PREFIX}DEVICE to cpu",
            )
        return cls(cpus, int(wanted))

    @property
    def device(self) -> str:
        """The torch device inside the task, to which Ray shows its own GPUs alone."""
        return "cuda" if self.gpus else "cpu"


class Cluster:
    """A cluster this process has joined.

    Args:
        ray: The library.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        found = ray.cluster_resources()
        self.cpus = int(found.get("CPU", 1))
        self.gpus = int(found.get("GPU", 0))
        nodes = (node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        self.largest_cpus = int(max(nodes, default=0))

    def share(self, value: Any) -> Any:
        """Place a value in the cluster once; tasks that get the handle as an argument see the value."""
        return self._ray.put(value)

    def run(self, function: Callable[..., T], *arguments: Any, resources: Resources | None = None) -> T:
        """Run a function once, on some node; it is not repeated where its worker dies.

        Args:
            function: Of a module that the nodes can import.
            arguments: For it.
            resources: What it takes; one CPU if None.

        Raises:
            BackbeatError: What the function raised.
            ServiceUnavailable: Its worker died.
            KeyboardInterrupt: The user interrupted it; the task has been interrupted likewise.
        """
        ray, asked = self._ray, resources or Resources()
        bell = ray.remote(_Bell).options(num_cpus=0).remote()
        task = ray.remote(_interruptible).options(
            num_cpus=asked.cpus, num_gpus=asked.gpus, max_retries=0, name=_name(function)
        )
        handle = task.remote(bell, function, *arguments)
        try:
            answer: T = self._get(handle)
        except (KeyboardInterrupt, SystemExit):
            ray.get(bell.ring.remote())
            ray.wait([handle], timeout=_ENDING_S, fetch_local=False)
            raise
        return answer

    def each(
        self,
        function: Callable[..., T],
        arguments: Iterable[tuple[Any, ...]],
        *,
        resources: Resources | None = None,
        in_flight: int | None = None,
        retries: int = _RETRIES,
    ) -> Iterator[T]:
        """Run a function on each tuple of arguments; the answers come in the order of the arguments.

        Arguments are drawn, and answers held, only for the tasks in flight. Whoever stops iterating waits for those;
        an interruption does not, for leaving the cluster ends them.

        Args:
            function: Of a module that the nodes can import; repeating it must do no harm.
            arguments: For each task.
            resources: What a task takes; one CPU if None.
            in_flight: Tasks at once; twice as many as can run if None.
            retries: How often a task whose worker dies is started again.

        Raises:
            BackbeatError: What the function raised.
            ServiceUnavailable: A worker died more often than that.
        """
        asked = resources or Resources()
        task = self._ray.remote(_answer).options(
            num_cpus=asked.cpus, num_gpus=asked.gpus, max_retries=retries, name=_name(function)
        )
        room = in_flight or 2 * max((self.gpus if asked.gpus else self.cpus) // max(asked.gpus or asked.cpus, 1), 1)
        left = iter(arguments)
        waiting = deque(task.remote(function, *each) for each in islice(left, room))
        try:
            while waiting:
                answer = self._get(waiting[0])
                waiting.popleft()
                yield answer
                del answer  # or two answers are held at a time
                waiting.extend(task.remote(function, *each) for each in islice(left, 1))
        except (KeyboardInterrupt, SystemExit):
            waiting.clear()
            raise
        finally:
            # Not ray.cancel: where it meets a task that is just ending, Ray 2.60 aborts this process (ray #54527).
            if waiting and self._ray.is_initialized():
                self._ray.wait(list(waiting), num_returns=len(waiting), timeout=_ENDING_S, fetch_local=False)

    def _get(self, handle: Any) -> Any:
        exceptions = self._ray.exceptions
        try:
            error, value = self._ray.get(handle)
        except (
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
        ) as lost:
            raise ServiceUnavailable(
                "Ray cluster",
                found=f"{type(lost).__name__}: {str(lost).strip().splitlines()[0]}",
                expected="workers that stay alive",
                next_step="look at the memory of the nodes and at Ray's logs, then run the same command again",
            ) from None
        if error is not None:
            raise _restored(*error)
        return value


@contextmanager
def cluster_of(settings: Settings, *, speaking: bool = False) -> Iterator[Cluster]:
    """The cluster that the settings name, or one on this machine; left at the end unless it had been joined before.

    Args:
        settings: Name its address.
        speaking: Show what workers print, on the streams of this process.

    Raises:
        NotFound: Ray is not installed.
        ServiceUnavailable: Nothing answers at the address.
    """
    ray = _library()
    joined = ray.is_initialized()
    try:
        yield join_cluster(settings.ray_address, speaking=speaking)
    finally:
        if not joined:
            ray.shutdown()


def join_cluster(address: str | None, *, speaking: bool = False) -> Cluster:
    """Join a cluster for the rest of the process, starting one on this machine if None; repeating it does nothing.

    Args:
        address: ``host:port``, or ``ray://host:port``.
        speaking: As in :func:`cluster_of`.

    Raises:
        NotFound: Ray is not installed.
        ServiceUnavailable: Nothing answers at the address.
    """
    ray = _library()
    if not ray.is_initialized():
        if address is not None:
            probe_cluster(address)
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=speaking,
                logging_level="ERROR",
            )
        except (ConnectionError, RuntimeError, TimeoutError) as error:
            raise _silent(address or "on this machine", str(error)) from None
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts one there that aborts
    return Cluster(ray)


def probe_cluster(address: str) -> None:
    """Whether something listens at a cluster's address, in seconds; Ray itself would try for a minute.

    Raises:
        ServiceUnavailable: Nothing does.
    """
    target = urlsplit(address if "://" in address else f"//{address}")
    port = target.port or _PORTS.get(target.scheme, _PORTS[""])
    try:
        socket.create_connection((target.hostname or address, port), timeout=_TIMEOUT_S).close()
    except OSError as error:
        raise _silent(address, str(error)) from None


def require_ray() -> str:
    """The version of Ray.

    Raises:
        NotFound: It is not installed.
    """
    return str(_library().__version__)


def _library() -> Any:
    try:
        import ray
    except ImportError:
        raise NotFound(
            "Ray",
            found="not installed",
            expected="the extra `ray`, which work beyond one machine needs",
            next_step="pip install 'backbeat[ray]'",
        ) from None
    return ray


def _silent(address: str, found: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Ray cluster {address}",
        found=found.strip().splitlines()[0] if found.strip() else "no answer",
        expected="a cluster that answers, with the Ray and Python versions of this machine",
        next_step=f"start it with `ray start --head`, correct {PREFIX}RAY_ADDRESS, export RAY_AUTH_MODE=token where "
        "the cluster wants its token, or unset the address for a cluster on this machine",
    )


def _answer(function: Callable[..., T], *arguments: Any) -> tuple[tuple[Any, ...] | None, T | None]:
    """What a task returns: our own error as data, or the value."""
    prepare_process()
    try:
        return None, function(*arguments)
    except BackbeatError as error:
        return (type(error), error.subject, error.found, error.expected, error.next_step), None


def _name(function: Callable[..., Any]) -> str:
    """What Ray calls a task in its logs."""
    return str(getattr(function, "__name__", "task"))


class _Bell:
    """An actor that tells a task when its caller was interrupted."""

    def __init__(self) -> None:
        self._rung = False

    def ring(self) -> None:
        self._rung = True

    def is_rung(self) -> bool:
        return self._rung


def _interruptible(bell: Any, function: Callable[..., T], *arguments: Any) -> tuple[tuple[Any, ...] | None, T | None]:
    """As :func:`_answer`; a KeyboardInterrupt is raised in the function when the bell rings."""
    ray, ended = _library(), threading.Event()

    def listen() -> None:
        while not ended.wait(_LISTEN_S):
            if ray.get(bell.is_rung.remote()):
                _thread.interrupt_main()
                return

    threading.Thread(target=listen, daemon=True).start()
    try:
        return _answer(function, *arguments)
    except KeyboardInterrupt:
        return None, None  # nobody is interested any more
    finally:
        ended.set()


def _restored(kind: type[BackbeatError], subject: str, found: str, expected: str, next_step: str) -> BackbeatError:
    error = kind.__new__(kind)
    BackbeatError.__init__(error, subject, found=found, expected=expected, next_step=next_step)
    return error
