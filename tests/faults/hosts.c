#include "hosts.h"

#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOSTS 8

static struct host hosts[HOSTS];
static int nhosts;
static bool entered;

void
run_command_with(const char *const *argv)
{
    struct process *p = process_start(argv, NULL);

    if (process_await(p, SOON) != 0)
        print_error("%s %s ...: %s\n", argv[0], argv[1], process_errors(p));
    assert_int_equal(process_await(p, 0), 0);
}

bool
has_command(const char *name)
{
    return process_await(process("sh", "-c", format("command -v %s >/dev/null", name)), SOON) == 0;
}

static bool
put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return done;
}

void
hosts_enter(void)
{
    uid_t user = geteuid();
    gid_t group = getegid();

    if (entered)
        return;
    if (!has_command("ip") || !has_command("nft") || !has_command("nsenter"))
        faults_skip("ip, nft or nsenter is missing: script/bootstrap installs them");
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) {
        if (!put("/proc/self/setgroups", "deny") ||
            !put("/proc/self/uid_map", format("0 %d 1", (int)user)) ||
            !put("/proc/self/gid_map", format("0 %d 1", (int)group)))
            faults_skip("cannot map users into a namespace: %s", strerror(errno));
    } else if (unshare(CLONE_NEWNET) != 0) {
        faults_skip("no network namespace for who is not root here: %s", strerror(errno));
    }
    entered = true;
    run_command("ip", "link", "set", "lo", "up");
}

struct host *
host_new(void)
{
    struct host *h = &hosts[nhosts++];
    int made[2];
    char byte;

    assert_true(nhosts <= HOSTS);
    assert_int_equal(pipe2(made, O_CLOEXEC), 0);
    if ((h->keeper = fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWNET) != 0 || write(made[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(made[1]);
    assert_int_equal(read(made[0], &byte, 1), 1);
    close(made[0]);
    snprintf(h->near, sizeof(h->near), "10.77.%d.1", nhosts);
    snprintf(h->far, sizeof(h->far), "10.77.%d.2", nhosts);
    snprintf(h->link, sizeof(h->link), "cable%d", nhosts);
    snprintf(h->enter, sizeof(h->enter), "--net=/proc/%d/ns/net", (int)h->keeper);
    memcpy(h->before, (const char *[]){"nsenter", h->enter, NULL}, 3 * sizeof(*h->before));
    run_command("ip", "link", "add", h->link, "type", "veth", "peer", "name", "cable", "netns",
                format("%d", (int)h->keeper));
    run_command("ip", "address", "add", format("%s/24", h->near), "dev", h->link);
    run_command("ip", "link", "set", h->link, "up");
    run_command("nsenter", h->enter, "ip", "address", "add", format("%s/24", h->far), "dev",
                "cable");
    run_command("nsenter", h->enter, "ip", "link", "set", "cable", "up");
    run_command("nsenter", h->enter, "ip", "link", "set", "lo", "up");
    return h;
}

void
hosts_free(void)
{
    for (int i = 0; i < nhosts; i++) {
        kill(hosts[i].keeper, SIGKILL); /* the cable goes with its other end */
        waitpid(hosts[i].keeper, NULL, 0);
    }
    memset(hosts, 0, sizeof(hosts));
    nhosts = 0;
}

void
host_cut(struct host *h)
{
    run_command("nft", format("table inet %s { chain i { type filter hook input priority 0; "
                              "iifname \"%s\" drop; }; chain o { type filter hook output "
                              "priority 0; oifname \"%s\" drop; }; }",
                              h->link, h->link, h->link));
    h->cut = true;
}

void
host_join(struct host *h)
{
    run_command("nft", "delete", "table", "inet", h->link);
    h->cut = false;
}

void
host_unplug(struct host *h)
{
    run_command("nsenter", h->enter, "ip", "link", "set", "cable", "down");
}
