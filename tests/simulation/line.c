#include "line.h"

#include "broker.h"

enum { PATIENCE_US = 1000000 }; /* for a host that does not answer at all */

void
line_init(struct line *l, struct actor *a)
{
    *l = (struct line){.actor = a, .again = a->sim->now};
    conversation_init(&l->talk);
    redial_init(&l->redial, (uint32_t)random_next(&a->sim->random));
}

bool
line_dial(struct line *l)
{
    struct sim *s = l->actor->sim;

    if (l->connection != NULL || s->now < l->again)
        return false;
    if (s->now >= l->actor->away)
        l->connection = broker_connect(s->broker, l->actor, s->delay_most);
    if (l->connection == NULL) {
        l->again = redial_at(&l->redial, 0, s->now) + (s->now < l->actor->away ? PATIENCE_US : 0);
        return false;
    }
    sim_trace(s, "%s connects as peer %u", l->actor->name, l->connection->number);
    l->since = s->now;
    conversation_hello(&l->talk, s->now);
    return true;
}

void
line_lost(struct line *l, bool died)
{
    struct sim *s = l->actor->sim;

    if (l->connection == NULL)
        return;
    connection_close(l->connection, SIDE_PEER, died);
    l->connection = NULL;
    conversation_over(&l->talk);
    l->again = redial_at(&l->redial, s->now - l->since, s->now);
}

void
line_say(struct line *l, const struct message *m)
{
    if (l->connection != NULL)
        connection_send(l->connection, SIDE_PEER, m);
}

bool
line_tick(struct line *l)
{
    struct sim *s = l->actor->sim;
    const char *why;

    switch (conversation_tick(&l->talk, s->now, &why)) {
    case CONVERSATION_BEAT:
        line_say(l, &(struct message){.type = MESSAGE_BEAT});
        return true;
    case CONVERSATION_DEAD:
        sim_trace(s, "%s gives its connection up: %s", l->actor->name, why);
        line_lost(l, false);
        return false;
    default:
        return true;
    }
}

int64_t
line_deadline(const struct line *l)
{
    return l->connection != NULL ? conversation_deadline(&l->talk) : l->again;
}
