/* protobuf.c - inputs and results that are messages: those of molecule.proto.
 *
 * protoc-c makes molecule.pb-c.[ch] of it. What is sent are packed messages, so that client and
 * task functions may be of different versions, as far as protobuf allows that.
 */
#include "molecule.pb-c.h"
#include <ladle-protobuf.h>

#include <stdio.h>
#include <string.h>

static double
weight_of(const char *element)
{
    static const struct {
        const char *element;
        double weight;
    } table[] = {{"H", 1.008},  {"C", 12.011},  {"N", 14.007},
                 {"O", 15.999}, {"Na", 22.990}, {"Cl", 35.45}};

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (strcmp(table[i].element, element) == 0)
            return table[i].weight;
    return 0;
}

/* The task: a Molecule in, its Mass out. */
static int
weigh(task_t *task)
{
    Lab__Molecule *molecule = (Lab__Molecule *)task_read_message(task, &lab__molecule__descriptor);
    Lab__Mass mass;
    int rc = 0;

    if (molecule == NULL)
        return task_fail(task, "%s", futures_error());
    lab__mass__init(&mass);
    mass.name = molecule->name;
    for (size_t i = 0; i < molecule->n_atoms && rc == 0; i++) {
        double weight = weight_of(molecule->atoms[i]->element);

        if (weight == 0)
            rc =
                task_fail(task, "there is no element %s in the table", molecule->atoms[i]->element);
        mass.grams_per_mole += molecule->atoms[i]->count * weight;
    }
    if (rc == 0)
        rc = task_return_message(task, &mass.base);
    protobuf_c_message_free_unpacked(&molecule->base, NULL);
    return rc;
}
TASK(weigh)

/* ---- the client ------------------------------------------------------------------------------ */

#define MOST 4 /* sorts of atoms */
#define ATOM(symbol, n)                                                                            \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&lab__atom__descriptor), symbol, n                         \
    }

static char H[] = "H", C[] = "C", N[] = "N", O[] = "O", Na[] = "Na", Cl[] = "Cl", Xx[] = "Xx";
static char water[] = "water", salt[] = "salt", glucose[] = "glucose", caffeine[] = "caffeine",
            unobtainium[] = "unobtainium";

static struct {
    char *name;
    size_t count;
    Lab__Atom atoms[MOST];
} known[] = {
    {water, 2, {ATOM(H, 2), ATOM(O, 1)}},
    {salt, 2, {ATOM(Na, 1), ATOM(Cl, 1)}},
    {glucose, 3, {ATOM(C, 6), ATOM(H, 12), ATOM(O, 6)}},
    {caffeine, 4, {ATOM(C, 8), ATOM(H, 10), ATOM(N, 4), ATOM(O, 2)}},
    {unobtainium, 1, {ATOM(Xx, 1)}},
};
enum { MOLECULES = sizeof(known) / sizeof(*known) };

static results_t *
submit(futures_t *futures)
{
    Lab__Molecule molecules[MOLECULES];
    Lab__Atom *atoms[MOLECULES][MOST];
    const ProtobufCMessage *messages[MOLECULES];

    for (size_t i = 0; i < MOLECULES; i++) {
        lab__molecule__init(&molecules[i]);
        molecules[i].name = known[i].name;
        molecules[i].n_atoms = known[i].count;
        molecules[i].atoms = atoms[i];
        for (size_t k = 0; k < known[i].count; k++)
            atoms[i][k] = &known[i].atoms[k];
        messages[i] = &molecules[i].base;
    }
    return futures_map_messages(futures, "weigh", messages, MOLECULES, NULL); /* they are copied */
}

int
main(void)
{
    futures_t *futures = futures_new(NULL); /* $LADLE_BROKER, else all cores of this machine */
    results_t *results = futures != NULL ? submit(futures) : NULL;
    Lab__Mass *mass;

    if (results == NULL) {
        fprintf(stderr, "protobuf: %s\n", futures_error());
        return 1;
    }
    while ((mass = (Lab__Mass *)results_next_message(results, &lab__mass__descriptor)) != NULL ||
           !results_at_end(results)) {
        if (mass == NULL) {
            printf("%s: unknown\n", known[results_index(results)].name);
            fprintf(stderr, "protobuf: %s\n", futures_error());
            continue;
        }
        printf("%s: %.3f g/mol\n", mass->name, mass->grams_per_mole);
        protobuf_c_message_free_unpacked(&mass->base, NULL);
    }
    results_destroy(&results);
    futures_destroy(&futures);
    return 0;
}
