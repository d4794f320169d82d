/* shim.c - preloaded into a broker: fsync() fails once when a test says so, by making a file. */
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

static int
fails(void)
{
    const char *path = getenv("LADLE_SHIM");

    return path != NULL && unlink(path) == 0; /* once */
}

static int
call(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))(uintptr_t)dlsym(RTLD_NEXT, name);

    if (fails()) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int
fsync(int fd)
{
    return call("fsync", fd);
}

int
fdatasync(int fd)
{
    return call("fdatasync", fd);
}
