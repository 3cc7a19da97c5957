"""A graph of a million item vectors beside looking at all of them: how many of the best it finds, and how quickly.

Run: ``python benchmarks/index.py [--json] [--items 1000000] [--queries 500] [--keep DIRECTORY] [--only decaying]``.

Three catalogues of 128 components. ``clustered``: items scatter around 2,000 centres, users around mixtures of three of
them, as embeddings of content do. ``decaying``: the n-th principal component has 1 / sqrt(n) of the first one's
deviation; of MF, LightGCN, FISM, VBPR and M3CSR trained on TikTok the 4th has 0.40 to 0.56, the 16th 0.24 to 0.29 and
the 64th 0.05 to 0.14. ``normal``: every component of everything is drawn by itself; nothing is near anything else, so
that a graph has no paths to follow: the worst case, which no trained model comes near. The rival is the exact index
that smaller catalogues are served with, asked for one user at a time, as single requests ask, on as many threads.
Building takes minutes; ``--keep`` keeps graphs and takes those it finds there.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
sys.path.append(str(Path(__file__).resolve().parent))

import numpy as np  # noqa: E402
from _measure import Result, report  # noqa: E402

WIDTH, K, CENTRES, ASKED = 128, 20, 2_000, 64
CATALOGUES = ("clustered", "decaying", "normal")
LEAST_RECALL, LEAST_TIMES = 0.98, 5.0


def clustered(items: int, users: int) -> tuple[Any, Any]:
    """Item vectors ``[items, 128]`` and user vectors ``[users, 128]`` that have something in common."""
    drawn = np.random.default_rng(0)
    centres = drawn.normal(size=(CENTRES, WIDTH)).astype(np.float32)
    noise = drawn.normal(scale=0.5, size=(items, WIDTH)).astype(np.float32)
    tastes = centres[drawn.integers(0, CENTRES, (users, 3))]
    weights = drawn.dirichlet(np.ones(3), users).astype(np.float32)
    mixed = (tastes * weights[:, :, None]).sum(1)
    about = drawn.normal(scale=0.2, size=(users, WIDTH)).astype(np.float32)
    return centres[drawn.integers(0, CENTRES, items)] + noise, mixed + about


def decaying(items: int, users: int) -> tuple[Any, Any]:
    """The same shapes, of few directions that matter and many that hardly do."""
    drawn = np.random.default_rng(0)
    directions = np.linalg.qr(drawn.normal(size=(WIDTH, WIDTH)))[0] / np.sqrt(np.arange(1, WIDTH + 1))[:, None]
    return tuple((drawn.normal(size=(rows, WIDTH)) @ directions).astype(np.float32) for rows in (items, users))


def normal(items: int, users: int) -> tuple[Any, Any]:
    """The same shapes, of nothing but chance."""
    drawn = np.random.default_rng(0)
    return tuple(drawn.normal(size=(rows, WIDTH)).astype(np.float32) for rows in (items, users))


def seconds_each(search: Callable[[Any], Any], users: Any) -> float:
    """Median over five parts of the users."""
    taken = []
    for part in np.array_split(users, 5):
        began = time.perf_counter()
        for user in part:
            search(user)
        taken.append((time.perf_counter() - began) / len(part))
    return float(np.median(taken))


def results(items: int, queries: int, keep: Path | None, only: Sequence[str]) -> Iterator[Result]:
    """Recall and throughput of the catalogues."""
    from training.hnsw import HnswIndex
    from training.retrieval import ExactIndex

    draws = {"clustered": clustered, "decaying": decaying, "normal": normal}
    for name in only:
        vectors, users = draws[name](items, queries + ASKED)
        path = None if keep is None else keep / f"{name}-{items}.faiss"
        began = time.perf_counter()
        graph = HnswIndex.load(path) if path is not None and path.exists() else HnswIndex(vectors)
        built_s = time.perf_counter() - began
        if path is not None and not path.exists():
            graph.save(path)
        graph.widen(users[queries:], K, LEAST_RECALL)  # as training does
        users = users[:queries]
        exact = ExactIndex(vectors)
        wanted = [set(rows.tolist()) for rows, _ in exact.search_all(users, K, [()] * len(users))]
        found = [set(graph.search(user, K)[0].tolist()) for user in users]
        recall = float(np.mean([len(mine & all_of) / K for mine, all_of in zip(found, wanted, strict=True)]))
        rates = [1 / seconds_each(lambda user, index=index: index.search(user, K), users) for index in (graph, exact)]  # type: ignore[misc]
        what = f"{items:,} {name} items x {WIDTH}, k = {K}"
        yield Result(
            f"recall of the graph, {what}, built or read in {built_s:.0f} s, breadth {graph.breadth}",
            recall,
            "",
            "exact",
            1.0,
            f"at least {LEAST_RECALL}",
            recall >= LEAST_RECALL,
        )
        yield Result(
            f"requests of the graph, {what}",
            rates[0],
            "1/s",
            "exact, one at a time",
            rates[1],
            f"at least {LEAST_TIMES:g} times",
            rates[0] >= LEAST_TIMES * rates[1],
        )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", nargs="+", default=CATALOGUES, choices=CATALOGUES)
    options = parser.parse_args()
    report(list(results(options.items, options.queries, options.keep, options.only)))


if __name__ == "__main__":
    main()
