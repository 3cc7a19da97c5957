"""Training of LightGCN, VBPR and M3CSR: epochs beside plain PyTorch, evaluation, memory at a million items, the GPU.

Run: ``python benchmarks/train.py [--json] [--data DIR] [--synthetic] [--only epochs|memory|gpu] [--models NAME,…]
[--turns 2] [--epochs 3] [--threads 2]``. ``--data`` is a directory in the MMSSL layout; without it, ``tiktok`` of
``BACKBEAT_TEST_DATA`` where that is set, else data made up in the same numbers.

Two rivals train beside each model, in turns, with the same number of epochs, and rank the same validation pairs
afterwards: *plain PyTorch*, model and loop as published code writes them, with its batches (:mod:`_training_rivals`);
and *our model in a plain loop*, with our options, which tells what the loop alone is worth. The models share none of
their code with the first and all of it with the second, which is why no factor is asked of the second: its Python
costs a fixed time for each pair, whatever the model costs.
"""

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from _measure import Result, median_of, report
from _training_data import frame_of, frame_of_files, synthetic_frame
from _training_rivals import PLAIN_MODELS, PLAIN_OPTIONS, PlainModel, plain_loop, same_model_losses

from feature_repo.frame import TrainingFrame
from training.batches import UserBatch
from training.evaluation import evaluate
from training.learned import LearnedRecommender
from training.loop import fit_learned
from training.models import MODELS
from training.protocols import validation_of
from training.recommender import Catalogue, TwoTower

FACTOR = 5
MILLION, PAIRS, WIDTH = 1_000_000, 4_096, 128
MOST_BYTES = 8 * 2**30
EQUAL = "within two standard errors"


def made(name: str, frame: TrainingFrame, device: str = "cpu", **options: Any) -> LearnedRecommender:
    """One of the three models."""
    kind = MODELS[name]
    model = kind.model(kind.config(**options), Catalogue.of(frame))
    assert isinstance(model, LearnedRecommender)
    return model.to(device)


def our_epochs(model: LearnedRecommender, frame: TrainingFrame, seed: int, epochs: int) -> list[float]:
    """Seconds of each epoch but the first, without validation."""
    ended: list[float] = []
    fit_learned(model, frame, seed=seed, epochs=epochs, on_epoch=lambda _: ended.append(time.perf_counter()))
    return np.diff(ended).tolist()


def same_epochs(model: LearnedRecommender, frame: TrainingFrame, seed: int, epochs: int) -> list[float]:
    """The same of our model in a plain loop."""
    model.begin(frame, torch.Generator().manual_seed(seed))
    config = model.config
    times = list(plain_loop(model, same_model_losses(model), frame, config.learning_rate, config.batch_size, epochs))
    model.refresh()
    return times[1:]


def plain_epochs(model: PlainModel, frame: TrainingFrame, config: Any, epochs: int) -> list[float]:
    """The same of plain PyTorch."""
    return list(plain_loop(model, model.loss, frame, config.learning_rate, config.batch_size, epochs))[1:]


@torch.no_grad()
def plain_recall(model: PlainModel, frame: TrainingFrame) -> float:
    """Recall@20 of the validation pairs, from all scores at once."""
    users, items = model.towers()
    scores = users @ items.T
    user, item = torch.from_numpy(frame.train).T
    scores[user, item] = -torch.inf
    best = scores.topk(20, dim=1).indices
    user, item = torch.from_numpy(frame.validation).T
    hits = (best[user] == item.unsqueeze(1)).any(1).double()
    counts = torch.bincount(user, minlength=len(users))
    recalls = torch.bincount(user, weights=hits, minlength=len(users)) / counts
    return float(recalls[counts > 0].mean())


def epoch_results(name: str, frame: TrainingFrame, test: np.ndarray, turns: int, epochs: int) -> list[Result]:
    """Epochs, metrics and evaluation of one model."""
    times: dict[str, list[float]] = {"ours": [], "plain": [], "same": []}
    recalls: dict[str, list[float]] = {"ours": [], "plain": [], "same": []}
    for turn in range(turns):
        torch.manual_seed(turn)
        np.random.seed(turn)
        model = made(name, frame)
        times["ours"] += our_epochs(model, frame, turn, epochs)
        recalls["ours"].append(evaluate(model, frame, validation_of(frame))["recall_at_20"])
        theirs_own = model.config.model_copy(update=PLAIN_OPTIONS.get(name, {}))
        plain = PLAIN_MODELS[name](frame, theirs_own)
        times["plain"] += plain_epochs(plain, frame, theirs_own, epochs)
        recalls["plain"].append(plain_recall(plain, frame))
        twin = made(name, frame)
        times["same"] += same_epochs(twin, frame, turn, epochs)
        recalls["same"].append(evaluate(twin, frame, validation_of(frame))["recall_at_20"])
        seconds = median_of(3, lambda: timed(lambda: evaluate(model, frame, test)))  # noqa: B023
    own, plain_s, same = (median(times[key]) for key in ("ours", "plain", "same"))
    found, theirs, twins = (float(np.mean(recalls[key])) for key in ("ours", "plain", "same"))
    users = len(np.unique(frame.validation[:, 0]))
    plainly, loop = "plain PyTorch, model and loop", "our model in a plain loop"
    return [
        Result(f"epoch_{name}", own, "s", plainly, plain_s, f"a {FACTOR}th", FACTOR * own <= plain_s),
        Result(f"loop_{name}", own, "s", loop, same, "told", True),
        Result(f"recall_{name}", found, f"R@20, {epochs} epochs", plainly, theirs, EQUAL, near(found, theirs, users)),
        Result(f"recall_loop_{name}", found, f"R@20, {epochs} epochs", loop, twins, EQUAL, near(found, twins, users)),
        Result(f"evaluation_{name}", seconds, f"s, {len(test):,} pairs", "its own epoch", own, "less", seconds < own),
    ]


def near(one: float, other: float, users: int) -> bool:
    """Whether two metrics of so many users differ by less than two standard errors of such a difference: the most that
    they can be where each user has one held-out item."""
    mean = (one + other) / 2
    return abs(one - other) <= 2 * math.sqrt(2 * mean * (1 - mean) / users)


def timed(run: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def memory_results(names: list[str]) -> list[Result]:
    """Peak memory of a process that trains and exports towers of a million users and items."""
    results = []
    for name in names:
        said = subprocess.run(
            [sys.executable, __file__, "--child", name], check=True, capture_output=True, text=True
        ).stdout
        peak = float(said.split()[-1])
        target = "below 8 GiB"
        results.append(
            Result(f"memory_{name}", peak / 2**30, "GiB", "the limit", MOST_BYTES / 2**30, target, peak < MOST_BYTES)
        )
    return results


def memory_child(name: str) -> None:
    """One step over a million users and items, content mapped from a float16 file, and the towers into files."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="backbeat-bench-") as text:
        folder = Path(text)
        content = {each: mapped_content(folder / f"{each}.npy", generator) for each in ("acoustic", "visual")}
        pairs = np.unique(generator.integers(0, MILLION, (PAIRS, 2)), axis=0)
        frame = frame_of(pairs, pairs[:1], MILLION, MILLION, content)
        # The number of clusters costs time of k-means, not memory.
        options: dict[str, Any] = {"clusters": 4} if name == "m3csr" else {}
        model = made(name, frame, batch_size=PAIRS, **options)
        assert isinstance(model, TwoTower)
        fit_learned(model, frame, seed=0, epochs=1)
        with torch.inference_mode():
            np.save(folder / "items.npy", model.item_vectors().numpy())
            for start in range(0, MILLION, 2**16):
                rows = np.arange(start, min(start + 2**16, MILLION))
                batch = UserBatch(torch.from_numpy(rows), torch.from_numpy(frame.history[rows]))
                np.save(folder / f"users-{start}.npy", model.user_vectors(batch).numpy().astype(np.float16))
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}\n")


def mapped_content(path: Path, generator: np.random.Generator) -> np.ndarray:
    """A million float16 vectors, mapped from their file."""
    written = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(MILLION, WIDTH))
    for start in range(0, MILLION, 2**16):
        part = written[start : start + 2**16]
        part[:] = generator.standard_normal(part.shape, np.float32)
    written.flush()
    return np.load(path, mmap_mode="r")


def gpu_results(names: list[str], frame: TrainingFrame, epochs: int) -> list[Result]:
    """Pairs a second, share of the bandwidth, and what bfloat16 does to the metric; nothing without a GPU."""
    if not torch.cuda.is_available():
        sys.stderr.write("no CUDA device\n")
        return []
    bandwidth, users = copy_bandwidth(), len(np.unique(frame.validation[:, 0]))
    results = []
    for name in names:
        rates, recalls = {}, {}
        for precision in ("fp32", "bf16"):
            model = made(name, frame, "cuda", precision=precision)
            seconds = median(our_epochs(model, frame, 0, epochs))
            rates[precision] = len(frame.train) / seconds
            recalls[precision] = evaluate(model, frame, validation_of(frame))["recall_at_20"]
            steps = -(-len(frame.train) // model.config.batch_size)
            reached = least_bytes(model) * steps / seconds
            results.append(
                Result(
                    f"gpu_{name}_{precision}_bandwidth",
                    reached / 1e9,
                    "GB/s at least",
                    "a copy",
                    bandwidth / 1e9,
                    "told",
                    True,
                )
            )
        half, full = rates["bf16"], rates["fp32"]
        results.append(Result(f"gpu_{name}_samples", half, "pairs/s in bf16", "fp32", full, "told", True))
        own, other = recalls["bf16"], recalls["fp32"]
        results.append(Result(f"gpu_{name}_recall", own, "R@20 in bf16", "fp32", other, EQUAL, near(own, other, users)))
    return results


def least_bytes(model: LearnedRecommender) -> int:
    """What a step moves at the least: Adam reads parameter, gradient and two moments of every number and writes all but
    the gradient, which was written before; a batch's own rows come on top and are not counted."""
    return 8 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def copy_bandwidth() -> float:
    """Bytes a second that a copy of 1 GiB reads and writes, the best of ten."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)

    def once() -> float:
        began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        began.record()
        target.copy_(source)
        ended.record()
        ended.synchronize()
        return began.elapsed_time(ended) / 1_000

    once()
    return 2 * source.numel() * source.element_size() / min(once() for _ in range(10))


def data_of(arguments: argparse.Namespace) -> tuple[TrainingFrame, np.ndarray]:
    """The frame and test pairs asked for."""
    folder = os.environ.get("BACKBEAT_TEST_DATA")
    path = arguments.data or (Path(folder) / "tiktok" if folder else None)
    if arguments.synthetic or path is None:
        return synthetic_frame(np.random.default_rng(0))
    return frame_of_files(path)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description="Training beside plain PyTorch.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--synthetic", action="store_true")
    parser.add_argument("--only", choices=["epochs", "memory", "gpu"])
    parser.add_argument("--models", default=",".join(PLAIN_MODELS))
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        memory_child(arguments.child)
        return
    names = arguments.models.split(",")
    results: list[Result] = []
    if arguments.only != "memory":
        frame, test = data_of(arguments)
    if arguments.only in (None, "epochs"):
        for name in names:
            results += epoch_results(name, frame, test, arguments.turns, arguments.epochs)
    if arguments.only in (None, "memory"):
        results += memory_results([name for name in names if name != "lightgcn"])
    if arguments.only in (None, "gpu"):
        results += gpu_results(names, frame, arguments.epochs)
    report(results)


if __name__ == "__main__":
    main()
