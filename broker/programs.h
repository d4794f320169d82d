/* programs.h - what jobs run, and where that cannot start. */
#ifndef LADLE_PROGRAMS_H
#define LADLE_PROGRAMS_H

#include "state.h"

/* Sets the job's program; -1: ENOMEM. */
int program_join(struct scheduler *s, struct job *j);
void program_leave(struct scheduler *s, struct job *j); /* one that has none is fine */

/* The worker says so, or gives its tasks back for it: it is not asked again. */
void program_failed(struct scheduler *s, struct worker *w, struct executable *p, const char *text);
void program_failed_message(struct scheduler *s, struct worker *w,
                            const struct message_program_failed *m);
/* Why the program of this job cannot start on a worker that otherwise fits; NULL if there is none
 * such. */
const struct failing *program_why(const struct job *j);

/* Did only tasks of tasks bring it, in a broker so young that the client who has it may yet come?
 */
bool program_may_come(const struct scheduler *s, const struct job *j);

void programs_forget_client(struct scheduler *s, struct client *c);
void programs_forget_worker(struct scheduler *s, struct worker *w);

#endif
