/*
 * The floor of requests: libcurl with nothing around it.
 *
 *   curl LIBCURL ENDPOINT PLAN SOURCE AT_ONCE [WARM]
 *
 * PLAN has a line for each GET: path, first byte (-1 for the whole object), length, and where in
 * SOURCE its bytes are. The answers lie one after the other in a touched destination. AT_ONCE 0
 * performs one after the other on one easy handle; more keeps so many on a multi handle. WARM is
 * a path got before the clocks start. LIBCURL is bound at run time, so that it is the library of
 * the contenders and no headers are needed; the numbers are libcurl's, which never change.
 * Prints one JSON object.
 */
#include <dlfcn.h>

#include "floor.h"

enum {
    CURLOPT_WRITEDATA = 10001,
    CURLOPT_URL = 10002,
    CURLOPT_RANGE = 10007,
    CURLOPT_WRITEFUNCTION = 20011,
    CURLOPT_FAILONERROR = 45,
    CURLOPT_BUFFERSIZE = 98,
    CURLOPT_NOSIGNAL = 99,
    CURLOPT_TCP_NODELAY = 121,
    CURLOPT_PRIVATE = 10103,
    CURLINFO_PRIVATE = 0x100000 + 21,
    CURLMOPT_MAXCONNECTS = 6,
    CURLMSG_DONE = 1,
    CURL_GLOBAL_DEFAULT = 3,
    SMALLEST_BUFFER = 16 * 1024, /* libcurl's default */
    LARGEST_BUFFER = 512 * 1024,
};

struct message {
    int kind;
    void *easy;
    union {
        void *whatever;
        int result;
    } data;
};

static struct {
    int (*global_init)(long);
    void *(*easy_init)(void);
    int (*easy_setopt)(void *, int, ...);
    int (*easy_perform)(void *);
    int (*easy_getinfo)(void *, int, ...);
    void *(*multi_init)(void);
    int (*multi_setopt)(void *, int, ...);
    int (*multi_add_handle)(void *, void *);
    int (*multi_remove_handle)(void *, void *);
    int (*multi_perform)(void *, int *);
    int (*multi_poll)(void *, void *, unsigned, int, int *);
    struct message *(*multi_info_read)(void *, int *);
} curl;

struct request {
    char url[256];
    char range[64];
    char *destination;
    size_t missing;
    size_t length;
    size_t source;
};

static void load_curl(const char *path)
{
    const char *names[] = {"global_init", "easy_init", "easy_setopt", "easy_perform",
                           "easy_getinfo", "multi_init", "multi_setopt", "multi_add_handle",
                           "multi_remove_handle", "multi_perform", "multi_poll",
                           "multi_info_read"};
    void **place = (void **) &curl;
    char name[64];
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        snprintf(name, sizeof name, "curl_%s", names[index]);
        place[index] = dlsym(library, name);
        if (!place[index]) {
            fprintf(stderr, "%s is not in the library\n", name);
            exit(1);
        }
    }
    curl.global_init(CURL_GLOBAL_DEFAULT);
}

static size_t on_body(char *data, size_t one, size_t count, void *given)
{
    struct request *request = given;
    (void) one;
    if (count > request->missing)
        return 0;
    memcpy(request->destination, data, count);
    request->destination += count;
    request->missing -= count;
    return count;
}

static void *make_easy(size_t largest)
{
    void *easy = curl.easy_init();
    long buffer = largest > LARGEST_BUFFER ? LARGEST_BUFFER : (long) largest;
    curl.easy_setopt(easy, CURLOPT_BUFFERSIZE, buffer < SMALLEST_BUFFER ? SMALLEST_BUFFER : buffer);
    curl.easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl.easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
    curl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl.easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    return easy;
}

static void prepare(void *easy, struct request *request)
{
    curl.easy_setopt(easy, CURLOPT_URL, request->url);
    curl.easy_setopt(easy, CURLOPT_RANGE, *request->range ? request->range : NULL);
    curl.easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl.easy_setopt(easy, CURLOPT_PRIVATE, request);
}

static void check(int result, const struct request *request)
{
    if (result || request->missing) {
        fprintf(stderr, "GET %s: result %d, %zu bytes missing\n", request->url, result,
                request->missing);
        exit(1);
    }
}

static void one_by_one(void *easy, struct request *requests, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        prepare(easy, &requests[index]);
        check(curl.easy_perform(easy), &requests[index]);
    }
}

static void at_once(void *multi, void **handles, int most, struct request *requests, size_t count)
{
    size_t next = 0, done = 0;
    int running;
    for (; next < count && next < (size_t) most; next++) {
        prepare(handles[next], &requests[next]);
        curl.multi_add_handle(multi, handles[next]);
    }
    while (done < count) {
        struct message *message;
        int left;
        curl.multi_perform(multi, &running);
        while ((message = curl.multi_info_read(multi, &left))) {
            struct request *request = NULL;
            void *easy = message->easy;
            if (message->kind != CURLMSG_DONE)
                continue;
            curl.easy_getinfo(easy, CURLINFO_PRIVATE, &request);
            check(message->data.result, request);
            done++;
            curl.multi_remove_handle(multi, easy);
            if (next < count) {
                prepare(easy, &requests[next++]);
                curl.multi_add_handle(multi, easy);
            }
        }
        if (done < count)
            curl.multi_poll(multi, NULL, 0, 1000, NULL);
    }
}

static struct request *read_plan(const char *path, const char *endpoint, size_t *count)
{
    char line[512], name[200];
    long long start, length, source;
    size_t room = 1024;
    struct request *requests = malloc(room * sizeof *requests);
    FILE *plan = fopen(path, "r");
    if (!plan || !requests)
        die(path);
    for (*count = 0; fgets(line, sizeof line, plan); ++*count) {
        if (*count == room && !(requests = realloc(requests, (room *= 2) * sizeof *requests)))
            die("realloc");
        struct request *request = &requests[*count];
        if (sscanf(line, "%199s %lld %lld %lld", name, &start, &length, &source) != 4)
            exit(2);
        snprintf(request->url, sizeof request->url, "%.50s%s", endpoint, name);
        *request->range = 0;
        if (start >= 0)
            snprintf(request->range, sizeof request->range, "%lld-%lld", start,
                     start + length - 1);
        request->length = request->missing = length;
        request->source = source;
    }
    fclose(plan);
    return requests;
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    size_t count, size, total = 0, largest = 0;
    int most = atoi(argv[5]);
    load_curl(argv[1]);
    struct request *requests = read_plan(argv[3], argv[2], &count);
    const char *source = open_source(argv[4], &size);
    for (size_t index = 0; index < count; index++) {
        total += requests[index].length;
        if (requests[index].length > largest)
            largest = requests[index].length;
    }
    char *destination = make_destination(total, 1), *place = destination;
    for (size_t index = 0; index < count; place += requests[index++].length)
        requests[index].destination = place;
    void **handles = malloc((most + 1) * sizeof *handles), *multi = NULL;
    struct run run = begin();
    for (int index = 0; index < most || index < 1; index++)
        handles[index] = make_easy(largest);
    struct request warm = {.missing = 0};
    static char unwanted[1 << 20];
    if (most) {
        multi = curl.multi_init();
        curl.multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) most);
    }
    if (argc > 6) {
        snprintf(warm.url, sizeof warm.url, "%.50s%.200s", argv[2], argv[6]);
        snprintf(warm.range, sizeof warm.range, "0-%d", 99);
        warm.destination = unwanted;
        warm.missing = 100;
        if (most)
            at_once(multi, handles, 1, &warm, 1);
        else
            one_by_one(handles[0], &warm, 1);
    }
    long resident = run.resident;
    run = begin();
    run.resident = resident; /* what libcurl itself holds counts */
    if (most)
        at_once(multi, handles, most, requests, count);
    else
        one_by_one(handles[0], requests, count);
    end(&run, 0);
    place = destination;
    for (size_t index = 0; index < count; place += requests[index++].length)
        compare(place, source + requests[index].source, requests[index].length);
    return 0;
}
