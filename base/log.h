/* log.h - the daemons' log: lines on standard error, for people.
 *
 * The library never logs on its own; what a user of a program must read comes through
 * futures_error() and its siblings. Thread-safe: a line is one write.
 */
#ifndef LADLE_LOG_H
#define LADLE_LOG_H

/* Nothing at all is for the simulation: what daemons say there is no news. */
enum log_level { LOG_NOTHING = -1, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_open(const char *program, enum log_level most); /* `program` is borrowed for ever */
int log_level_parse(const char *word,
                    enum log_level *level); /* "error" .. "debug"; -1 if none of them */

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
