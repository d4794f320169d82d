#include "hoard.h"

#include "../net/tcp.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOARD_TRIMS = 8 };

static size_t
memory(void)
{
    char text[128] = "", *resident = NULL;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof(text) - 1) > 0)
        (void)strtoull(text, &resident, 10);
    close(fd);
    return resident == NULL ? 0
                            : (size_t)strtoull(resident, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* Bytes of a message that has not ended, and of such as wait to be read. */
static uint64_t
unfinished(struct route *r)
{
    uint64_t received = r->fd < 0 ? 0 : tcp_received(r->fd);

    if (r->messages != r->weighed || received < r->received) {
        r->weighed = r->messages;
        r->received = received;
    }
    return received - r->received;
}

static void
shut_down(struct route *r)
{
    struct stat st;

    if (fstat(r->fd, &st) == 0 && st.st_ino == r->inode)
        shutdown(r->fd, SHUT_RDWR);
}

unsigned
hoard_weigh(struct routes *routes, uint64_t most, uint64_t total)
{
    struct route *r, *largest = NULL;
    uint64_t bytes, of_largest = 0, sum = 0;
    unsigned n = 0;

    TAILQ_FOREACH (r, &routes->all, link) {
        bytes = unfinished(r);
        if (bytes > most) {
            shut_down(r);
            n++;
            continue;
        }
        sum += bytes;
        if (bytes > of_largest) {
            largest = r;
            of_largest = bytes;
        }
    }
    if (sum <= total || largest == NULL)
        return n;
    shut_down(largest);
    return n + 1;
}

unsigned
hoard_check(struct hoard *self, struct routes *routes)
{
    size_t now;
    unsigned n;

    /* The C library would keep for itself what a great many small frames were in. */
    if (self->trims > 0 && --self->trims % 2 == 0)
        malloc_trim(0);
    if ((now = memory()) < self->memory)
        self->memory = now;
    if (now < self->memory + HOARD_STEP)
        return 0;
    self->memory = now;
    if ((n = hoard_weigh(routes, HOARD_MOST, HOARD_TOTAL)) > 0)
        self->trims = HOARD_TRIMS;
    return n;
}
