#include "talk.h"

#include "../base/clock.h"
#include "../base/poller.h"
#include "../client/ladle.h"
#include "../net/link.h"
#include "../proto/limits.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

void
talk_fail(struct talk *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(t->why, t->size, format, args);
    va_end(args);
    t->failed = true;
}

void
talk_end(struct talk *t)
{
    t->done = true;
}

void
talk_say(struct talk *t, const struct message *m)
{
    t->deadline = clock_us() + (int64_t)t->timeout_ms * 1000;
    if (link_send(t->link, m) != 0)
        talk_fail(t, "cannot ask the broker: %s", strerror(errno));
}

static void
say_hello(struct talk *t)
{
    char host[256] = "";
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_OPERATOR,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "ladle " LADLE_VERSION,
                                  .name = t->name,
                                  .host = host,
                                  .pid = (uint64_t)getpid()}};

    gethostname(host, sizeof(host) - 1);
    if (getrandom(m.hello.session, sizeof(m.hello.session), 0) < 0 || link_send(t->link, &m) != 0)
        talk_fail(t, "cannot greet the broker: %s", strerror(errno));
}

static void
receive(struct talk *t, int64_t now)
{
    const char *why = NULL;
    struct message m;
    int rc;

    while (!t->done && !t->failed && (rc = link_receive(t->link, &m, &why)) != 0) {
        if (rc < 0)
            talk_fail(t, "the broker at %s sent something that is not understood: %s", t->endpoint,
                      why != NULL ? why : strerror(errno));
        else if (m.type == MESSAGE_WELCOME)
            t->ask(t);
        else if (m.type == MESSAGE_REFUSED)
            talk_fail(t, "the broker at %s refuses: %s", t->endpoint, m.text);
        else if (m.type == MESSAGE_BYE)
            link_restart(t->link, now);
        else
            t->answer(t, &m);
    }
}

static void
converse(struct talk *t, struct poller *poller)
{
    int64_t now = clock_us(), at;
    enum link_event event;

    t->deadline = now + (int64_t)t->timeout_ms * 1000;
    while (!t->done && !t->failed && now < t->deadline) {
        link_tick(t->link, now);
        while ((event = link_event(t->link)) != LINK_NONE) {
            if (event == LINK_UP) {
                t->linked = true;
                say_hello(t);
            }
        }
        receive(t, now);
        if (t->done || t->failed)
            return;
        at = link_deadline(t->link);
        if (poller_wait(poller, clock_poll_timeout(at < t->deadline ? at : t->deadline, now)) < 0)
            talk_fail(t, "cannot wait: %s", strerror(errno));
        now = clock_us();
    }
}

int
talk_run(struct talk *t, int timeout_ms)
{
    struct poller *poller = NULL;

    t->timeout_ms = timeout_ms;
    if (endpoint_check(t->endpoint, t->why, t->size) != 0)
        return -1;
    if ((poller = poller_new()) == NULL ||
        (t->link = link_new(poller, t->endpoint, clock_us())) == NULL)
        talk_fail(t, "cannot connect: %s", strerror(errno));
    else
        converse(t, poller);
    if (t->link != NULL)
        link_free(t->link, 0);
    poller_free(poller);
    if (!t->done && !t->failed && t->linked)
        talk_fail(t,
                  "the broker at %s did not answer within %d ms; it may be overloaded or stopped",
                  t->endpoint, timeout_ms);
    else if (!t->done && !t->failed)
        link_diagnose(t->endpoint, timeout_ms, t->why, t->size);
    return t->done ? 0 : -1;
}
