#include "line.h"

#include "broker.h"

#include <string.h>

enum { KNOCK_US = 1000000 }; /* the system asks again after that, then after twice that ... */

/* What may pass between the cause of a silence and its effect: some beats, a hello. */
#define SOON_US 30000000

void
line_init(struct line *l, struct actor *a, const uint8_t session[16], int64_t keep_us)
{
    *l = (struct line){.actor = a};
    conversation_init(&l->talk, session, keep_us, a->sim->now);
    redial_init(&l->redial, (uint32_t)random_next(&a->sim->random), a->sim->now);
}

void
line_say(struct line *l, const struct message *m)
{
    if (l->connection != NULL)
        connection_send(l->connection, SIDE_PEER, m);
}

/* ---- the connection -----------------------------------------------------------------------------
 */

static void
hang_up(struct line *l, bool died)
{
    if (l->connection == NULL)
        return;
    connection_close(l->connection, SIDE_PEER, died);
    l->connection = NULL;
    redial_over(&l->redial, l->actor->sim->now);
}

void
line_ended(struct line *l)
{
    hang_up(l, false);
    conversation_down(&l->talk, l->actor->sim->now);
}

void
line_leave(struct line *l, bool died, const char *why)
{
    if (conversation_leave(&l->talk) && !died)
        line_say(l, &(struct message){.type = MESSAGE_BYE, .text = why});
    hang_up(l, died);
}

static void
knock(struct line *l)
{
    struct sim *s = l->actor->sim;

    if (s->now < l->actor->away) {
        l->knock = l->redial.since + 2 * (l->knock - l->redial.since) + KNOCK_US;
        return;
    }
    l->connection = broker_connect(s->broker, l->actor, s->delay_most);
    if (l->connection == NULL) { /* nobody listens there */
        redial_over(&l->redial, s->now);
        return;
    }
    sim_trace(s, "%s connects as peer %u", l->actor->name, l->connection->number);
    redial_answered(&l->redial);
    conversation_up(&l->talk, s->now);
}

static int64_t
connect_limit(const struct line *l)
{
    return l->redial.since + REDIAL_CONNECT_MS * 1000LL;
}

static void
dial(struct line *l)
{
    int64_t now = l->actor->sim->now;

    if (l->connection != NULL)
        return;
    if (l->redial.trying && (now >= connect_limit(l) || now >= redial_deadline(&l->redial)))
        redial_over(&l->redial, now);
    if (!l->redial.trying && now >= redial_deadline(&l->redial)) {
        redial_begin(&l->redial, now);
        redial_reached(&l->redial);
        l->knock = now;
    }
    if (l->redial.trying && now >= l->knock)
        knock(l);
}

/* ---- the conversation ---------------------------------------------------------------------------
 */

/* A broker that is there, and a network that works, are not to be taken for lost. */
static void
check_silence(struct line *l)
{
    struct sim *s = l->actor->sim;
    int64_t then = s->now - SOON_US;

    if (strcmp(l->talk.why, "it is silent") != 0 &&
        strcmp(l->talk.why, "it does not answer the hello") != 0)
        return;
    if (l->connection->faulty < then && l->actor->asleep < then && l->actor->away < then &&
        broker_was_awake(s->broker, then))
        sim_fail(s, "%s gives up a connection on which all is well: %s", l->actor->name,
                 l->talk.why);
}

void
line_tick(struct line *l)
{
    dial(l);
    conversation_tick(&l->talk, l->actor->sim->now);
}

bool
line_output(struct line *l, struct conversation_effect *e)
{
    struct sim *s = l->actor->sim;

    while (conversation_output(&l->talk, e)) {
        switch (e->event) {
        case CONVERSATION_REFUSED:
            sim_fail(s, "%s was refused: %s", l->actor->name, e->why);
        case CONVERSATION_RESTART:
            sim_trace(s, "%s gives its connection up: %s", l->actor->name, e->why);
            check_silence(l);
            hang_up(l, false);
            break;
        case CONVERSATION_BEAT:
            line_say(l, &(struct message){.type = MESSAGE_BEAT});
            break;
        case CONVERSATION_LISTEN:
            conversation_bytes(&l->talk, connection_heard(l->connection, SIDE_PEER), s->now);
            break;
        case CONVERSATION_UNEXPLAINED:
        case CONVERSATION_NOTHING:
            break;
        case CONVERSATION_HELLO:
        case CONVERSATION_LOST:
        case CONVERSATION_FORSAKEN:
            return true;
        }
    }
    return false;
}

int64_t
line_deadline(const struct line *l)
{
    int64_t at = conversation_deadline(&l->talk), next = redial_deadline(&l->redial);

    if (l->connection == NULL && l->redial.trying) {
        next = l->knock < next ? l->knock : next;
        next = connect_limit(l) < next ? connect_limit(l) : next;
    }
    return next < at ? next : at;
}
