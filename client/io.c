/* What the I/O threads of grids and local pools share. */
#include "session.h"

#include "../net/link.h"
#include "../proto/limits.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *
run(void *arg)
{
    futures_t *s = arg;

    pthread_setname_np(pthread_self(), "ladle");
    if (s->kind == KIND_LOCAL)
        local_run(s);
    else
        grid_run(s);
    return NULL;
}

/* Signals are the program's business: none is to be handled in a thread that it does not know. */
static int
start_thread(futures_t *s)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return error_set(error, "cannot start a thread: %s", strerror(error));
    s->started = true;
    return 0;
}

int
session_start(futures_t *s)
{
    int64_t deadline = session_deadline(s->kind == KIND_GRID ? s->config.connect_timeout : -1);
    enum phase phase;
    char text[1024];

    session_keep_open(s);
    if (start_thread(s) != 0)
        return -1;
    session_lock(s);
    while (s->phase == PHASE_OPENING && session_wait(s, deadline) == 0)
        ;
    phase = s->phase;
    session_unlock(s);
    if (phase == PHASE_OPEN)
        return 0;
    if (phase == PHASE_FAILED) {
        session_stop(s);
        return error_set(s->failure, "%s", s->failed);
    }
    link_diagnose(s->endpoint, 1000, text, sizeof(text));
    session_lock(s);
    phase = s->phase;
    session_unlock(s);
    if (phase == PHASE_OPEN) /* just now */
        return 0;
    session_stop(s);
    return error_set(ETIMEDOUT, "no answer from a broker at %s within %d ms: %s", s->endpoint,
                     s->config.connect_timeout, text);
}

void
session_stop(futures_t *s)
{
    if (!s->started)
        return;
    session_lock(s);
    s->stop = true;
    session_unlock(s);
    pthread_join(s->thread, NULL);
    s->started = false;
    session_keep(s);
    session_lock(s);
    s->asleep = false;
    session_unlock(s);
}

void
io_opened(futures_t *s)
{
    session_lock(s);
    s->phase = PHASE_OPEN;
    session_news(s);
    session_unlock(s);
}

void
io_failed(futures_t *s, int error, const char *text)
{
    session_lock(s);
    s->phase = PHASE_FAILED;
    s->failure = error;
    snprintf(s->failed, sizeof(s->failed), "%s", text);
    session_news(s);
    session_unlock(s);
}

bool
io_stopping(futures_t *s)
{
    bool stop;

    session_lock(s);
    stop = s->stop;
    session_unlock(s);
    return stop;
}

static void
woken(void *arg, uint32_t events)
{
    futures_t *s = arg;
    eventfd_t count;

    (void)events;
    (void)!eventfd_read(s->wake_fd, &count);
}

int
io_watch(futures_t *s, struct poller *poller, struct watch *w)
{
    *w = (struct watch){.fd = s->wake_fd, .ready = woken, .arg = s};
    return poller_watch(poller, w, EPOLLIN);
}

void
io_sleep(futures_t *s, struct poller *poller, int64_t deadline)
{
    int timeout = clock_poll_timeout(deadline, clock_us());

    session_keep(s);
    session_lock(s);
    if (s->stop || s->core->wants_output)
        timeout = 0;
    s->asleep = timeout != 0;
    pthread_mutex_unlock(&s->lock); /* not to wake ourselves */
    (void)poller_wait(poller, timeout);
    if (timeout == 0)
        return;
    session_lock(s);
    s->asleep = false;
    pthread_mutex_unlock(&s->lock);
}

void
io_say(const futures_t *s, const char *format, ...)
{
    char line[LIMIT_TEXT + 64];
    va_list args;
    int n;

    if (s->config.quiet)
        return;
    n = snprintf(line, sizeof(line), "ladle: ");
    va_start(args, format);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
    va_end(args);
    if (n > (int)sizeof(line) - 2)
        n = (int)sizeof(line) - 2;
    line[n++] = '\n';
    (void)!write(STDERR_FILENO, line, (size_t)n);
}

#define SAY_AGAIN_US 60000000

void
io_no_worker(const futures_t *s, char *text, size_t size)
{
    snprintf(
        text, size,
        "it waits, since no worker is connected to %s: start one, with ladle-worker --broker %s",
        s->endpoint, s->endpoint);
}

/* Many jobs may wait for the same reason: it is said once, and again after a while. */
static void
say_once(futures_t *s, const char *text, int64_t now)
{
    if (s->said != NULL && strcmp(s->said, text) == 0 && now < s->said_at + SAY_AGAIN_US)
        return;
    free(s->said);
    s->said = strdup(text);
    s->said_at = now;
    io_say(s, "%s", text);
}

int
io_notice(futures_t *s, const struct message_notice *m, int64_t now)
{
    const struct job *j;
    char function[LIMIT_NAME + 1] = "a task", why[LIMIT_TEXT], text[LIMIT_TEXT + 512];
    struct message notice = {.type = MESSAGE_NOTICE,
                             .notice = {.job = m->job, .reason = m->reason, .text = why}};
    int failed;

    if (m->reason == NOTICE_NO_WORKER)
        io_no_worker(s, why, sizeof(why));
    else
        snprintf(why, sizeof(why), "it waits, since %s", m->text);
    session_lock(s);
    failed = core_input(s->core, &notice, now);
    if ((j = core_find(s->core, m->job)) != NULL)
        snprintf(function, sizeof(function), "%s", j->spec->function);
    session_unlock(s);
    snprintf(text, sizeof(text), "%s%s", function, why + 2); /* "it" has a name */
    say_once(s, text, now);
    return failed;
}

/* May `fd` be written to? A grid would take us for dead if we waited for ever for a slow reader. */
static bool
wait_for_reader(futures_t *s, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int n = 0;

    for (int i = 0; n <= 0 && (s->kind == KIND_LOCAL || i < 10); i++) {
        n = poll(&p, 1, 100);
        if ((n < 0 && errno != EINTR) || (n <= 0 && io_stopping(s)))
            return false;
    }
    return n > 0;
}

void
io_print(futures_t *s, const struct message_output *m)
{
    const struct columns *c = &m->columns;
    int fd = m->stream == 1 ? STDOUT_FILENO : STDERR_FILENO;
    size_t done = 0;

    if (s->config.quiet)
        return;
    while (done < c->length && wait_for_reader(s, fd)) {
        size_t size = c->length - done < PIPE_BUF ? c->length - done : PIPE_BUF;
        ssize_t n = write(fd, c->data->bytes + c->at + done, size);

        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return;
        done += n > 0 ? (size_t)n : 0;
    }
}
