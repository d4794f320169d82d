/* test_runner_random.c - many short histories by chance: executors that run, wait, go on, crash,
 * and do not end when told to; a broker that takes back, cancels and goes away. After every step
 * all invariants hold, and in the end every task that was handed over came back exactly once. */
#include "bench.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS 150
#define STEPS 400
#define TASKS 4096
#define BEHIND 64

struct stack { /* of a task in an executor */
    uint64_t lease;
    uint32_t index;
    bool awake;
};

struct actor {
    bool met, told_to_end;
    int signal;
    uint64_t last_lease; /* of the slices that came */
    struct {
        uint64_t lease;
        uint32_t first, count;
    } slices[BEHIND]; /* also those that were taken back before it looked at them */
    unsigned nslices;
    bool runs;
    uint32_t offset; /* of the running task, in slices[0] */
    struct stack stacks[TASKS];
    unsigned nstacks;
};

struct world {
    struct bench *b;
    unsigned seed;
    uint64_t random;
    struct actor actors[MOST];
    uint64_t lease;     /* the last one that was handed over */
    uint32_t next;      /* task, of the job */
    bool owed[TASKS];   /* handed over, and not back */
    uint64_t of[TASKS]; /* its lease */
    bool parked[TASKS]; /* of leases: what we were told last */
};

static unsigned
chance(struct world *w, unsigned n)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(w->random >> 33) % n;
}

/* ---- what was ordered and said -----------------------------------------------------------------
 */

static void
came_back(struct world *w, unsigned lease, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        assert_true(w->owed[i] && w->of[i] == lease);
        w->owed[i] = false;
    }
}

static void
got_slice(struct actor *a, unsigned first, unsigned count)
{
    assert_true(a->met && a->nslices < BEHIND && !a->told_to_end);
    a->slices[a->nslices].lease = ++a->last_lease;
    a->slices[a->nslices].first = first;
    a->slices[a->nslices++].count = count;
}

static void
take_line(struct world *w, const char *line)
{
    unsigned executor, first, count, lease;
    int n = 0, signal;

    if (sscanf(line, "%u: slice %u+%u", &executor, &first, &count) == 3)
        got_slice(&w->actors[executor], first, count);
    else if (sscanf(line, "start %u", &executor) == 1)
        memset(&w->actors[executor], 0, sizeof(struct actor));
    else if (sscanf(line, "hang up %u", &executor) == 1)
        w->actors[executor].told_to_end = true;
    else if (sscanf(line, "signal %d to %u", &signal, &executor) == 2)
        w->actors[executor].signal = signal;
    else if (sscanf(line, "-> lease %u: returned %u+%u", &lease, &first, &count) == 3)
        came_back(w, lease, first, count);
    else if (sscanf(line, "-> lease %u: parked%n", &lease, &n) == 1 && n > 0)
        w->parked[lease] = true;
    else if (sscanf(line, "-> lease %u: awake%n", &lease, &n) == 1 && n > 0)
        w->parked[lease] = false;
    else if (sscanf(line, "-> lease %u: %u %n", &lease, &first, &n) == 2 &&
             strncmp(line + n, "runs", 4) != 0)
        came_back(w, lease, first, 1);
}

static void
take_history(struct world *w)
{
    char history[sizeof(w->b->history)], *line, *rest = history;

    strcpy(history, w->b->history);
    forget(w->b);
    while ((line = strsep(&rest, "\n")) != NULL)
        take_line(w, line);
}

/* ---- executors ---------------------------------------------------------------------------------
 */

static void
next_slice(struct actor *a)
{
    a->nslices--;
    memmove(a->slices, a->slices + 1, a->nslices * sizeof(*a->slices));
}

static bool
claim(struct world *w, unsigned i)
{
    struct actor *a = &w->actors[i];
    struct board *board = w->b->boards[i];
    uint64_t lease = a->slices[0].lease;
    _Atomic uint64_t *range = &board->ranges[lease % BOARD_SLICES];
    uint64_t was = atomic_load(range);

    if (was >> 32 != lease || BOARD_NEXT(was) >= BOARD_LIMIT(was)) {
        next_slice(a);
        return false;
    }
    a->offset = BOARD_NEXT(was);
    a->runs = true;
    atomic_store(range, was + 1);
    atomic_store(&board->lease, lease);
    atomic_store(&board->started, w->b->now);
    atomic_store(&board->running, a->offset + 1);
    works_for(w->b, i, lease, chance(w, 2) ? "" : "nested");
    return true;
}

static void
say_result(struct world *w, unsigned i, uint64_t lease, uint32_t index)
{
    static uint8_t outcomes[] = {OUTCOME_DONE, OUTCOME_FAILED};
    struct message m = {.type = MESSAGE_RESULTS};

    m.results.lease = lease;
    m.results.first = index;
    m.results.run_us = chance(w, 2) ? 1 : 100000;
    m.results.columns = (struct columns){.count = 1, .outcomes = outcomes + chance(w, 2)};
    says(w->b, i, &m);
}

static void
say_parked(struct world *w, unsigned i, const struct stack *k)
{
    struct message m = {.type = MESSAGE_PARKED, .parked = {k->lease, k->index, !k->awake}};

    atomic_store(&w->b->boards[i]->owner, k->awake ? k->lease : 0);
    says(w->b, i, &m);
}

static void
run(struct world *w, unsigned i)
{
    struct actor *a = &w->actors[i];
    struct stack k = {a->slices[0].lease, a->slices[0].first + a->offset, false};

    a->runs = false;
    if (chance(w, 3) > 0) {
        say_result(w, i, k.lease, k.index);
        return;
    }
    next_slice(a); /* the rest of this one is not begun */
    a->stacks[a->nstacks++] = k;
    atomic_store(&w->b->boards[i]->lease, 0);
    atomic_store(&w->b->boards[i]->running, 0);
    say_parked(w, i, &k);
}

static void
go_on(struct world *w, unsigned i)
{
    struct actor *a = &w->actors[i];
    unsigned k = chance(w, a->nstacks);
    struct stack it = a->stacks[k];

    if (chance(w, 3) > 0) {
        a->stacks[k].awake = !it.awake;
        say_parked(w, i, &a->stacks[k]);
        return;
    }
    a->stacks[k] = a->stacks[--a->nstacks]; /* now and then without a word that it went on */
    say_result(w, i, it.lease, it.index);
}

static void
die(struct world *w, unsigned i)
{
    struct actor *a = &w->actors[i];

    if (!a->runs && a->nstacks > 0 && chance(w, 2))
        works_for(w->b, i, a->stacks[chance(w, a->nstacks)].lease, "");
    memset(a, 0, sizeof(*a));
    dies(w->b, i, "crash");
}

static void
act(struct world *w, unsigned i)
{
    struct actor *a = &w->actors[i];

    if (w->b->boards[i] == NULL)
        return;
    if (a->signal == 9 || (a->signal != 0 && chance(w, 2)) ||
        (a->told_to_end && chance(w, 3) == 0) || (a->met && chance(w, 60) == 0)) {
        die(w, i);
    } else if (!a->met) {
        a->met = true;
        hello_tasks(w->b, i, chance(w, 2) ? 0 : 1 + chance(w, 8));
    } else if (a->runs) {
        run(w, i);
    } else if (a->nstacks > 0 && chance(w, 2)) {
        go_on(w, i);
    } else if (a->nslices > 0) {
        (void)claim(w, i);
    } else if (chance(w, 20) == 0) {
        client_says(w->b, i, MESSAGE_HELLO);
    }
}

/* ---- the broker --------------------------------------------------------------------------------
 */

static void
hand_over(struct world *w)
{
    unsigned count = 1 + chance(w, 5);

    if (w->next + count > TASKS)
        return;
    w->lease++;
    for (unsigned i = 0; i < count; i++) {
        w->owed[w->next + i] = true;
        w->of[w->next + i] = w->lease;
    }
    w->next += count;
    slice(w->b, w->lease, w->next - count, count);
}

static void
start_over(struct world *w)
{
    runner_reset(w->b->runner, w->b->now);
    hear(w->b);
    memset(w->owed, 0, sizeof(w->owed));
    memset(w->parked, 0, sizeof(w->parked));
    job_with(w->b, 1, (struct spec){.timeout_ms = chance(w, 2) ? 0 : 300});
}

static void
step(struct world *w)
{
    switch (chance(w, 24)) {
    case 0:
    case 1:
    case 2:
        hand_over(w);
        break;
    case 3:
        if (w->lease > 0)
            revoke(w->b, 1 + chance(w, (unsigned)w->lease), 1 + chance(w, 5));
        break;
    case 4:
        if (w->next > 0)
            cancel(w->b, chance(w, w->next), 1 + chance(w, 3));
        break;
    case 5:
        after(w->b, chance(w, 300));
        break;
    case 6:
        if (chance(w, 20) == 0)
            start_over(w);
        break;
    default:
        act(w, chance(w, runner_executors(w->b->runner)));
        break;
    }
    take_history(w);
}

/* A lease is told to be parked if, and only if, something is left of it, and all that is waits. */
static void
check_told(struct world *w)
{
    bool left[TASKS] = {false};

    for (unsigned i = 0; i < w->next; i++)
        if (w->owed[i])
            left[w->of[i]] = true;
    for (unsigned k = 0; k < MOST; k++) {
        const struct actor *a = &w->actors[k];

        for (unsigned i = 0; i < a->nstacks && w->b->boards[k] != NULL; i++)
            if (a->stacks[i].awake && a->signal == 0 && w->owed[a->stacks[i].index])
                assert_false(w->parked[w->of[a->stacks[i].index]]);
    }
    for (unsigned lease = 1; lease <= w->lease; lease++)
        if (!left[lease])
            w->parked[lease] = false;
}

static void
wind_up(struct world *w)
{
    for (unsigned i = 0; i < 20000 && !runner_idle(w->b->runner); i++) {
        if (i % 50 == 0)
            after(w->b, 100);
        else
            act(w, chance(w, runner_executors(w->b->runner)));
        take_history(w);
    }
    assert_true(runner_idle(w->b->runner));
    for (unsigned i = 0; i < w->next; i++)
        assert_false(w->owed[i]);
}

static void
every_task_comes_back_once(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    *state = w;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        memset(w, 0, sizeof(*w));
        w->random = w->seed = seed;
        w->b = open_bench((struct runner_config){.slots = 1 + seed % 4, .local = true});
        job_with(w->b, 1, (struct spec){.timeout_ms = seed % 3 == 0 ? 300 : 0});
        for (unsigned i = 0; i < STEPS; i++) {
            step(w);
            check_told(w);
        }
        if (chance(w, 3) == 0)
            runner_drain(w->b->runner, 3600000000, "test", w->b->now);
        wind_up(w);
        close_bench(w->b);
    }
    *state = NULL;
    free(w);
}

static int
tell_seed(void **state)
{
    const struct world *w = *state;

    if (w != NULL)
        print_message("it was seed %u\n", w->seed);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_task_comes_back_once, tell_seed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
