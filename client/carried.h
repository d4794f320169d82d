/* carried.h - the conversation of the nest's exporter with the broker, which the worker carries. */
#ifndef LADLE_CARRIED_H
#define LADLE_CARRIED_H

#include "nest.h"

void carried_open(struct nest *n); /* say hello, unless that was done */
void carried_message(struct nest *n, const struct message *m);
void carried_send(struct nest *n); /* what the exporter has to say */

#endif
