"""The one table from libcurl's result codes to what they mean for a transfer.

:func:`transport_cause` names the cause in the words that ``s3reader.retry`` and
``s3reader.errors`` decide by; nothing else in the project interprets a libcurl code.
"""

from s3reader._ext.libcurl cimport (
    CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY,
    CURLE_GOT_NOTHING, CURLE_OPERATION_TIMEDOUT, CURLE_PARTIAL_FILE,
    CURLE_PEER_FAILED_VERIFICATION, CURLE_PROXY, CURLE_RECV_ERROR, CURLE_SEND_ERROR,
    CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER, CURLE_SSL_CONNECT_ERROR,
    CURLE_SSL_INVALIDCERTSTATUS, CURLE_SSL_ISSUER_ERROR, CURLE_TOO_LARGE, CURLE_WEIRD_SERVER_REPLY,
    curl,
)

_CAUSES = {
    CURLE_COULDNT_RESOLVE_HOST: "resolve",
    CURLE_COULDNT_RESOLVE_PROXY: "proxy",
    CURLE_PROXY: "proxy",
    CURLE_COULDNT_CONNECT: "connect",
    # The only timeout libcurl is given is the one for connecting.
    CURLE_OPERATION_TIMEDOUT: "connect_timeout",
    CURLE_PARTIAL_FILE: "short_body",
    CURLE_GOT_NOTHING: "reset",
    CURLE_SEND_ERROR: "reset",
    CURLE_RECV_ERROR: "reset",
    CURLE_WEIRD_SERVER_REPLY: "bad_response",
    CURLE_TOO_LARGE: "too_large",
    CURLE_SSL_CONNECT_ERROR: "tls",
    CURLE_SSL_CIPHER: "tls",
    CURLE_SSL_CERTPROBLEM: "certificate",
    CURLE_PEER_FAILED_VERIFICATION: "certificate",
    CURLE_SSL_CACERT_BADFILE: "certificate",
    CURLE_SSL_ISSUER_ERROR: "certificate",
    CURLE_SSL_INVALIDCERTSTATUS: "certificate",
}


def transport_cause(int result):
    """Name the cause of a libcurl result code (a ``CURLcode``) other than success."""
    return _CAUSES.get(result, "bad_response")


def describe(int result):
    """libcurl's own words for a result code."""
    return curl.easy_strerror(result).decode()
