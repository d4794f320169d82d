#include "grid.h"

#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY "ready "

struct grid {
    pid_t keeper;
    int life; /* open as long as the grid is wanted: the kernel closes it, however we end */
    char endpoint[PATH_MAX];
};

/* What the keeper has to say, up to its end of file. */
static int
await_report(int report, int stop_fd, char *text, size_t size)
{
    size_t have = 0;

    for (;;) {
        struct pollfd p[] = {{.fd = report, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
        ssize_t n;

        if (poll(p, 2, -1) < 0)
            continue;
        if (p[1].revents != 0) {
            text[0] = '\0';
            return -1;
        }
        if ((n = read(report, text + have, size - 1 - have)) <= 0)
            break;
        have += (size_t)n;
    }
    text[have] = '\0';
    return 0;
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
    char text[PATH_MAX];
    struct grid *g;

    if ((g = calloc(1, sizeof(*g))) == NULL || pipe2(life, O_CLOEXEC) != 0 ||
        pipe2(report, O_CLOEXEC) != 0 || (g->keeper = fork_keeper(slots, life, report)) < 0) {
        snprintf(why, size, "cannot start: %s", strerror(errno));
        free(g);
        return NULL;
    }
    g->life = life[1];
    if (await_report(report[0], stop_fd, text, sizeof(text)) != 0)
        why[0] = '\0';
    else if (strncmp(text, READY, strlen(READY)) != 0)
        snprintf(why, size, "%s", text[0] != '\0' ? text : "the grid's keeper was killed");
    else
        snprintf(g->endpoint, sizeof(g->endpoint), "%s", text + strlen(READY));
    close(report[0]);
    if (g->endpoint[0] == '\0') {
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
    char *directory, *slash;
    int status = 0;

    if (g == NULL)
        return;
    close(g->life);
    while (waitpid(g->keeper, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFEXITED(status) && g->endpoint[0] != '\0') {
        directory = g->endpoint + strlen("ipc://");
        if ((slash = strrchr(directory, '/')) != NULL) {
            *slash = '\0';
            keeper_remove(directory);
        }
    }
    free(g);
}
