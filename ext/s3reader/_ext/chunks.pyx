"""Chunks: blocks of memory that parts of an object arrive in, recycled through a pool.

New memory costs more than the transfer that fills it (page faults take several times the CPU of
the bytes), so blocks are recycled. The I/O thread takes a block when a response's length is
known; a :class:`Chunk` wraps it once Python sees it and exports it read-only; when the last
view of the chunk is gone its block returns to the pool. While any block is out, the pool keeps as
much as was out at once, since parts come and go in bursts; when the last one returns it gives the
memory back to the system, but for ``RETAIN``.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap

from s3reader._ext cimport process
from s3reader._ext.threads cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock)

cdef enum:
    SMALLEST_CLASS = 14             # 16 KiB: smaller objects share the class, waste is small
    RETAIN = 16 * 1024 * 1024       # free bytes kept when idle: two default parts


cdef int class_of(size_t size) noexcept nogil:
    cdef int index = SMALLEST_CLASS
    while index < BLOCK_CLASSES and (<size_t> 1 << index) < size:
        index += 1
    return index


cdef Block *map_block(size_t capacity) noexcept nogil:
    # Mapped, not from malloc: a block given back must leave the process, whatever the heap does.
    cdef Block *block = <Block *> malloc(sizeof(Block))
    cdef void *data
    if block == NULL:
        return NULL
    data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if data == MAP_FAILED:
        free(block)
        return NULL
    block.data = <char *> data
    block.capacity = capacity
    block.next = NULL
    return block


cdef void unmap_block(Block *block) noexcept nogil:
    munmap(block.data, block.capacity)
    free(block)


cdef Block *take_block(BlockPool *pool, size_t size) noexcept nogil:
    cdef int index = class_of(size)
    cdef Block *block
    if index >= BLOCK_CLASSES:
        return NULL
    pthread_mutex_lock(&pool.lock)
    block = pool.free[index]
    if block != NULL:
        pool.free[index] = block.next
        pool.retained -= block.capacity
    pool.in_use += <size_t> 1 << index
    pool.peak = max(pool.peak, pool.in_use)
    pthread_mutex_unlock(&pool.lock)
    if block == NULL:
        block = map_block(<size_t> 1 << index)
        if block == NULL:
            pthread_mutex_lock(&pool.lock)
            pool.in_use -= <size_t> 1 << index
            pthread_mutex_unlock(&pool.lock)
    return block


cdef Block *excess_block(BlockPool *pool) noexcept nogil:
    cdef int index
    cdef Block *block
    if pool.retained <= max(<size_t> RETAIN, pool.peak):
        return NULL
    for index in range(BLOCK_CLASSES - 1, -1, -1):
        block = pool.free[index]
        if block != NULL:
            pool.free[index] = block.next
            pool.retained -= block.capacity
            return block
    return NULL


cdef void give_block(BlockPool *pool, Block *block) noexcept nogil:
    cdef int index = class_of(block.capacity)
    cdef Block *excess = NULL
    cdef Block *next
    pthread_mutex_lock(&pool.lock)
    pool.in_use -= block.capacity
    if pool.in_use == 0:
        pool.peak = 0
    pool.retained += block.capacity
    block.next = pool.free[index]
    pool.free[index] = block
    while True:
        next = excess_block(pool)
        if next == NULL:
            break
        next.next = excess
        excess = next
    pthread_mutex_unlock(&pool.lock)
    while excess != NULL:
        next = excess.next
        unmap_block(excess)
        excess = next


cdef class ChunkPool:
    """The free blocks of one client."""

    def __cinit__(self):
        memset(&self.pool, 0, sizeof(BlockPool))
        pthread_mutex_init(&self.pool.lock, NULL)
        self.generation = process.generation

    def __dealloc__(self):
        cdef int index
        cdef Block *block
        for index in range(BLOCK_CLASSES):
            while self.pool.free[index] != NULL:
                block = self.pool.free[index]
                self.pool.free[index] = block.next
                unmap_block(block)
        pthread_mutex_destroy(&self.pool.lock)

    cdef void give_back(self, Block *block) noexcept:
        if self.generation == process.generation:
            give_block(&self.pool, block)
        else:
            unmap_block(block)

    @property
    def in_use(self):
        """Bytes in blocks that are filled, being filled, or referred to by a view."""
        return self.pool.in_use

    @property
    def retained(self):
        """Bytes in free blocks kept for the next part."""
        return self.pool.retained


# The collector would clear `pool` before `__dealloc__` needs it; nothing here closes a cycle.
@cython.no_gc
cdef class Chunk:
    """A block's bytes, read-only, through the buffer protocol."""

    @staticmethod
    cdef Chunk wrap(ChunkPool pool, Block *block, Py_ssize_t length):
        cdef Chunk chunk = Chunk.__new__(Chunk)
        chunk.pool = pool
        chunk.block = block
        chunk.length = length
        return chunk

    def __dealloc__(self):
        if self.block != NULL:
            self.pool.give_back(self.block)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.block == NULL:
            raise BufferError("a Chunk is made by the library, not by calling its class")
        PyBuffer_FillInfo(view, self, self.block.data, self.length, 1, flags)

    def __len__(self):
        return self.length
