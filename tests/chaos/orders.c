#include "orders.h"

#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* The finalizer of splitmix64. */
uint64_t
mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

struct order
order_make_kind(uint64_t seed, uint64_t id, enum kind kind)
{
    uint64_t random = mix(mix(seed) ^ id);
    struct order o = {.id = id, .kind = (uint32_t)kind, .value = mix(random + 1)};
    uint32_t dice = (uint32_t)(random >> 32);

    switch (kind) {
    case SLEEP:
    case ONCE: /* few take seconds, as those make a run long */
        o.amount = dice % 40 == 0 ? 2000 + dice % 3000 : 1 + dice % 200;
        break;
    case BIG:
        o.amount = 1 + dice % 512;
        break;
    case NEST:
        o.amount = 1 + dice % 8;
        break;
    default:
        break;
    }
    return o;
}

struct order
order_make(uint64_t seed, uint64_t id)
{
    static const struct {
        enum kind kind;
        unsigned share; /* of 1000 */
    } shares[] = {{SLEEP, 80}, {PRINT, 40},      {EMIT, 40}, {SHARED, 40},  {BIG, 4},
                  {FAIL, 10},  {CRASH_FIRST, 5}, {NEST, 15}, {COMPUTE, 766}};
    unsigned dice = (unsigned)(mix(mix(seed + 1) ^ id) % 1000);
    size_t i = 0;

    while (dice >= shares[i].share)
        dice -= shares[i++].share;
    return order_make_kind(seed, id, shares[i].kind);
}

struct order
order_child(const struct order *parent, uint32_t nth)
{
    uint64_t random = mix(parent->value + nth);
    struct order o = {.id = NESTED_IDS + parent->id * 64 + nth, .value = mix(random)};

    /* A child of a child would need more ids than there are. */
    if (parent->id < NESTED_IDS && random % 16 == 0) {
        o.kind = NEST;
        o.amount = 2;
    } else if (random % 4 == 1) {
        o.kind = SLEEP;
        o.amount = 1 + (uint32_t)(random >> 32) % 50;
    }
    return o;
}

uint64_t
order_value(const struct order *o)
{
    return mix(o->value ^ o->id);
}

uint64_t
constant_sum(const uint64_t *words, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum = mix(sum ^ words[i]);
    return sum;
}

void
append_line(int fd, const char *format, ...)
{
    char line[1024];
    struct timespec now;
    struct tm tm;
    va_list args;
    int n;

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    n = (int)strftime(line, sizeof(line), "%T", &tm);
    n += snprintf(line + n, sizeof(line) - (size_t)n, ".%03ld ", now.tv_nsec / 1000000);
    va_start(args, format);
    n += vsnprintf(line + n, sizeof(line) - 1 - (size_t)n, format, args);
    va_end(args);
    if (n >= (int)sizeof(line) - 1)
        n = (int)sizeof(line) - 2;
    for (int i = 0; i < n; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[n++] = '\n';
    if (write(fd, line, (size_t)n) != n) {
        perror("chaos-load: cannot write down what happened");
        exit(1);
    }
}
