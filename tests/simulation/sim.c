#include "sim.h"

#include "../../proto/limits.h"
#include "../unit/tape.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TIME_MOST (600 * 1000000ll) /* virtual time in which all must have ended */

struct event {
    int64_t at;
    uint64_t order;
    enum event_kind kind;
    struct actor *actor;
    struct connection *connection;
    struct packet *packet;
    uint64_t what;
};

/* ---- chance -------------------------------------------------------------------------------------
 */

uint64_t
mix(uint64_t a, uint64_t b)
{
    uint64_t z = a * 0x9e3779b97f4a7c15u ^ (b + 0x632be59bd9b4e019u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t
random_next(struct random *r)
{
    r->state += 0x9e3779b97f4a7c15u;
    return mix(r->state, 1);
}

uint64_t
random_below(struct random *r, uint64_t n)
{
    return random_next(r) % n;
}

int64_t
random_between(struct random *r, int64_t low, int64_t high)
{
    return low + (int64_t)random_below(r, (uint64_t)(high - low) + 1);
}

bool
random_chance(struct random *r, unsigned percent)
{
    return random_below(r, 100) < percent;
}

/* ---- telling ------------------------------------------------------------------------------------
 */

void
sim_fail(const struct sim *s, const char *format, ...)
{
    va_list list;

    fflush(stdout);
    fprintf(stderr, "seed %" PRIu64 ", at %" PRId64 " us: ", s->seed, s->now);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\nreplay: sim --seed %" PRIu64 " --trace\n", s->seed);
    exit(1);
}

void
sim_trace(const struct sim *s, const char *format, ...)
{
    va_list list;

    if (!s->trace)
        return;
    printf("[%10" PRId64 "] ", s->now);
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    putchar('\n');
}

static void
trace_message(const struct sim *s, const char *from, const char *to, const struct message *m)
{
    char text[512];

    if (!s->trace || m->type == MESSAGE_BEAT)
        return;
    tape_describe(m, text, sizeof(text));
    if (m->client != 0)
        sim_trace(s, "%s -> %s: of client %u: %s", from, to, m->client, text);
    else
        sim_trace(s, "%s -> %s: %s", from, to, text);
}

/* ---- packets ------------------------------------------------------------------------------------
 */

static const char *
keep(struct packet *p, int slot, const void *bytes, size_t size)
{
    if (bytes == NULL)
        return NULL;
    p->memory[slot] = malloc(size > 0 ? size : 1);
    assert(p->memory[slot] != NULL);
    memcpy(p->memory[slot], bytes, size);
    return p->memory[slot];
}

static const char *
keep_text(struct packet *p, int slot, const char *text)
{
    return text == NULL ? NULL : keep(p, slot, text, strlen(text) + 1);
}

static void
keep_columns(struct packet *p, struct columns *c)
{
    p->data = blob_ref(c->data);
    c->sizes = (const uint32_t *)(const void *)keep(p, 2, c->sizes, c->count * sizeof(*c->sizes));
    c->outcomes = (const uint8_t *)keep(p, 3, c->outcomes, c->count);
}

static void
keep_texts(struct packet *p, struct message *m)
{
    switch (m->type) {
    case MESSAGE_WELCOME:
        m->welcome.name = keep_text(p, 0, m->welcome.name);
        break;
    case MESSAGE_HELLO:
        m->hello.name = keep_text(p, 0, m->hello.name);
        break;
    case MESSAGE_REFUSED:
    case MESSAGE_BYE:
        m->text = keep_text(p, 0, m->text);
        break;
    case MESSAGE_ENDED:
        m->ended.text = keep_text(p, 0, m->ended.text);
        m->ended.worker = keep_text(p, 1, m->ended.worker);
        break;
    case MESSAGE_NOTICE:
        m->notice.text = keep_text(p, 0, m->notice.text);
        break;
    case MESSAGE_RESULTS:
        m->results.worker = keep_text(p, 1, m->results.worker);
        break;
    case MESSAGE_RUNNING:
        m->running.worker = keep_text(p, 1, m->running.worker);
        break;
    case MESSAGE_PROGRAM_WANTED:
        m->program_wanted.digest = keep_text(p, 0, m->program_wanted.digest);
        break;
    case MESSAGE_PROGRAM_PART:
        m->program_part.digest = keep_text(p, 0, m->program_part.digest);
        m->program_part.text = keep_text(p, 1, m->program_part.text);
        break;
    case MESSAGE_PROGRAM_FAILED:
        m->program_failed.digest = keep_text(p, 0, m->program_failed.digest);
        m->program_failed.text = keep_text(p, 1, m->program_failed.text);
        break;
    default:
        break;
    }
}

static struct packet *
packet_new(const struct message *m)
{
    struct packet *p = calloc(1, sizeof(*p));

    assert(p != NULL);
    if (m == NULL) {
        p->closes = true;
        return p;
    }
    p->m = *m;
    if (message_columns(&p->m) != NULL)
        keep_columns(p, message_columns(&p->m));
    keep_texts(p, &p->m);
    if (m->type == MESSAGE_JOB)
        p->spec = spec_ref(m->job.spec);
    return p;
}

static void
packet_free(struct packet *p)
{
    if (p == NULL)
        return;
    for (int i = 0; i < 4; i++)
        free(p->memory[i]);
    blob_unref(p->data);
    spec_unref(p->spec);
    free(p);
}

static void
connection_put(struct connection *c)
{
    if (c != NULL && --c->refs == 0)
        free(c);
}

/* ---- events -------------------------------------------------------------------------------------
 */

static bool
before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void
plan(struct sim *s, struct event e)
{
    size_t at = s->nevents++;

    if (s->nevents > s->room) {
        s->room = s->room == 0 ? 256 : s->room * 2;
        s->events = realloc(s->events, s->room * sizeof(*s->events));
        assert(s->events != NULL);
    }
    e.order = ++s->order;
    for (; at > 0 && before(&e, &s->events[(at - 1) / 2]); at = (at - 1) / 2)
        s->events[at] = s->events[(at - 1) / 2];
    s->events[at] = e;
}

static struct event
next_event(struct sim *s)
{
    struct event first = s->events[0], last = s->events[--s->nevents];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < s->nevents) {
        if (child + 1 < s->nevents && before(&s->events[child + 1], &s->events[child]))
            child++;
        if (!before(&s->events[child], &last))
            break;
        s->events[at] = s->events[child];
        at = child;
    }
    s->events[at] = last;
    return first;
}

static void
plan_turn(struct sim *s, int64_t at)
{
    if (at < s->stopped)
        at = s->stopped;
    if (at < s->now)
        at = s->now;
    if (at >= s->turn_at)
        return;
    s->turn_at = at;
    plan(s, (struct event){.at = at, .kind = EVENT_TURN});
}

void
sim_wake(struct actor *a, int64_t at, uint64_t what)
{
    plan(a->sim, (struct event){.at = at, .kind = EVENT_WAKE, .actor = a, .what = what});
}

bool
sim_calm(const struct sim *s)
{
    return s->now >= s->calm;
}

/* ---- network ------------------------------------------------------------------------------------
 */

static int64_t
arrival(struct sim *s, int64_t *last)
{
    int64_t at = s->now + random_between(&s->random, 1, s->delay_most);

    if (random_chance(&s->random, 1) && !sim_calm(s))
        at += random_between(&s->random, 0, 50 * (int64_t)s->delay_most);
    if (at <= *last)
        at = *last + 1;
    return *last = at;
}

static void
send_up(struct sim *s, struct connection *c, const struct message *m)
{
    c->refs++;
    plan(s,
         (struct event){
             .at = arrival(s, &c->up), .kind = EVENT_UP, .connection = c, .packet = packet_new(m)});
}

static void
send_down(struct sim *s, struct connection *c, const struct message *m)
{
    c->refs++;
    plan(s, (struct event){.at = arrival(s, &c->down),
                           .kind = EVENT_DOWN,
                           .connection = c,
                           .packet = packet_new(m)});
}

void
sim_send(struct actor *a, const struct message *m)
{
    if (a->connection == NULL)
        return;
    trace_message(a->sim, a->name, "broker", m);
    send_up(a->sim, a->connection, m);
}

void
sim_connect(struct sim *s, struct actor *a)
{
    struct connection *c = calloc(1, sizeof(*c));

    assert(c != NULL && a->connection == NULL);
    c->peer = s->next_peer++;
    c->actor = a;
    c->known = true;
    c->refs = 1;
    a->connection = c;
    sim_trace(s, "%s connects as peer %u", a->name, c->peer);
}

void
sim_vanish(struct sim *s, struct actor *a)
{
    if (a->connection == NULL)
        return;
    sim_trace(s, "%s vanishes", a->name);
    a->connection->actor = NULL;
    connection_put(a->connection);
    a->connection = NULL;
}

void
sim_disconnect(struct sim *s, struct actor *a)
{
    if (a->connection == NULL)
        return;
    send_up(s, a->connection, NULL);
    sim_vanish(s, a);
}

/* ---- the scheduler's side -----------------------------------------------------------------------
 */

static struct connection *
find_connection(struct sim *s, uint32_t peer)
{
    struct actor *a;

    TAILQ_FOREACH (a, &s->actors, link) {
        if (a->connection != NULL && a->connection->peer == peer)
            return a->connection;
    }
    return NULL;
}

static void
put_out(struct sim *s, bool after_stop)
{
    struct connection *c;
    struct message m;
    uint32_t peer;

    while (scheduler_output(s->scheduler, &peer, &m)) {
        if ((c = find_connection(s, peer)) == NULL)
            continue;
        if (after_stop && m.type == MESSAGE_BYE && strstr(m.text, "silent") != NULL &&
            c->actor->asleep <= s->stopped - 30000000)
            sim_fail(s, "%s was lost because the scheduler itself was stopped", c->actor->name);
        trace_message(s, "broker", c->actor->name, &m);
        send_down(s, c, &m);
        if ((m.type == MESSAGE_REFUSED || m.type == MESSAGE_BYE) && m.client == 0)
            send_down(s, c, NULL);
    }
}

static void
turn(struct sim *s)
{
    bool after_stop = s->just_woken;
    int64_t deadline;

    s->turn_at = INT64_MAX;
    s->just_woken = false;
    scheduler_tick(s->scheduler, s->now);
    put_out(s, after_stop);
    /* To check takes longer than to run: some seeds do at every step, others now and then. */
    if (s->trace || s->seed % 16 == 0 || s->steps % 64 == 0)
        scheduler_check(s->scheduler);
    if ((deadline = scheduler_deadline(s->scheduler)) != INT64_MAX)
        plan_turn(s, deadline > s->now ? deadline : s->now + 1);
}

static void
arrive_up(struct sim *s, struct connection *c, struct packet *p)
{
    if (p->closes) {
        c->known = false;
        scheduler_gone(s->scheduler, c->peer, s->now);
    } else if (scheduler_input(s->scheduler, c->peer, &p->m, s->now) != 0) {
        sim_fail(s, "peer %u was refused: %s", c->peer, scheduler_why(s->scheduler));
    }
    /* Several messages that come close together share a turn. */
    plan_turn(s, s->now + random_between(&s->random, 0, 20));
}

static void
arrive_down(struct connection *c, struct packet *p)
{
    struct actor *a = c->actor;

    if (a == NULL || a->connection != c)
        return;
    if (p->closes)
        a->class->closed(a);
    else
        a->class->message(a, &p->m);
}

/* A stopped scheduler, or an actor that hangs: later. */
static bool
postpone(struct sim *s, const struct event *e)
{
    struct event later = *e;

    if (e->kind == EVENT_UP && s->now < s->stopped)
        later.at = s->stopped;
    else if (e->kind == EVENT_DOWN && e->connection->actor != NULL &&
             s->now < e->connection->actor->asleep)
        later.at = e->connection->actor->asleep;
    else if (e->kind == EVENT_WAKE && s->now < e->actor->asleep)
        later.at = e->actor->asleep;
    else
        return false;
    plan(s, later);
    return true;
}

static void
perform(struct sim *s, const struct event *e)
{
    if (postpone(s, e))
        return;
    if (e->kind == EVENT_UP)
        arrive_up(s, e->connection, e->packet);
    else if (e->kind == EVENT_DOWN)
        arrive_down(e->connection, e->packet);
    else if (e->kind == EVENT_WAKE)
        e->actor->class->wake(e->actor, e->what);
    else if (e->at == s->turn_at && s->now >= s->stopped)
        turn(s);
    packet_free(e->packet);
    connection_put(e->connection);
}

/* ---- one run ------------------------------------------------------------------------------------
 */

static void
add_actor(struct sim *s, struct actor *a)
{
    TAILQ_INSERT_TAIL(&s->actors, a, link);
}

static void
populate(struct sim *s)
{
    unsigned workers = 1 + (unsigned)random_below(&s->random, 5);
    unsigned clients = 1 + (unsigned)random_below(&s->random, 3);

    for (unsigned i = 0; i < workers; i++)
        add_actor(s, worker_actor_new(s, i, false));
    /* One of each machine that is able to run all that is asked for, once all is calm. */
    add_actor(s, worker_actor_new(s, workers, true));
    add_actor(s, worker_actor_new(s, workers + 1, true));
    for (unsigned i = 0; i < clients; i++)
        add_actor(s, client_actor_new(s, i));
    s->clients_left = clients;
}

static void
stop_sometimes(struct sim *s)
{
    if (sim_calm(s) || s->now < s->stopped || random_below(&s->random, 20000) != 0)
        return;
    s->stopped = s->now + random_between(&s->random, 1000000, 30000000);
    s->just_woken = true;
    sim_trace(s, "the scheduler is stopped until %" PRId64, s->stopped);
    s->turn_at = INT64_MAX;
    plan_turn(s, s->stopped);
}

static void
clean_up(struct sim *s)
{
    struct actor *a;

    while ((a = TAILQ_FIRST(&s->actors)) != NULL) {
        TAILQ_REMOVE(&s->actors, a, link);
        sim_vanish(s, a);
        a->class->free(a);
    }
    for (size_t i = 0; i < s->nevents; i++) {
        packet_free(s->events[i].packet);
        connection_put(s->events[i].connection);
    }
    free(s->events);
    scheduler_free(s->scheduler);
}

uint64_t
sim_run(uint64_t seed, bool trace)
{
    struct sim s = {.seed = seed, .trace = trace, .next_peer = 1, .turn_at = INT64_MAX};

    s.random.state = mix(seed, 77);
    TAILQ_INIT(&s.actors);
    s.now = random_between(&s.random, 0, 1000000);
    s.calm = s.now + random_between(&s.random, 0, 20000000);
    s.delay_most = (unsigned)random_between(&s.random, 20, 3000);
    s.scheduler = scheduler_new(
        &(struct scheduler_config){
            .software = "sim",
            .instance = seed,
            .client_window = (uint64_t)random_between(&s.random, 1000, 100000),
            .seed = seed,
        },
        s.now);
    s.narrow = seed % 4 == 0;
    populate(&s);
    while (s.clients_left > 0) {
        struct event e;

        if (s.nevents == 0 || s.now > (s.narrow ? 8 * TIME_MOST : TIME_MOST))
            sim_fail(&s, "tasks have not ended, and nothing goes on");
        e = next_event(&s);
        s.now = e.at;
        s.steps++;
        perform(&s, &e);
        stop_sometimes(&s);
    }
    clean_up(&s);
    return s.steps;
}
