"""Training on a node of a Ray cluster: the same function, elsewhere.

The node works in the same home, so the home must lie on storage that the nodes reach at the same path. Its databases
are SQLite files, which a network disk does not lock reliably: beyond one machine give the addresses of the production
profile. What the training says appears here, and Ctrl-C ends it there.
"""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout

from contracts.cluster import Resources, cluster_of
from contracts.errors import NotFound
from contracts.home import Home
from contracts.settings import Settings
from training.studies import Study
from training.train import TrainedVersion, train

__all__ = ["train_on_node", "train_on_ray"]


def train_on_ray(
    settings: Settings,
    home: Home,
    model: str,
    overrides: Mapping[str, object] | None = None,
    seed: int = 0,
    force: bool = False,
    service: str | None = None,
    study: Study | None = None,
) -> TrainedVersion:
    """Train on the cluster that the settings name; see :func:`training.train.train`.

    The task takes as many CPUs as the setting ``threads`` says, one if unset, and a GPU where ``device`` asks for
    one. It is not repeated where its node dies.

    Raises:
        NotFound: Ray is not installed, the cluster has no such node, or its nodes do not reach the home.
        ServiceUnavailable: The cluster does not answer, or the node died.
    """
    with cluster_of(settings, speaking=True) as cluster:
        resources = Resources.of(settings, cluster)
        there = settings.model_copy(
            update={"home": home.root, "device": resources.device, "threads": resources.cpus, "engine": "local"}
        )
        arguments = (there, model, dict(overrides or {}), seed, force, service, study)
        return cluster.run(train_on_node, *arguments, resources=resources)


def train_on_node(
    settings: Settings,
    model: str,
    overrides: Mapping[str, object],
    seed: int,
    force: bool,
    service: str | None = None,
    study: Study | None = None,
) -> TrainedVersion:
    """What the task does.

    Raises:
        NotFound: The home is not there on this node.
    """
    home = Home(settings.home)  # which the command has examined
    if not home.exists:
        raise NotFound(
            f"home {home.root} on a node of the cluster",
            found="nothing there",
            expected="the home of the command, at the same path on every node",
            next_step="set BACKBEAT_HOME to a directory on storage that all nodes mount",
        )
    with redirect_stdout(sys.stderr):  # the command's result alone goes to its standard output
        return train(settings, home, model, overrides, seed=seed, force=force, service=service, study=study)
