"""K-means, the same numbers for the same seed on any machine with the same libraries."""

import numpy as np
import numpy.typing as npt

__all__ = ["k_means", "nearest"]

Floats = npt.NDArray[np.float32]

_ROWS = 8192


def k_means(content: Floats, clusters: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Centres of the content, by Lloyd's algorithm from one k-means++ start.

    Args:
        content: ``[n, width]``.
        clusters: Number of centres; at most n are made.
        seed: Of the initial centres.

    Returns:
        Centres ``[k, width]`` and the cluster of each row ``[n]``.
    """
    # Whoever only reads features, or loads a package, is spared loading scikit-learn.
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # Threads would add partial sums in any order, and one seed would no longer mean one result.
    with threadpool_limits(limits=1):
        means = KMeans(n_clusters=min(clusters, len(content)), n_init=1, random_state=seed).fit(content)
    return np.asarray(means.cluster_centers_, np.float32), np.asarray(means.labels_, np.int64)


def nearest(content: Floats, centres: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """The nearest centre of each row, of equally near ones the first.

    Args:
        content: ``[n, width]``.
        centres: ``[k, width]``.

    Returns:
        Number of the centre and the Euclidean distance to it, ``[n]`` each.
    """
    points = centres.astype(np.float64)
    squares = np.square(points).sum(axis=1)
    labels, distances = np.empty(len(content), np.int64), np.empty(len(content), np.float32)
    for start in range(0, len(content), _ROWS):
        part = content[start : start + _ROWS].astype(np.float64)
        chosen = np.argmin(squares - 2 * part @ points.T, axis=1)
        labels[start : start + _ROWS] = chosen
        distances[start : start + _ROWS] = np.sqrt(np.square(part - points[chosen]).sum(axis=1))
    return labels, distances
