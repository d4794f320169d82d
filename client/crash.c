#include "crash.h"

#include "stacks.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

enum {
    STACK = 64 << 10,   /* of the handlers */
    LONGEST = 1 << 20,  /* frames that are walked */
    LINE = 4096 + 128,  /* of /proc/self/maps */
    PATIENCE_MS = 1000, /* until another thread has written what it dies of */
};

static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP, SIGTERM};

static struct {
    struct board_death *death;
    uintptr_t below;
    const char *(*describe)(void);
    pid_t pid; /* a child of the task writes nothing */
    char *stack;
} crash;

static void
say(const char *text)
{
    (void)!write(STDERR_FILENO, text, strlen(text));
}

static void
say_full(size_t size)
{
    const char *what = crash.describe();
    char number[24], *digit = number + sizeof(number) - 1;

    for (*digit = '\0'; size > 0; size /= 10)
        *--digit = (char)('0' + size % 10);
    say("the stack of ");
    say(what == NULL ? "a task" : what);
    say(" is full: it has ");
    say(digit);
    say(" bytes; futures_config_t's stack_size gives more\n");
}

/* ---- which files the frames are of ------------------------------------------------------------
 *
 * All of this runs in a handler: system calls only, and no memory but what is here.
 */

struct line { /* of /proc/self/maps */
    uint64_t start, end;
    bool code;
    size_t size;
    char text[LINE];
};

static struct {
    int fd;
    size_t at, size;
    char bytes[4096];
} reader;

static bool
open_reader(const char *path)
{
    reader.at = reader.size = 0;
    return (reader.fd = open(path, O_RDONLY | O_CLOEXEC)) >= 0;
}

static int
next_byte(void)
{
    ssize_t n;

    if (reader.at == reader.size) {
        if ((n = read(reader.fd, reader.bytes, sizeof(reader.bytes))) <= 0)
            return -1;
        reader.at = 0;
        reader.size = (size_t)n;
    }
    return reader.bytes[reader.at++];
}

static const char *
parse_hex(const char *text, uint64_t *value_p)
{
    for (*value_p = 0;; text++) {
        char c = *text;

        if (c >= '0' && c <= '9')
            *value_p = *value_p << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *value_p = *value_p << 4 | (uint64_t)(c - 'a' + 10);
        else
            return text;
    }
}

/* A line without its end, cut where the room is. */
static bool
read_line(struct line *line)
{
    int c;

    line->size = 0;
    while ((c = next_byte()) >= 0 && c != '\n')
        if (line->size < LINE - 2)
            line->text[line->size++] = (char)c;
    line->text[line->size] = '\0';
    return c >= 0;
}

/* "start-end rwxp offset device inode path" */
static bool
next_line(struct line *line)
{
    const char *at;

    if (!read_line(line))
        return false;
    line->text[line->size++] = '\n';
    line->text[line->size] = '\0';
    at = parse_hex(line->text, &line->start);
    if (*at == '-')
        at = parse_hex(at + 1, &line->end);
    line->code = *at == ' ' && strlen(at) > 4 && at[3] == 'x';
    return true;
}

static bool
holds_frame(const struct board_death *d, const struct line *line)
{
    for (uint32_t i = 0; i < d->nframes; i++)
        if (d->frames[i] >= line->start && d->frames[i] < line->end)
            return true;
    return false;
}

/* Write down what the frames are of. True if the first of them is code. */
static bool
note_maps(struct board_death *d)
{
    static struct line line;
    bool found = false;

    if (!open_reader("/proc/self/maps"))
        return true; /* nobody knows */
    d->maps_size = 0;
    while (next_line(&line)) {
        found = found || (line.code && d->frames[0] >= line.start && d->frames[0] < line.end);
        if (!holds_frame(d, &line) || line.size > BOARD_MAPS - d->maps_size)
            continue;
        memcpy(d->maps + d->maps_size, line.text, line.size);
        d->maps_size += (uint32_t)line.size;
    }
    close(reader.fd);
    return found;
}

/* Since exec(): what the kernel tells our parent is not less than that had. */
static uint64_t
peak_kib(void)
{
    static const char key[] = "VmHWM:";
    static struct line line;
    uint64_t kib = 0;

    if (!open_reader("/proc/self/status"))
        return 0;
    while (read_line(&line))
        if (strncmp(line.text, key, sizeof(key) - 1) == 0) {
            for (const char *at = line.text; *at != '\0'; at++)
                if (*at >= '0' && *at <= '9')
                    kib = kib * 10 + (uint64_t)(*at - '0');
            break;
        }
    close(reader.fd);
    return kib;
}

/* ---- the stack --------------------------------------------------------------------------------
 */

#if defined(__x86_64__)
#define PROGRAM_COUNTER(u) ((u)->uc_mcontext.gregs[REG_RIP])
#elif defined(__i386__)
#define PROGRAM_COUNTER(u) ((u)->uc_mcontext.gregs[REG_EIP])
#elif defined(__aarch64__)
#define PROGRAM_COUNTER(u) ((u)->uc_mcontext.pc)
#endif

struct walk {
    struct board_death *death;
    uint64_t from; /* the frame that the signal interrupted */
    bool begun;
    uint64_t frames; /* behind the first BOARD_NEAR */
    uint64_t last[BOARD_FRAMES - BOARD_NEAR];
};

static void
add_frame(struct walk *w, uint64_t at)
{
    struct board_death *d = w->death;

    if (d->nframes < BOARD_NEAR)
        d->frames[d->nframes++] = at;
    else
        w->last[w->frames++ % (BOARD_FRAMES - BOARD_NEAR)] = at;
}

static _Unwind_Reason_Code
on_frame(struct _Unwind_Context *context, void *arg)
{
    struct walk *w = arg;
    uint64_t at = _Unwind_GetIP(context);

    if (!w->begun) { /* the handler's own */
        w->begun = at == w->from;
        return _URC_NO_REASON;
    }
    if (at == 0 || _Unwind_GetRegionStart(context) == crash.below || w->frames == LONGEST)
        return _URC_END_OF_STACK;
    add_frame(w, at);
    return _URC_NO_REASON;
}

/* Who called through a bad pointer is nowhere, but has left word where it came from. */
static void
step_back(ucontext_t *u)
{
#if defined(__x86_64__)
    u->uc_mcontext.gregs[REG_RIP] = *(greg_t *)u->uc_mcontext.gregs[REG_RSP];
    u->uc_mcontext.gregs[REG_RSP] += 8;
#elif defined(__aarch64__)
    u->uc_mcontext.pc = u->uc_mcontext.regs[30];
#else
    (void)u;
#endif
}

static void
note_frames(struct board_death *d, ucontext_t *u)
{
#ifdef PROGRAM_COUNTER
    static struct walk w;
    const size_t room = BOARD_FRAMES - BOARD_NEAR;
    mcontext_t before = u->uc_mcontext;
    size_t kept;

    w = (struct walk){.death = d};
    d->frames[0] = (uint64_t)PROGRAM_COUNTER(u);
    d->nframes = 1;
    if (!note_maps(d)) {
        step_back(u);
        add_frame(&w, (uint64_t)PROGRAM_COUNTER(u));
    }
    w.from = (uint64_t)PROGRAM_COUNTER(u);
    (void)_Unwind_Backtrace(on_frame, &w);
    u->uc_mcontext = before;
    kept = w.frames < room ? (size_t)w.frames : room;
    for (size_t i = 0; i < kept; i++)
        d->frames[d->nframes++] = w.last[(w.frames - kept + i) % room];
    d->left_out = w.frames - kept;
    (void)note_maps(d);
#else
    (void)d;
    (void)u;
#endif
}

/* ---- the signal -------------------------------------------------------------------------------
 */

static void
write_down(int sig, const siginfo_t *info, void *context)
{
    struct board_death *d = crash.death;
    struct timespec pause = {.tv_nsec = 1000000};
    uint32_t nothing = 0;
    size_t size;

    if (!atomic_compare_exchange_strong(&d->written, &nothing, 1)) {
        /* Another thread dies: let it say why. */
        for (int i = 0; i < PATIENCE_MS && atomic_load(&d->written) == 1; i++)
            nanosleep(&pause, NULL);
        return;
    }
    d->signal = (uint32_t)sig;
    /* Of some faults the kernel does not tell the address. */
    d->has_address =
        info->si_code > 0 && info->si_code != SI_KERNEL && (sig == SIGSEGV || sig == SIGBUS);
    d->address = d->has_address ? (uint64_t)(uintptr_t)info->si_addr : 0;
    d->elsewhere = syscall(SYS_gettid) != crash.pid;
    if (d->has_address && !d->elsewhere && stacks_full(info->si_addr, &size)) {
        d->stack_size = size;
        say_full(size);
    }
    d->peak_kib = peak_kib();
    note_frames(d, context);
    atomic_store(&d->written, 2);
}

static void
on_death(int sig, siginfo_t *info, void *context)
{
    if ((pid_t)syscall(SYS_getpid) == crash.pid)
        write_down(sig, info, context);
    signal(sig, SIG_DFL); /* and back to where it fails again */
    if (info->si_code <= 0 || sig == SIGSYS || sig == SIGTRAP)
        raise(sig); /* nothing would fail */
}

static void
watch(int sig)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK}, before;

    if (sigaction(sig, NULL, &before) != 0 || before.sa_handler != SIG_DFL)
        return;
    action.sa_sigaction = on_death;
    for (size_t i = 0; i < sizeof(deadly) / sizeof(*deadly); i++)
        sigaddset(&action.sa_mask, deadly[i]); /* if the walk itself fails, that is the end */
    sigaction(sig, &action, NULL);
}

void
crash_open(struct board_death *death, void (*below)(void), const char *(*describe)(void))
{
    stack_t alternate = {.ss_size = STACK};

    crash.death = death;
    crash.below = (uintptr_t)below;
    crash.describe = describe;
    crash.pid = getpid();
    if ((alternate.ss_sp = crash.stack = malloc(STACK)) == NULL ||
        sigaltstack(&alternate, NULL) != 0)
        return;
    for (size_t i = 0; i < sizeof(deadly) / sizeof(*deadly); i++)
        watch(deadly[i]);
}
