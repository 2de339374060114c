"""Easy handles, set up with all that is the same for every request."""

from s3reader._ext.libcurl cimport CURL

cdef struct EasyOptions:            # strings are borrowed from the Fetcher; constant
    const char *user_agent
    const char *ca_bundle           # path, or NULL for libcurl's own
    const char *proxy               # URL, or "" for none whatever the environment says
    long connect_timeout            # milliseconds

# NULL where libcurl refuses, which is for want of memory.
cdef CURL *open_easy(EasyOptions *options) noexcept nogil
