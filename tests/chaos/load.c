/* load.c - a program that keeps a grid busy with tasks of known results, and writes down what comes
 * back: what script/chaos runs while it breaks things.
 *
 *     chaos-load HISTORY NOTES SEED TASKS SECONDS [LEDGER]
 *
 * $LADLE_BROKER says where. HISTORY is the client's (history.h); executors append to NOTES which
 * tasks they began. TASKS are spread over SECONDS, in all ways that there are; with a LEDGER as
 * detached jobs, which are found again by the next process if this one is killed. Ends with 0 when
 * all of them have ended, however they did: checker.py judges.
 */
#include "detached.h"
#include "history.h"
#include "ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static futures_t *
open_session(const char *notes)
{
    static uint64_t words[CONSTANT_WORDS];
    futures_t *futures;

    tasks_note_in(notes);
    for (uint64_t i = 0; i < CONSTANT_WORDS; i++)
        words[i] = mix(i);
    futures = futures_open(&(futures_config_t){.lost_timeout = -1, .connect_timeout = 60000});
    if (futures == NULL || futures_share(futures, CONSTANT, words, sizeof(words)) != 0) {
        fprintf(stderr, "chaos-load: %s\n", futures_error());
        exit(1);
    }
    return futures;
}

static void *
run(void *arg)
{
    struct way *w = arg;

    w->run(w);
    printf("chaos-load: %s has ended, %.1f s\n", w->name, seconds_now() - w->began);
    fflush(stdout);
    return NULL;
}

static void
run_all(futures_t *futures, uint64_t seed, uint64_t tasks, double seconds)
{
    struct way all[WAYS];
    uint64_t first = 0;

    memcpy(all, ways, sizeof(all));
    for (int i = 0; i < WAYS; i++) {
        all[i].futures = futures;
        all[i].seed = seed;
        all[i].first = first;
        all[i].count = i == WAYS - 1 ? tasks - first : tasks * all[i].share / 1000;
        all[i].seconds = seconds;
        all[i].began = seconds_now();
        first += all[i].count;
        if (pthread_create(&all[i].thread, NULL, run, &all[i]) != 0)
            abort();
    }
    for (int i = 0; i < WAYS; i++)
        pthread_join(all[i].thread, NULL);
}

int
main(int argc, char **argv)
{
    struct detached d;
    int bad = 0;

    if (argc < 6 || argc > 7) {
        fprintf(stderr, "usage: chaos-load HISTORY NOTES SEED TASKS SECONDS [LEDGER]\n");
        return 2;
    }
    d.futures = open_session(argv[2]);
    d.seed = strtoull(argv[3], NULL, 10);
    d.tasks = strtoull(argv[4], NULL, 10);
    d.seconds = 0.9 * strtod(argv[5], NULL);
    if (history_open(argv[1]) != 0) {
        perror(argv[1]);
        return 1;
    }
    printf("chaos-load: ready\n");
    fflush(stdout);
    if (argc == 7)
        bad = detached_run(&d, argv[6]);
    else
        run_all(d.futures, d.seed, d.tasks, d.seconds);
    futures_destroy(&d.futures);
    return bad == 0 ? 0 : 1;
}
