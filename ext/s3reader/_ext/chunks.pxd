"""Recycled blocks of memory and the read-only chunks made of them."""

from s3reader._ext.threads cimport pthread_mutex_t

cdef enum:
    BLOCK_CLASSES = 48

cdef struct Block:
    char *data
    size_t capacity     # bytes; a power of two
    Block *next         # the next free block of this class, while free

cdef struct BlockPool:
    pthread_mutex_t lock            # guards all that follows
    Block *free[BLOCK_CLASSES]      # by binary logarithm of the capacity
    size_t in_use                   # bytes in blocks that are out
    size_t peak                     # most bytes that were out since none were
    size_t retained                 # bytes in free blocks

# Any thread, with or without the GIL. NULL when there is no memory.
cdef Block *take_block(BlockPool *pool, size_t size) noexcept nogil
cdef void give_block(BlockPool *pool, Block *block) noexcept nogil

cdef class ChunkPool:
    cdef BlockPool pool
    cdef long generation            # of the process whose threads may hold the lock

    cdef void give_back(self, Block *block) noexcept

cdef class Chunk:
    cdef ChunkPool pool
    cdef Block *block               # owned; given back when the last view of it is gone
    cdef Py_ssize_t length          # bytes visible through the buffer protocol

    @staticmethod
    cdef Chunk wrap(ChunkPool pool, Block *block, Py_ssize_t length)
