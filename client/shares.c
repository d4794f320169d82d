/* Shared constants in the core: what the broker is told of them, and how long they are needed. */
#include "core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
core_share(struct core *core, struct share *x)
{
    TAILQ_INSERT_TAIL(&core->shares, x, link);
    x->offered = false;
    x->told = false;
    x->jobs = 0;
    core_offer(core, x, true);
}

void
core_offer(struct core *core, struct share *x, bool offered)
{
    x->offered = offered;
    core->shares_changed = true;
    core->wants_output = true;
}

struct share *
core_share_find(const struct core *core, const char *digest)
{
    struct share *x;

    TAILQ_FOREACH (x, &core->shares, link)
        if (strcmp(x->digest, digest) == 0)
            break;
    return x;
}

struct share *
core_share_unneeded(struct core *core)
{
    struct share *x;

    TAILQ_FOREACH (x, &core->shares, link)
        if (!x->offered && x->jobs == 0 && !(x->told && core->welcome))
            break;
    if (x != NULL)
        TAILQ_REMOVE(&core->shares, x, link);
    return x;
}

int
core_shares_join(struct core *core, struct job *j)
{
    if (j->spec->nshared == 0 || TAILQ_EMPTY(&core->shares))
        return 0;
    if ((j->shares = malloc(j->spec->nshared * sizeof(struct share *))) == NULL)
        return -1;
    for (uint32_t i = 0; i < j->spec->nshared; i++) {
        struct share *x = core_share_find(core, j->spec->shared[i].digest);

        if (x == NULL)
            continue; /* not ours: another client has it */
        x->jobs++;
        j->shares[j->nshares++] = x;
    }
    return 0;
}

void
core_shares_leave(struct core *core, struct job *j)
{
    for (uint32_t i = 0; i < j->nshares; i++) {
        assert(j->shares[i]->jobs > 0);
        if (--j->shares[i]->jobs == 0 && !j->shares[i]->offered)
            core->news = true; /* whoever reads them may let go of it */
    }
    free(j->shares);
    j->shares = NULL;
    j->nshares = 0;
}

void
core_shares_welcome(struct core *core)
{
    struct share *x;

    TAILQ_FOREACH (x, &core->shares, link)
        x->told = false;
    core->shares_changed = !TAILQ_EMPTY(&core->shares);
}

static bool
tell(struct core *core, bool offered, struct message *m)
{
    struct share *x;

    TAILQ_FOREACH (x, &core->shares, link)
        if (x->told != offered && x->offered == offered)
            break;
    if (x == NULL)
        return false;
    x->told = offered;
    *m = (struct message){.type = offered ? MESSAGE_SHARE : MESSAGE_UNSHARE,
                          .share = {.digest = x->digest, .size = x->size}};
    if (!offered)
        core->news = true;
    return true;
}

bool
core_shares_output(struct core *core, struct message *m)
{
    if (!core->shares_changed)
        return false;
    /* What is no more comes first: never are more offered than the broker allows. */
    if (tell(core, false, m) || tell(core, true, m))
        return true;
    core->shares_changed = false;
    return false;
}
