"""libcurl as the project uses it: the declarations, the typed setters, the bound functions.

The only place that knows libcurl's numbers. They are part of libcurl's ABI, which has not
broken since 2006; ``tests/core/test_libcurl_declarations.py`` compares each of them with the
real header where one is installed.
"""

from libc.stdint cimport int64_t, uint64_t

ctypedef void CURL
ctypedef void CURLM
ctypedef int CURLcode
ctypedef int CURLMcode

cdef struct curl_slist:
    char *data
    curl_slist *next

cdef union MessageData:
    void *whatever
    CURLcode result

cdef struct CURLMsg:
    int msg
    CURL *easy_handle
    MessageData data

cdef struct curl_version_info_data:
    int age
    const char *version
    unsigned int version_num
    const char *host
    int features
    const char *ssl_version

cdef enum:
    CURL_GLOBAL_ALL = 3
    CURLVERSION_FIRST = 0
    CURLMSG_DONE = 1
    CURL_ERROR_SIZE = 256

cdef enum:
    CURL_VERSION_SSL = 1 << 2
    CURL_VERSION_ASYNCHDNS = 1 << 7
    CURL_VERSION_THREADSAFE = 1 << 30

cdef enum CurlResult:
    CURLE_OK = 0
    CURLE_UNSUPPORTED_PROTOCOL = 1
    CURLE_URL_MALFORMAT = 3
    CURLE_COULDNT_RESOLVE_PROXY = 5
    CURLE_COULDNT_RESOLVE_HOST = 6
    CURLE_COULDNT_CONNECT = 7
    CURLE_WEIRD_SERVER_REPLY = 8
    CURLE_PARTIAL_FILE = 18
    CURLE_WRITE_ERROR = 23
    CURLE_OUT_OF_MEMORY = 27
    CURLE_OPERATION_TIMEDOUT = 28
    CURLE_SSL_CONNECT_ERROR = 35
    CURLE_GOT_NOTHING = 52
    CURLE_SEND_ERROR = 55
    CURLE_RECV_ERROR = 56
    CURLE_SSL_CERTPROBLEM = 58
    CURLE_SSL_CIPHER = 59
    CURLE_PEER_FAILED_VERIFICATION = 60
    CURLE_SSL_CACERT_BADFILE = 77
    CURLE_SSL_ISSUER_ERROR = 83
    CURLE_SSL_INVALIDCERTSTATUS = 91
    CURLE_PROXY = 97
    CURLE_TOO_LARGE = 100

cdef enum CurlOption:
    CURLOPT_NOBODY = 44
    CURLOPT_NETRC = 51
    CURLOPT_FOLLOWLOCATION = 52
    CURLOPT_HTTPGET = 80
    CURLOPT_HTTP_VERSION = 84
    CURLOPT_DNS_CACHE_TIMEOUT = 92
    CURLOPT_BUFFERSIZE = 98
    CURLOPT_NOSIGNAL = 99
    CURLOPT_CONNECTTIMEOUT_MS = 156
    CURLOPT_HTTP_CONTENT_DECODING = 158
    CURLOPT_TCP_KEEPALIVE = 213
    CURLOPT_HEADEROPT = 229
    CURLOPT_PATH_AS_IS = 234
    CURLOPT_SUPPRESS_CONNECT_HEADERS = 265
    CURLOPT_DISALLOW_USERNAME_IN_URL = 278
    CURLOPT_HTTP09_ALLOWED = 285
    CURLOPT_DNS_SHUFFLE_ADDRESSES = 275
    CURLOPT_QUICK_EXIT = 322
    CURLOPT_WRITEDATA = 10001
    CURLOPT_URL = 10002
    CURLOPT_PROXY = 10004
    CURLOPT_ERRORBUFFER = 10010
    CURLOPT_USERAGENT = 10018
    CURLOPT_HTTPHEADER = 10023
    CURLOPT_HEADERDATA = 10029
    CURLOPT_CAINFO = 10065
    CURLOPT_PRIVATE = 10103
    CURLOPT_NOPROXY = 10177
    CURLOPT_PROXY_CAINFO = 10246
    CURLOPT_PROTOCOLS_STR = 10318
    CURLOPT_WRITEFUNCTION = 20011
    CURLOPT_HEADERFUNCTION = 20079

cdef enum CurlMultiOption:
    CURLMOPT_PIPELINING = 3
    CURLMOPT_MAXCONNECTS = 6

cdef enum CurlInfo:
    CURLINFO_PRIVATE = 0x100000 + 21
    CURLINFO_REQUEST_SIZE = 0x200000 + 12
    CURLINFO_HTTP_CONNECTCODE = 0x200000 + 22
    CURLINFO_NUM_CONNECTS = 0x200000 + 26
    CURLINFO_PRETRANSFER_TIME_T = 0x600000 + 53
    CURLINFO_STARTTRANSFER_TIME_T = 0x600000 + 54
    CURLINFO_ACTIVESOCKET = 0x500000 + 44

cdef enum:
    CURL_HTTP_VERSION_1_1 = 2
    CURLHEADER_SEPARATE = 1

ctypedef size_t (*write_callback)(
    char *data, size_t size, size_t count, void *context) noexcept nogil

cdef struct Libcurl:
    CURLcode (*global_init)(long flags) noexcept nogil
    curl_version_info_data *(*version_info)(int age) noexcept nogil
    CURL *(*easy_init)() noexcept nogil
    CURLcode (*easy_setopt)(CURL *easy, int option, ...) noexcept nogil
    CURLcode (*easy_getinfo)(CURL *easy, int info, ...) noexcept nogil
    const char *(*easy_strerror)(CURLcode code) noexcept nogil
    void (*easy_cleanup)(CURL *easy) noexcept nogil
    CURLM *(*multi_init)() noexcept nogil
    CURLMcode (*multi_setopt)(CURLM *multi, int option, ...) noexcept nogil
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *easy) noexcept nogil
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *easy) noexcept nogil
    CURLMcode (*multi_perform)(CURLM *multi, int *running) noexcept nogil
    CURLMcode (*multi_poll)(
        CURLM *multi, void *extra, unsigned int count, int timeout_ms, int *ready) noexcept nogil
    CURLMcode (*multi_wakeup)(CURLM *multi) noexcept nogil
    CURLMsg *(*multi_info_read)(CURLM *multi, int *left) noexcept nogil
    const char *(*multi_strerror)(CURLMcode code) noexcept nogil
    CURLMcode (*multi_cleanup)(CURLM *multi) noexcept nogil
    curl_slist *(*slist_append)(curl_slist *head, const char *line) noexcept nogil
    void (*slist_free_all)(curl_slist *head) noexcept nogil
    void (*thread_stop)() noexcept nogil    # OpenSSL's own; does nothing without OpenSSL

# Bound once, when s3reader._ext.libcurl is imported; read-only afterwards.
cdef Libcurl curl


cdef inline CURLcode set_long(CURL *easy, int option, long value) noexcept nogil:
    return curl.easy_setopt(easy, option, value)


cdef inline CURLcode set_pointer(CURL *easy, int option, void *value) noexcept nogil:
    return curl.easy_setopt(easy, option, value)


cdef inline CURLcode set_string(CURL *easy, int option, const char *value) noexcept nogil:
    return curl.easy_setopt(easy, option, value)


cdef inline CURLcode set_callback(CURL *easy, int option, write_callback value) noexcept nogil:
    return curl.easy_setopt(easy, option, value)


cdef inline CURLMcode set_multi_long(CURLM *multi, int option, long value) noexcept nogil:
    return curl.multi_setopt(multi, option, value)


cdef inline long get_long(CURL *easy, int info) noexcept nogil:
    cdef long value = 0
    curl.easy_getinfo(easy, info, &value)
    return value


cdef inline int get_socket(CURL *easy, int info) noexcept nogil:
    """A socket's descriptor, -1 where there is none."""
    cdef int value = -1
    curl.easy_getinfo(easy, info, &value)
    return value


cdef inline int64_t get_microseconds(CURL *easy, int info) noexcept nogil:
    cdef int64_t value = 0
    curl.easy_getinfo(easy, info, &value)
    return value


cdef inline void *get_private(CURL *easy) noexcept nogil:
    cdef void *value = NULL
    curl.easy_getinfo(easy, CURLINFO_PRIVATE, &value)
    return value
