"""Pictures of embedding tables: what changed is seen, and nothing is too degenerate to draw."""

import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from validation.pictures import ItemChange, changes, draw_picture
from validation.statistics.paired import compare
from validation.statistics.profile import Profile, measure_vectors


def _profile(data) -> Profile:
    tables = data.tables
    return measure_vectors(tables["embedding_visual"], tables["videos"], "video_id", data.raw.specs["visual"]).profile


def _shown(path: Path, colour: str) -> int:
    """Pixels of a colour."""
    wanted = np.round(np.array(to_rgb(colour)) * 255)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.int64)
    return int((np.abs(pixels - wanted) <= 3).all(axis=2).sum())


def _size(path: Path) -> tuple[int, int]:
    return struct.unpack(">II", path.read_bytes()[16:24])


def _drawn(path: Path, now: Profile, before: Profile | None) -> Path:
    paired = compare(before, now) if before is not None and before.width == now.width else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_picture(path, "visual vectors of $\\frac$ 音楽", now, before, paired)
    assert _size(path) == (1500, 576)
    assert path.stat().st_size < 300_000
    return path


def test_what_became_of_each_item_is_told_apart(data) -> None:
    before = _profile(data)
    matrix = data.matrix()
    matrix[[0, 1]] = matrix[[1, 0]]
    matrix[2] += 3
    matrix[3] *= np.float32(1 + 1e-5)
    data.put_matrix(matrix)
    now = _profile(data)
    ids = now.ids.take(now.sample_rows).to_pylist()
    code = dict(zip(ids, changes(now, before, None).tolist(), strict=True))
    assert code["v0"] == code["v1"] == ItemChange.MOVED
    assert code["v2"] == ItemChange.CHANGED
    assert code["v3"] == ItemChange.UNCHANGED, "encoding again on another machine is no change"
    assert set(code.values()) == {ItemChange.MOVED, ItemChange.CHANGED, ItemChange.UNCHANGED}
    fewer = replace(before, ids=before.ids.slice(0, 0), fingerprints=before.fingerprints[:0])
    assert set(changes(now, fewer, None).tolist()) == {ItemChange.NEW}


def test_a_placeholder_that_an_item_gets_is_a_change_and_no_swap(data) -> None:
    matrix = data.matrix()
    matrix[10:13] = 1
    data.put_matrix(matrix)
    before = _profile(data)
    matrix[0] = 1
    data.put_matrix(matrix)
    now = _profile(data)
    code = dict(zip(now.ids.take(now.sample_rows).to_pylist(), changes(now, before, None).tolist(), strict=True))
    assert code["v0"] == ItemChange.CHANGED


def test_swapped_items_show_in_their_colour_and_only_then(data, tmp_path: Path) -> None:
    before = _profile(data)
    quiet = _drawn(tmp_path / "quiet.png", before, before)
    matrix = data.matrix()
    data.put_matrix(np.roll(matrix, 1, axis=0))
    loud = _drawn(tmp_path / "loud.png", _profile(data), before)
    assert _shown(quiet, "#a1175c") == 0
    assert _shown(loud, "#a1175c") > 500


def test_the_picture_brings_its_own_background(data, tmp_path: Path) -> None:
    path = _drawn(tmp_path / "one.png", _profile(data), None)
    with Image.open(path) as picture:
        assert picture.convert("RGBA").getpixel((2, 2)) == (255, 255, 255, 255)


def _degenerate(data, kind: str) -> Profile:
    matrix = data.matrix()
    rows = {"none": 0, "one": 1, "two": 2, "three": 3}.get(kind, len(matrix))
    if kind == "equal":
        matrix[:] = 1
    elif kind == "zeros":
        matrix[:] = 0
    elif kind == "one outlier":
        matrix[7] *= 1e18
    elif kind == "collapsed":
        matrix[:] = matrix[:, :1]
    data.put_matrix(matrix)
    data.tables["embedding_visual"] = data.tables["embedding_visual"].slice(0, rows)
    return _profile(data)


@pytest.mark.parametrize("kind", ["none", "one", "two", "three", "equal", "zeros", "one outlier", "collapsed"])
def test_a_degenerate_table_has_a_picture_without_a_warning(data, tmp_path: Path, kind: str) -> None:
    sound = _profile(data)
    odd = _degenerate(data, kind)
    _drawn(tmp_path / "against.png", odd, sound)
    _drawn(tmp_path / "alone.png", odd, None)
    if kind in ("none", "equal"):
        _drawn(tmp_path / "from.png", sound, odd)


def test_a_map_of_many_items_stays_small(tmp_path: Path) -> None:
    import pyarrow as pa

    rng = np.random.default_rng(0)
    count, width = 9_000, 32
    vectors = rng.normal(size=(count, width)).astype(np.float32)
    now = Profile(
        width=width,
        ids=pa.array([f"v{n}" for n in range(count)]),
        fingerprints=np.arange(count, dtype=np.uint64),
        norms=np.linalg.norm(vectors, axis=1),
        sample_rows=np.arange(8192),
        sample=vectors[:8192],
        mean=np.zeros(width),
        variance=np.ones(width),
        spectrum=np.linspace(2, 0.1, width),
        statistics={"effective_rank": 20.0},
        errors={},
    )
    before = replace(now, fingerprints=np.roll(now.fingerprints, 1) + np.uint64(4000), sample=vectors[::-1][:8192])
    _drawn(tmp_path / "many.png", now, before)
