/* table.h - what is found by a number.
 *
 * Numbers and pointers stand beside each other in one array, so that a look-up asks memory for one
 * line of it, however many entries there are. Four numbers that follow each other share a line: we
 * give them out in order, and what was given out together is asked for at about the same time.
 * Where a line stands depends on a seed, so that nobody can choose numbers that all meet in one
 * place. Entries may share a number. All zeros is an empty table, with the seed 0.
 */
#ifndef LADLE_TABLE_H
#define LADLE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table_entry {
    uint64_t number;
    void *value; /* NULL: there is none */
};

struct table {
    struct table_entry *entries; /* NULL: there are none yet */
    size_t mask;                 /* their number, a power of two, - 1 */
    size_t count;
    uint64_t seed;
};

void table_init(struct table *self, uint64_t seed);
void table_clear(struct table *self); /* the values are not ours */

/* -1: ENOMEM, and nothing has changed. `value` is not NULL. */
int table_add(struct table *self, uint64_t number, void *value);
/* The entry is there. */
void table_remove(struct table *self, uint64_t number, const void *value);

/* One to one, and any bit of the argument changes about half of those of the result (splitmix64).
 */
static inline uint64_t
scatter(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Where to look first. */
static inline size_t
table_home(const struct table *self, uint64_t number)
{
    return (size_t)(scatter(number / 4 ^ self->seed) * 4 + number % 4) & self->mask;
}

/* One of that number; NULL. */
static inline void *
table_find(const struct table *self, uint64_t number)
{
    const struct table_entry *e;

    if (self->entries == NULL)
        return NULL;
    for (size_t at = table_home(self, number);; at = (at + 1) & self->mask) {
        e = &self->entries[at];
        if (e->value == NULL || e->number == number)
            return e->value;
    }
}

#endif
