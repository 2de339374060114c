/*
 * The floor of bytes: what receiving an object costs with nothing around it.
 *
 *   receive PORT SOURCE MODE CONNECTIONS MARK PATH [LIBSSL]
 *
 * Each connection GETs an equal share of the object at PATH and `recv`s it straight into the
 * destination. MODE "touched" writes to the destination before the clocks start, "fresh" leaves
 * the page faults of new memory to `recv`. With a MARK above 1 the kernel wakes the one connection
 * for no fewer bytes (SO_RCVLOWAT), as long as so many are to come. With LIBSSL, the path of an
 * OpenSSL 3 library, the one connection is TLS and `SSL_read` writes to the destination. LIBSSL is
 * bound at run time, so that it is the very library which the contenders use and no headers are
 * needed. Connections are open, and handshakes over, before the clocks start. Prints one JSON
 * object.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "floor.h"

enum { HEAD_LIMIT = 4096, MOST_CONNECTIONS = 1024 };

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;

static struct {
    const void *(*TLS_client_method)(void);
    SSL_CTX *(*SSL_CTX_new)(const void *);
    SSL *(*SSL_new)(SSL_CTX *);
    int (*SSL_set_fd)(SSL *, int);
    int (*SSL_connect)(SSL *);
    int (*SSL_read)(SSL *, void *, int);
    int (*SSL_write)(SSL *, const void *, int);
} openssl;

struct connection {
    int socket;
    SSL *ssl;
    char *destination;
    size_t missing;
    int mark;
};

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "%s is not in the library\n", name);
        exit(1);
    }
    return found;
}

static SSL_CTX *load_openssl(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    openssl.TLS_client_method = symbol(library, "TLS_client_method");
    openssl.SSL_CTX_new = symbol(library, "SSL_CTX_new");
    openssl.SSL_new = symbol(library, "SSL_new");
    openssl.SSL_set_fd = symbol(library, "SSL_set_fd");
    openssl.SSL_connect = symbol(library, "SSL_connect");
    openssl.SSL_read = symbol(library, "SSL_read");
    openssl.SSL_write = symbol(library, "SSL_write");
    return openssl.SSL_CTX_new(openssl.TLS_client_method());
}

static struct connection connect_to(int port, SSL_CTX *context)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct connection made = {.socket = socket(AF_INET, SOCK_STREAM, 0), .mark = 1};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(made.socket, (struct sockaddr *) &address, sizeof address))
        die("connect");
    if (context) {
        made.ssl = openssl.SSL_new(context);
        openssl.SSL_set_fd(made.ssl, made.socket);
        if (openssl.SSL_connect(made.ssl) != 1) {
            fputs("the TLS handshake failed\n", stderr);
            exit(1);
        }
    }
    return made;
}

static size_t receive(struct connection *from, char *destination, size_t size)
{
    ssize_t count = from->ssl
        ? openssl.SSL_read(from->ssl, destination, size > INT_MAX ? INT_MAX : (int) size)
        : recv(from->socket, destination, size, 0);
    if (count <= 0)
        die("recv");
    return count;
}

/* Asks for [start, start + size) and takes the head, with what came of the body. */
static void ask(struct connection *of, const char *path, size_t start, size_t size)
{
    char head[HEAD_LIMIT + 1];
    size_t held = 0;
    char *body = NULL;
    int length = snprintf(head, sizeof head,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=%zu-%zu\r\n\r\n",
                          path, start, start + size - 1);
    int sent = of->ssl ? openssl.SSL_write(of->ssl, head, length)
                       : (int) send(of->socket, head, length, 0);
    if (sent != length)
        die("send");
    while (!body) {
        held += receive(of, head + held, HEAD_LIMIT - held);
        head[held] = 0;
        body = strstr(head, "\r\n\r\n");
    }
    if (strncmp(head, "HTTP/1.1 206", 12)) {
        fprintf(stderr, "GET %s: %.20s\n", path, head);
        exit(1);
    }
    body += 4;
    size_t came = held - (body - head);
    memcpy(of->destination, body, came);
    of->destination += came;
    of->missing = size - came;
}

static void set_mark(struct connection *of, size_t mark)
{
    int most = of->missing > mark ? (int) mark : of->missing ? (int) of->missing : 1;
    if (most == of->mark)
        return;
    of->mark = most;
    if (setsockopt(of->socket, SOL_SOCKET, SO_RCVLOWAT, &most, sizeof most))
        die("SO_RCVLOWAT");
}

static void take(struct connection *from)
{
    size_t count = receive(from, from->destination, from->missing);
    from->destination += count;
    from->missing -= count;
}

static void take_all(struct connection *connections, int count)
{
    struct pollfd ready[MOST_CONNECTIONS];
    int open = count;
    for (int index = 0; index < count; index++) {
        ready[index].fd = connections[index].missing ? connections[index].socket : -1;
        ready[index].events = POLLIN;
        open -= !connections[index].missing;
    }
    while (open) {
        if (poll(ready, count, -1) < 0)
            die("poll");
        for (int index = 0; index < count; index++) {
            if (ready[index].fd < 0 || !ready[index].revents)
                continue;
            take(&connections[index]);
            if (!connections[index].missing) {
                ready[index].fd = -1;
                open--;
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 7)
        return 2;
    int port = atoi(argv[1]), touched = !strcmp(argv[3], "touched"), count = atoi(argv[4]);
    size_t mark = atol(argv[5]);
    const char *path = argv[6];
    SSL_CTX *context = argc > 7 ? load_openssl(argv[7]) : NULL;
    struct connection connections[MOST_CONNECTIONS];
    size_t size;
    const char *source = open_source(argv[2], &size);
    if (count < 1 || count > (context ? 1 : MOST_CONNECTIONS) || mark < 1 || mark > INT_MAX)
        return 2;
    char *destination = make_destination(size, touched);
    for (int index = 0; index < count; index++)
        connections[index] = connect_to(port, context);
    size_t share = (size + count - 1) / count;
    struct run run = begin();
    for (int index = 0; index < count; index++) {
        size_t start = share * index;
        connections[index].destination = destination + start;
        ask(&connections[index], path, start, start + share > size ? size - start : share);
    }
    if (count == 1)
        while (connections[0].missing) {
            set_mark(&connections[0], mark);
            take(&connections[0]);
        }
    else
        take_all(connections, count);
    end(&run, touched ? 0 : size);
    compare(destination, source, size);
    return 0;
}
