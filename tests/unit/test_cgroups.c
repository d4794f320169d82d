/* Control groups: of version 2 over a directory that looks like them, and of both over the real
 * ones where these can be written. */
#include "../../worker/cgroups.h"
#include "../../worker/hierarchy.h"
#include "../../worker/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1ull << 20)

/* ---- a tree ------------------------------------------------------------------------------------
 */

static char root[PATH_MAX];

static void
put(const char *path, const char *text)
{
    char whole[2 * PATH_MAX];
    FILE *f;

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *c = whole + strlen(root) + 1; *c != '\0'; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        (void)mkdir(whole, 0700);
        *c = '/';
    }
    f = fopen(whole, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void
holds(const char *path, const char *text)
{
    char group[2 * PATH_MAX], found[256], *name;

    snprintf(group, sizeof(group), "%s%s", root, path);
    name = strrchr(group, '/');
    *name = '\0';
    assert_int_equal(group_read(group, name + 1, found, sizeof(found)), 0);
    assert_string_equal(found, text);
}

/* ---- what the kernel does ----------------------------------------------------------------------
 *
 * Below `root`, that is: these stand before libc's.
 */

static bool
is_ours(const char *path)
{
    return root[0] != '\0' && strncmp(path, root, strlen(root)) == 0 &&
           strstr(path, "/sys/fs/cgroup") != NULL;
}

/* A group is born with its files. */
int
mkdir(const char *path, mode_t mode)
{
    static const char *const files[] = {"cgroup.procs", "cgroup.kill", "cgroup.subtree_control"};
    static const char *const memory[] = {"memory.max", "memory.swap.max", "memory.oom.group",
                                         "memory.events", "memory.peak"};
    char above[PATH_MAX], text[64] = "";

    if (syscall(SYS_mkdirat, AT_FDCWD, path, mode) != 0)
        return -1;
    if (!is_ours(path) || strstr(path, "/ladle-") == NULL)
        return 0;
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        close(open(strcat(strcat(strcpy(above, path), "/"), files[i]), O_CREAT | O_WRONLY, 0600));
    *strrchr(strcpy(above, path), '/') = '\0';
    (void)group_read(above, "cgroup.subtree_control", text, sizeof(text));
    for (size_t i = 0; text[0] == '+' && i < sizeof(memory) / sizeof(*memory); i++)
        close(open(strcat(strcat(strcpy(above, path), "/"), memory[i]), O_CREAT | O_WRONLY, 0600));
    return 0;
}

/* It may go with its files, but not with a process. */
int
rmdir(const char *path)
{
    char text[64] = "", name[2 * PATH_MAX];
    const struct dirent *d;
    DIR *dir;

    if (is_ours(path) && group_read(path, "cgroup.procs", text, sizeof(text)) == 0 &&
        text[0] != '\0') {
        errno = EBUSY;
        return -1;
    }
    if (is_ours(path) && (dir = opendir(path)) != NULL) {
        while ((d = readdir(dir)) != NULL) {
            snprintf(name, sizeof(name), "%s/%s", path, d->d_name);
            if (d->d_name[0] != '.')
                unlink(name);
        }
        closedir(dir);
    }
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

/* Process 1, which is us, leaves the group where it is. */
static void
leave(const char *group)
{
    char text[64], path[2 * PATH_MAX];
    const struct dirent *d;
    DIR *dir;
    FILE *f;

    if ((dir = opendir(group)) == NULL)
        return;
    while ((d = readdir(dir)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", group, d->d_name);
        if (d->d_type == DT_DIR && d->d_name[0] != '.')
            leave(path);
    }
    closedir(dir);
    if (group_read(group, "cgroup.procs", text, sizeof(text)) != 0 || text[0] != '1')
        return;
    snprintf(path, sizeof(path), "%s/cgroup.procs", group);
    f = fopen(path, "we");
    fputs(text + 2, f);
    fclose(f);
}

ssize_t
write(int fd, const void *data, size_t size)
{
    char link[64], path[PATH_MAX], text[64] = "", top[2 * PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    path[n < 0 ? 0 : n] = '\0';
    if (is_ours(path) && strstr(path, "/cgroup.subtree_control") != NULL) {
        *strrchr(path, '/') = '\0';
        if (group_read(path, "cgroup.procs", text, sizeof(text)) == 0 && text[0] != '\0') {
            errno = EBUSY;
            return -1;
        }
    } else if (is_ours(path) && strstr(path, "/cgroup.procs") != NULL &&
               memcmp(data, "0", size) == 0) {
        snprintf(top, sizeof(top), "%s/sys/fs/cgroup", root);
        leave(top);
        lseek(fd, 0, SEEK_END);
        return syscall(SYS_write, fd, "1\n", 2) == 2 ? (ssize_t)size : -1;
    }
    if (is_ours(path) && ftruncate(fd, 0) != 0) /* the last word counts */
        return -1;
    return syscall(SYS_write, fd, data, size);
}

static int
setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/ladle-cgroups-XXXXXX");
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int
teardown(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
mount_v2(const char *cgroup)
{
    char line[300];

    put("/proc/self/mounts",
        "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n");
    snprintf(line, sizeof(line), "0::%s\n", cgroup);
    put("/proc/self/cgroup", line);
}

/* ---- where we are ------------------------------------------------------------------------------
 */

static void
the_tightest_limit_above_is_the_memory(void **state)
{
    (void)state;
    mount_v2("/user.slice/work");
    put("/sys/fs/cgroup/user.slice/memory.max", "1000000\n");
    put("/sys/fs/cgroup/user.slice/work/memory.max", "max\n");
    assert_int_equal(memory_under(root, 5000000), 1000000);
    assert_int_equal(memory_under(root, 500000), 500000);
    put("/sys/fs/cgroup/user.slice/work/memory.max", "700000\n");
    assert_int_equal(memory_under(root, 5000000), 700000);
}

static void
the_limit_of_version_1_counts_too(void **state)
{
    (void)state;
    put("/proc/self/mounts", "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n"
                             "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n");
    put("/proc/self/cgroup", "4:memory:/docker/abc\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "300000\n");
    assert_int_equal(memory_under(root, 5000000), 300000);
}

static void
a_container_finds_its_group_at_the_mount(void **state)
{
    (void)state;
    mount_v2("/docker/abc"); /* as its host calls it */
    put("/sys/fs/cgroup/memory.max", "300000\n");
    assert_int_equal(memory_under(root, 5000000), 300000);
}

static void
without_any_all_is_ours(void **state)
{
    (void)state;
    assert_int_equal(memory_under(root, 5000000), 5000000);
}

static void
numbers_are_found_by_their_keys(void **state)
{
    (void)state;
    put("/g/memory.events", "low 0\nhigh 1\nmax 22\noom 3\noom_kill 4\noom_group_kill 5\n");
    strcat(root, "/g");
    assert_int_equal(group_number(root, "memory.events", "oom"), 3);
    assert_int_equal(group_number(root, "memory.events", "oom_kill"), 4);
    assert_true(group_number(root, "memory.events", "kill") == UINT64_MAX);
    assert_true(group_number(root, "nothing", NULL) == UINT64_MAX);
    root[strlen(root) - 2] = '\0';
}

/* ---- version 2 ---------------------------------------------------------------------------------
 */

static void
mount_work(const char *controllers)
{
    mount_v2("/work");
    put("/sys/fs/cgroup/work/cgroup.controllers", controllers);
    put("/sys/fs/cgroup/work/cgroup.subtree_control", "");
    put("/sys/fs/cgroup/work/cgroup.procs", "1\n"); /* us */
}

static void
a_group_without_memory_still_ends_all_at_once(void **state)
{
    struct cgroups *g;
    const char *why;

    (void)state;
    mount_work("cpu pids\n");
    g = cgroups_open(root, &why);
    assert_non_null(g);
    assert_string_equal(
        why, "executors are in control groups, which may not limit their memory: it is watched");
    cgroups_close(g);
    holds("/sys/fs/cgroup/work/cgroup.subtree_control", "");
}

static void
without_a_tree_there_are_no_groups(void **state)
{
    const char *why;

    (void)state;
    assert_null(cgroups_open(root, &why));
    assert_string_equal(why,
                        "no control groups can be made for executors: their memory is watched");
}

static void
a_worker_makes_room_for_groups_and_goes_back(void **state)
{
    char leaf[200], group[PATH_MAX];
    struct cgroups *g;
    struct cgroup *c;
    const char *why;
    uint64_t peak;

    (void)state;
    mount_work("cpu memory pids\n");
    g = cgroups_open(root, &why);
    assert_non_null(g);
    assert_string_equal(why,
                        "executors are in control groups of version 2, which limit their memory");
    snprintf(leaf, sizeof(leaf), "/sys/fs/cgroup/work/ladle-%ld-worker/cgroup.procs",
             (long)getpid());
    holds(leaf, "1\n");
    holds("/sys/fs/cgroup/work/cgroup.procs", "");
    holds("/sys/fs/cgroup/work/cgroup.subtree_control", "+memory");

    c = cgroup_new(g);
    assert_non_null(c);
    assert_null(cgroup_path(c, 1));
    snprintf(group, sizeof(group), "%s/", cgroup_path(c, 0) + strlen(root));
    holds(strcat(group, "memory.oom.group"), "1");
    assert_int_equal(cgroup_limit(c, 5000), 0);
    strcpy(strrchr(group, '/') + 1, "memory.max");
    holds(group, "5000");
    strcpy(strrchr(group, '/') + 1, "memory.swap.max");
    holds(group, "0");
    assert_false(cgroup_overrun(c, &peak));
    strcpy(strrchr(group, '/') + 1, "memory.events");
    put(group, "oom 1\noom_kill 1\n");
    strcpy(strrchr(group, '/') + 1, "memory.peak");
    put(group, "4900\n");
    assert_true(cgroup_overrun(c, &peak));
    assert_int_equal(peak, 4900);
    assert_int_equal(cgroup_limit(c, 0), 0);
    strcpy(strrchr(group, '/') + 1, "memory.max");
    holds(group, "max");
    cgroup_free(c);
    cgroups_close(g);
    holds("/sys/fs/cgroup/work/cgroup.procs", "1\n");
    holds("/sys/fs/cgroup/work/cgroup.subtree_control", "-memory");
    *strrchr(group, '/') = '\0';
    assert_int_not_equal(access(strcat(strcpy(leaf, root), group), F_OK), 0);
}

static void
a_group_with_other_processes_is_left_as_it_was(void **state)
{
    struct cgroups *g;
    const char *why;

    (void)state;
    mount_work("cpu memory pids\n");
    put("/sys/fs/cgroup/work/cgroup.procs", "1\n2\n"); /* a shell */
    g = cgroups_open(root, &why);
    assert_non_null(g); /* to kill, at least */
    assert_non_null(strstr(why, "it is watched"));
    cgroups_close(g);
    holds("/sys/fs/cgroup/work/cgroup.procs", "2\n1\n");
}

/* ---- the real ones -----------------------------------------------------------------------------
 */

static struct spawn *
start(struct cgroup *c, const char *script)
{
    static char shell[] = "sh", dash_c[] = "-c", text[1000];
    char *argv[] = {shell, dash_c, text, NULL}, *envp[] = {NULL};
    struct spawn_request request = {.path = "/bin/sh", .argv = argv, .envp = envp};
    struct spawn *s;
    int low = open("/dev/null", O_RDWR | O_CLOEXEC), null = fcntl(low, F_DUPFD_CLOEXEC, 10);

    close(low);
    snprintf(text, sizeof(text), "%s", script);
    for (unsigned i = 0; i < SPAWN_GROUPS; i++)
        request.groups[i] = cgroup_path(c, i);
    for (int i = 0; i < 5; i++)
        request.fds[i] = null;
    s = spawn_start(&request);
    close(null);
    assert_non_null(s);
    return s;
}

static bool
is_populated(const struct cgroup *c, unsigned i)
{
    char text[4096];

    return cgroup_path(c, i) != NULL &&
           group_read(cgroup_path(c, i), "cgroup.procs", text, sizeof(text)) == 0 &&
           text[0] != '\0';
}

static void
what_is_in_a_group_ends_with_its_leader(void **state)
{
    struct spawn_end how;
    struct cgroups *g;
    struct cgroup *c;
    const char *why;
    struct spawn *s;
    char paths[SPAWN_GROUPS][PATH_MAX] = {{0}};

    (void)state;
    if ((g = cgroups_open("", &why)) == NULL)
        skip();
    c = cgroup_new(g);
    assert_non_null(c);
    for (unsigned i = 0; i < SPAWN_GROUPS; i++)
        if (cgroup_path(c, i) != NULL)
            snprintf(paths[i], sizeof(paths[i]), "%s", cgroup_path(c, i));
    s = start(
        c, "setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & sleep 1000 & wait' & exec sleep 1000");
    assert_true(is_populated(c, 0));
    spawn_signal(s, SIGTERM, false);
    spawn_finish(s, &how);
    assert_int_equal(how.signal, SIGTERM);
    assert_false(is_populated(c, 0) || is_populated(c, 1));
    cgroup_free(c);
    cgroups_close(g);
    for (unsigned i = 0; i < SPAWN_GROUPS; i++)
        assert_true(paths[i][0] == '\0' || access(paths[i], F_OK) != 0);
}

static void
who_uses_more_than_its_group_may_is_killed(void **state)
{
    struct spawn_end how;
    uint64_t peak = 0;
    struct cgroups *g;
    struct cgroup *c;
    const char *why;
    struct spawn *s;

    (void)state;
    if ((g = cgroups_open("", &why)) == NULL)
        skip();
    c = cgroup_new(g);
    assert_non_null(c);
    if (cgroup_limit(c, 32 * MIB) != 0) {
        cgroup_free(c);
        cgroups_close(g);
        skip();
    }
    s = start(c, "x=0123456789abcdef; while :; do x=$x$x; done");
    spawn_finish(s, &how);
    assert_int_equal(how.signal, SIGKILL);
    assert_true(cgroup_overrun(c, &peak));
    assert_in_range(peak, 28 * MIB, 33 * MIB);
    /* What was before a limit is set does not count. */
    assert_int_equal(cgroup_limit(c, 64 * MIB), 0);
    assert_false(cgroup_overrun(c, &peak));
    assert_int_equal(cgroup_limit(c, 0), 0);
    s = start(c, "exit 3");
    spawn_finish(s, &how);
    assert_int_equal(how.status, 3);
    cgroup_free(c);
    cgroups_close(g);
}

#define TREE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TREE(the_tightest_limit_above_is_the_memory),
        TREE(the_limit_of_version_1_counts_too),
        TREE(a_container_finds_its_group_at_the_mount),
        TREE(without_any_all_is_ours),
        TREE(numbers_are_found_by_their_keys),
        TREE(a_group_without_memory_still_ends_all_at_once),
        TREE(without_a_tree_there_are_no_groups),
        TREE(a_worker_makes_room_for_groups_and_goes_back),
        TREE(a_group_with_other_processes_is_left_as_it_was),
        cmocka_unit_test(what_is_in_a_group_ends_with_its_leader),
        cmocka_unit_test(who_uses_more_than_its_group_may_is_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
