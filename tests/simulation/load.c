#include "load.h"

#include <assert.h>
#include <string.h>

/* Bits 60 to 63: generations that follow, from 12 on. */
#define INNER (1ull << 59) /* it is somebody's child */
#define TIMEOUT (1ull << 58)

uint64_t
load_kind(uint64_t chance, bool timeout)
{
    return ((chance << 32) & ~INNER & ~TIMEOUT) | (timeout ? TIMEOUT : 0);
}

static uint64_t
generations(uint64_t input)
{
    return input >> 60 > 12 ? (input >> 60) - 12 : 0;
}

bool
load_nests(uint64_t kind)
{
    return generations(kind) > 0;
}

bool
load_spawned(uint64_t input)
{
    return (input & INNER) != 0;
}

enum fate
load_fate(const struct sim *s, uint64_t input)
{
    uint64_t chance = mix(input, s->seed) % 1000;

    if ((input & TIMEOUT) != 0 && chance >= 900)
        return FATE_HANGS;
    return chance < 20   ? FATE_FAILS
           : chance < 30 ? FATE_CRASHES
           : chance < 60 ? FATE_CRASHES_ONCE
                         : FATE_DONE;
}

int64_t
load_time(const struct sim *s, uint64_t input)
{
    uint64_t kind = mix(s->seed, input >> 32) % 4, hash = mix(input, 5);

    /* Tasks of a job are alike, but some take long. */
    if (hash % 200 == 0)
        return 100000 + (int64_t)(hash >> 8) % 400000;
    return kind == 0   ? 1 + (int64_t)(hash % 10)
           : kind == 1 ? 200 + (int64_t)(hash % 1000)
           : kind == 2 ? 5000 + (int64_t)(hash % 20000)
                       : 30000 + (int64_t)(hash % 100000);
}

bool
load_polite(uint64_t input)
{
    return mix(input, 17) % 10 < 7;
}

/* ---- results ------------------------------------------------------------------------------------
 */

uint64_t
load_value(uint64_t input)
{
    return input * 3 + 1;
}

uint32_t
load_size(uint64_t input)
{
    uint64_t hash = mix(input, 23), kind = mix(input >> 32, 29) % 16;

    /* Large ones fill the client's window, and go alone. */
    if (kind == 0 && hash % 8 == 0)
        return 50000 + (uint32_t)(hash >> 8) % 200000;
    return kind < 8 ? 8 : 8 + (uint32_t)(hash >> 8) % 300;
}

static uint8_t
filler(uint64_t input)
{
    return (uint8_t)mix(input, 31);
}

struct blob *
load_result(uint64_t input)
{
    uint32_t size = load_size(input);
    struct blob *b = blob_new(size);
    uint64_t value = load_value(input);

    assert(b != NULL);
    memset(b->bytes, filler(input), size);
    memcpy(b->bytes, &value, sizeof(value));
    return b;
}

bool
load_is_result(uint64_t input, const uint8_t *bytes, size_t size)
{
    uint64_t value = load_value(input);

    if (size != load_size(input) || memcmp(bytes, &value, sizeof(value)) != 0)
        return false;
    for (size_t i = sizeof(value); i < size; i++)
        if (bytes[i] != filler(input))
            return false;
    return true;
}

/* ---- children -----------------------------------------------------------------------------------
 *
 * Of the tasks that a client submits some have children, and all of theirs do, until the
 * generations are over.
 */

unsigned
load_rounds(uint64_t input)
{
    if (generations(input) == 0 || ((input & INNER) == 0 && mix(input, 9) % 8 != 0))
        return 0;
    return mix(input, 13) % 4 == 0 ? 2 : 1;
}

uint32_t
load_children(uint64_t input)
{
    return 1 + (uint32_t)(mix(input, 11) % 3);
}

uint64_t
load_child(uint64_t input, unsigned round, uint32_t i)
{
    uint64_t kind = mix(input, 99 + round) >> 38 << 32;

    return (11 + generations(input)) << 60 | INNER | kind | mix(input, 16 * round + i + 1) >> 32;
}

bool
load_forgets(uint64_t input)
{
    return mix(input, 37) % 16 == 0;
}
