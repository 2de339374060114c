"""What the I/O thread needs of the platform: threads, locks, a monotonic clock, atomics."""

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <time.h>

    static inline double s3r_monotonic(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }

    static inline int s3r_cond_init(pthread_cond_t *cond) {
    #ifdef __APPLE__
        return pthread_cond_init(cond, NULL);
    #else
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        int failed = pthread_cond_init(cond, &attributes);
        pthread_condattr_destroy(&attributes);
        return failed;
    #endif
    }

    static inline void s3r_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, double seconds) {
        struct timespec until;
    #ifdef __APPLE__
        until.tv_sec = (time_t)seconds;
        until.tv_nsec = (long)((seconds - (double)until.tv_sec) * 1e9);
        pthread_cond_timedwait_relative_np(cond, lock, &until);
    #else
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)seconds;
        until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec += 1;
            until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(cond, lock, &until);
    #endif
    }

    /* Starts a thread that takes no signals, so that they reach the threads Python knows. */
    static inline int s3r_thread_start(pthread_t *thread, void *(*run)(void *), void *context) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int failed = pthread_create(thread, NULL, run, context);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return failed;
    }

    static inline int64_t s3r_load(const int64_t *value) {
        return __atomic_load_n(value, __ATOMIC_SEQ_CST);
    }

    /* Makes what was written before visible to whoever loads the value; does not wait for that. */
    static inline void s3r_publish(int64_t *value, int64_t to) {
        __atomic_store_n(value, to, __ATOMIC_RELEASE);
    }

    static inline void s3r_add(int64_t *value, int64_t more) {
        __atomic_fetch_add(value, more, __ATOMIC_RELAXED);
    }

    static inline void s3r_fence(void) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }

    static inline void s3r_store(int64_t *value, int64_t to) {
        __atomic_store_n(value, to, __ATOMIC_SEQ_CST);
    }
    """
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *lock, void *attributes) noexcept nogil
    int pthread_mutex_destroy(pthread_mutex_t *lock) noexcept nogil
    int pthread_mutex_lock(pthread_mutex_t *lock) noexcept nogil
    int pthread_mutex_unlock(pthread_mutex_t *lock) noexcept nogil
    int pthread_cond_destroy(pthread_cond_t *cond) noexcept nogil
    int pthread_cond_broadcast(pthread_cond_t *cond) noexcept nogil
    int pthread_join(pthread_t thread, void **result) noexcept nogil
    int pthread_atfork(
        void (*before)() noexcept nogil, void (*in_parent)() noexcept nogil,
        void (*in_child)() noexcept nogil) noexcept nogil
    int cond_init "s3r_cond_init"(pthread_cond_t *cond) noexcept nogil
    void cond_wait "s3r_cond_wait"(
        pthread_cond_t *cond, pthread_mutex_t *lock, double seconds) noexcept nogil
    int thread_start "s3r_thread_start"(
        pthread_t *thread, void *(*run)(void *) noexcept nogil, void *context) noexcept nogil
    double monotonic "s3r_monotonic"() noexcept nogil
    int64_t load "s3r_load"(const int64_t *value) noexcept nogil
    void publish "s3r_publish"(int64_t *value, int64_t to) noexcept nogil
    void add "s3r_add"(int64_t *value, int64_t more) noexcept nogil
    void fence "s3r_fence"() noexcept nogil
    void store "s3r_store"(int64_t *value, int64_t to) noexcept nogil
