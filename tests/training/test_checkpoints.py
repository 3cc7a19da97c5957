"""A training that is killed and started again."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.checkpoints import Checkpoint
from training.loop import fit_learned
from training.models.lightgcn import LightGcn, LightGcnConfig
from training.models.mf import MatrixFactorisation, MfConfig
from training.recommender import Catalogue, EpochReport


def mf(frame: TrainingFrame, **options: Any) -> MatrixFactorisation:
    config = MfConfig(**{"dimension": 8, "batch_size": 64, "max_epochs": 6, "patience": 3, **options})
    return MatrixFactorisation(config, Catalogue.of(frame))


def averaged(frame: TrainingFrame) -> MatrixFactorisation:
    return mf(frame, averaging=0.9)


def lightgcn(frame: TrainingFrame) -> LightGcn:
    return LightGcn(LightGcnConfig(dimension=8, batch_size=128, max_epochs=5), Catalogue.of(frame))


def killed(fit: Callable[[Callable[[EpochReport], None]], object], epoch: int) -> None:
    """Run a fit in a child process that is killed outright when an epoch has ended."""

    def child() -> None:
        torch.set_num_threads(1)
        fit(lambda report: os.kill(os.getpid(), signal.SIGKILL) if report.epoch == epoch else None)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("epoch", [1, 4])
@pytest.mark.parametrize("build", [mf, averaged, lightgcn])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    frame: TrainingFrame, tmp_path: Path, build: Callable[[TrainingFrame], Any], epoch: int
) -> None:
    path = tmp_path / "home" / "key"
    seen: list[EpochReport] = []
    whole = build(frame)
    expected = whole.fit(frame, seed=3, on_epoch=seen.append)

    killed(lambda on_epoch: build(frame).fit(frame, seed=3, on_epoch=on_epoch, checkpoint=path), epoch)
    assert path.exists()
    begun = len(json.loads(safetensors.safe_open(path, "pt").metadata()["backbeat"])["reports"])
    assert begun == epoch
    resumed, again = build(frame), list[EpochReport]()
    found = resumed.fit(frame, seed=3, on_epoch=again.append, checkpoint=path)

    assert again == seen
    assert replace(found, seconds=expected.seconds) == expected
    for (name, tensor), other in zip(resumed.state().items(), whole.state().values(), strict=True):
        assert torch.equal(tensor, other), name
    assert not list(path.parent.iterdir())


def test_a_training_that_was_over_is_not_continued(frame: TrainingFrame, tmp_path: Path) -> None:
    path = tmp_path / "key"
    seen: list[EpochReport] = []
    report = mf(frame).fit(frame, seed=0, on_epoch=seen.append)
    killed(lambda on_epoch: mf(frame).fit(frame, seed=0, on_epoch=on_epoch, checkpoint=path), report.epochs)
    again: list[EpochReport] = []
    assert mf(frame).fit(frame, seed=0, on_epoch=again.append, checkpoint=path).best_epoch == report.best_epoch
    assert again == seen


def test_a_checkpoint_takes_no_part_in_the_result(frame: TrainingFrame, tmp_path: Path) -> None:
    plain, kept = mf(frame), mf(frame)
    first, second = plain.fit(frame, seed=0), kept.fit(frame, seed=0, checkpoint=tmp_path / "key")
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)
    assert all(torch.equal(*pair) for pair in zip(plain.state().values(), kept.state().values(), strict=True))


def interrupted(frame: TrainingFrame, path: Path, **options: Any) -> None:
    def stop(report: EpochReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mf(frame, **options).fit(frame, seed=0, on_epoch=stop, checkpoint=path)


def test_another_configuration_is_refused_and_both_are_named(frame: TrainingFrame, tmp_path: Path) -> None:
    path = tmp_path / "key"
    interrupted(frame, path)
    message = r"checkpoint .*key: found a training with dimension 8, seed 0; expected one with dimension 4, seed 1"
    with pytest.raises(BadInput, match=message):
        mf(frame, dimension=4).fit(frame, seed=1, checkpoint=path)


def test_another_frame_is_refused_and_both_are_named(frame: TrainingFrame, tmp_path: Path) -> None:
    path = tmp_path / "key"
    interrupted(frame, path)
    message = r'found a training with frame "blocks/m3csr_v1/(\w+)"; expected one with frame "blocks/m3csr_v1/(?!\1)'
    with pytest.raises(BadInput, match=message):
        mf(frame).fit(replace(frame, train=frame.train[1:]), seed=0, checkpoint=path)


def test_another_stage_is_refused(frame: TrainingFrame, tmp_path: Path) -> None:
    path = tmp_path / "key"
    interrupted(frame, path)
    model = mf(frame)

    def other(samples: Any) -> dict[str, Tensor]:
        return model.loss_terms(samples)

    with pytest.raises(BadInput, match='found a training with stage "loss_terms"; expected one with stage "other"'):
        fit_learned(model, frame, seed=0, objective=other, checkpoint=path)


@pytest.mark.parametrize("content", [b"", b"no tensors", safetensors.torch.save({"a": torch.zeros(1)})])
def test_a_file_that_is_no_checkpoint_is_refused(frame: TrainingFrame, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"checkpoint .*key: found .*; expected the standing of a training.*remove"):
        mf(frame).fit(frame, seed=0, checkpoint=path)


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".key.0123abcd.partial").write_bytes(b"half")
    (tmp_path / "other").write_bytes(b"stays")
    Checkpoint(tmp_path / "key", {}).remove()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
