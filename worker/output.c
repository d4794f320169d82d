#include "output.h"

#include <stdio.h>
#include <string.h>

void
throttle_init(struct throttle *t, int64_t now)
{
    *t = (struct throttle){.tokens = OUTPUT_BURST, .filled = now};
}

size_t
throttle_pass(struct throttle *t, size_t size, int64_t now)
{
    int64_t earned = (now - t->filled) * OUTPUT_RATE / 1000000;
    size_t pass;

    if (earned > 0) {
        t->tokens = t->tokens + earned < OUTPUT_BURST ? t->tokens + earned : OUTPUT_BURST;
        t->filled = now;
    }
    /* Once bytes were dropped, a while passes in silence: better than a line torn out of each
     * second one. */
    if (t->dropped > 0 && t->tokens < OUTPUT_RATE)
        pass = 0;
    else
        pass = t->tokens < (int64_t)size ? (size_t)t->tokens : size;
    t->tokens -= (int64_t)pass;
    t->dropped += size - pass;
    return pass;
}

size_t
throttle_marker(struct throttle *t, char *text, size_t size)
{
    int n;

    if (t->dropped == 0)
        return 0;
    n = snprintf(text, size, "\n[ladle: %llu bytes of output dropped]\n",
                 (unsigned long long)t->dropped);
    t->dropped = 0;
    return n < 0 || (size_t)n >= size ? 0 : (size_t)n;
}

void
tail_add(struct tail *t, const char *bytes, size_t size)
{
    size_t keep;

    if (size > OUTPUT_TAIL) {
        bytes += size - OUTPUT_TAIL;
        size = OUTPUT_TAIL;
    }
    keep = t->size + size > OUTPUT_TAIL ? OUTPUT_TAIL - size : t->size;
    memmove(t->text, t->text + t->size - keep, keep);
    memcpy(t->text + keep, bytes, size);
    t->size = keep + size;
}

void
tail_clear(struct tail *t)
{
    t->size = 0;
}

static char
printable(char c)
{
    return (unsigned char)c < ' ' || c == 0x7f ? ' ' : c;
}

void
tail_words(const struct tail *t, unsigned lines, char *text, size_t size)
{
    size_t end = t->size, from, at = 0;

    while (end > 0 && t->text[end - 1] == '\n')
        end--;
    for (from = end; from > 0; from--)
        if (t->text[from - 1] == '\n' && --lines == 0)
            break;
    for (size_t i = from; i < end && at + 3 < size; i++) {
        if (t->text[i] == '\n') {
            text[at++] = ';';
            text[at++] = ' ';
        } else {
            text[at++] = printable(t->text[i]);
        }
    }
    text[at] = '\0';
}

/* Where the line that ends at `end` begins. */
static size_t
line_begin(const struct tail *t, size_t end)
{
    while (end > 0 && t->text[end - 1] != '\n')
        end--;
    return end;
}

size_t
tail_lines(const struct tail *t, unsigned lines, char *text, size_t size)
{
    static const char indent[] = "    ", cut[] = "...";
    const size_t frame = sizeof(indent) + sizeof(cut); /* and a newline */
    size_t end = t->size, from, room = size, at = 0, begin;

    while (end > 0 && t->text[end - 1] == '\n')
        end--;
    /* As many whole lines as there is room for, from the last one on. */
    for (from = end; from > 0 && lines > 0; lines--) {
        size_t last = from == end ? end : from - 1;

        begin = line_begin(t, last);
        if (last - begin + frame > room) {
            if (from == end && room > frame) /* not even one: its end */
                from = end - (room - frame);
            break;
        }
        room -= last - begin + frame;
        from = begin;
    }
    for (begin = from; begin < end; begin = from) {
        for (from = begin; from < end && t->text[from] != '\n'; from++)
            ;
        at += (size_t)sprintf(text + at, "%s%s", indent,
                              begin > 0 && t->text[begin - 1] != '\n' ? cut : "");
        for (size_t i = begin; i < from; i++)
            text[at++] = printable(t->text[i]);
        text[at++] = '\n';
        from++;
    }
    text[at] = '\0';
    return at;
}
