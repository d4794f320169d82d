#include "table.h"

#include "lines.h"

#include <assert.h>

#define ROOM_LEAST 16

void
table_init(struct table *self, uint64_t seed)
{
    *self = (struct table){.seed = seed};
}

void
table_clear(struct table *self)
{
    free(self->entries);
    table_init(self, self->seed);
}

static void
put(struct table *self, uint64_t number, void *value)
{
    size_t at = table_home(self, number);

    while (self->entries[at].value != NULL)
        at = (at + 1) & self->mask;
    self->entries[at] = (struct table_entry){.number = number, .value = value};
}

static int
grow(struct table *self)
{
    size_t room = self->entries == NULL ? 0 : self->mask + 1;
    size_t more = room == 0 ? ROOM_LEAST : room * 2;
    struct table_entry *old = self->entries;

    if ((self->entries = lines_new(more * sizeof(*old))) == NULL) {
        self->entries = old;
        return -1;
    }
    self->mask = more - 1;
    for (size_t i = 0; i < room; i++) {
        if (old[i].value != NULL)
            put(self, old[i].number, old[i].value);
    }
    free(old);
    return 0;
}

int
table_add(struct table *self, uint64_t number, void *value)
{
    assert(value != NULL);
    /* At most half full: else they get into each other's way. */
    if ((self->entries == NULL || self->count > self->mask / 2) && grow(self) != 0)
        return -1;
    put(self, number, value);
    self->count++;
    return 0;
}

/* Those behind a gap that could not stand where they wanted move up, so nothing has to be left in
 * it as a sign to look on. */
void
table_remove(struct table *self, uint64_t number, const void *value)
{
    size_t gap = table_home(self, number), at, home;

    while (self->entries[gap].value != value || self->entries[gap].number != number) {
        assert(self->entries[gap].value != NULL);
        gap = (gap + 1) & self->mask;
    }
    for (at = (gap + 1) & self->mask; self->entries[at].value != NULL; at = (at + 1) & self->mask) {
        home = table_home(self, self->entries[at].number);
        if (((at - home) & self->mask) < ((at - gap) & self->mask))
            continue; /* its place is behind the gap */
        self->entries[gap] = self->entries[at];
        gap = at;
    }
    self->entries[gap].value = NULL;
    self->count--;
}
