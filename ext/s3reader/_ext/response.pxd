"""The head of an HTTP response, as far as the I/O thread must understand it."""

from libc.stdint cimport int64_t

cdef enum:
    ETAG_SIZE = 256                 # bytes with the closing NUL; S3's ETags have at most 40
    HEAD_LIMIT = 64 * 1024          # bytes of header lines that are accepted

cdef struct Head:
    int status                      # 0 before the status line
    bint complete                   # the empty line after the headers of a final response came
    int64_t content_length          # bytes; -1 where not told
    int64_t range_start             # of Content-Range, half-open; -1 where not told
    int64_t range_stop
    int64_t total                   # the object's size as Content-Range tells it; -1 where not told
    char etag[ETAG_SIZE]            # with its quotes; "" where not told
    bint etag_too_long
    bint etag_malformed             # it has control characters: sent back, it could end a line
    bint checksummed                # a checksum of the object was told
    char *text                      # the lines of the latest response, owned, recycled
    size_t length
    size_t capacity

cdef bint has_control(const char *at, size_t length) noexcept nogil
cdef void head_reset(Head *head) noexcept nogil
# Takes one line with its line end. 0, or -1 when the head exceeds HEAD_LIMIT or memory is out.
cdef int head_take(Head *head, const char *line, size_t length) noexcept nogil
cdef void head_free(Head *head) noexcept nogil
