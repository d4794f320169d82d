#include "text.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

/* Bytes of the character at `s`, of which `left` remain; 0 if it may not travel. */
static size_t
step(const unsigned char *s, size_t left, bool lines)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = *s < 0x80 ? 1 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4;
    uint32_t code;

    if (size == 1)
        return (*s >= 0x20 && *s != 0x7f) || (lines && (*s == '\n' || *s == '\t')) ? 1 : 0;
    if (*s < 0xc0 || *s > 0xf7 || left < size)
        return 0;
    code = *s & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    /* Not in its shortest form, half of a pair of UTF-16, or a control character (C1). */
    if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) || code < 0xa0)
        return 0;
    return size;
}

bool
text_fits(const char *text, size_t size, bool lines)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n;

    for (; size > 0; s += n, size -= n)
        if ((n = step(s, size, lines)) == 0)
            return false;
    return true;
}

void
text_fit(char *room, const char *text, size_t limit, bool lines)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t left = strlen(text), used = 0, whole = 0; /* whole: what stays if "..." must follow */

    assert(limit >= 4);
    while (left > 0) {
        size_t n = step(s, left, lines), out = n == 0 ? 1 : n;

        if (used + out > limit) {
            memcpy(room + whole, "...", 4);
            return;
        }
        if (n == 0)
            room[used] = '?';
        else
            memcpy(room + used, s, n);
        used += out;
        if (used <= limit - 3)
            whole = used;
        s += out;
        left -= out;
    }
    room[used] = 0;
}
