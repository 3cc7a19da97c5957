"""The restricted loader opens what publishers write and runs nothing that strangers write."""

import builtins
import codecs
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from contracts.errors import BadInput
from feature_repo.readers.restricted_pickle import load_restricted

DENSE = np.array([[0, 1.5, 0], [2, 0, 0], [0, 0, 3], [0, 4, 0]])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i4", "?", ">f8"])
def test_reads_sparse_matrices_of_every_protocol(
    tmp_path: Path, protocol: int, layout: str, kind: str, dtype: str
) -> None:
    matrix = getattr(sparse, f"{layout}_{kind}")(DENSE.astype(dtype.lstrip(">")))
    matrix.data = matrix.data.astype(dtype)
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(matrix, protocol=protocol))
    loaded = load_restricted(path)
    assert isinstance(loaded, sparse.coo_array)
    np.testing.assert_array_equal(loaded.toarray(), DENSE.astype(dtype.lstrip(">")))


@pytest.mark.parametrize("protocol", range(6))
def test_reads_arrays(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    array = np.asfortranarray(DENSE)
    path.write_bytes(pickle.dumps(array, protocol=protocol))
    np.testing.assert_array_equal(load_restricted(path), array)


@pytest.mark.parametrize("sparse_name", [b"scipy.sparse.coo", b"scipy.sparse._coo"])
@pytest.mark.parametrize("numpy_name", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_reads_module_names_of_old_and_new_releases(tmp_path: Path, sparse_name: bytes, numpy_name: bytes) -> None:
    raw = pickle.dumps(sparse.coo_matrix(DENSE), protocol=2)
    raw = raw.replace(b"scipy.sparse._coo", sparse_name).replace(b"numpy._core.multiarray", numpy_name)
    path = tmp_path / "m.pkl"
    path.write_bytes(raw)
    np.testing.assert_array_equal(load_restricted(path).toarray(), DENSE)  # type: ignore[attr-defined]


def test_reads_the_published_files(public_data: Path) -> None:
    for name, count in (("trnMat", 59_541), ("valMat", 3_051), ("tstMat", 6_130)):
        loaded = load_restricted(public_data / "tiktok" / f"{name}.pkl")
        assert isinstance(loaded, sparse.coo_array)
        assert loaded.shape == (9308, 6710)
        assert loaded.nnz == count


class Calls:
    """Pickles to a call of ``function(*arguments)``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.answer = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.answer


class Sneaky(sparse.coo_matrix):
    """A subclass of an admitted class."""


class SneakyArray(np.ndarray):
    """A subclass of an admitted class."""


HOSTILE = [
    (lambda trap: Calls(os.system, f"touch {trap}"), "posix.system"),
    (lambda trap: Calls(builtins.eval, f"open({str(trap)!r}, 'w')"), "builtins.eval"),
    (lambda trap: Calls(builtins.exec, f"open({str(trap)!r}, 'w')"), "builtins.exec"),
    (lambda trap: Calls(builtins.open, str(trap), "w"), "io.open"),
    (lambda trap: Calls(builtins.getattr, 1, "real"), "builtins.getattr"),
    (lambda trap: Calls(codecs.open, str(trap), "w"), "codecs.open"),
    (lambda trap: Calls(np.save, str(trap), 1), "numpy.save"),
    (lambda trap: Calls(np.lib.npyio.NpzFile, str(trap)), "NpzFile"),
    (lambda trap: [sparse.coo_matrix(DENSE), Calls(os.mkdir, str(trap))], "posix.mkdir"),
    (lambda trap: Sneaky(DENSE), "Sneaky"),
    (lambda trap: DENSE.view(SneakyArray), "SneakyArray"),
    (lambda trap: Path(trap), "Path"),
]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(("make", "named"), HOSTILE, ids=[name for _, name in HOSTILE])
def test_refuses_and_names_any_other_class_without_running_it(
    tmp_path: Path, make: Callable[[Path], object], named: str, protocol: int
) -> None:
    trap, path = tmp_path / "trap", tmp_path / "hostile.pkl"
    try:
        path.write_bytes(pickle.dumps(make(trap), protocol=protocol))
    except pickle.PicklingError:
        pytest.skip("this protocol cannot express it")
    with pytest.raises(BadInput, match="it was not run") as caught:
        load_restricted(path)
    assert named.rpartition(".")[2] in caught.value.found
    assert str(path) == caught.value.subject
    assert not trap.exists()


def test_the_traps_do_spring_in_an_ordinary_unpickler(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    pickle.loads(pickle.dumps(Calls(os.mkdir, str(trap))))  # noqa: S301
    assert trap.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cposix\nsystem\n(S'true'\ntR.",  # a global by name
        b"(S'true'\nios\nsystem\n.",  # INST
        b"\x80\x04\x8c\x05numpy\x8c\x0dlib.npyio.sys\x93.",  # a dotted path out of an admitted module
        b"\x80\x04\x8c\x26feature_repo.readers.restricted_pickle\x8c\x06pickle\x93.",  # our own module's imports
        b"cnumpy\nload\n.",
        b"cscipy.sparse\nload_npz\n.",
        b"c_codecs\nlookup\n.",
        b"c__builtin__\ntype\n.",
        b"ccopy_reg\nadd_extension\n.",
    ],
)
def test_refuses_hand_written_programs(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(program)
    with pytest.raises(BadInput, match=r"asks for .*; it was not run"):
        load_restricted(path)


def test_a_pickle_cannot_spoil_the_loader_for_the_next_one(tmp_path: Path) -> None:
    """BUILD sets attributes on whatever it is given, classes included."""
    spoiler = tmp_path / "spoiler.pkl"
    spoiler.write_bytes(b"cscipy.sparse\ncoo_matrix\n(N(dS'layout'\nS'gone'\nstb.")
    load_restricted(spoiler)
    sound = tmp_path / "sound.pkl"
    sound.write_bytes(pickle.dumps(sparse.coo_matrix(DENSE)))
    np.testing.assert_array_equal(load_restricted(sound).toarray(), DENSE)  # type: ignore[attr-defined]


def _coo(**attributes: Any) -> bytes:
    matrix = sparse.coo_matrix(DENSE)
    vars(matrix).update(attributes)
    return pickle.dumps(matrix, protocol=4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle at all",
        pickle.dumps(sparse.coo_matrix(DENSE))[:-40],
        pickle.dumps(np.array([object, None], dtype=object)[1:], protocol=4),
        pickle.dumps(np.array(["a"]), protocol=4),
        pickle.dumps(np.zeros(2, dtype="f4,O"), protocol=4),
        _coo(_shape=(2, 2)),
        _coo(_shape=(4,)),
        _coo(_shape=(-4, -3)),
        _coo(data=np.zeros(3)),
        _coo(data=None),
        _coo(coords=(np.array([-1, 0, 0, 0]), np.arange(4))),
        _coo(coords=None),
        b"\x80\x04\x8c\x08builtins\x8c\x06object\x93\x8c\x01a\x86R.",
        b"\x80\x04\x8c\x07copyreg\x8c\x0e_reconstructor\x93\x8c\x08builtins\x8c\x06object\x93NN\x87R.",
    ],
)
def test_damaged_pickles_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pkl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"damaged\.pkl.*found a damaged pickle.*expected a whole pickle"):
        load_restricted(path)


def test_compressed_layouts_are_checked(tmp_path: Path) -> None:
    matrix = sparse.csr_matrix(DENSE)
    matrix.indices = np.array([9, 9, 9, 9], dtype=np.int32)
    path = tmp_path / "damaged.pkl"
    path.write_bytes(pickle.dumps(matrix))
    with pytest.raises(BadInput, match="damaged pickle"):
        load_restricted(path)


def test_an_address_in_place_of_an_array_is_not_read(tmp_path: Path) -> None:
    # copyreg._reconstructor(coo_matrix, object, None), then its state: data is an object with __array_interface__
    interface = {"data": (4096, True), "shape": (8,), "typestr": "<f8", "version": 3}
    raw = b"".join(
        [
            b"\x80\x02cscipy.sparse._coo\ncoo_matrix\n)\x81",
            b"}(X\x06\x00\x00\x00_shapeK\x04K\x03\x86X\x04\x00\x00\x00data",
            b"cbuiltins\nobject\n)\x81}X\x05\x00\x00\x00value",
            pickle.dumps(interface, protocol=2)[2:-1],
            b"sb",
            b"ub.",
        ]
    )
    path = tmp_path / "m.pkl"
    path.write_bytes(raw)
    with pytest.raises(BadInput, match="a damaged pickle"):
        load_restricted(path)


def test_a_number_in_place_of_an_array_is_refused(tmp_path: Path) -> None:
    matrix = sparse.coo_matrix(DENSE)
    raw = pickle.dumps({"_shape": matrix.shape, "data": 5, "row": 5, "col": 5}, protocol=2)[2:-1]
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x02cscipy.sparse._coo\ncoo_matrix\n)\x81" + raw + b"b.")
    with pytest.raises(BadInput, match="int where an array belongs"):
        load_restricted(path)


@pytest.mark.parametrize("index", [b"\x00\x00\x00\x30", b"\xff\xff\xff\x7f"])
def test_a_memo_slot_far_away_takes_no_memory(tmp_path: Path, index: bytes) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x02]r" + index + b"0.")
    with pytest.raises(BadInput, match=r"memo slot \d+ after 2 opcodes"):
        load_restricted(path)


def test_one_string_decoded_again_and_again_is_refused(tmp_path: Path) -> None:
    text = b"X" + (1000).to_bytes(4, "little") + b"a" * 1000
    calls = b"".join(b"c_codecs\nencode\nh\x00\x85Ra" for _ in range(200))
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x02]" + text + b"q\x000" + calls + b".")
    with pytest.raises(BadInput, match="more bytes than the file has"):
        load_restricted(path)
