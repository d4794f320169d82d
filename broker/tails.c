#include "tails.h"

#include "underway.h"

#include <stdlib.h>

struct tail {
    uint64_t job; /* its number */
    struct client *client;
    uint64_t at; /* when so many messages have gone, the client has all of it */
    STAILQ_ENTRY(tail) of_client;
};

void
tail_keep(struct scheduler *s, const struct job *j)
{
    struct client *c = j->client;
    struct tail *t;

    if (!s->config.lasting || !client_has_untaken(c) || (t = malloc(sizeof(*t))) == NULL)
        return;
    *t = (struct tail){.job = j->number, .client = c, .at = c->said};
    if (table_add(&s->tails, t->job, t) != 0) {
        free(t);
        return;
    }
    STAILQ_INSERT_TAIL(&c->tails, t, of_client);
}

struct client *
tail_client(const struct scheduler *s, uint64_t job)
{
    const struct tail *t = table_find(&s->tails, job);

    return t == NULL ? NULL : t->client;
}

void
tails_taken(struct scheduler *s, struct client *c)
{
    struct tail *t;

    while ((t = STAILQ_FIRST(&c->tails)) != NULL && t->at <= c->gone) {
        STAILQ_REMOVE_HEAD(&c->tails, of_client);
        table_remove(&s->tails, t->job, t);
        free(t);
    }
}
