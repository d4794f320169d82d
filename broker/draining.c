#include "draining.h"

#include "peers.h"
#include "roster.h"

#include <string.h>

#define LIST_TEXT 1000 /* bytes of names of workers */

static struct blob *
unknown_reason(const struct scheduler *s, const char *name)
{
    char list[LIST_TEXT] = "";
    const struct worker *w;
    size_t at = 0;
    int n;

    TAILQ_FOREACH (w, &s->workers, link) {
        n = snprintf(list + at, sizeof(list) - at, "%s%s", at > 0 ? ", " : "", words(w->name));
        if (n < 0 || (size_t)n >= sizeof(list) - at - 8) {
            snprintf(list + at, sizeof(list) - at, ", ...");
            break;
        }
        at += (size_t)n;
    }
    if (TAILQ_EMPTY(&s->workers))
        return sentence("no worker is called %.*s: none is connected", LIMIT_NAME, name);
    return sentence("no worker is called %.*s: there are %s", LIMIT_NAME, name, list);
}

static void
answer(struct scheduler *s, struct peer *p, const char *name, struct blob *text)
{
    struct outgoing *o = peer_say(s, p, MESSAGE_DRAIN_ANSWER);
    struct blob *worker = sentence("%.*s", LIMIT_NAME, name);

    if (o != NULL) {
        outgoing_keep(o, worker);
        outgoing_keep(o, text);
        o->m.drain_answer = (struct message_drain_answer){
            .worker = words(worker), .accepted = text == NULL, .text = words(text)};
        outbox_put(&s->outbox, o);
    }
    blob_unref(worker);
}

int
drain_wanted(struct scheduler *s, struct peer *p, const struct message_drain *m)
{
    struct worker *w = worker_find(s, m->worker);
    struct outgoing *o;
    struct blob *text;

    if (p->role != ROLE_OPERATOR) {
        snprintf(s->why, sizeof(s->why), "only operators drain workers");
        return -1;
    }
    if (w == NULL) {
        text = unknown_reason(s, m->worker);
        answer(s, p, m->worker, text);
        blob_unref(text);
        return 0;
    }
    /* Again, too: the grace may be another one now. */
    if ((o = peer_say(s, w->peer, MESSAGE_DRAIN)) != NULL) {
        o->m.drain = (struct message_drain){.worker = "", .grace_ms = m->grace_ms};
        outbox_put(&s->outbox, o);
    }
    worker_drain(s, w); /* from now on, not from its answer on */
    answer(s, p, m->worker, NULL);
    return 0;
}
