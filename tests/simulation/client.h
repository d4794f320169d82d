/* client.h - a client's process: the real core, and a program that submits, reads and cancels. */
#ifndef LADLE_SIM_CLIENT_H
#define LADLE_SIM_CLIENT_H

#include "network.h"

struct actor *client_new(struct sim *s, unsigned number);
void client_kill(struct actor *a);
void client_leave(struct actor *a);                    /* whatever has not ended is not wanted */
void client_cancel(struct actor *a);                   /* some of what it submitted */
struct connection *client_connection(struct actor *a); /* NULL: none */

#endif
