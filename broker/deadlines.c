#include "deadlines.h"

#include <assert.h>
#include <stdlib.h>

int
deadlines_reserve(struct scheduler *s)
{
    size_t room = s->deadlines_room;
    struct job **list;

    /* One place for each job that may want one: every open job. */
    if (s->njobs < room)
        return 0;
    room = room == 0 ? 16 : room * 2;
    if ((list = realloc(s->deadlines, room * sizeof(struct job *))) == NULL)
        return -1;
    s->deadlines = list;
    s->deadlines_room = room;
    return 0;
}

static void
place(struct scheduler *s, size_t at, struct job *j)
{
    s->deadlines[at] = j;
    j->heap = at + 1;
}

static void
rise(struct scheduler *s, size_t at)
{
    struct job *j = s->deadlines[at];

    while (at > 0 && s->deadlines[(at - 1) / 2]->deadline > j->deadline) {
        place(s, at, s->deadlines[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(s, at, j);
}

static void
sink(struct scheduler *s, size_t at)
{
    struct job *j = s->deadlines[at];
    size_t child;

    while ((child = 2 * at + 1) < s->ndeadlines) {
        if (child + 1 < s->ndeadlines &&
            s->deadlines[child + 1]->deadline < s->deadlines[child]->deadline)
            child++;
        if (s->deadlines[child]->deadline >= j->deadline)
            break;
        place(s, at, s->deadlines[child]);
        at = child;
    }
    place(s, at, j);
}

void
deadlines_set(struct scheduler *s, struct job *j, int64_t deadline)
{
    if (deadline == CLOCK_NEVER) {
        deadlines_remove(s, j);
        return;
    }
    j->deadline = deadline;
    if (j->heap == 0) {
        assert(s->ndeadlines < s->deadlines_room);
        place(s, s->ndeadlines++, j);
    }
    rise(s, j->heap - 1);
    sink(s, j->heap - 1);
}

void
deadlines_remove(struct scheduler *s, struct job *j)
{
    size_t at = j->heap - 1;
    struct job *last;

    j->deadline = CLOCK_NEVER;
    if (j->heap == 0)
        return;
    j->heap = 0;
    last = s->deadlines[--s->ndeadlines];
    if (last == j)
        return;
    place(s, at, last);
    rise(s, at);
    sink(s, last->heap - 1);
}

struct job *
deadlines_first(const struct scheduler *s)
{
    return s->ndeadlines > 0 ? s->deadlines[0] : NULL;
}
