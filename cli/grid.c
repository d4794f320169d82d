#include "grid.h"

#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY "ready "

struct grid {
    pid_t keeper;
    int life; /* open as long as the grid is wanted: the kernel closes it, however we end */
    int report;
    /* What the keeper told: the grid's directory in a line of its own, then that it is ready, or
     * why not. */
    char told[2 * PATH_MAX];
    size_t have;
    const char *endpoint; /* in what it told; NULL: not ready */
};

static bool
hear(struct grid *g)
{
    ssize_t n = read(g->report, g->told + g->have, sizeof(g->told) - 1 - g->have);

    if (n > 0)
        g->have += (size_t)n;
    return n > 0;
}

/* Up to its end of file. -1 if there is to be no grid. */
static int
await_report(struct grid *g, int stop_fd)
{
    struct pollfd p[] = {{.fd = g->report, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};

    do {
        while (poll(p, 2, -1) < 0)
            continue;
        if (p[1].revents != 0)
            return -1;
    } while (hear(g));
    return 0;
}

/* What it told after the directory. */
static const char *
words(const struct grid *g)
{
    const char *line = strchr(g->told, '\n');

    return g->told[0] == '/' && line != NULL ? line + 1 : g->told;
}

static pid_t
fork_keeper(unsigned slots, int life[2], int report[2])
{
    pid_t pid = fork();

    if (pid == 0) {
        close(life[1]);
        close(report[0]);
        keeper_run(slots, life[0], report[1]);
    }
    close(life[0]);
    close(report[1]);
    return pid;
}

struct grid *
grid_start(unsigned slots, int stop_fd, char *why, size_t size)
{
    int life[2], report[2];
    struct grid *g;

    if ((g = calloc(1, sizeof(*g))) == NULL || pipe2(life, O_CLOEXEC) != 0 ||
        pipe2(report, O_CLOEXEC) != 0 || (g->keeper = fork_keeper(slots, life, report)) < 0) {
        snprintf(why, size, "cannot start: %s", strerror(errno));
        free(g);
        return NULL;
    }
    g->life = life[1];
    g->report = report[0];
    if (await_report(g, stop_fd) != 0)
        why[0] = '\0';
    else if (strncmp(words(g), READY, strlen(READY)) != 0)
        snprintf(why, size, "%s", words(g)[0] != '\0' ? words(g) : "the grid's keeper was killed");
    else
        g->endpoint = words(g) + strlen(READY);
    if (g->endpoint == NULL) {
        grid_stop(g);
        return NULL;
    }
    return g;
}

const char *
grid_endpoint(const struct grid *g)
{
    return g->endpoint;
}

void
grid_stop(struct grid *g)
{
    char *end;
    int status = 0;

    if (g == NULL)
        return;
    close(g->life);
    while (waitpid(g->keeper, &status, 0) < 0 && errno == EINTR)
        continue;
    while (hear(g))
        continue;
    close(g->report);
    if (!WIFEXITED(status) && g->told[0] == '/' && (end = strchr(g->told, '\n')) != NULL) {
        *end = '\0';
        keeper_remove(g->told);
    }
    free(g);
}
