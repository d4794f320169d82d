/* functions.h - how long the functions of programs take, kept for a while after their jobs. */
#ifndef LADLE_FUNCTIONS_H
#define LADLE_FUNCTIONS_H

#include "state.h"

struct function *function_get(struct scheduler *s, const struct spec *spec); /* NULL: ENOMEM */
void function_put(struct scheduler *s, struct function *f);                  /* NULL is allowed */
void functions_free(struct scheduler *s);

#endif
