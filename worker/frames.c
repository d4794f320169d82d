#include "frames.h"

#include "symbols.h"

#include "../base/clock.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    KEPT = 8,           /* deaths that are remembered */
    PATIENCE_MS = 1500, /* with the process that finds names */
    SEGMENTS = 64,      /* of a file */
};

struct place { /* what is the same each time, wherever the files are mapped */
    uint64_t inode, at;
};

struct known {
    uint32_t count;
    struct place places[BOARD_FRAMES];
    char names[BOARD_FRAMES][SYMBOL_NAME];
};

struct frames {
    bool apart;
    unsigned turn;
    struct known known[KEPT];
    /* Of the death at hand: */
    struct board_death death; /* a copy: nobody writes it any more */
    uint32_t count;
    struct place places[BOARD_FRAMES];
    char paths[BOARD_FRAMES][512];
    struct symbol symbols[BOARD_FRAMES];
};

struct frames *
frames_new(bool apart)
{
    struct frames *self = calloc(1, sizeof(*self));

    if (self != NULL)
        self->apart = apart;
    return self;
}

void
frames_free(struct frames *self)
{
    free(self);
}

bool
frames_known(const struct board_death *d)
{
    return atomic_load_explicit(&d->written, memory_order_acquire) != 0 && d->nframes > 0;
}

/* ---- files ------------------------------------------------------------------------------------
 */

/* The address in the file that stands at `offset` in it, once it is mapped: as it was linked. */
static bool
linked_at(const char *path, uint64_t offset, uint64_t *at_p)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ElfW(Phdr) segments[SEGMENTS];
    ElfW(Ehdr) header;
    struct stat st;
    bool found = false;
    size_t size;

    if (fd < 0)
        return false;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
        pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phnum > SEGMENTS ||
        header.e_phentsize != sizeof(segments[0]))
        goto done;
    size = header.e_phnum * sizeof(segments[0]);
    if (pread(fd, segments, size, (off_t)header.e_phoff) != (ssize_t)size)
        goto done;
    for (unsigned i = 0; i < header.e_phnum && !found; i++) {
        const ElfW(Phdr) *s = &segments[i];

        found = s->p_type == PT_LOAD && offset >= s->p_offset && offset - s->p_offset < s->p_filesz;
        if (found)
            *at_p = offset - s->p_offset + s->p_vaddr;
    }
done:
    close(fd);
    return found;
}

/* A line of /proc/self/maps, if it is of frame i. */
static bool
take_line(struct frames *f, uint32_t i, uint64_t at, const char *line, size_t size)
{
    unsigned long long start, end, offset, inode;
    struct symbol *symbol = &f->symbols[i];
    char text[640];
    int n = 0;

    snprintf(text, sizeof(text), "%.*s", (int)(size < sizeof(text) ? size : sizeof(text) - 1),
             line);
    if (sscanf(text, "%llx-%llx %*4s %llx %*31s %llu %n", &start, &end, &offset, &inode, &n) != 4 ||
        n == 0 || at < start || at >= end)
        return false;
    snprintf(f->paths[i], sizeof(f->paths[i]), "%s", text + n);
    f->places[i] = (struct place){.inode = inode, .at = at - start + offset};
    if (text[n] == '/' && strstr(text + n, " (deleted)") == NULL &&
        linked_at(f->paths[i], f->places[i].at, &symbol->at)) {
        symbol->path = f->paths[i];
        f->places[i].at = symbol->at;
    }
    return true;
}

/* Which file each frame is of, and where in it. */
static void
find_files(struct frames *f)
{
    const struct board_death *d = &f->death;

    for (uint32_t i = 0; i < f->count; i++) {
        /* A return address may be the next function's first. */
        uint64_t at = i == 0 ? d->frames[0] : d->frames[i] - 1;
        const char *line = d->maps, *end = d->maps + d->maps_size, *next;

        f->symbols[i] = (struct symbol){.at = at};
        f->places[i] = (struct place){.at = at};
        f->paths[i][0] = '\0';
        for (; line < end && (next = memchr(line, '\n', (size_t)(end - line))) != NULL;
             line = next + 1)
            if (take_line(f, i, at, line, (size_t)(next - line)))
                break;
    }
}

/* ---- names ------------------------------------------------------------------------------------
 */

static void
read_names(struct frames *f, int fd)
{
    char names[BOARD_FRAMES][SYMBOL_NAME];
    int64_t until = clock_us() + PATIENCE_MS * 1000LL;
    size_t size = sizeof(names[0]) * f->count, at = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = 1;

    while (at < size && n > 0 && poll(&p, 1, clock_poll_timeout(until, clock_us())) > 0)
        if ((n = read(fd, (char *)names + at, size - at)) > 0)
            at += (size_t)n;
    for (uint32_t i = 0; at == size && i < f->count; i++) {
        names[i][SYMBOL_NAME - 1] = '\0';
        memcpy(f->symbols[i].name, names[i], SYMBOL_NAME);
    }
}

/* Files may be broken, and take very long: that is the end of a child. */
static void
name_apart(struct frames *f)
{
    int ends[2];
    pid_t pid;

    if (symbols_load() != 0 || pipe2(ends, O_CLOEXEC) != 0)
        return;
    if ((pid = fork()) == 0) {
        symbols_name(f->symbols, f->count);
        for (uint32_t i = 0; i < f->count; i++)
            if (write(ends[1], f->symbols[i].name, SYMBOL_NAME) != SYMBOL_NAME)
                break;
        _exit(0);
    }
    close(ends[1]);
    if (pid > 0) {
        read_names(f, ends[0]);
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(ends[0]);
}

static struct known *
recall(struct frames *f)
{
    for (unsigned i = 0; i < KEPT; i++)
        if (f->known[i].count == f->count &&
            memcmp(f->known[i].places, f->places, f->count * sizeof(f->places[0])) == 0)
            return &f->known[i];
    return NULL;
}

static void
find_names(struct frames *f)
{
    struct known *known = recall(f);

    if (known != NULL) {
        for (uint32_t i = 0; i < f->count; i++)
            memcpy(f->symbols[i].name, known->names[i], SYMBOL_NAME);
        return;
    }
    if (f->apart)
        name_apart(f);
    else
        symbols_name(f->symbols, f->count);
    known = &f->known[f->turn++ % KEPT];
    known->count = f->count;
    memcpy(known->places, f->places, sizeof(known->places));
    for (uint32_t i = 0; i < f->count; i++)
        memcpy(known->names[i], f->symbols[i].name, SYMBOL_NAME);
}

/* ---- words ------------------------------------------------------------------------------------
 */

struct lines {
    char *text;
    size_t at, size;
    unsigned long long number;
};

static void __attribute__((format(printf, 2, 3))) put(struct lines *l, const char *format, ...)
{
    char line[SYMBOL_NAME + 160];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(line) || l->at + (size_t)n >= l->size)
        return; /* no room */
    for (int i = 0; i < n - 1; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    memcpy(l->text + l->at, line, (size_t)n + 1);
    l->at += (size_t)n;
}

static const char *
base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static void
put_frame(struct lines *l, const struct frames *f, uint32_t i, const char *path, const char *name)
{
    const char *file = f->paths[i], *line = f->symbols[i].name, *end;
    unsigned long long at = f->places[i].at;

    file = strcmp(file, path) == 0 ? base_name(name) : base_name(file);
    for (; (end = strchr(line, '\n')) != NULL; line = end + 1)
        put(l, "    #%llu %.*s, inlined\n", l->number, (int)(end - line), line);
    if (*file == '\0')
        put(l, "    #%llu 0x%llx, where no code is\n", l->number, at);
    else if (*line == '\0')
        put(l, "    #%llu %.80s+0x%llx\n", l->number, file, at);
    else if (strstr(line, " at ") != NULL) /* in the source: that says more than the file */
        put(l, "    #%llu %s\n", l->number, line);
    else
        put(l, "    #%llu %s in %.80s\n", l->number, line, file);
    l->number++;
}

/* The frames [from, to), those that are the same only once. */
static void
put_frames(struct lines *l, const struct frames *f, uint32_t from, uint32_t to, const char *path,
           const char *name)
{
    uint32_t same;

    for (uint32_t i = from; i < to; i += 1 + same) {
        put_frame(l, f, i, path, name);
        for (same = 0; i + same + 1 < to; same++)
            if (memcmp(&f->places[i], &f->places[i + same + 1], sizeof(f->places[i])) != 0)
                break;
        if (same > 0)
            put(l, "    ... the same %u times more\n", same);
        l->number += same;
    }
}

void
frames_describe(struct frames *f, const struct board_death *death, const char *path,
                const char *name, char *text, size_t size)
{
    struct lines l = {.text = text, .size = size};
    uint32_t near;

    text[0] = '\0';
    memcpy(&f->death, death, sizeof(f->death));
    f->count = f->death.nframes < BOARD_FRAMES ? f->death.nframes : BOARD_FRAMES;
    if (f->death.maps_size > BOARD_MAPS)
        f->death.maps_size = 0;
    find_files(f);
    find_names(f);
    near = f->count < BOARD_NEAR ? f->count : BOARD_NEAR;
    put_frames(&l, f, 0, near, path, name);
    if (f->death.left_out > 0)
        put(&l, "    ... and %llu more\n", (unsigned long long)f->death.left_out);
    l.number += f->death.left_out;
    put_frames(&l, f, near, f->count, path, name);
}
