/* hosts.h - other machines: network namespaces, each with a cable to this one.
 *
 * The test enters namespaces of its own, and needs to be root for it or to be allowed user
 * namespaces. Process ids and files are those of everybody.
 */
#ifndef LADLE_HOSTS_H
#define LADLE_HOSTS_H

#include <stdbool.h>
#include <sys/types.h>

struct host {
    char near[32], far[32]; /* addresses: of this machine as the host sees it, and of the host */
    char link[16];          /* this end of the cable */
    pid_t keeper;           /* a process that keeps the namespace */
    char enter[64];
    const char *before[4]; /* words before a command that shall run there */
    bool cut;
};

/* Enter a network of this test's own; skips the row where that is not allowed. */
void hosts_enter(void);
struct host *host_new(void);
void hosts_free(void);

void host_cut(struct host *h);    /* nothing passes any more, and nobody is told */
void host_join(struct host *h);   /* everything passes again */
void host_unplug(struct host *h); /* its end of the cable is down */

/* Run a command to its end; the test fails if that does. */
#define run_command(...) run_command_with((const char *const[]){__VA_ARGS__, NULL})
void run_command_with(const char *const *argv);
bool has_command(const char *name);

#endif
