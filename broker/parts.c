#include "parts.h"

#include "contents.h"
#include "peers.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES (64u << 20)
#define PARTS_MAX 4096 /* asked for at once, and kept; each with the workers that wait for it */
#define TRIES_MAX 4    /* clients that are asked for one part */

TAILQ_HEAD(part_list, part);
LIST_HEAD(waiter_list, waiter);

struct waiter {
    struct worker *worker;
    LIST_ENTRY(waiter) link;
};

struct part { /* bytes of a program from an offset on: kept, or asked for */
    struct {
        char digest[65];
        uint64_t offset;
    } key;
    uint64_t size; /* of the whole program */
    struct blob *data;
    size_t at, length;
    struct client *asked; /* NULL: it is there */
    unsigned tries;
    struct waiter_list waiters;
    TAILQ_ENTRY(part) link;
    UT_hash_handle hh;
};

struct relay {
    struct part *parts;
    struct part_list kept, asked; /* longest unused first */
    uint64_t bytes;
    unsigned count;
};

int
parts_init(struct scheduler *s)
{
    if ((s->relay = calloc(1, sizeof(*s->relay))) == NULL)
        return -1;
    TAILQ_INIT(&s->relay->kept);
    TAILQ_INIT(&s->relay->asked);
    return 0;
}

static struct part *
find_part(const struct scheduler *s, const char *digest, uint64_t offset)
{
    struct part key, *part;

    memset(&key, 0, sizeof(key));
    snprintf(key.key.digest, sizeof(key.key.digest), "%s", digest);
    key.key.offset = offset;
    HASH_FIND(hh, s->relay->parts, &key.key, sizeof(key.key), part);
    return part;
}

static struct part *
new_part(struct scheduler *s, const char *digest, uint64_t offset)
{
    struct part *part = calloc(1, sizeof(*part));

    if (part == NULL)
        return NULL;
    snprintf(part->key.digest, sizeof(part->key.digest), "%s", digest);
    part->key.offset = offset;
    LIST_INIT(&part->waiters);
    HASH_ADD(hh, s->relay->parts, key, sizeof(part->key), part);
    if (part->hh.tbl == NULL) {
        free(part);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&s->relay->asked, part, link);
    s->relay->count++;
    return part;
}

static void
free_waiter(struct waiter *w)
{
    LIST_REMOVE(w, link);
    free(w);
}

static void
free_part(struct scheduler *s, struct part *part)
{
    struct relay *r = s->relay;

    TAILQ_REMOVE(part->data != NULL ? &r->kept : &r->asked, part, link);
    while (!LIST_EMPTY(&part->waiters))
        free_waiter(LIST_FIRST(&part->waiters));
    HASH_DELETE(hh, r->parts, part);
    r->bytes -= part->length;
    r->count--;
    blob_unref(part->data);
    free(part);
}

void
parts_free(struct scheduler *s)
{
    struct part *part, *next;

    if (s->relay == NULL)
        return;
    HASH_ITER (hh, s->relay->parts, part, next) {
        free_part(s, part);
    }
    free(s->relay);
    s->relay = NULL;
}

static void
answer(struct scheduler *s, struct worker *w, const struct part *part)
{
    struct outgoing *o = peer_say(s, w->peer, MESSAGE_PROGRAM_PART);
    struct blob *digest;

    if (o == NULL)
        return;
    digest = sentence("%s", part->key.digest);
    outgoing_keep(o, digest);
    outgoing_keep(o, part->data);
    o->m.program_part = (struct message_program_part){.digest = words(digest),
                                                      .offset = part->key.offset,
                                                      .size = part->size,
                                                      .text = "",
                                                      .columns = {.count = 1,
                                                                  .size = (uint32_t)part->length,
                                                                  .data = part->data,
                                                                  .at = part->at,
                                                                  .length = part->length}};
    blob_unref(digest);
    outbox_put(&s->outbox, o);
}

static void
answer_none(struct scheduler *s, struct worker *w, const char *digest, uint64_t offset,
            const char *why)
{
    struct outgoing *o = peer_say(s, w->peer, MESSAGE_PROGRAM_PART);
    struct blob *name, *text;

    if (o == NULL)
        return;
    name = sentence("%s", digest);
    text = sentence("%s", why);
    outgoing_keep(o, name);
    outgoing_keep(o, text);
    o->m.program_part = (struct message_program_part){
        .digest = words(name), .offset = offset, .text = words(text), .columns = {.count = 1}};
    blob_unref(name);
    blob_unref(text);
    outbox_put(&s->outbox, o);
}

static bool
say_wanted(struct scheduler *s, const struct part *part)
{
    struct outgoing *o = peer_say(s, part->asked->peer, MESSAGE_PROGRAM_WANTED);
    struct blob *digest;

    if (o == NULL)
        return false;
    digest = sentence("%s", part->key.digest);
    outgoing_keep(o, digest);
    o->m.program_wanted =
        (struct message_program_wanted){.digest = words(digest), .offset = part->key.offset};
    blob_unref(digest);
    outbox_put(&s->outbox, o);
    return true;
}

/* Ask the next client that has it; one that is away, when it is back. False if there is none. */
static bool
ask(struct scheduler *s, struct part *part)
{
    struct client *c = content_source(s, part->key.digest, part->asked);

    if (c == NULL || part->tries++ >= TRIES_MAX)
        return false;
    part->asked = c;
    return c->peer == NULL || say_wanted(s, part);
}

void
parts_client_back(struct scheduler *s, struct client *c)
{
    struct part *part;

    TAILQ_FOREACH (part, &s->relay->asked, link) {
        if (part->asked == c)
            (void)say_wanted(s, part);
    }
}

/* Nobody has it: those that wait are told, and it is forgotten. */
static void
give_up(struct scheduler *s, struct part *part, const char *why)
{
    struct waiter *w;

    LIST_FOREACH (w, &part->waiters, link) {
        answer_none(s, w->worker, part->key.digest, part->key.offset, why);
    }
    free_part(s, part);
}

static bool
make_room(struct scheduler *s)
{
    struct relay *r = s->relay;

    while (r->count >= PARTS_MAX && !TAILQ_EMPTY(&r->kept))
        free_part(s, TAILQ_FIRST(&r->kept));
    return r->count < PARTS_MAX;
}

static int
wait_for(struct part *part, struct worker *worker)
{
    struct waiter *w;

    LIST_FOREACH (w, &part->waiters, link) {
        if (w->worker == worker)
            return 0;
    }
    if ((w = calloc(1, sizeof(*w))) == NULL)
        return -1;
    w->worker = worker;
    LIST_INSERT_HEAD(&part->waiters, w, link);
    return 0;
}

void
program_wanted(struct scheduler *s, struct worker *w, const struct message_program_wanted *m)
{
    struct part *part = find_part(s, m->digest, m->offset);

    if (part != NULL && part->data != NULL) {
        TAILQ_REMOVE(&s->relay->kept, part, link);
        TAILQ_INSERT_TAIL(&s->relay->kept, part, link);
        answer(s, w, part);
        return;
    }
    if (part == NULL) {
        if (!make_room(s) || (part = new_part(s, m->digest, m->offset)) == NULL) {
            answer_none(s, w, m->digest, m->offset, "the broker is out of memory");
            return;
        }
        if (!ask(s, part)) {
            free_part(s, part);
            answer_none(s, w, m->digest, m->offset, "no client that has it is connected");
            return;
        }
    }
    if (wait_for(part, w) != 0)
        answer_none(s, w, m->digest, m->offset, "the broker is out of memory");
}

static void
keep_part(struct scheduler *s, struct part *part, const struct message_program_part *m)
{
    struct relay *r = s->relay;
    struct waiter *w;

    TAILQ_REMOVE(&r->asked, part, link);
    part->asked = NULL;
    part->size = m->size;
    part->data = blob_ref(m->columns.data);
    part->at = m->columns.at;
    part->length = m->columns.length;
    r->bytes += part->length;
    TAILQ_INSERT_TAIL(&r->kept, part, link);
    LIST_FOREACH (w, &part->waiters, link) {
        answer(s, w->worker, part);
    }
    while (!LIST_EMPTY(&part->waiters))
        free_waiter(LIST_FIRST(&part->waiters));
    while (r->bytes > CACHE_BYTES)
        free_part(s, TAILQ_FIRST(&r->kept));
}

int
program_part(struct scheduler *s, struct client *c, const struct message_program_part *m)
{
    struct part *part = find_part(s, m->digest, m->offset);

    if (part == NULL || part->asked != c) /* nobody waits for it any more */
        return 0;
    if (m->size > 0 && m->columns.length > 0 && m->columns.data != NULL) {
        if (m->columns.length > LIMIT_PART || m->offset > m->size ||
            m->columns.length > m->size - m->offset) {
            snprintf(s->why, sizeof(s->why), "a part of a program that is larger than it may be");
            return -1;
        }
        keep_part(s, part, m);
        return 0;
    }
    if (!ask(s, part))
        give_up(s, part, m->text[0] != '\0' ? m->text : "its client cannot read it any more");
    return 0;
}

/* ---- forgotten ----------------------------------------------------------------------------------
 */

void
parts_forget(struct scheduler *s, const char *digest)
{
    struct part *part, *next;

    for (part = TAILQ_FIRST(&s->relay->kept); part != NULL; part = next) {
        next = TAILQ_NEXT(part, link);
        if (strcmp(part->key.digest, digest) == 0)
            free_part(s, part);
    }
}

void
parts_forget_client(struct scheduler *s, struct client *c)
{
    struct part *part, *next;

    for (part = TAILQ_FIRST(&s->relay->asked); part != NULL; part = next) {
        next = TAILQ_NEXT(part, link);
        if (part->asked != c)
            continue;
        part->tries--; /* it did not say that it cannot give it */
        if (!ask(s, part))
            give_up(s, part, "its client has gone");
    }
}

void
parts_forget_worker(struct scheduler *s, struct worker *w)
{
    struct part *part;
    struct waiter *waiter, *next;

    TAILQ_FOREACH (part, &s->relay->asked, link) {
        for (waiter = LIST_FIRST(&part->waiters); waiter != NULL; waiter = next) {
            next = LIST_NEXT(waiter, link);
            if (waiter->worker == w)
                free_waiter(waiter);
        }
    }
}
