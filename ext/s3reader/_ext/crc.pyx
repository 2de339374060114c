"""CRCs of pieces, joined: from the CRCs of two adjoining pieces the CRC of both together.

A CRC is the remainder of a polynomial over GF(2). Appending ``length`` bytes multiplies the
polynomial of what came before by x^(8 * length), so its remainder is multiplied by that power's
remainder, found by repeated squaring; the bytes themselves are not needed again. The usual
inversion before and after cancels out. All values are reflected: the highest bit is x^0.
"""

from libc.stdint cimport uint64_t


cdef uint64_t multiply(uint64_t left, uint64_t right, uint64_t polynomial, int bits) noexcept nogil:
    """The product of two polynomials of ``bits`` bits, modulo the CRC's."""
    cdef uint64_t product = 0
    cdef int power
    for power in range(bits - 1, -1, -1):
        if left >> power & 1:
            product ^= right
        right = right >> 1 ^ (polynomial if right & 1 else 0)
    return product


cdef uint64_t power_of_x(uint64_t exponent, uint64_t polynomial, int bits) noexcept nogil:
    """x^exponent modulo the CRC's polynomial."""
    cdef uint64_t power = <uint64_t> 1 << (bits - 1)
    cdef uint64_t square = <uint64_t> 1 << (bits - 2)
    while exponent:
        if exponent & 1:
            power = multiply(power, square, polynomial, bits)
        square = multiply(square, square, polynomial, bits)
        exponent >>= 1
    return power


def combine(uint64_t first, uint64_t second, uint64_t length, uint64_t polynomial, int bits):
    """The CRC of two adjoining pieces.

    Parameters
    ----------
    first, second
        The CRCs of the pieces.
    length
        Bytes of the second piece, below 2**60.
    polynomial
        The CRC's, reflected.
    bits
        Of the CRC, at most 64.
    """
    if not 2 <= bits <= 64 or length >> 60:
        raise ValueError(f"no CRC of {bits} bits over {length} bytes can be combined")
    return multiply(power_of_x(8 * length, polynomial, bits), first, polynomial, bits) ^ second
