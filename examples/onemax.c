/* onemax.c - a genetic algorithm that learns to say 1: after the example of the same name in DEAP.
 *
 * An algorithm of this kind touches parallelism in one place only: the map that evaluates a
 * generation. Here that is evaluate_all(), and which map it is, is chosen in one line of main().
 * All random decisions are made in the client, so a seed gives the same run on any map.
 */
#include "options.h"

#include <ladle.h>
#include <time.h>

#define BITS 100
#define CROSSOVER 0.5 /* of the pairs */
#define MUTATION 0.2  /* of the individuals */
#define FLIP 0.05     /* of the bits of one that mutates */
#define TOURNAMENT 3  /* the best of so many has offspring */

static uint64_t population = 300, generations = 40, work = 0, seed = 64;
static const char *map = "local";

static const struct option_row option_rows[] = {
    {'m', "map", "MAP", "serial, local (default), or grid: $LADLE_BROKER", .text = &map},
    {'p', "population", "N", "Individuals (default 300)", .number = &population, 2, 1000000},
    {'g', "generations", "N", "How many (default 40)", .number = &generations, 1, 1000000},
    {'w', "work", "US", "Microseconds that an evaluation takes", .number = &work, 0, 100000000},
    {'r', "seed", "N", "Another run (default 64)", .number = &seed, 0, UINT64_MAX},
    {0},
};
static const struct command command = {"onemax", "", "Evolve a string of 100 ones.", option_rows};

/* ---- the task: how good is a genome? --------------------------------------------------------- */

struct genome {
    uint32_t work; /* microseconds that an evaluation takes at least: a stand-in for a simulation */
    uint8_t bits[BITS];
};

static int64_t
microseconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int
evaluate(task_t *task)
{
    int64_t start = microseconds();
    struct genome genome;
    double fitness = 0;

    if (task_read(task, &genome, sizeof(genome)) != 0)
        return task_fail(task, "expected a genome, got %zu bytes", task_input_size(task));
    for (int i = 0; i < BITS; i++)
        fitness += genome.bits[i];
    while (genome.work > 0 && microseconds() - start < genome.work)
        ;
    return task_return(task, &fitness, sizeof(fitness));
}
TASK(evaluate)

/* ---- the algorithm --------------------------------------------------------------------------- */

struct individual {
    struct genome genome;
    double fitness;
    bool valid; /* the fitness is that of the genome */
};

static uint64_t
next_random(void) /* splitmix64 */
{
    uint64_t z = seed += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t
below(uint64_t n)
{
    return next_random() % n;
}

static bool
chance(double p)
{
    return (double)(next_random() >> 11) * 0x1p-53 < p;
}

/* Returns how many evaluations that took; -1 if there is no grid any more. */
static int
evaluate_all(futures_t *futures, struct individual *all, struct genome *genomes)
{
    size_t count = 0;
    results_t *results;

    for (uint64_t i = 0; i < population; i++)
        if (!all[i].valid)
            genomes[count++] = all[i].genome;
    results = futures_map(futures, "evaluate", genomes, count, sizeof(*genomes), NULL);
    if (results == NULL)
        return -1;
    for (uint64_t i = 0; i < population; i++) {
        const double *fitness;

        if (all[i].valid)
            continue;
        fitness = results_next(results, NULL);
        if (fitness == NULL) /* costs this individual its place, not the others their generation */
            fprintf(stderr, "onemax: %s\n", results_error(results));
        all[i].fitness = fitness == NULL ? 0 : *fitness;
        all[i].valid = true;
    }
    results_destroy(&results);
    return (int)count;
}

static void
breed(const struct individual *parents, struct individual *offspring)
{
    for (uint64_t i = 0; i < population; i++) {
        const struct individual *best = &parents[below(population)];

        for (int round = 1; round < TOURNAMENT; round++) {
            const struct individual *other = &parents[below(population)];

            best = other->fitness > best->fitness ? other : best;
        }
        offspring[i] = *best;
    }
    for (uint64_t i = 0; i + 1 < population; i += 2) {
        if (!chance(CROSSOVER))
            continue;
        uint64_t from = below(BITS), to = from + 1 + below(BITS - from);

        for (uint64_t bit = from; bit < to; bit++) {
            uint8_t kept = offspring[i].genome.bits[bit];

            offspring[i].genome.bits[bit] = offspring[i + 1].genome.bits[bit];
            offspring[i + 1].genome.bits[bit] = kept;
        }
        offspring[i].valid = offspring[i + 1].valid = false;
    }
    for (uint64_t i = 0; i < population; i++) {
        if (!chance(MUTATION))
            continue;
        for (int bit = 0; bit < BITS; bit++)
            offspring[i].genome.bits[bit] ^= chance(FLIP);
        offspring[i].valid = false;
    }
}

static void
report(uint64_t generation, int evaluations, const struct individual *all)
{
    double sum = 0, most = 0;

    for (uint64_t i = 0; i < population; i++) {
        sum += all[i].fitness;
        most = all[i].fitness > most ? all[i].fitness : most;
    }
    printf("generation %3" PRIu64 ": %4d evaluations, mean %7.3f, best %3.0f\n", generation,
           evaluations, sum / (double)population, most);
}

static int
evolve(futures_t *futures, struct individual *all, struct individual *next, struct genome *genomes)
{
    for (uint64_t i = 0; i < population; i++) {
        all[i].genome.work = (uint32_t)work;
        for (int bit = 0; bit < BITS; bit++)
            all[i].genome.bits[bit] = next_random() & 1;
    }
    for (uint64_t generation = 0; generation <= generations; generation++) {
        struct individual *parents = all;
        int evaluations;

        if (generation > 0) {
            breed(parents, next);
            all = next;
            next = parents;
        }
        if ((evaluations = evaluate_all(futures, all, genomes)) < 0) {
            fprintf(stderr, "onemax: %s\n", futures_error());
            return 1;
        }
        report(generation, evaluations, all);
    }
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name, *endpoint;
    } maps[] = {{"serial", "serial"}, {"local", "local"}, {"grid", NULL}};
    struct individual *all;
    struct genome *genomes;
    futures_t *futures;
    unsigned m = 0;
    int status;

    if (options_parse(&command, argc, argv) < argc)
        options_fail(&command, "there are no arguments beside the options");
    while (m < 3 && strcmp(map, maps[m].name) != 0)
        m++;
    if (m == 3)
        options_fail(&command, "map: '%s' is none of serial, local, grid", map);

    futures = futures_new(maps[m].endpoint); /* the one place where the map is chosen */
    if (futures == NULL) {
        fprintf(stderr, "onemax: %s\n", futures_error());
        return 1;
    }
    if (maps[m].endpoint == NULL && getenv("LADLE_BROKER") == NULL)
        fprintf(stderr, "onemax: LADLE_BROKER is not set: the grid is this machine\n");
    all = calloc(population, 2 * sizeof(*all));
    genomes = calloc(population, sizeof(*genomes));
    if (all == NULL || genomes == NULL) {
        perror("onemax");
        return 1;
    }
    status = evolve(futures, all, all + population, genomes);
    free(genomes);
    free(all);
    futures_destroy(&futures);
    return status;
}
