#include "places.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct places {
    char path[PATH_MAX - 64];
    int lock;
};

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    /* A task may have taken the right to list its directory away: then the second try works. */
    if (type == FTW_DNR)
        chmod(path, 0700);
    remove(path);
    return 0;
}

void
places_remove(const char *path)
{
    for (int i = 0; i < 3; i++) {
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
        if (access(path, F_OK) != 0)
            return;
    }
}

/* Locked by its worker, as long as that lives. -1 if another has it. */
static int
lock_part(const char *part)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof(path), "%s/.lock", part);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void
sweep(const char *work)
{
    DIR *dir = opendir(work);
    const struct dirent *d;
    char part[PATH_MAX - 64];
    int lock;

    if (dir == NULL)
        return;
    while ((d = readdir(dir)) != NULL) {
        if (d->d_name[0] == '.' ||
            (size_t)snprintf(part, sizeof(part), "%s/%s", work, d->d_name) >= sizeof(part))
            continue;
        if ((lock = lock_part(part)) >= 0) {
            places_remove(part);
            close(lock);
        }
    }
    closedir(dir);
}

static int
make_part(struct places *p, const char *directory)
{
    char work[PATH_MAX - 128];
    int all, error;

    if ((size_t)snprintf(work, sizeof(work), "%s/work", directory) >= sizeof(work)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if ((mkdir(directory, 0777) != 0 && errno != EEXIST) ||
        (mkdir(work, 0700) != 0 && errno != EEXIST))
        return -1;
    /* One at a time, or a new part would be swept before it is locked. */
    if ((all = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return -1;
    flock(all, LOCK_EX);
    sweep(work);
    snprintf(p->path, sizeof(p->path), "%s/%ld-XXXXXX", work, (long)getpid());
    if (mkdtemp(p->path) != NULL)
        p->lock = lock_part(p->path);
    error = errno;
    close(all);
    errno = error;
    return p->lock < 0 ? -1 : 0;
}

struct places *
places_new(const char *directory)
{
    struct places *p = calloc(1, sizeof(*p));
    int error;

    if (p == NULL)
        return NULL;
    p->lock = -1;
    if (make_part(p, directory) == 0)
        return p;
    error = errno;
    free(p);
    errno = error;
    return NULL;
}

void
places_free(struct places *p)
{
    if (p == NULL)
        return;
    places_remove(p->path);
    close(p->lock);
    free(p);
}

char *
places_make(struct places *p)
{
    char *path;

    if (asprintf(&path, "%s/XXXXXX", p->path) < 0) {
        errno = ENOMEM;
        return NULL;
    }
    if (mkdtemp(path) == NULL) {
        free(path);
        return NULL;
    }
    return path;
}
