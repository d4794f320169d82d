/* Is all that the depot knows consistent? For tests. */
#include "kept.h"
#include "require.h"

static void
check_piece(const struct kept *j, const struct piece *p, uint64_t *left_p, uint64_t *under_way_p)
{
    uint32_t left = 0, failed = 0;

    REQUIRE(p->count > 0 && p->sent <= p->count && p->first + p->count <= j->total);
    REQUIRE(p->loaded || p->data == NULL);
    for (uint32_t i = 0; i < p->count; i++) {
        left += p->state[i] == 0;
        failed += p->state[i] > 1 + OUTCOME_DONE && p->state[i] != 1 + OUTCOME_CANCELLED;
        if (p->state[i] == 0 && i < p->sent)
            *under_way_p += TASK_COST + kept_columns(p, i, 1).length;
    }
    REQUIRE(left == p->left && failed == p->failed);
    *left_p += left;
}

static void
check_job(const struct depot *d, const struct kept *j)
{
    uint64_t left = 0, under_way = 0, next = 0;
    const struct handle *h;
    struct kept *found;

    for (size_t i = 0; i < j->npieces; i++) {
        const struct piece *p = j->pieces[i].piece;

        REQUIRE(i == 0 || j->pieces[i].first > j->pieces[i - 1].first);
        if (p == NULL)
            continue;
        REQUIRE(p->first == j->pieces[i].first && p->first >= next);
        next = p->first + p->count;
        check_piece(j, p, &left, &under_way);
    }
    REQUIRE(j->done + j->failed + left == j->total && j->gone <= j->failed);
    REQUIRE(j->under_way == under_way && (j->peer != 0 || under_way == 0));
    REQUIRE(j->stored <= j->total && j->records_stored <= j->nrecords && j->feed <= j->npieces);
    REQUIRE(!j->sealed_stored || j->sealed);
    REQUIRE(j->unsealed == !j->sealed);
    REQUIRE(!j->over || (kept_ended(j) && j->peer == 0));
    REQUIRE(kept_find(d, j->id) == j);
    HASH_FIND(by_peer, d->by_peer, &j->peer, sizeof(j->peer), found);
    REQUIRE(found == (j->peer != 0 ? j : NULL));
    LIST_FOREACH (h, &j->handles, of_job)
        REQUIRE(h->job == j && h->accepted <= j->total && h->at <= j->nrecords);
}

static void
check_lists(const struct depot *d)
{
    const struct kept *j;
    int dirty = 0, hungry = 0, unsealed = 0, over = 0;

    TAILQ_FOREACH (j, &d->jobs, link) {
        dirty += j->dirty;
        hungry += j->hungry;
        unsealed += j->unsealed;
        over += j->over;
    }
    TAILQ_FOREACH (j, &d->dirty, of_dirty)
        dirty--;
    TAILQ_FOREACH (j, &d->hungry, of_hungry)
        hungry--;
    TAILQ_FOREACH (j, &d->unsealed, of_unsealed)
        unsealed--;
    TAILQ_FOREACH (j, &d->over, of_over)
        over--;
    REQUIRE(dirty == 0 && hungry == 0 && unsealed == 0 && over == 0);
}

void
depot_check(const struct depot *d)
{
    uint64_t njobs = 0, under_way = 0, bytes = 0, number = 0;
    const struct pending *p;
    const struct kept *j;

    TAILQ_FOREACH (j, &d->jobs, link) {
        check_job(d, j);
        njobs++;
        under_way += j->under_way;
        bytes += j->bytes;
    }
    REQUIRE(njobs == d->njobs && under_way == d->under_way && bytes == d->bytes);
    check_lists(d);
    TAILQ_FOREACH (p, &d->pending, link) {
        REQUIRE(p->row.number > number && p->row.number <= d->last_row);
        REQUIRE(p->row.job == p->job->number);
        number = p->row.number;
    }
}
