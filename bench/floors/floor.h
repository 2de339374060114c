/*
 * What the floors have in common: clocks, memory, the comparison, the result as one JSON object.
 * The same figures as a trial takes of a contender, taken at the same moments.
 */
#ifndef FLOOR_H
#define FLOOR_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static inline void die(const char *what)
{
    perror(what);
    exit(1);
}

static inline double wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static inline double seconds(struct timeval time)
{
    return time.tv_sec + time.tv_usec * 1e-6;
}

/* A line of /proc/self/status in bytes. */
static inline long memory(const char *name)
{
    char line[256];
    long kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    if (!status)
        return 0;
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, name, strlen(name)))
            kilobytes = atol(line + strlen(name) + 1);
    fclose(status);
    return kilobytes * 1024;
}

struct run {
    struct rusage before;
    double begun;
    long resident;
};

/* Starts the clocks and forgets the peak of memory so far. */
static inline struct run begin(void)
{
    struct run run;
    FILE *refs = fopen("/proc/self/clear_refs", "w");
    if (refs) {
        fputs("5", refs);
        fclose(refs);
    }
    run.resident = memory("VmRSS:");
    getrusage(RUSAGE_SELF, &run.before);
    run.begun = wall();
    return run;
}

/* Stops the clocks and prints what was between; `kept` bytes of new memory are the result. */
static inline void end(const struct run *run, size_t kept)
{
    double taken = wall() - run->begun;
    struct rusage after;
    getrusage(RUSAGE_SELF, &after);
    const struct rusage *before = &run->before;
    long extra = memory("VmHWM:") - run->resident - (long) kept;
    printf("{\"wall\": %.6f, \"user\": %.6f, \"system\": %.6f, \"extra_memory\": %ld, "
           "\"minor_faults\": %ld, \"context_switches\": %ld}\n",
           taken, seconds(after.ru_utime) - seconds(before->ru_utime),
           seconds(after.ru_stime) - seconds(before->ru_stime), extra > 0 ? extra : 0,
           after.ru_minflt - before->ru_minflt,
           after.ru_nvcsw + after.ru_nivcsw - before->ru_nvcsw - before->ru_nivcsw);
}

static inline char *make_destination(size_t size, int touched)
{
    char *destination = malloc(size);
    if (!destination)
        die("malloc");
    if (touched)
        memset(destination, 0xA5, size);
    return destination;
}

/* The source of all bytes, mapped; not read before the clocks have stopped. */
static inline const char *open_source(const char *path, size_t *size)
{
    int source = open(path, O_RDONLY);
    off_t length = source < 0 ? -1 : lseek(source, 0, SEEK_END);
    if (length < 0)
        die(path);
    const char *bytes = mmap(NULL, length, PROT_READ, MAP_SHARED, source, 0);
    if (bytes == MAP_FAILED)
        die(path);
    close(source);
    *size = length;
    return bytes;
}

static inline void compare(const char *got, const char *expected, size_t size)
{
    if (memcmp(got, expected, size)) {
        fputs("the bytes differ from the source\n", stderr);
        exit(1);
    }
}

#endif
