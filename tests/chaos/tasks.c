/* tasks.c - the task functions: each notes that it ran, then does as it was told. */
#include "orders.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *notes;

void
tasks_note_in(const char *path)
{
    notes = path;
}

static void
note(task_t *task, const struct order *o)
{
    static int fd = -1;

    if (fd < 0 && (fd = open(notes, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0) {
        perror(notes);
        exit(1);
    }
    append_line(fd, "run %llu %d %s %d", (unsigned long long)o->id, task_attempt(task),
                task_worker(task), (int)getpid());
}

static void
sleep_for(uint32_t ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

static int
answer(task_t *task, const struct order *o, uint64_t value)
{
    struct answer a = {o->id, value};

    return task_return(task, &a, sizeof(a));
}

static int
answer_big(task_t *task, const struct order *o)
{
    uint64_t *words = task_output(task, o->amount * 1024);

    if (words == NULL)
        return task_fail(task, "no room for %u KiB", o->amount);
    words[0] = o->id;
    for (uint32_t i = 1; i < o->amount * 128; i++)
        words[i] = mix(o->value + i);
    return 0;
}

static int
emit(task_t *task, const struct order *o)
{
    for (uint64_t i = 0; i < PARTIALS; i++) {
        struct answer a = {o->id, mix(o->value + i)};

        if (task_emit(task, &a, sizeof(a)) != 0)
            return task_fail(task, "cannot emit");
    }
    return answer(task, o, order_value(o));
}

static int
use_constant(task_t *task, const struct order *o)
{
    size_t size;
    const uint64_t *words = task_shared(task, CONSTANT, &size);

    if (words == NULL)
        return task_fail(task, "the constant is not there");
    return answer(task, o, order_value(o) ^ constant_sum(words, size / sizeof(*words)));
}

static int
nest(task_t *task, const struct order *o)
{
    struct order children[8];
    struct answer answers[8];
    uint64_t sum = 0;
    results_t *results;

    if (o->amount > 8)
        return task_fail(task, "too many children");
    for (uint32_t i = 0; i < o->amount; i++)
        children[i] = order_child(o, i);
    results = futures_map(task_futures(task), "work", children, o->amount, sizeof(*children),
                          &(task_options_t){.retries = RETRIES});
    if (results == NULL || results_collect(&results, answers, sizeof(*answers)) != 0)
        return task_fail(task, "nested: %s", futures_error());
    for (uint32_t i = 0; i < o->amount; i++) {
        if (answers[i].id != children[i].id)
            return task_fail(task, "nested: another one's answer");
        sum += answers[i].value;
    }
    return answer(task, o, order_value(o) ^ sum);
}

static int
die(task_t *task, const struct order *o)
{
    switch (o->value % 3) {
    case 0:
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        break;
    case 1:
        _exit(3);
    default:
        abort();
    }
    return task_fail(task, "could not die");
}

static int
work(task_t *task)
{
    struct order o;

    if (task_read(task, &o, sizeof(o)) != 0)
        return task_fail(task, "that is no order");
    note(task, &o);
    switch (o.kind) {
    case SLEEP:
    case ONCE:
        sleep_for(o.amount);
        break;
    case PRINT:
        printf("task %llu prints\n", (unsigned long long)o.id);
        break;
    case EMIT:
        return emit(task, &o);
    case SHARED:
        return use_constant(task, &o);
    case BIG:
        return answer_big(task, &o);
    case FAIL:
        return task_fail(task, "task %llu was told to fail", (unsigned long long)o.id);
    case CRASH_FIRST:
        if (task_attempt(task) == 1)
            return die(task, &o);
        break;
    case POISON:
        return die(task, &o);
    case NEST:
        return nest(task, &o);
    default:
        break;
    }
    return answer(task, &o, order_value(&o));
}
TASK(work)

/* Adds the values of two answers; ids are of no use here. */
static int
add(task_t *task)
{
    const void *left, *right;
    size_t left_size, right_size;
    struct answer a, b;

    if (task_pair(task, &left, &left_size, &right, &right_size) != 0 || left_size != sizeof(a) ||
        right_size != sizeof(b))
        return task_fail(task, "expected two answers");
    memcpy(&a, left, sizeof(a));
    memcpy(&b, right, sizeof(b));
    a.value += b.value;
    a.id += b.id;
    return task_return(task, &a, sizeof(a));
}
TASK(add)
