#include "history.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static int file = -1;

int
history_open(const char *path)
{
    file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    return file < 0 ? -1 : 0;
}

void
history_invoke(const struct order *o, const char *way)
{
    append_line(file, "invoke %llu %u %u %llu %s", (unsigned long long)o->id, o->kind, o->amount,
                (unsigned long long)o->value, way);
}

/* Is this the answer of a task that was asked for many bytes? They are checked here, each. */
static int
check_big(const struct order *o, const uint64_t *words, size_t size)
{
    if (size != o->amount * 1024 || words[0] != o->id)
        return -1;
    for (uint32_t i = 1; i < o->amount * 128; i++)
        if (words[i] != mix(o->value + i))
            return -1;
    return 0;
}

void
history_result(const struct order *o, const void *data, size_t size, int attempts)
{
    struct answer a;

    if (o->kind == BIG) {
        if (check_big(o, data, size) != 0)
            history_wrong("task %llu: its %zu bytes are not right", (unsigned long long)o->id,
                          size);
        append_line(file, "ok %llu 0 %d", (unsigned long long)o->id, attempts);
        return;
    }
    if (size != sizeof(a)) {
        history_wrong("task %llu: a result of %zu bytes", (unsigned long long)o->id, size);
        return;
    }
    memcpy(&a, data, sizeof(a));
    if (a.id != o->id)
        history_wrong("task %llu: the result of task %llu", (unsigned long long)o->id,
                      (unsigned long long)a.id);
    append_line(file, "ok %llu %llu %d", (unsigned long long)o->id, (unsigned long long)a.value,
                attempts);
}

void
history_failure(const struct order *o, future_status_t status, int attempts, const char *words)
{
    append_line(file, "fail %llu %s %d %s", (unsigned long long)o->id, future_status_name(status),
                attempts, words != NULL ? words : "(no words)");
}

void
history_unknown(const struct order *o, const char *words)
{
    append_line(file, "unknown %llu %s", (unsigned long long)o->id, words);
}

void
history_sum(const char *name, uint64_t first, uint64_t count, uint64_t value)
{
    append_line(file, "sum %s %llu %llu %llu", name, (unsigned long long)first,
                (unsigned long long)count, (unsigned long long)value);
}

void
history_wrong(const char *format, ...)
{
    char words[512];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    append_line(file, "wrong %s", words);
}
