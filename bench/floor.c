/*
 * The floor: what receiving the same bytes costs with nothing around it.
 *
 * One connection, one GET after the other, `recv` straight into the destination. Arguments:
 *
 *   floor PORT SOURCE MODE COUNT SIZE PATH...
 *
 * MODE "touched" writes to the destination before the clocks start, "fresh" leaves the page faults
 * of new memory to `recv`. With COUNT 1 the object is at PATH; with more, the objects are at PATH
 * followed by a number, and their bytes are adjoining pieces of SOURCE. Prints one JSON object.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_LIMIT = 4096 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static double seconds(struct timeval time)
{
    return time.tv_sec + time.tv_usec * 1e-6;
}

/* A line of /proc/self/status in bytes. */
static long memory(const char *name)
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

static void forget_peak(void)
{
    FILE *refs = fopen("/proc/self/clear_refs", "w");
    if (refs) {
        fputs("5", refs);
        fclose(refs);
    }
}

static int connect_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(connection, (struct sockaddr *) &address, sizeof address))
        die("connect");
    return connection;
}

/* Sends a GET and receives its body of `size` bytes. */
static void fetch(int connection, const char *path, char *destination, size_t size)
{
    char head[HEAD_LIMIT + 1];
    size_t held = 0, received;
    char *body = NULL;
    int length = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path);
    if (send(connection, head, length, 0) != length)
        die("send");
    while (!body) {
        ssize_t count = recv(connection, head + held, HEAD_LIMIT - held, 0);
        if (count <= 0)
            die("head");
        held += count;
        head[held] = 0;
        body = strstr(head, "\r\n\r\n");
    }
    if (strncmp(head, "HTTP/1.1 200", 12)) {
        fprintf(stderr, "GET %s: %.20s\n", path, head);
        exit(1);
    }
    body += 4;
    received = held - (body - head);
    memcpy(destination, body, received);
    while (received < size) {
        ssize_t count = recv(connection, destination + received, size - received, 0);
        if (count <= 0)
            die("recv");
        received += count;
    }
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    int port = atoi(argv[1]), touched = !strcmp(argv[3], "touched"), count = atoi(argv[4]);
    size_t size = strtoull(argv[5], NULL, 10), total = size * count;
    char path[1024];
    struct rusage before, after;
    int source = open(argv[2], O_RDONLY);
    if (source < 0)
        die(argv[2]);
    char *destination = malloc(total);
    if (!destination)
        die("malloc");
    if (touched)
        memset(destination, 0xA5, total);
    int connection = connect_to(port);
    forget_peak();
    long resident = memory("VmRSS:");
    getrusage(RUSAGE_SELF, &before);
    double begun = wall();
    for (int index = 0; index < count; index++) {
        if (count == 1)
            snprintf(path, sizeof path, "%s", argv[6]);
        else
            snprintf(path, sizeof path, "%s%d", argv[6], index);
        fetch(connection, path, destination + size * index, size);
    }
    double taken = wall() - begun;
    getrusage(RUSAGE_SELF, &after);
    long extra = memory("VmHWM:") - resident - (touched ? 0 : (long) total);
    close(connection);
    char *expected = mmap(NULL, total, PROT_READ, MAP_SHARED, source, 0);
    if (expected == MAP_FAILED || memcmp(expected, destination, total)) {
        fputs("the bytes differ from the source\n", stderr);
        return 1;
    }
    printf("{\"wall\": %.6f, \"user\": %.6f, \"system\": %.6f, \"extra_memory\": %ld, "
           "\"minor_faults\": %ld, \"context_switches\": %ld}\n",
           taken, seconds(after.ru_utime) - seconds(before.ru_utime),
           seconds(after.ru_stime) - seconds(before.ru_stime), extra > 0 ? extra : 0,
           after.ru_minflt - before.ru_minflt,
           after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw);
    return 0;
}
