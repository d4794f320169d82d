/* command.h - one command of `ladle`: each has a file of its own. */
#ifndef LADLE_COMMAND_H
#define LADLE_COMMAND_H

/* argv[0] is "ladle run" and the like, for messages. Returns the exit status. */
int command_replay(int argc, char **argv);
int command_run(int argc, char **argv);
int command_status(int argc, char **argv);
int command_drain(int argc, char **argv);
int command_jobs(int argc, char **argv);
int command_wait(int argc, char **argv);
int command_result(int argc, char **argv);
int command_cancel(int argc, char **argv);
int command_retry_failed(int argc, char **argv);

#endif
