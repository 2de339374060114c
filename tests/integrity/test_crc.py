"""CRCs: who computes them agrees with the plain twin, and so does joining them."""

from __future__ import annotations

import pytest
from checksum_twins import POLYNOMIALS, crc
from hypothesis import given
from hypothesis import strategies as st

from s3reader._ext.crc import combine
from s3reader.checksums import ALGORITHMS, crc_function

CHECK = {"crc32": 0xCBF43926, "crc32c": 0xE3069283, "crc64nvme": 0xAE8B14860A799888}
"""The CRCs of b"123456789", by which their catalogues identify them."""

names = st.sampled_from(sorted(POLYNOMIALS))


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_twin_is_the_crc_of_that_name(name: str) -> None:
    assert crc(name, b"123456789") == CHECK[name]
    assert (ALGORITHMS[name].polynomial, 8 * ALGORITHMS[name].size) == POLYNOMIALS[name]


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_installed_function_agrees_and_continues(name: str) -> None:
    function = crc_function(name)
    if function is None:
        pytest.skip(f"nothing that computes {name} is installed")
    data = bytes(range(256)) * 5
    assert function(memoryview(data)[:700], 0) == crc(name, data[:700])
    assert function(memoryview(data)[700:], function(data[:700], 0)) == crc(name, data)


@given(names, st.binary(max_size=300), st.binary(max_size=300))
def test_combined_crc_is_that_of_both_pieces(name: str, first: bytes, second: bytes) -> None:
    joined = combine(crc(name, first), crc(name, second), len(second), *POLYNOMIALS[name])
    assert joined == crc(name, first + second)


@given(names, st.data())
def test_joining_long_pieces_does_not_depend_on_the_order(name: str, data: st.DataObject) -> None:
    polynomial, bits = POLYNOMIALS[name]
    values = st.integers(0, (1 << bits) - 1)
    lengths = st.integers(0, (1 << 58) - 1)
    first, second, third = (data.draw(values) for _ in range(3))
    middle, last = data.draw(lengths), data.draw(lengths)

    def join(left: int, right: int, length: int) -> int:
        return combine(left, right, length, polynomial, bits)

    left_first = join(join(first, second, middle), third, last)
    assert left_first == join(first, join(second, third, last), middle + last)


def test_a_long_piece_of_zeros_is_joined_rightly() -> None:
    name = "crc64nvme"
    zeros = bytes(1 << 16)
    value, length = crc(name, zeros), len(zeros)
    before = crc(name, b"before")
    expected = crc(name, zeros, before)
    assert combine(before, value, length, *POLYNOMIALS[name]) == expected


@pytest.mark.parametrize(("length", "bits"), [(1 << 60, 32), (1, 65), (1, 1)])
def test_what_cannot_be_combined_is_refused(length: int, bits: int) -> None:
    with pytest.raises(ValueError, match="can be combined"):
        combine(1, 2, length, 0xEDB88320, bits)
