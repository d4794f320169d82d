#include "endpoint.h"
#include "link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RIGHT "write tcp://host:port or ipc://path, as in LADLE_BROKER=tcp://head:5570"

static int
parse_ipc(const char *text, struct endpoint *e, char *why, size_t size)
{
    const char *path = text + strlen("ipc://");

    e->ipc = true;
    if (*path == 0 || strcmp(path, "*") == 0) {
        snprintf(why, size, "'%s' names no path: " RIGHT, text);
        return -1;
    }
    if (strlen(path) >= sizeof(e->path)) {
        snprintf(why, size, "'%s' is too long: a socket's path has at most %zu bytes", text,
                 sizeof(e->path) - 1);
        return -1;
    }
    strcpy(e->path, path);
    return 0;
}

static int
parse_tcp(const char *text, struct endpoint *e, char *why, size_t size)
{
    const char *host = text + strlen("tcp://"), *colon = strrchr(host, ':');
    size_t length;
    char *end;
    long port;

    if (colon == NULL || colon[1] < '0' || colon[1] > '9') {
        snprintf(why, size, "'%s' names no port: " RIGHT, text);
        return -1;
    }
    port = strtol(colon + 1, &end, 10);
    if (*end != 0 || port < 1 || port > 65535) {
        snprintf(why, size, "'%s' is not a port (1 to 65535) in '%s': " RIGHT, colon + 1, text);
        return -1;
    }
    length = (size_t)(colon - host);
    if (length >= 2 && host[0] == '[' && colon[-1] == ']') {
        e->ipv6 = true;
        host++;
        length -= 2;
    }
    if (length == 0 || length >= sizeof(e->host)) {
        snprintf(why, size, "'%s' names no host: " RIGHT, text);
        return -1;
    }
    memcpy(e->host, host, length);
    e->host[length] = 0;
    if (strcmp(e->host, "*") == 0) {
        snprintf(why, size,
                 "'%s' is where a broker may listen, not where it is found: name its host", text);
        return -1;
    }
    if (strpbrk(e->host, e->ipv6 ? "[]/;@ \t" : "[]/;@: \t") != NULL) {
        snprintf(why, size, "'%s' is not the name of a host in '%s': " RIGHT, e->host, text);
        return -1;
    }
    snprintf(e->port, sizeof(e->port), "%ld", port);
    return 0;
}

int
endpoint_parse(const char *text, struct endpoint *e, char *why, size_t size)
{
    *e = (struct endpoint){.ipc = false};
    if (text != NULL && strncmp(text, "ipc://", 6) == 0)
        return parse_ipc(text, e, why, size);
    if (text != NULL && strncmp(text, "tcp://", 6) == 0)
        return parse_tcp(text, e, why, size);
    snprintf(why, size, "'%s' is not an endpoint: " RIGHT, text == NULL ? "" : text);
    return -1;
}

int
endpoint_check(const char *endpoint, char *why, size_t size)
{
    struct endpoint e;

    return endpoint_parse(endpoint, &e, why, size);
}
