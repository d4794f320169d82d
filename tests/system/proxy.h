/* proxy.h - a link that can break: passes TCP connections on, until it is told otherwise.
 *
 * It is a child process: stopped with SIGSTOP it is a network that drops everything, and says
 * nothing; with proxy_cut() all connections end at once.
 */
#ifndef LADLE_PROXY_H
#define LADLE_PROXY_H

#include <sys/types.h>

/* In front of tcp://127.0.0.1:port; its own endpoint goes to `real`. */
pid_t proxy_start(const char *endpoint, char real[256]);
void proxy_cut(pid_t proxy);
void proxy_stop(pid_t proxy);

#endif
