/* symbols.h - addresses in files of code, and the names that they have in the source.
 *
 * By elfutils' libdw, which is loaded when it is first needed; without it there are no names.
 * What the files say is read by that library: whoever does not trust them calls in a process of its
 * own, see frames.c.
 */
#ifndef LADLE_SYMBOLS_H
#define LADLE_SYMBOLS_H

#include <stdint.h>

#define SYMBOL_NAME 200

struct symbol {
    const char *path; /* of the file; NULL: none can be read */
    uint64_t at;      /* as it was linked: what `addr2line -e` takes */
    /* "weigh at simulate.c:41"; several lines if functions were inlined there, the innermost first;
     * "" without a name. */
    char name[SYMBOL_NAME];
};

int symbols_load(void); /* -1: there is no libdw */
void symbols_name(struct symbol *symbols, unsigned count);

#endif
