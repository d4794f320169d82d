/* broker.h - the broker's process: the real scheduler and depot, and connections. */
#ifndef LADLE_SIM_BROKER_H
#define LADLE_SIM_BROKER_H

#include "network.h"

struct broker *broker_new(struct sim *s);
/* A new connection of a peer; NULL: nobody listens. */
struct connection *broker_connect(struct broker *b, struct actor *peer, int64_t delay);
void broker_kill(struct broker *b, int64_t until);
void broker_stop(struct broker *b, int64_t until);
bool broker_is_up(const struct broker *b);
/* Did it run all the time? */
bool broker_was_awake(const struct broker *b, int64_t since);
unsigned broker_lives(const struct broker *b);
unsigned broker_workers(struct broker *b); /* that are with it */
/* Nothing is left of any task. If not, *what is. */
bool broker_is_empty(struct broker *b, const char **what);
/* Somebody asks about kept jobs, and hears at once, by keeper_answer(), if the broker lives. */
void broker_ask(struct broker *b, const struct message *m);
/* One of its connections, by chance; NULL: there is none. */
struct connection *broker_some_connection(struct broker *b);

#endif
