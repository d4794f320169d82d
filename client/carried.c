#include "carried.h"

#include "ladle.h"
#include "uplink.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { CLIENT = 1 }; /* any number: there is one */

#define SAY_AGAIN_US 60000000

static bool greeted;
static bool named;
static uint8_t session[16];   /* the same for each conversation: jobs keep their numbers */
static char said[LIMIT_TEXT]; /* the last notice, and when */
static int64_t said_at;

static void
say(struct message *m)
{
    m->client = CLIENT;
    uplink_send(m);
}

void
carried_open(struct nest *n)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_CLIENT,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "ladle " LADLE_VERSION,
                                  .name = program_invocation_short_name,
                                  .host = "",
                                  .pid = (uint64_t)getpid(),
                                  .machine = "",
                                  .labels = "",
                                  .window = WINDOW_RESULT}};

    (void)n;
    if (greeted)
        return;
    greeted = true;
    if (!named)
        named = getrandom(session, sizeof(session), 0) == sizeof(session);
    memcpy(m.hello.session, session, sizeof(session));
    say(&m);
}

void
carried_send(struct nest *n)
{
    struct message m;

    while (nest_output(n, &m, clock_us()))
        say(&m);
}

/* ---- what the broker asks for -----------------------------------------------------------------
 */

/* What other executors print for tasks of ours is as if printed here. */
static void
print(const struct message_output *m)
{
    const struct columns *c = &m->columns;
    size_t done = 0;

    while (done < c->length) {
        ssize_t n = write(m->stream == 1 ? STDOUT_FILENO : STDERR_FILENO,
                          c->data->bytes + c->at + done, c->length - done);

        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

/* Why a task of ours waits: our standard error is on its way to whom the root belongs to. */
static void
tell_notice(const struct nest *n, const struct message_notice *m)
{
    const struct job *j = core_find(n->exporter, m->job);
    int64_t now = clock_us();

    if (j == NULL || (strcmp(said, m->text) == 0 && now < said_at + SAY_AGAIN_US))
        return;
    snprintf(said, sizeof(said), "%s", m->text);
    said_at = now;
    fprintf(stderr, "ladle: %s, spawned by a task, waits, since %s\n", j->spec->function, m->text);
}

void
carried_message(struct nest *n, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_REFUSED:
        uplink_fail(m->text);
    case MESSAGE_BYE: /* perhaps in place of a WELCOME: then it would never come */
        greeted = false;
        if (nest_gone(n))
            carried_open(n);
        break;
    case MESSAGE_NOTICE:
        tell_notice(n, &m->notice);
        (void)nest_input(n, m, clock_us());
        break;
    case MESSAGE_OUTPUT:
        print(&m->output);
        break;
    default:
        if (nest_input(n, m, clock_us()) != 0)
            uplink_fail("out of memory");
    }
}
