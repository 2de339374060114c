"""Files in memory, which processes hand to each other by their descriptors.

Asked for by the system call itself: `os.memfd_create` is missing from every Python that was built
for an older C library, as many are that come ready-made, whatever the kernel can do.
"""

from libc.errno cimport errno

cdef extern from *:
    """
    #include <errno.h>
    #ifdef __linux__
    #include <sys/syscall.h>
    #include <unistd.h>
    #ifndef SYS_memfd_create
    #if defined(__x86_64__)
    #define SYS_memfd_create 319
    #elif defined(__aarch64__)
    #define SYS_memfd_create 279
    #endif
    #endif
    #endif
    static int s3r_new_file(const char *name) {
    #ifdef SYS_memfd_create
        const unsigned int closed_on_exec = 1, never_executable = 8;
        long file = syscall(SYS_memfd_create, name, closed_on_exec | never_executable);
        if (file < 0 && errno == EINVAL)    /* before Linux 6.3 */
            file = syscall(SYS_memfd_create, name, closed_on_exec);
        return (int) file;
    #else
        (void) name;
        errno = ENOSYS;
        return -1;
    #endif
    }
    """
    int new_file "s3r_new_file"(const char *name) nogil


def open_file(bytes name not None):
    """The descriptor of a new, empty file in memory; OSError where there can be none."""
    cdef int file = new_file(name)
    if file < 0:
        raise OSError(errno, "cannot make a file in memory")
    return file
