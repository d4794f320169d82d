#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const words[] = {"error", "warn", "info", "debug"};
static const char *program = "ladle";
static enum log_level most = LOG_INFO;

void
log_open(const char *name, enum log_level level)
{
    program = name;
    most = level;
}

int
log_level_parse(const char *word, enum log_level *level)
{
    for (unsigned i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (strcmp(word, words[i]) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

static void
put(enum log_level level, const char *format, va_list args)
{
    char line[2048];
    struct timespec t;
    struct tm tm;
    int error = errno;
    int n;

    if (level > most)
        return;
    clock_gettime(CLOCK_REALTIME, &t);
    localtime_r(&t.tv_sec, &tm);
    n = snprintf(line, sizeof(line), "%02d:%02d:%02d.%03ld %s %s: ", tm.tm_hour, tm.tm_min,
                 tm.tm_sec, t.tv_nsec / 1000000, program, words[level]);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
    if (n > (int)sizeof(line) - 2)
        n = (int)sizeof(line) - 2;
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        errno = error; /* nobody reads the log: nothing to be done about it */
    errno = error;
}

#define LOG(name, level)                                                                           \
    void name(const char *format, ...)                                                             \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, format);                                                                    \
        put(level, format, args);                                                                  \
        va_end(args);                                                                              \
    }

LOG(log_error, LOG_ERROR)
LOG(log_warn, LOG_WARN)
LOG(log_info, LOG_INFO)
LOG(log_debug, LOG_DEBUG)
