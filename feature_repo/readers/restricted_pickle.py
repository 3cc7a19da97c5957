"""Opening a stranger's pickle of a sparse matrix without running anything of the stranger's.

A pickle is a program that names callables and calls them. Here every admitted name is answered by an inert
stand-in of our own that only keeps what it is given; the matrix is built afterwards, from checked arrays. So
neither a foreign class nor NumPy's own reconstruction code ever sees the file. The stand-ins are made anew for
each load, because a pickle may also set attributes on whatever it can name.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from contracts.errors import BadInput

__all__ = ["load_restricted"]

_LAYOUTS = ("coo", "csr", "csc")
_NUMBERS = "biuf"
_NEXT_STEP = "get the file from its publisher, or save the matrix again with pickle.dump(scipy.sparse.coo_matrix(…))"
_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


def load_restricted(path: Path) -> object:
    """Open a pickle that may hold SciPy sparse matrices and NumPy arrays and nothing else.

    Args:
        path: The pickle, of any protocol, written by old or new versions of both libraries.

    Returns:
        A ``scipy.sparse.coo_array`` where the file holds a COO, CSR or CSC matrix, an array where it holds one,
        else whatever plain value it holds.

    Raises:
        BadInput: The file asks for any other class (named; nothing of it ran), or is damaged.
    """
    try:
        content = path.read_bytes()
        _refuse_bombs(content)
        unpickler = _Unpickler(content, path)
        return _plain(unpickler.load(), unpickler.array_type)
    except _BROKEN as error:
        raise BadInput(
            path,
            found=f"a damaged pickle ({type(error).__name__}: {error})",
            expected="a whole pickle of a SciPy sparse matrix",
            next_step=_NEXT_STEP,
        ) from None


def _refuse_bombs(content: bytes) -> None:
    """Refuse a small file that would make the unpickler allocate much: a memo slot far past all that came before.

    Raises:
        ValueError: It is one, or it is no whole pickle.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > number:
            raise ValueError(f"memo slot {argument} after {number} opcodes")


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, path: Path) -> None:
        # latin1 reads the byte strings of Python 2, in which the older public files were written.
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._path = path
        self._stand_ins = _stand_ins(len(content))
        self.array_type: type[_Array] = self._stand_ins["numpy", "ndarray"]

    def find_class(self, module: str, name: str) -> Any:
        stand_in = self._stand_ins.get((_family(module), name))
        if stand_in is None:
            raise BadInput(
                self._path,
                found=f"a pickle that asks for {module}.{name}; it was not run",
                expected="SciPy sparse matrices and NumPy arrays only",
                next_step="do not open this file with anything else; " + _NEXT_STEP,
            )
        return stand_in


def _family(module: str) -> str:
    """Fold the module names of many releases into one each: ``scipy.sparse.coo`` and ``scipy.sparse._coo``."""
    if module.startswith("scipy.sparse.") and module.count(".") == 2:
        return "scipy.sparse"
    if module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric"):
        return "numpy.core"
    return {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)


class _Dtype:
    """A number type: kind and size from the call, byte order from the state."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.value = np.dtype(str(code))
        if self.value.kind not in _NUMBERS:
            raise ValueError(f"array of type {code}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array:
    """An array: shape, type and bytes, joined once all are there."""

    value: npt.NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, raw = state
        self.fill(raw, dtype, shape, "F" if fortran else "C")

    def fill(self, raw: Any, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> None:
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        values = np.frombuffer(data, dtype.value).reshape(shape, order=order)
        self.value = values.astype(dtype.value.newbyteorder("="), copy=False)


class _Sparse:
    """The attributes of a sparse matrix, by name; the class's own name begins with the layout."""


def _stand_ins(size: int) -> dict[tuple[str, str], Any]:
    """What answers to each admitted name, as ``(module family, name)``.

    Args:
        size: Bytes of the file; what is decoded from it may not be more, however often the file says so.
    """
    left = size

    class Dtype(_Dtype):
        pass

    class Array(_Array):
        pass

    def reconstruct_array(*_arguments: object) -> Array:
        return Array()

    def from_buffer(raw: Any, dtype: Dtype, shape: tuple[int, ...], order: str, *_axes: object) -> Array:
        array = Array()
        array.fill(raw, dtype, shape, order)
        return array

    def scalar(dtype: Dtype, raw: Any) -> Any:
        return np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, dtype.value)[0].item()

    def encode(text: str, encoding: str = "latin1") -> bytes:
        nonlocal left
        left -= len(text)
        if left < 0:
            raise ValueError("more bytes than the file has")
        return text.encode("latin1")

    def reconstruct_object(kind: type, *_base: object) -> object:
        if not issubclass(kind, _Sparse):
            raise TypeError(f"object of {kind.__name__}")
        return kind()

    sparse_types = {
        ("scipy.sparse", f"{layout}_{suffix}"): type(f"{layout}_{suffix}", (_Sparse,), {})
        for layout in _LAYOUTS
        for suffix in ("matrix", "array")
    }
    return {
        **sparse_types,
        ("numpy", "dtype"): Dtype,
        ("numpy", "ndarray"): Array,
        ("numpy.core", "_reconstruct"): reconstruct_array,
        ("numpy.core", "_frombuffer"): from_buffer,
        ("numpy.core", "scalar"): scalar,
        ("_codecs", "encode"): encode,
        ("copyreg", "_reconstructor"): reconstruct_object,
        # Only handed on to the reconstructor above, and nothing that a pickle could hang attributes on.
        ("builtins", "object"): ...,
    }


def _plain(loaded: object, array: type[_Array]) -> object:
    if type(loaded) is array:
        return _values(loaded, array)
    return _sparse_matrix(loaded, array) if isinstance(loaded, _Sparse) else loaded


def _values(held: object, array: type[_Array]) -> npt.NDArray[Any]:
    """The NumPy array of a stand-in; a pickle may have put anything in its place.

    Raises:
        TypeError: It has.
    """
    values = vars(held).get("value") if type(held) is array else None
    if type(values) is not np.ndarray:
        raise TypeError(f"{type(held).__name__} where an array belongs")
    return values


def _sparse_matrix(held: _Sparse, array: type[_Array]) -> sparse.coo_array:
    """Build the matrix that the attributes describe.

    Raises:
        TypeError: An attribute is no array.
        ValueError: They do not fit together.
    """
    state = vars(held)
    shape = state.get("_shape", state.get("shape", ()))
    if type(shape) is not tuple or len(shape) != 2 or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError("a sparse matrix without two sides")
    data, layout = _values(state["data"], array), type(held).__name__[:3]
    if layout == "coo":
        coordinates = state.get("coords") or (state["row"], state["col"])
        rows, columns = (_values(axis, array) for axis in coordinates)
        return sparse.coo_array((data, (rows, columns)), shape=shape)
    indices, pointers = _values(state["indices"], array), _values(state["indptr"], array)
    build = sparse.csr_array if layout == "csr" else sparse.csc_array
    matrix = build((data, indices, pointers), shape=shape)
    matrix.check_format(full_check=True)
    return matrix.tocoo()
