"""Columns packed by NumPy are byte for byte what Feast's own messages serialize to, and come back equal."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import BadInput
from feature_repo.quiet import quietly
from feature_repo.stores.byte_columns import varints
from feature_repo.stores.packing import pack, packed_key, unpack, vector_rows

with quietly():
    from feast import ValueType
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import python_values_to_proto_values

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(width=32, allow_nan=False)
TEXT = st.text(max_size=200)
KINDS: dict[str, tuple[pa.DataType, Any, ValueType]] = {
    "string": (pa.string(), TEXT, ValueType.STRING),
    "int32": (pa.int32(), INT32, ValueType.INT32),
    "int64": (pa.int64(), INT64, ValueType.INT64),
    "float32": (pa.float32(), FLOAT, ValueType.FLOAT),
    "float64": (pa.float64(), st.floats(allow_nan=False), ValueType.DOUBLE),
    "bool": (pa.bool_(), st.booleans(), ValueType.BOOL),
    "list<string>": (pa.list_(pa.string()), st.lists(TEXT, max_size=5), ValueType.STRING_LIST),
    "list<int32>": (pa.list_(pa.int32()), st.lists(INT32, max_size=5), ValueType.INT32_LIST),
    "list<int64>": (pa.list_(pa.int64()), st.lists(INT64, max_size=5), ValueType.INT64_LIST),
    "list<float32>": (pa.list_(pa.float32()), st.lists(FLOAT, max_size=40), ValueType.FLOAT_LIST),
    "list<float64>": (pa.list_(pa.float64()), st.lists(FLOAT, max_size=40), ValueType.DOUBLE_LIST),
}


def by_feast(values: list[Any], kind: ValueType) -> list[bytes]:
    """One message per value, through the mapping that Feast's own materialization uses."""
    return [b"" if v is None else python_values_to_proto_values([v], kind)[0].SerializeToString() for v in values]


def one_message(value: Any, kind: ValueType) -> bytes:
    if isinstance(value, list) and not value:  # Feast's mapping wants a first element to look at
        field = kind.name.lower() + "_val"
        message = Value()
        getattr(message, field).SetInParent()
        return message.SerializeToString()
    return by_feast([value], kind)[0]


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_packed_as_feast_packs_and_back(name: str, data: Any) -> None:
    kind, element, value_type = KINDS[name]
    values = data.draw(st.lists(st.none() | element, max_size=8))
    array = pa.array(values, kind)
    packed = pack(array).to_pylist()
    assert packed == [one_message(value, value_type) for value in values]
    assert unpack(packed, kind).to_pylist() == array.to_pylist()
    skip = data.draw(st.integers(0, len(values)))
    assert pack(array.slice(skip)).to_pylist() == packed[skip:], "a slice is packed as the whole"
    pieces = pa.chunked_array([array.slice(0, skip), array.slice(skip)], kind)
    assert pack(pieces).to_pylist() == packed


@pytest.mark.parametrize("width", [0, 1, 30, 31, 32, 128, 512, 4200])
def test_vectors_become_a_matrix(width: int) -> None:
    vectors = np.random.default_rng(width).normal(size=(6, width)).astype(np.float32)
    array = pa.array([*vectors.tolist(), None], pa.list_(pa.float32()))
    packed = pack(array).to_pylist()
    for given_width in (width, None):
        matrix, present = vector_rows([(each,) for each in [*packed, None]], 1, given_width)
        assert matrix is not None
        assert present.tolist() == [True] * 6 + [False] * 2
        np.testing.assert_array_equal(matrix[:6], vectors)
        assert not matrix[6:].any()
        pairs = [packed[0:2], packed[2:4], packed[4:6]]
        matrix, present = vector_rows(pairs, 2, given_width)
        assert present.all()
        np.testing.assert_array_equal(matrix, vectors.reshape(3, 2 * width))
        matrix, present = vector_rows([*pairs, [packed[0], None]], 2, given_width)
        assert present.tolist() == [True, True, True, False]
        assert matrix is not None
        assert not matrix[3].any(), "a row that lacks one vector has none"
    assert unpack(packed, array.type).to_pylist() == array.to_pylist()
    if width:
        assert pack(pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)).to_pylist() == packed[:6]


def test_vectors_of_another_width_are_no_matrix() -> None:
    packed = pack(pa.array([[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]], pa.list_(pa.float32()))).to_pylist()
    assert vector_rows([(each,) for each in packed[:2]], 1, None)[0] is None
    assert vector_rows([(packed[0],)], 1, 3)[0] is None
    assert vector_rows([(packed[1],), (packed[2],)], 1, 2)[0] is None, "right together, wrong each"
    integers = pack(pa.array([[1]], pa.list_(pa.int64()))).to_pylist()
    assert vector_rows([(integers[0],)], 1, None)[0] is None
    assert vector_rows([(None,), (b"",)], 1, None)[0] is None
    assert vector_rows([(packed[0],), (b"\x7a" + packed[0][1:],)], 1, 2)[0] is None, "right size, other field"
    assert vector_rows([], 2, 3)[0] is not None


@pytest.mark.parametrize(
    ("keys", "kind", "field"),
    [
        (["", "u1", "ü" * 70], pa.string(), "string_val"),
        (["x", "y"], pa.large_string(), "string_val"),
        ([0, -1, 2**40], pa.int64(), "int64_val"),
        ([7, -7], pa.int32(), "int32_val"),
    ],
)
def test_keys_are_feasts(keys: list[Any], kind: pa.DataType, field: str) -> None:
    expected = [
        serialize_entity_key(EntityKey(join_keys=["user_id"], entity_values=[Value(**{field: key})]), 3) + b"project"
        for key in keys
    ]
    assert packed_key("user_id", pa.array(keys, kind), b"project").to_pylist() == expected


def test_timestamps_are_kept_to_the_second() -> None:
    kind = pa.timestamp("us", "UTC")
    packed = pack(pa.array([1_500_000, None, 0], pa.int64()).cast(kind)).to_pylist()
    assert packed == [Value(unix_timestamp_val=1).SerializeToString(), b"", b"\x40\x00"]
    assert unpack(packed, kind).cast(pa.int64()).to_pylist() == [1_000_000, None, 0]


def test_no_values_at_all() -> None:
    assert pack(pa.nulls(3)).to_pylist() == [b"", b"", b""]
    assert len(pack(pa.array([], pa.list_(pa.string())))) == 0
    assert varints(np.empty(0, np.int64))[1].tolist() == [0]


def test_what_cannot_be_packed() -> None:
    with pytest.raises(BadInput, match="found type binary; expected string, int32"):
        pack(pa.array([b"x"]))
    with pytest.raises(BadInput, match="expected lists of string"):
        pack(pa.array([[True]]))
    with pytest.raises(BadInput, match="1 nulls inside lists"):
        pack(pa.array([[1.0, None]], pa.list_(pa.float32())))
    with pytest.raises(BadInput, match="key column user_id: found 1 nulls"):
        packed_key("user_id", pa.array(["a", None]))
    with pytest.raises(BadInput, match="key column user_id: found type double"):
        packed_key("user_id", pa.array([1.0]))
