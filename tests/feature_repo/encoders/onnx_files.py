"""ONNX files of small networks, written field by field: enough of the format to stand in for YuNet in a test."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["yunet_of_bright_cells"]

_FLOAT, _INT64 = 1, 7


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _block(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _constant(name: str, values: npt.NDArray[np.generic]) -> bytes:
    kind = _INT64 if values.dtype == np.int64 else _FLOAT
    data = values.tobytes() if kind == _INT64 else values.astype("<f4").tobytes()
    dims = b"".join(_number(1, size) for size in values.shape)
    return _block(5, dims + _number(2, kind) + _block(8, name) + _block(9, data))


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: Sequence[int]) -> bytes:
    body = b"".join(_block(1, name) for name in inputs) + _block(2, output) + _block(3, output + "_node")
    body += _block(4, operator)
    for name, values in attributes.items():
        body += _block(5, _block(1, name) + b"".join(_number(8, value) for value in values) + _number(20, 7))
    return _block(1, body)


def _tensor(field: int, name: str, shape: Sequence[int | str]) -> bytes:
    sizes = b"".join(_block(1, _number(1, s) if isinstance(s, int) else _block(2, s)) for s in shape)
    return _block(field, _block(1, name) + _block(2, _block(1, _number(1, _FLOAT) + _block(2, sizes))))


def yunet_of_bright_cells(size: float, channels: tuple[float, float, float] = (1, 1, 1)) -> bytes:
    """A network with YuNet's input and outputs that takes each white 8 x 8 cell for the middle of a face.

    Args:
        size: Width and height of its boxes in pixels.
        channels: Weights of blue, green and red, with a sum of 3.
    """
    nodes, constants, outputs = b"", b"", b""
    for stride in (8, 16, 32):
        kernel = np.full((1, 3, stride, stride), 1 / (3 * stride * stride * 255), np.float32)
        kernel *= np.array(channels, np.float32)[None, :, None, None]
        for name, width, bias in (
            ("cls", 1, [0.0]),
            ("obj", 1, [0.0]),
            ("bbox", 4, [0.5, 0.5, float(np.log(size / stride)), float(np.log(size / stride))]),
            ("kps", 10, [0.5] * 10),
        ):
            scores = name in ("cls", "obj") and stride == 8
            weights = kernel if scores else np.zeros((width, 3, stride, stride), np.float32)
            key = f"{name}_{stride}"
            constants += _constant(f"{key}_w", weights) + _constant(f"{key}_b", np.array(bias, np.float32))
            constants += _constant(f"{key}_s", np.array([1, -1, width], np.int64))
            nodes += _node(
                "Conv",
                ["input", f"{key}_w", f"{key}_b"],
                f"{key}_map",
                kernel_shape=[stride, stride],
                strides=[stride, stride],
            )
            nodes += _node("Transpose", [f"{key}_map"], f"{key}_last", perm=[0, 2, 3, 1])
            nodes += _node("Reshape", [f"{key}_last", f"{key}_s"], key)
            outputs += _tensor(12, key, [1, f"n{stride}", width])
    graph = nodes + _block(2, "yunet") + constants + _tensor(11, "input", [1, 3, "h", "w"]) + outputs
    return _number(1, 8) + _block(7, graph) + _block(8, _block(1, "") + _number(2, 13))
