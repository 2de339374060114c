"""Binds libcurl at run time, so that building needs no curl headers and one libcurl is loaded.

pycurl's wheels carry a current libcurl with TLS. The core binds that very library: it opens
pycurl's extension module (without running it) and looks libcurl's functions up through its
handle, whose search covers its dependencies. In order:

1. ``S3READER_LIBCURL``, the path of a libcurl shared library;
2. the library that the installed pycurl is linked with;
3. the system's ``libcurl.so.4``.

The first that can be opened is used; what is wrong with it is said, not skipped over. The
import of this module fails with :class:`ImportError` when none is usable.
"""

from posix.dlfcn cimport RTLD_LOCAL, RTLD_NOW, dlerror, dlopen, dlsym

import importlib.util
import os
import sys
from pathlib import Path

# curl_multi_poll and curl_multi_wakeup came with 7.68, CURLOPT_PROTOCOLS_STR and thread-safe
# global initialisation with 7.85.
FLOOR = (7, 85, 0)

_REMEDY = (
    "Install a current pycurl wheel (pip install --upgrade pycurl), which carries libcurl, "
    "or name a libcurl shared library in the environment variable S3READER_LIBCURL."
)

# Handle of the opened library; never closed, since libcurl's threads and TLS state outlive us.
cdef void *_library = NULL


def _pycurl_extension():
    """Path of the installed pycurl's extension module, or None. Does not import pycurl."""
    spec = importlib.util.find_spec("pycurl")
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    if origin.suffix == ".so":
        return str(origin)
    return next((str(path) for path in sorted(origin.parent.glob("_pycurl*.so"))), None)


def _candidates():
    """Yield (where it comes from, path) of each library to try, best first."""
    named = os.environ.get("S3READER_LIBCURL")
    if named:
        yield "S3READER_LIBCURL", named
        return
    extension = _pycurl_extension()
    if extension is not None:
        yield "pycurl", extension
    yield "the system's libcurl", "libcurl.4.dylib" if sys.platform == "darwin" else "libcurl.so.4"


cdef void *_symbol(str name) except NULL:
    encoded = ("curl_" + name).encode()
    cdef void *address = dlsym(_library, encoded)
    if address == NULL:
        raise ImportError(f"s3reader: the libcurl found has no function curl_{name}. {_REMEDY}")
    return address


cdef void keep_thread() noexcept nogil:
    """In place of `OPENSSL_thread_stop` where there is no OpenSSL."""


cdef int _bind() except -1:
    curl.global_init = <CURLcode (*)(long) noexcept nogil> _symbol("global_init")
    curl.version_info = <curl_version_info_data *(*)(int) noexcept nogil> _symbol("version_info")
    curl.easy_init = <CURL *(*)() noexcept nogil> _symbol("easy_init")
    curl.easy_setopt = <CURLcode (*)(CURL *, int, ...) noexcept nogil> _symbol("easy_setopt")
    curl.easy_getinfo = <CURLcode (*)(CURL *, int, ...) noexcept nogil> _symbol("easy_getinfo")
    curl.easy_strerror = <const char *(*)(CURLcode) noexcept nogil> _symbol("easy_strerror")
    curl.easy_cleanup = <void (*)(CURL *) noexcept nogil> _symbol("easy_cleanup")
    curl.multi_init = <CURLM *(*)() noexcept nogil> _symbol("multi_init")
    curl.multi_setopt = <CURLMcode (*)(CURLM *, int, ...) noexcept nogil> _symbol("multi_setopt")
    curl.multi_add_handle = (
        <CURLMcode (*)(CURLM *, CURL *) noexcept nogil> _symbol("multi_add_handle"))
    curl.multi_remove_handle = (
        <CURLMcode (*)(CURLM *, CURL *) noexcept nogil> _symbol("multi_remove_handle"))
    curl.multi_perform = <CURLMcode (*)(CURLM *, int *) noexcept nogil> _symbol("multi_perform")
    curl.multi_poll = (
        <CURLMcode (*)(CURLM *, void *, unsigned int, int, int *) noexcept nogil>
        _symbol("multi_poll"))
    curl.multi_wakeup = <CURLMcode (*)(CURLM *) noexcept nogil> _symbol("multi_wakeup")
    curl.multi_info_read = <CURLMsg *(*)(CURLM *, int *) noexcept nogil> _symbol("multi_info_read")
    curl.multi_strerror = <const char *(*)(CURLMcode) noexcept nogil> _symbol("multi_strerror")
    curl.multi_cleanup = <CURLMcode (*)(CURLM *) noexcept nogil> _symbol("multi_cleanup")
    curl.slist_append = (
        <curl_slist *(*)(curl_slist *, const char *) noexcept nogil> _symbol("slist_append"))
    curl.slist_free_all = <void (*)(curl_slist *) noexcept nogil> _symbol("slist_free_all")
    # Of the OpenSSL that this libcurl is linked with, if it is linked with one.
    cdef void *stop = dlsym(_library, b"OPENSSL_thread_stop")
    curl.thread_stop = <void (*)() noexcept nogil> stop if stop != NULL else keep_thread
    return 0


def _load():
    global _library
    tried = []
    for source, path in _candidates():
        encoded = os.fsencode(path)
        _library = dlopen(encoded, RTLD_NOW | RTLD_LOCAL)
        if _library != NULL:
            _bind()
            return source, path
        tried.append(f"{source}: {dlerror().decode(errors='replace')}")
    raise ImportError(f"s3reader: no libcurl could be loaded ({'; '.join(tried)}). {_REMEDY}")


def _check(source, path):
    cdef curl_version_info_data *info = curl.version_info(CURLVERSION_FIRST)
    number = info.version_num
    version = (number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff)
    text = info.version.decode()
    where = f"libcurl {text} from {source} ({path})"
    if version < FLOOR:
        oldest = ".".join(map(str, FLOOR))
        raise ImportError(
            f"s3reader: {where} is too old; {oldest} is the oldest that works. {_REMEDY}")
    if not info.features & CURL_VERSION_SSL:
        raise ImportError(f"s3reader: {where} was built without TLS. {_REMEDY}")
    if not info.features & CURL_VERSION_THREADSAFE:
        raise ImportError(f"s3reader: {where} has no thread-safe initialisation. {_REMEDY}")
    if not info.features & CURL_VERSION_ASYNCHDNS:
        raise ImportError(f"s3reader: {where} resolves host names synchronously, which would stop "
                          f"all transfers while it does. {_REMEDY}")
    if curl.global_init(CURL_GLOBAL_ALL) != CURLE_OK:
        raise ImportError(f"s3reader: {where} failed to initialise. {_REMEDY}")
    return text, info.ssl_version.decode() if info.ssl_version != NULL else ""


#: Where libcurl came from ("pycurl", "S3READER_LIBCURL" or the system) and the file opened.
source, path = _load()
#: Version of the bound libcurl and of its TLS library, as text.
version, ssl_version = _check(source, path)
