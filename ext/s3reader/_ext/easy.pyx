"""Easy handles: what every request of a client has in common.

HTTP/1.1 only, because parts want connections of their own; the path as it was signed; no redirect
followed, no content decoded, nothing read from .netrc or the environment, no scheme but http and
https: what libcurl would do by itself, the policy in Python decides.
"""

from s3reader._ext.exchange cimport on_body, on_header
from s3reader._ext.libcurl cimport (
    CURL, CURL_HTTP_VERSION_1_1, CURLE_OK, CURLHEADER_SEPARATE, CURLOPT_BUFFERSIZE, CURLOPT_CAINFO,
    CURLOPT_CONNECTTIMEOUT_MS, CURLOPT_DISALLOW_USERNAME_IN_URL, CURLOPT_DNS_CACHE_TIMEOUT,
    CURLOPT_DNS_SHUFFLE_ADDRESSES, CURLOPT_FOLLOWLOCATION,
    CURLOPT_HEADERFUNCTION, CURLOPT_HEADEROPT, CURLOPT_HTTP09_ALLOWED,
    CURLOPT_HTTP_CONTENT_DECODING, CURLOPT_HTTP_VERSION, CURLOPT_NETRC, CURLOPT_NOPROXY,
    CURLOPT_NOSIGNAL, CURLOPT_PATH_AS_IS, CURLOPT_PROTOCOLS_STR, CURLOPT_PROXY,
    CURLOPT_PROXY_CAINFO, CURLOPT_QUICK_EXIT,
    CURLOPT_SUPPRESS_CONNECT_HEADERS, CURLOPT_TCP_KEEPALIVE,
    CURLOPT_USERAGENT, CURLOPT_WRITEFUNCTION, curl, set_callback, set_long, set_string)

cdef enum:
    # Large enough that a call into libcurl moves much, small enough to stay in the L2 cache
    # between recv and the copy out: 16 KiB costs half as much CPU again for a byte.
    RECEIVE_BUFFER = 512 * 1024


cdef CURL *open_easy(EasyOptions *options) noexcept nogil:
    """An easy handle with all that is the same for every request."""
    cdef CURL *easy = curl.easy_init()
    cdef int failed = CURLE_OK
    if easy == NULL:
        return NULL
    failed |= set_callback(easy, CURLOPT_WRITEFUNCTION, on_body)
    failed |= set_callback(easy, CURLOPT_HEADERFUNCTION, on_header)
    failed |= set_long(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER)
    failed |= set_long(easy, CURLOPT_NOSIGNAL, 1)
    failed |= set_long(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
    failed |= set_long(easy, CURLOPT_HTTP09_ALLOWED, 0)
    failed |= set_long(easy, CURLOPT_HTTP_CONTENT_DECODING, 0)
    failed |= set_long(easy, CURLOPT_PATH_AS_IS, 1)
    failed |= set_long(easy, CURLOPT_FOLLOWLOCATION, 0)
    failed |= set_long(easy, CURLOPT_NETRC, 0)
    failed |= set_long(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1)
    failed |= set_long(easy, CURLOPT_HEADEROPT, CURLHEADER_SEPARATE)
    failed |= set_long(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
    failed |= set_long(easy, CURLOPT_TCP_KEEPALIVE, 1)
    # An endpoint has many addresses, and each can serve so many bytes a second: every connection
    # looks the name up itself and takes any of them. That also finds a name that comes up late,
    # for libcurl would remember that there was none.
    failed |= set_long(easy, CURLOPT_DNS_CACHE_TIMEOUT, 0)
    failed |= set_long(easy, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1)
    failed |= set_long(easy, CURLOPT_CONNECTTIMEOUT_MS, options.connect_timeout)
    failed |= set_string(easy, CURLOPT_PROTOCOLS_STR, b"http,https")
    failed |= set_string(easy, CURLOPT_USERAGENT, options.user_agent)
    failed |= set_string(easy, CURLOPT_PROXY, options.proxy)
    failed |= set_string(easy, CURLOPT_NOPROXY, b"")
    if options.ca_bundle != NULL:
        failed |= set_string(easy, CURLOPT_CAINFO, options.ca_bundle)
        failed |= set_string(easy, CURLOPT_PROXY_CAINFO, options.ca_bundle)
    # A host name that is still being looked up must not hold a cancelled transfer. Came with 7.87;
    # an older libcurl refuses it and waits.
    set_long(easy, CURLOPT_QUICK_EXIT, 1)
    if failed != CURLE_OK:
        curl.easy_cleanup(easy)
        return NULL
    return easy
