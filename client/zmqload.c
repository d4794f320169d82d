/* zmqload.c - libzmq, loaded when the first connection to a broker is made.
 *
 * libzmq brings nineteen libraries along (Kerberos, NORM, PGM ...), which take the dynamic
 * loader 3.4 of the 4.7 ms in which a program starts. Executors and local pools never use it, and a
 * pool of 64 slots starts 64 of them. So libladle is not linked with libzmq: the functions that it
 * needs are defined here, under their own names, and pass on. The daemons are linked with libzmq as
 * usual.
 */
#include "zmqload.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <zmq.h>

#define LIBRARY "libzmq.so.5"

#define FUNCTIONS(F)                                                                               \
    F(int, zmq_close, (void *socket), (socket))                                                    \
    F(int, zmq_connect, (void *socket, const char *endpoint), (socket, endpoint))                  \
    F(int, zmq_ctx_term, (void *context), (context))                                               \
    F(int, zmq_getsockopt, (void *socket, int option, void *value, size_t *size),                  \
      (socket, option, value, size))                                                               \
    F(int, zmq_setsockopt, (void *socket, int option, const void *value, size_t size),             \
      (socket, option, value, size))                                                               \
    F(int, zmq_socket_monitor, (void *socket, const char *endpoint, int events),                   \
      (socket, endpoint, events))                                                                  \
    F(void *, zmq_socket, (void *context, int type), (context, type))                              \
    F(int, zmq_poll, (zmq_pollitem_t * items, int count, long timeout), (items, count, timeout))   \
    F(int, zmq_msg_close, (zmq_msg_t * m), (m))                                                    \
    F(void *, zmq_msg_data, (zmq_msg_t * m), (m))                                                  \
    F(int, zmq_msg_init, (zmq_msg_t * m), (m))                                                     \
    F(int, zmq_msg_init_data,                                                                      \
      (zmq_msg_t * m, void *data, size_t size, zmq_free_fn *release, void *hint),                  \
      (m, data, size, release, hint))                                                              \
    F(int, zmq_msg_init_size, (zmq_msg_t * m, size_t size), (m, size))                             \
    F(int, zmq_msg_more, (const zmq_msg_t *m), (m))                                                \
    F(int, zmq_msg_move, (zmq_msg_t * to, zmq_msg_t * from), (to, from))                           \
    F(int, zmq_msg_recv, (zmq_msg_t * m, void *socket, int flags), (m, socket, flags))             \
    F(int, zmq_msg_send, (zmq_msg_t * m, void *socket, int flags), (m, socket, flags))             \
    F(size_t, zmq_msg_size, (const zmq_msg_t *m), (m))                                             \
    F(const char *, zmq_strerror, (int number), (number))

#define MEMBER(type, name, parameters, arguments) type(*name) parameters;
static struct {
    void *(*zmq_ctx_new)(void);
    FUNCTIONS(MEMBER)
} real;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool loaded;

static int
find(void *library, const char *name, void *function_p, char *why, size_t size)
{
    void *symbol = dlsym(library, name);

    if (symbol == NULL) {
        snprintf(why, size, "%s has no %s: install ZeroMQ 4.3.4 or later", LIBRARY, name);
        return -1;
    }
    *(void **)function_p = symbol;
    return 0;
}

static int
load(char *why, size_t size)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL) {
        snprintf(why, size, "cannot load ZeroMQ, which a connection to a broker needs: %s",
                 dlerror());
        return -1;
    }
#define FIND(type, name, parameters, arguments)                                                    \
    if (find(library, #name, &real.name, why, size) != 0)                                          \
        return -1;
    FUNCTIONS(FIND)
    return find(library, "zmq_ctx_new", &real.zmq_ctx_new, why, size);
}

int
zmqload(char *why, size_t size)
{
    int rc = 0;

    pthread_mutex_lock(&lock);
    if (!loaded && (rc = load(why, size)) == 0)
        loaded = true; /* and stays: its threads may outlive any session */
    pthread_mutex_unlock(&lock);
    if (rc != 0)
        errno = ENOSYS;
    return rc;
}

/* Every use of the library begins here. */
void *
zmq_ctx_new(void)
{
    char why[256];

    return zmqload(why, sizeof(why)) == 0 ? real.zmq_ctx_new() : NULL;
}

#define DEFINE(type, name, parameters, arguments)                                                  \
    type name parameters                                                                           \
    {                                                                                              \
        return real.name arguments;                                                                \
    }
FUNCTIONS(DEFINE)
