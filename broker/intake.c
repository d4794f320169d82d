/* What clients submit: a job is taken in when its program and constants are here. */
#include "kept.h"

#include "../base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_STORE                                                                                   \
    "this broker has no store, and detached jobs need one: start it with ladle-broker --store "    \
    "PATH, or submit without .detached"

static int
broke(struct depot *d, const char *what)
{
    snprintf(d->why, sizeof(d->why), "%s", what);
    return -1;
}

/* The client is told, and forgotten under that number. */
static void
turn_away(struct depot *d, struct handle *h, enum kept_error error, const char *text)
{
    tell_attached(d, h, error, text);
    handle_free(d, h);
}

/* ---- programs and constants --------------------------------------------------------------------
 */

static struct fetching *
fetching_find(const struct depot *d, const char *digest)
{
    struct fetching *f;

    HASH_FIND_STR(d->fetching, digest, f);
    return f;
}

static void
fetching_free(struct depot *d, struct fetching *f)
{
    HASH_DELETE(hh, d->fetching, f);
    free(f);
}

static void
ask(struct depot *d, const struct fetching *f)
{
    struct outgoing *o = say(d, f->peer, MESSAGE_PROGRAM_WANTED);
    struct blob *digest;

    if (o == NULL)
        return;
    digest = sentence("%s", f->digest);
    outgoing_keep(o, digest);
    o->m.program_wanted =
        (struct message_program_wanted){.digest = words(digest), .offset = f->offset};
    blob_unref(digest);
    outbox_put(&d->outbox, o);
}

/* False if it is here. */
static bool
fetch(struct depot *d, uint32_t peer, const char *digest, uint64_t size)
{
    struct fetching *f;

    if (*digest == '\0' || size == 0 || files_have(d->files, digest))
        return false;
    if (fetching_find(d, digest) != NULL || (f = calloc(1, sizeof(*f))) == NULL)
        return true;
    snprintf(f->digest, sizeof(f->digest), "%s", digest);
    f->peer = peer;
    f->size = size;
    HASH_ADD_STR(d->fetching, digest, f);
    if (f->hh.tbl == NULL) {
        free(f);
        return true;
    }
    ask(d, f);
    return true;
}

/* True if some of what it needs is still to come. */
static bool
fetch_all(struct depot *d, const struct handle *h)
{
    const struct spec *spec = h->spec;
    bool any = fetch(d, h->key.peer, spec->program.digest, spec->program.size);

    for (uint32_t i = 0; i < spec->nshared; i++)
        any = fetch(d, h->key.peer, spec->shared[i].digest, spec->shared[i].size) || any;
    return any;
}

/* ---- jobs --------------------------------------------------------------------------------------
 */

/* But for the deadline, of which a client tells what is left. */
static bool
same_spec(struct depot *d, const struct spec *a, const struct spec *b)
{
    struct message m = {.type = MESSAGE_JOB, .job = {.job = 1}};
    struct spec *one = spec_new(a), *other = spec_new(b);
    struct blob *first = NULL;
    const uint8_t *header;
    bool same = false;
    size_t size;

    if (one != NULL && other != NULL) {
        one->deadline_ms = other->deadline_ms = 0;
        m.job.spec = one;
        if ((size = wire_encode(d->out, &m, &header)) > 0)
            first = blob_copy(header, size);
        m.job.spec = other;
        size = wire_encode(d->out, &m, &header);
        same = first != NULL && size == first->size && memcmp(header, first->bytes, size) == 0;
    }
    blob_unref(first);
    spec_unref(one);
    spec_unref(other);
    return same;
}

static void
join(struct depot *d, struct handle *h, struct kept *j, const struct spec *spec)
{
    if (!same_spec(d, j->spec, spec)) {
        turn_away(d, h, KEPT_DIFFERENT, "there is a detached job of this name, and it is another");
        return;
    }
    handle_join(h, j);
    h->told = true;
    tell_attached(d, h, KEPT_NONE, "");
}

/* All is here: it is a job from the next commit on. */
static void
begin(struct depot *d, struct handle *h)
{
    struct message m = {.type = MESSAGE_JOB, .job = {.job = 1, .spec = h->spec, .detached = true}};
    struct kept *j = kept_find(d, h->id);

    if (j != NULL) { /* by another connection of the same client */
        join(d, h, j, h->spec);
        return;
    }
    memcpy(m.job.id, h->id, sizeof(h->id));
    if ((j = kept_new(d, h->id, d->last_row + 1, h->spec, h->visitor->name)) == NULL) {
        turn_away(d, h, KEPT_FULL, "the broker is out of memory");
        return;
    }
    d->last_row++;
    j->created = d->wall;
    if (writing_add(d, j, ROW_JOB, (uint64_t)d->wall, 0, &m, NULL) != 0) {
        kept_free(d, j);
        turn_away(d, h, KEPT_FULL, "the broker is out of memory");
        return;
    }
    spec_unref(h->spec);
    h->spec = NULL;
    handle_join(h, j); /* and is told when the job is on disk */
}

int
intake_job(struct depot *d, struct visitor *v, const struct message_job *m)
{
    struct handle *h;
    struct kept *j;

    if (handle_find(d, v->peer, m->job) != NULL)
        return broke(d, "a detached job under the number of another one");
    if ((h = handle_new(d, v, m->job, m->id)) == NULL)
        return broke(d, "the broker is out of memory");
    h->submits = true;
    if (d->store == NULL) {
        turn_away(d, h, KEPT_NO_STORE, NO_STORE);
    } else if ((j = kept_find(d, m->id)) != NULL) {
        join(d, h, j, m->spec);
    } else if (d->full) {
        turn_away(d, h, KEPT_FULL, "the disk with the broker's store is full (ENOSPC)");
    } else {
        h->spec = spec_ref(m->spec);
        if (!fetch_all(d, h))
            begin(d, h);
    }
    return 0;
}

/* Those that wait for nothing else begin; `why`: they cannot. */
static void
arrived(struct depot *d, const char *digest, const char *why)
{
    struct handle *h, *next;

    (void)digest;
    HASH_ITER (hh, d->handles, h, next) {
        if (h->job != NULL || h->spec == NULL)
            continue;
        if (why != NULL)
            turn_away(d, h, KEPT_FULL, why);
        else if (!fetch_all(d, h))
            begin(d, h);
    }
}

static int
take_part(struct depot *d, struct fetching *f, const struct message_program_part *m)
{
    const struct columns *c = &m->columns;

    if (m->size != f->size || c->length == 0 || m->offset != f->offset) {
        errno = ENODATA;
        return -1;
    }
    if (files_write(d->files, f->digest, f->offset, c->data->bytes + c->at, c->length) != 0)
        return -1;
    f->offset += c->length;
    if (f->offset < f->size) {
        ask(d, f);
        return 0;
    }
    return files_finish(d->files, f->digest);
}

void
intake_part(struct depot *d, const struct message_program_part *m)
{
    struct fetching *f = fetching_find(d, m->digest);
    char why[256] = "";
    bool whole;

    if (f == NULL)
        return;
    if (take_part(d, f, m) != 0) {
        if (errno == EIO)
            d->broken = true;
        snprintf(why, sizeof(why), "the broker cannot keep the program or a shared constant: %s",
                 errno == ENOSPC    ? "its disk is full (ENOSPC)"
                 : errno == ENODATA ? "it was not sent as announced"
                 : errno == EILSEQ  ? "what was sent is not what was announced"
                                    : strerror(errno));
    }
    whole = why[0] != '\0' || f->offset >= f->size;
    if (!whole)
        return;
    fetching_free(d, f);
    arrived(d, m->digest, why[0] != '\0' ? why : NULL);
}

/* Who else waits for what this peer was asked for is asked instead. */
void
intake_gone(struct depot *d, uint32_t peer)
{
    struct fetching *f, *next;
    bool any = false;

    HASH_ITER (hh, d->fetching, f, next) {
        if (f->peer != peer)
            continue;
        fetching_free(d, f);
        any = true;
    }
    if (any)
        arrived(d, "", NULL);
}

/* ---- inputs ------------------------------------------------------------------------------------
 */

static bool
same_bytes(const struct columns *a, const struct columns *b)
{
    if (a->length != b->length)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        if ((a->sizes == NULL ? a->size : a->sizes[i]) !=
            (b->sizes == NULL ? b->size : b->sizes[i]))
            return false;
    }
    return a->length == 0 || memcmp(a->data->bytes + a->at, b->data->bytes + b->at, a->length) == 0;
}

/* Those that are here already: are they the same? What has ended cannot be asked any more. */
static bool
same_inputs(struct depot *d, struct kept *j, const struct message_inputs *m, uint32_t count)
{
    uint32_t at = 0;

    while (at < count) {
        struct piece *p = kept_piece(j, m->first + at);
        struct columns theirs, ours;
        uint32_t from, n;
        bool same;

        if (p == NULL) {
            at++;
            continue;
        }
        from = (uint32_t)(m->first + at - p->first);
        n = p->count - from < count - at ? p->count - from : count - at;
        if (p->stored && kept_load_piece(d, j, p) != 0)
            return true; /* damaged: told when it is to run */
        theirs = columns_part(&m->columns, at, n, columns_length(&m->columns, 0, at));
        ours = kept_columns(p, from, n);
        same = same_bytes(&theirs, &ours);
        if (p->stored && p->sent == p->count)
            kept_unload_piece(p);
        if (!same)
            return false;
        at += n;
    }
    return true;
}

static int
take_inputs(struct depot *d, struct kept *j, const struct message_inputs *m, uint32_t skip)
{
    struct message row = {.type = MESSAGE_INPUTS, .inputs = {.job = 1, .first = m->first + skip}};
    struct columns *c = &row.inputs.columns;
    struct piece *p;

    *c = columns_part(&m->columns, skip, m->columns.count - skip,
                      columns_length(&m->columns, 0, skip));
    if ((p = kept_add_piece(j, 0, row.inputs.first, c->count)) == NULL)
        return -1;
    if (kept_keep_piece(p, c) != 0 ||
        writing_add(d, j, ROW_INPUTS, row.inputs.first, c->count, &row, p) != 0) {
        kept_drop_last_piece(j);
        return -1;
    }
    j->total += c->count;
    return 0;
}

int
intake_inputs(struct depot *d, struct handle *h, const struct message_inputs *m)
{
    struct kept *j = h->job;
    uint32_t known;

    if (h->refused)
        return 0;
    if (j == NULL || !h->submits || m->first > j->total)
        return broke(d, "inputs of a detached job that are not the next ones");
    known =
        j->total - m->first < m->columns.count ? (uint32_t)(j->total - m->first) : m->columns.count;
    if (!same_inputs(d, j, m, known)) {
        readers_refuse(d, j, KEPT_DIFFERENT, "the job of this name has other inputs");
        return 0;
    }
    if (known == m->columns.count)
        return 0;
    if (j->sealed)
        readers_refuse(d, j, KEPT_OVER,
                       j->cancelled ? "the job was cancelled" : "the job takes no more tasks");
    else if (d->full)
        readers_refuse(d, j, KEPT_FULL, "the disk with the broker's store is full (ENOSPC)");
    else if (d->bytes > d->config.most_bytes && TAILQ_EMPTY(&d->over))
        readers_refuse(d, j, KEPT_FULL,
                       "the broker's store is as large as it may be (--store-size, ENOSPC)");
    else if (take_inputs(d, j, m, known) != 0)
        readers_refuse(d, j, KEPT_FULL, "the broker is out of memory");
    if (h->refused)
        intake_seal(d, j);
    return 0;
}

/* ---- the end -----------------------------------------------------------------------------------
 */

void
intake_seal(struct depot *d, struct kept *j)
{
    if (j->sealed || writing_add(d, j, ROW_SEAL, j->total, 0, NULL, NULL) != 0)
        return;
    j->sealed = true;
    j->unsealed = false;
    TAILQ_REMOVE(&d->unsealed, j, of_unsealed);
}

int
intake_end(struct depot *d, struct handle *h, const struct message_job_end *m)
{
    struct kept *j = h->job;

    if (h->refused)
        return 0;
    if (j == NULL || !h->submits || m->total != j->total)
        return broke(d, "the end of a detached job where its tasks do not end");
    intake_seal(d, j);
    return 0;
}
