/* endpoint.h - "tcp://host:port" and "ipc://path", taken apart; private to net/. */
#ifndef LADLE_ENDPOINT_H
#define LADLE_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

struct endpoint {
    bool ipc;
    char host[256]; /* without the brackets of an IPv6 address */
    char port[8];
    bool ipv6;      /* host stood in brackets */
    char path[108]; /* of ipc; "@name" is an abstract socket */
};

/* -1 and a sentence if a broker cannot be reached by that. */
int endpoint_parse(const char *text, struct endpoint *e, char *why, size_t size);

#endif
