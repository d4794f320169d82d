/* raw.h - peers that speak to a broker's port byte by byte. */
#ifndef LADLE_RAW_H
#define LADLE_RAW_H

#include <stdbool.h>
#include <stddef.h>

int raw_connect(const char *endpoint);      /* to a tcp endpoint; or the test fails */
int raw_connect_soon(const char *endpoint); /* begins to, and does not wait for it */
/* Become a ZeroMQ peer of that connection: greeting and READY of a DEALER, without security. */
void raw_greet(int fd);
/* A ZMTP frame; false when the other end has hung up. */
bool raw_frame(int fd, const void *bytes, size_t size, bool more);
bool raw_send(int fd, const void *bytes, size_t size);
bool raw_has_ended(int fd); /* it has hung up; what it said is dropped */

#endif
