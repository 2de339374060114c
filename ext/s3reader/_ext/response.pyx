"""Response heads: kept as text for Python, parsed for the few headers that guard the bytes.

libcurl calls back with one header line at a time. Status, Content-Length, Content-Range and ETag
are understood here, without the GIL, because they decide whether a body may go to its
destination; everything else is kept as text and parsed by Python where it is asked for.
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *first, const char *second, size_t length) noexcept


cdef enum:
    NUMBER_DIGITS = 18              # what fits an int64 without overflow


cdef bint is_blank(char character) noexcept nogil:
    return character == c' ' or character == c'\t' or character == c'\r' or character == c'\n'


cdef const char *skip_blanks(const char *at, const char *end) noexcept nogil:
    while at < end and is_blank(at[0]):
        at += 1
    return at


cdef const char *parse_number(const char *at, const char *end, int64_t *value) noexcept nogil:
    """Read decimal digits; NULL unless there are 1 to NUMBER_DIGITS of them."""
    cdef const char *start = at
    value[0] = 0
    while at < end and c'0' <= at[0] <= c'9':
        if at - start == NUMBER_DIGITS:
            return NULL
        value[0] = value[0] * 10 + (at[0] - c'0')
        at += 1
    return at if at > start else NULL


cdef void parse_content_range(Head *head, const char *at, const char *end) noexcept nogil:
    """``bytes 0-99/1000``, or ``bytes */1000`` which comes with status 416."""
    cdef int64_t first, last, total
    head.range_start = head.range_stop = head.total = -1
    if end - at < 6 or strncasecmp(at, b"bytes ", 6) != 0:
        return
    at = skip_blanks(at + 6, end)
    if end - at == 6 and strncasecmp(at, b"0--1/0", 6) == 0:
        # What MinIO says of an empty object's last bytes.
        head.range_start = head.range_stop = head.total = 0
        return
    first = last = -1
    if at < end and at[0] == c'*':
        at += 1
    else:
        at = parse_number(at, end, &first)
        if at == NULL or at == end or at[0] != c'-':
            return
        at = parse_number(at + 1, end, &last)
        if at == NULL or last < first:
            return
    if at == end or at[0] != c'/':
        return
    at = parse_number(at + 1, end, &total)
    if at == NULL or at != end or last >= total:
        return
    head.total = total
    if last >= 0:
        head.range_start = first
        head.range_stop = last + 1


cdef void parse_status(Head *head, const char *line, const char *end) noexcept nogil:
    cdef const char *at = line
    cdef int64_t status
    while at < end and at[0] != c' ':
        at += 1
    at = parse_number(skip_blanks(at, end), end, &status)
    head.status = <int> status if at != NULL and 100 <= status <= 999 else 0


cdef bint has_control(const char *at, size_t length) noexcept nogil:
    """Whether there is a control character, which no value of a header may have."""
    cdef size_t index
    for index in range(length):
        if <unsigned char> at[index] < 0x20 or at[index] == 0x7f:
            return True
    return False


cdef void parse_header(Head *head, const char *line, const char *end) noexcept nogil:
    cdef const char *colon = line
    cdef const char *value
    cdef size_t name
    while colon < end and colon[0] != c':':
        colon += 1
    if colon == end:
        return
    name = colon - line
    value = skip_blanks(colon + 1, end)
    if name == 4 and strncasecmp(line, b"etag", 4) == 0:
        if has_control(value, end - value):
            head.etag_malformed = True
        elif end - value < ETAG_SIZE:
            memcpy(head.etag, value, end - value)
            head.etag[end - value] = 0
        else:
            head.etag_too_long = True
    elif name == 13 and strncasecmp(line, b"content-range", 13) == 0:
        parse_content_range(head, value, end)
    elif name > 15 and strncasecmp(line, b"x-amz-checksum-", 15) == 0:
        head.checksummed = True
    elif name == 14 and strncasecmp(line, b"content-length", 14) == 0:
        if parse_number(value, end, &head.content_length) != end:
            head.content_length = -1


cdef void head_reset(Head *head) noexcept nogil:
    head.status = 0
    head.complete = False
    head.content_length = head.range_start = head.range_stop = head.total = -1
    head.etag[0] = 0
    head.etag_too_long = head.etag_malformed = head.checksummed = False
    head.length = 0


cdef int keep_line(Head *head, const char *line, size_t length) noexcept nogil:
    cdef size_t capacity
    cdef char *text
    if head.length + length > HEAD_LIMIT:
        return -1
    if head.length + length > head.capacity:
        capacity = max(<size_t> 2 * head.capacity, max(<size_t> 1024, head.length + length))
        text = <char *> realloc(head.text, capacity)
        if text == NULL:
            return -1
        head.text = text
        head.capacity = capacity
    memcpy(head.text + head.length, line, length)
    head.length += length
    return 0


cdef int head_take(Head *head, const char *line, size_t length) noexcept nogil:
    cdef const char *end = line + length
    if head.complete:               # trailers of a chunked body
        return 0
    while end > line and is_blank((end - 1)[0]):
        end -= 1
    if end == line:
        head.complete = head.status >= 200
        return 0
    if end - line >= 5 and strncasecmp(line, b"HTTP/", 5) == 0:
        head_reset(head)
        parse_status(head, line, end)
    else:
        parse_header(head, line, end)
    return keep_line(head, line, length)


cdef void head_free(Head *head) noexcept nogil:
    free(head.text)
    head.text = NULL
    head.length = head.capacity = 0
