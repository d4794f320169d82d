/* tcp.h - what the kernel knows of a connection and libzmq does not tell: bytes of a message that
 * has not ended. */
#ifndef LADLE_TCP_H
#define LADLE_TCP_H

#include <stdint.h>

/* Bytes that were received so far; 0 if this is no TCP connection. */
uint64_t tcp_received(int fd);
/* When the last of them came, in microseconds as `now`; INT64_MIN if that is not known. */
int64_t tcp_heard(int fd, int64_t now);

#endif
