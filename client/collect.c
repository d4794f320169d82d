/* results_collect(): the results of a map in one array. */
#include "results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct collection {
    uint8_t *outputs;
    size_t size;
    int error;
    uint64_t index; /* of the failure with the lowest index */
    char *text;
};

static void
note_failure(struct collection *all, uint64_t index, int error, char *text)
{
    if (all->error != 0 && all->index < index) {
        free(text);
        return;
    }
    free(all->text);
    all->error = error;
    all->index = index;
    all->text = text;
}

static void
collect_one(const results_t *r, uint32_t offset, struct collection *all)
{
    const struct segment *s = r->segment;
    uint64_t index = r->base + offset;
    const uint8_t *item;
    size_t size;
    char *text = NULL;

    item = segment_item(s, offset, &size);
    if (segment_outcome(s, offset) != OUTCOME_DONE) {
        note_failure(all, index, EIO, session_sentence(r->session, r->job, index, s, offset));
    } else if (size != all->size) {
        if (asprintf(&text, "%s[%llu] gave a result of %zu bytes, and not of %zu",
                     r->job->spec->function, (unsigned long long)index, size, all->size) < 0)
            text = NULL;
        note_failure(all, index, EPROTO, text);
    } else if (size > 0 && all->outputs != NULL) {
        memcpy(all->outputs + index * size, item, size);
    }
}

static void
collect_segment(results_t *r, struct collection *all)
{
    const struct segment *s = r->segment;
    uint32_t end = s->first + s->count;

    if (s->outcomes == NULL && s->outcome == OUTCOME_DONE && s->offsets == NULL && !s->shared &&
        s->size == all->size) {
        if (s->size > 0 && all->outputs != NULL)
            memcpy(all->outputs + (r->base + r->offset) * s->size,
                   s->data->bytes + s->at + (size_t)(r->offset - s->first) * s->size,
                   (size_t)(end - r->offset) * s->size);
    } else {
        for (uint32_t i = r->offset; i < end; i++)
            collect_one(r, i, all);
    }
    r->given += end - r->offset;
    r->offset = end;
}

int
results_collect(results_t **self_p, void *outputs, size_t size)
{
    struct collection all = {.outputs = outputs, .size = size};
    results_t *r = self_p == NULL ? NULL : *self_p;
    int failed;

    if (r == NULL)
        return error_no_handle("there are no results: results is NULL");
    if (!session_usable(r->session))
        return -1;
    if (r->segment != NULL)
        collect_segment(r, &all);
    r->as_completed = true; /* the order does not matter here */
    while (results_fetch(r, -1) == 0)
        collect_segment(r, &all);
    failed = errno;
    if (failed == 0 && all.error != 0) {
        error_set(all.error, "%s", all.text == NULL ? "out of memory" : all.text);
        failed = all.error;
    }
    free(all.text);
    results_destroy(self_p);
    errno = failed;
    return failed == 0 ? 0 : -1;
}
