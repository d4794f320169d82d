/* environment.h - what executors find in their environment. */
#ifndef LADLE_ENVIRONMENT_H
#define LADLE_ENVIRONMENT_H

#include <stddef.h>

/* Ours, with LADLE_EXECUTOR=1, LADLE_WORKER=`worker`, and `library` (NULL: nothing) at the end of
 * LD_LIBRARY_PATH. NULL with ENOMEM; to be given to environment_free(). */
char **environment_new(const char *worker, const char *library);
/* A copy of `envp` with `variables` over it: NAME=VALUE, each ended by NUL, `size` bytes together.
 * What is ours stays; `library` is at the end of their LD_LIBRARY_PATH too. NULL with ENOMEM. */
char **environment_with(char *const *envp, const char *variables, size_t size, const char *library);
void environment_free(char **envp);

/* Where this installation has its libraries, colon-separated: beside the folder of the running
 * program. NULL if there are none; to be given to free(). */
char *environment_libraries(void);

#endif
