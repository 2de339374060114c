"""AWS Signature Version 4 for S3 requests without a body: request, keys, time in; headers out.

Pure: no clock, no I/O. Whoever starts a transfer signs it as late as possible, and again for
every retry. The host and the given headers are signed, nothing else; ``Range`` and ``If-Match``
are left out on purpose, so that one signature serves all the parts of an object for some minutes.

S3 deviates from the general algorithm in two ways ("Signature Calculations for the
Authorization Header" in the S3 API reference): the path is signed as it is on the wire, neither
normalised nor encoded a second time, and ``x-amz-content-sha256`` is a required header.

Hashes come from CPython's hashlib. Not from its hmac, which lets the GIL go inside OpenSSL: a
process that forks meanwhile has a child where OpenSSL's locks are held by nobody, and where the
next HMAC never ends. The signing key changes once a day for a pair of secret and region, so derived
keys are kept, a bounded number of them; that is four HMACs saved of five. Both caches are plain
values replaced or updated in one step under the GIL.
"""

from hashlib import sha256
from time import gmtime, strftime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"

# SHA-256 of no bytes at all: S3 reads (GET, HEAD, list) have no body.
EMPTY_BODY_SHA256 = sha256().hexdigest()

# A process reads with few credentials and regions; each entry is some 300 bytes. More than
# one is needed while a client of a second account or the first after midnight signs too.
DERIVED_KEYS_KEPT = 64

# Headers that sign() makes itself: given as extras they would be sent twice.
RESERVED_HEADERS = frozenset(
    ("host", "authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token")
)

# What HMAC makes of each byte of a key (RFC 2104).
cdef bytes INNER = bytes([byte ^ 0x36 for byte in range(256)])
cdef bytes OUTER = bytes([byte ^ 0x5C for byte in range(256)])

cdef dict _derived_keys = {}
cdef tuple _last_time = (-1, "")


cdef class PathSigner:
    """Signs requests that are the same but for their paths, such as those for a bucket's objects.

    What they share is put together once; a path costs three small hashes.

    Parameters
    ----------
    method
        ``"GET"`` or ``"HEAD"``, as sent.
    host
        The ``Host`` header as sent, with the port where it is not the scheme's own.
    query
        What ``canonical_query`` returned, sent unchanged after ``?``; ``""`` for none.
    headers
        ``(name, value)`` pairs to sign and send besides those made here, such as
        ``x-amz-request-payer``.
    token
        Session token of temporary credentials, or None.
    now
        Seconds since the epoch, corrected to S3's clock; S3 accepts 15 minutes either way.

    Raises
    ------
    ValueError
        A control character in what goes into a header, or a reserved or malformed header name.
        Messages show no credential.
    """

    cdef readonly list headers      # all to send but Host and Authorization
    cdef str _before_path           # of the canonical request
    cdef str _after_path
    cdef str _before_hash           # of the string to sign
    cdef str _before_signature      # of the Authorization header
    cdef object _inner              # SHA-256 that has taken the key for the inner hash (RFC 2104)
    cdef object _outer              # and for the outer one

    def __cinit__(
        self,
        str method not None,
        str host not None,
        str query not None,
        list headers not None,
        str access_key not None,
        str secret_key not None,
        str token,
        str region not None,
        double now,
        str service not None = "s3",
    ):
        cdef str timestamp = _timestamp(now)
        cdef str date = timestamp[:8]
        cdef str scope = f"{date}/{region}/{service}/aws4_request"
        cdef str canonical_headers, names
        _check_value("access key", access_key)
        self.headers = [
            ("x-amz-content-sha256", EMPTY_BODY_SHA256),
            ("x-amz-date", timestamp),
        ]
        if token:
            _check_value("session token", token)
            self.headers.append(("x-amz-security-token", token))
        for name, value in headers:
            self.headers.append(_extra_header(name, value))
        canonical_headers, names = _canonical_headers(host, self.headers)
        self._before_path = f"{method}\n"
        self._after_path = f"\n{query}\n{canonical_headers}\n{names}\n{EMPTY_BODY_SHA256}"
        self._before_hash = f"{ALGORITHM}\n{timestamp}\n{scope}\n"
        self._before_signature = (
            f"{ALGORITHM} Credential={access_key}/{scope},SignedHeaders={names},Signature="
        )
        # HMAC's two hashes begin with the key, which is the same for all paths.
        self._inner, self._outer = _keyed(_signing_key(secret_key, date, region, service))

    def authorization(self, str path not None):
        """The ``Authorization`` header's value for an absolute path.

        The path is as sent: percent-encoded once, dot segments untouched. Raises ``ValueError``
        where it is not absolute.
        """
        if not path.startswith("/"):
            raise ValueError(f"path must start with '/', got {path!r}")
        cdef str request = self._before_path + path + self._after_path
        cdef str to_sign = self._before_hash + sha256(request.encode()).hexdigest()
        inner = self._inner.copy()
        inner.update(to_sign.encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        return self._before_signature + outer.hexdigest()


def sign(
    str method not None,
    str host not None,
    str path not None,
    str query not None,
    list headers not None,
    str access_key not None,
    str secret_key not None,
    str token,
    str region not None,
    double now,
    str service not None = "s3",
):
    """Sign one request that has no body; parameters and errors as of ``PathSigner``.

    Returns
    -------
    list of (str, str)
        Every header to send except ``Host``, names in lower case except ``Authorization``.
    """
    signer = PathSigner(
        method, host, query, headers, access_key, secret_key, token, region, now, service)
    return [*signer.headers, ("Authorization", signer.authorization(path))]


def canonical_query(list pairs not None):
    """Encode ``(name, value)`` pairs as the one string that is both sent and signed.

    Names and values are percent-encoded in UTF-8 but for RFC 3986's unreserved characters (a
    space is ``%20``, never ``+``), then sorted by what they became. A parameter without a value
    has an empty one: ``("lifecycle", "")`` gives ``lifecycle=``.
    """
    return "&".join([
        f"{name}={value}"
        for name, value in sorted([
            (quote(name, safe=""), quote(value, safe="")) for name, value in pairs
        ])
    ])


cdef str _timestamp(double now):
    global _last_time
    cdef long long second = <long long>now
    cdef tuple last = _last_time
    if last[0] == second:
        return last[1]
    cdef str text = strftime("%Y%m%dT%H%M%SZ", gmtime(second))
    _last_time = (second, text)
    return text


cdef tuple _keyed(bytes key):
    """SHA-256 that has taken a key for HMAC's inner hash, and for its outer one."""
    cdef bytes block = (key if len(key) <= 64 else sha256(key).digest()).ljust(64, b"\0")
    return sha256(block.translate(INNER)), sha256(block.translate(OUTER))


cdef bytes _signing_key(str secret_key, str date, str region, str service):
    cdef tuple identity = (secret_key, date, region, service)
    key = _derived_keys.get(identity)
    if key is not None:
        return key
    key = ("AWS4" + secret_key).encode()
    for step in (date, region, service, "aws4_request"):
        inner, outer = _keyed(key)
        inner.update(step.encode())
        outer.update(inner.digest())
        key = outer.digest()
    if len(_derived_keys) >= DERIVED_KEYS_KEPT:
        _derived_keys.clear()
    _derived_keys[identity] = key
    return key


cdef tuple _canonical_headers(str host, list headers):
    """The canonical block (one ``name:value`` line each) and the ``;`` list of names.

    Values lose the whitespace that HTTP ignores, and those of a repeated name are joined.
    """
    cdef dict values = {"host": host}
    cdef str name, value
    for name, value in headers:
        value = " ".join(value.split())
        values[name] = f"{values[name]},{value}" if name in values else value
    cdef list names = sorted(values)
    return "".join([f"{name}:{values[name]}\n" for name in names]), ";".join(names)


cdef tuple _extra_header(str name, str value):
    cdef str lowered = name.lower()
    if lowered in RESERVED_HEADERS:
        raise ValueError(f"header {name!r} is made by the signature and cannot be given")
    if not lowered.isascii() or not lowered.replace("-", "").isalnum():
        raise ValueError(f"malformed header name {name!r}")
    _check_value(f"header {name!r}", value)
    return lowered, value


cdef int _check_value(str what, str value) except -1:
    """Refuse what could end a header line early; the value may be secret and is not shown."""
    cdef Py_UCS4 character
    for character in value:
        if character < 0x20 and character != 0x09 or character == 0x7F:
            raise ValueError(
                f"{what} contains a control character (a line break from a file, perhaps)"
            )
    return 0
