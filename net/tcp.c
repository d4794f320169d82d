#include "tcp.h"

#include <linux/tcp.h> /* the C library's lacks what is new */
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

static bool
look(int fd, struct tcp_info *info)
{
    socklen_t size = sizeof(*info);

    *info = (struct tcp_info){0};
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0;
}

uint64_t
tcp_received(int fd)
{
    struct tcp_info info;

    return look(fd, &info) ? info.tcpi_bytes_received : 0;
}

int64_t
tcp_heard(int fd, int64_t now)
{
    struct tcp_info info;

    if (!look(fd, &info) || info.tcpi_bytes_received == 0)
        return INT64_MIN;
    return now - (int64_t)info.tcpi_last_data_recv * 1000;
}
