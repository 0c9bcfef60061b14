"""Tensors of KServe's clients: elements in and out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gateway.kserve.tensors import NUMPY, Raw, bytes_array, decode, encode
from services.common.errors import Reason, ServiceError

NUMBERS = sorted(set(NUMPY) - {"BYTES"})


@st.composite
def tensors(draw):
    datatype = draw(st.sampled_from(NUMBERS))
    shape = draw(npst.array_shapes(max_dims=3, max_side=4))
    finite = {"allow_nan": False, "allow_infinity": False} if datatype.startswith("FP") else {}
    elements = npst.from_dtype(NUMPY[datatype], **finite)
    return datatype, draw(npst.arrays(NUMPY[datatype], shape, elements=elements))


@given(tensors())
def test_numbers_go_raw_and_come_back(made):
    datatype, values = made
    back = decode("t", datatype, values.shape, Raw(encode(values)))
    assert back.dtype == values.dtype
    assert back.tobytes() == values.tobytes()
    assert back.shape == values.shape


@given(tensors())
def test_numbers_go_one_by_one_and_come_back(made):
    datatype, values = made
    back = decode("t", datatype, values.shape, values.reshape(-1).tolist())
    assert (back == values).all()
    assert back.dtype == NUMPY[datatype]


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_bytes_go_and_come_back(elements):
    raw = encode(bytes_array(elements))
    assert len(raw) == sum(4 + len(each) for each in elements)
    assert list(decode("t", "BYTES", (len(elements),), Raw(raw))) == elements
    assert list(decode("t", "BYTES", (len(elements),), elements)) == elements


@given(st.binary(max_size=40), st.integers(1, 4))
def test_any_bytes_are_elements_or_refused(data, count):
    try:
        values = decode("t", "BYTES", (count,), Raw(data))
    except ServiceError:
        return
    assert encode(values) == data


def test_bytes_of_big_endian_values_are_little_endian():
    assert encode(np.array([1, 2], ">i4")) == b"\x01\0\0\0\x02\0\0\0"
    assert encode(np.array([[1, 2], [3, 4]], "<u1").T) == b"\x01\x03\x02\x04"


def test_a_truth_value_is_any_byte_but_zero():
    assert decode("t", "BOOL", (3,), Raw(b"\0\x01\x02")).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "said"),
    [
        ("FP32", (2,), Raw(b"\0" * 7), "t: has 7 bytes, FP32[2] has 8 bytes"),
        ("INT64", (2, 3), [1, 2, 3], "t: has 3 elements, INT64[2, 3] has 6"),
        ("INT8", (1,), [128], "t: holds a number outside -128..127, as INT8 has them"),
        ("UINT8", (1,), [-1], "t: holds a number outside 0..255"),
        ("UINT64", (1,), [2**64], "t: holds a number outside 0..18446744073709551615"),
        ("FP16", (1,), [1e6], "t: holds a number that is too large for FP16"),
        ("FP64", (1,), [10**400], "t: holds a number that is too large for FP64"),
        ("FP32", (1,), ["1"], "t: element 0 is '1', FP32 is expected"),
        ("FP32", (1,), [True], "t: element 0 is True, FP32 is expected"),
        ("INT32", (2,), [1, 1.5], "t: element 1 is 1.5, INT32 is expected"),
        ("INT32", (1,), [[1]], "t: element 0 is [1], INT32 is expected"),
        ("BOOL", (1,), [1], "t: element 0 is 1, BOOL is expected"),
        ("BYTES", (1,), [1], "t: holds 1, texts are expected"),
        ("BYTES", (1,), [None], "t: holds None, texts are expected"),
        ("BYTES", (2,), Raw(b"\x01\0\0\0a"), "t: ends after 1 of 2 BYTES elements"),
        ("BYTES", (1,), Raw(b"\x02\0\0\0a"), "t: element 0 says 2 bytes, 1 are left"),
        ("BYTES", (1,), Raw(b"\xff\xff\xff\xffa"), "t: element 0 says 4294967295 bytes, 1 are left"),
        ("BYTES", (1,), Raw(b"\x01\0\0\0abc"), "t: has 2 bytes after its 1 BYTES elements"),
    ],
)
def test_what_is_no_tensor_is_refused(datatype, shape, content, said):
    with pytest.raises(ServiceError) as caught:
        decode("t", datatype, shape, content)
    assert caught.value.message.startswith(said)
    assert caught.value.reason is Reason.INVALID_FIELD
