#include "tails.h"

#include "clients.h"

#include <stdlib.h>

struct tail {
    uint64_t job; /* its number */
    struct client *client;
    LIST_ENTRY(tail) of_client;
};

void
tail_keep(struct scheduler *s, const struct job *j)
{
    struct tail *t;

    if (!s->config.lasting || !client_has_untaken(j->client) || (t = malloc(sizeof(*t))) == NULL)
        return;
    *t = (struct tail){.job = j->number, .client = j->client};
    if (table_add(&s->tails, t->job, t) != 0) {
        free(t);
        return;
    }
    LIST_INSERT_HEAD(&j->client->tails, t, of_client);
}

struct client *
tail_client(const struct scheduler *s, uint64_t job)
{
    const struct tail *t = table_find(&s->tails, job);

    return t == NULL ? NULL : t->client;
}

void
tails_drop(struct scheduler *s, struct client *c)
{
    struct tail *t;

    while ((t = LIST_FIRST(&c->tails)) != NULL) {
        LIST_REMOVE(t, of_client);
        table_remove(&s->tails, t->job, t);
        free(t);
    }
}
