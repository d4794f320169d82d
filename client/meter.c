#include "meter.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define SHOW_US 200000

static void
duration(char *text, size_t size, double seconds)
{
    unsigned long s = (unsigned long)(seconds + 0.5);

    if (seconds > 359999)
        snprintf(text, size, "days");
    else if (s >= 3600)
        snprintf(text, size, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, size, "%lu:%02lu", s / 60, s % 60);
}

void
meter_line(char *line, size_t size, uint64_t ended, uint64_t failed, uint64_t total, int64_t us)
{
    double seconds = (double)us / 1e6, rate = seconds > 0 ? (double)ended / seconds : 0;
    char left[32], took[32];
    size_t n;

    if (total == UINT64_MAX || total == 0)
        n = (size_t)snprintf(line, size, "%" PRIu64 " done", ended);
    else
        n = (size_t)snprintf(line, size, "%" PRIu64 "/%" PRIu64 " %d%%", ended, total,
                             (int)(100.0 * (double)ended / (double)total));
    if (failed > 0 && n < size)
        n += (size_t)snprintf(line + n, size - n, ", %" PRIu64 " failed", failed);
    duration(took, sizeof(took), seconds);
    if (n < size)
        n += (size_t)snprintf(line + n, size - n, rate < 10 ? ", %.1f/s, %s" : ", %.0f/s, %s", rate,
                              took);
    if (rate > 0 && total != UINT64_MAX && ended < total && n < size) {
        duration(left, sizeof(left), (double)(total - ended) / rate);
        snprintf(line + n, size - n, ", %s left", left);
    }
}

void
meter_close(struct meter *m, futures_t *s, const struct job *j)
{
    if (m->dirty)
        meter_show(m, s, j, true);
    m->stream = NULL;
}

void
meter_open(struct meter *m, futures_t *s, const struct job *j, FILE *stream)
{
    meter_close(m, s, j);
    if (stream == NULL || fileno(stream) < 0 || !isatty(fileno(stream)))
        return;
    m->stream = stream;
    m->since = m->next = clock_us();
}

void
meter_show(struct meter *m, futures_t *s, const struct job *j, bool end)
{
    char line[160];
    FILE *stream;
    int64_t now;

    if (m->stream == NULL || ((now = clock_us()) < m->next && !end))
        return;
    m->next = now + SHOW_US;
    meter_line(line, sizeof(line), j->ended, j->failed, j->closed ? j->total : UINT64_MAX,
               now - m->since);
    stream = m->stream;
    m->dirty = !end;
    if (end)
        m->stream = NULL;
    session_unlock(s); /* a terminal may make us wait */
    fprintf(stream, "\r%s\033[K%s", line, end ? "\n" : "");
    fflush(stream);
    session_lock(s);
}

int
meter_wait(struct meter *m, futures_t *s, const struct job *j, int64_t deadline)
{
    int failed;

    if (m->stream == NULL)
        return session_wait(s, deadline);
    meter_show(m, s, j, false);
    failed = session_wait(s, m->next < deadline ? m->next : deadline);
    return failed != 0 && m->next <= clock_us() && clock_us() < deadline ? 0 : failed;
}
