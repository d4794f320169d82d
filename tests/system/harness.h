/* harness.h - real processes for the system tests.
 *
 * Every test runs in a directory of its own, with a marker in the environment that all processes it
 * starts inherit. harness_teardown() kills and removes what is left, and fails if a marked process
 * outlives those that the test started: an orphan.
 * Nothing sleeps for a fixed time: await() looks until a condition holds, or fails the test.
 */
#ifndef LADLE_HARNESS_H
#define LADLE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#define SOON 10000 /* ms: enough for anything, also under a sanitizer on a busy machine */

int harness_setup(void **state);
int harness_teardown(void **state);
const char *harness_directory(void); /* of the test that runs */
/* "DIRECTORY/name", in one of a few buffers used in turn. */
const char *harness_path(const char *name);
/* The same for what would wait for a busy disk and is not about one: in memory, if there is enough
 * for it. */
const char *harness_memory(const char *name);
const char *harness_binary(const char *name); /* of this build: "ladle-broker" */
int64_t harness_now(void);                    /* ms */

/* Until `condition` holds: within `ms`, or the test fails. */
#define await(condition, ms) harness_await_(condition, ms, __FILE__, __LINE__, #condition)
#define harness_await_(condition, ms, file, line, text)                                            \
    do {                                                                                           \
        int64_t until_ = harness_now() + (ms);                                                     \
        while (!(condition)) {                                                                     \
            if (harness_now() > until_)                                                            \
                harness_fail(file, line, text);                                                    \
            harness_pause();                                                                       \
        }                                                                                          \
    } while (0)
void harness_pause(void); /* between two looks */
void harness_fail(const char *file, int line, const char *text);

bool starts_with(const char *text, const char *with);

/* ---- processes ------------------------------------------------------------------------------ */

struct process {
    pid_t pid;
    int status; /* as waitpid() tells it, once `ended` */
    bool ended;
    int in;                    /* its standard input, open for writing; -1: /dev/null */
    char out[4096], err[4096]; /* files that its output goes to */
};

/* argv ends with NULL; `variables` ("A=b", then NULL) are added to the environment, and may be
 * NULL. The harness owns the process: it is killed in the teardown at the latest. */
struct process *process_start(const char *const *argv, const char *const *variables);
struct process *process_start_with_input(const char *const *argv, const char *const *variables);
#define process(...) process_start((const char *const[]){__VA_ARGS__, NULL}, NULL)

/* All that it wrote so far; valid until the next call. */
const char *process_output(struct process *p);
const char *process_errors(struct process *p);
bool process_wrote(struct process *p, const char *text); /* on either */
bool process_ended(struct process *p);
/* Its exit status; 128 + n if signal n killed it. */
int process_await(struct process *p, int ms);
void process_kill(struct process *p); /* with SIGKILL, and waits for its end */

/* How many processes live that descend from this test, however distantly. */
int processes_left(void);
/* Those of them whose name (comm) is `name`: how many, and the first `max` process ids. */
int processes_named(const char *name, pid_t *pids, int max);

/* ---- files ---------------------------------------------------------------------------------- */

void file_write(const char *path, const void *data, size_t size, int mode);
char *file_read(const char *path, size_t *size_p); /* to be freed; NULL if there is none */
int directory_entries(const char *path);           /* -1 if there is no such directory */

/* ---- daemons -------------------------------------------------------------------------------- */

/* Start a broker at `endpoint` and wait for its line; what it is bound to goes to `real`. */
struct process *broker_start(const char *endpoint, char real[256]);
/* A worker with `slots`, ready; in a directory of its own. */
struct process *worker_start(const char *endpoint, const char *name, int slots);
/* The same with more options, then NULL: 8 at most. */
struct process *worker_start_with(const char *endpoint, const char *name, int slots,
                                  const char *const *more);
/* What `ladle status --json` says of a number at the top, or -1. */
long long status_number(const char *endpoint, const char *key);
/* Of the worker called `name`; -1 if there is none. */
long long status_worker(const char *endpoint, const char *name, const char *key);

#endif
