/* The row about versions: broker, worker and client of this protocol version, and built variants
 * of the next one and the one after that. */
#include "../../proto/limits.h"
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct process *
broker_of(const char *version)
{
    struct process *p =
        process(harness_binary(format("ladle-broker%s", version)), "--bind", "tcp://127.0.0.1:0");
    char endpoint[256];

    await(process_wrote(p, ": ready at "), SOON);
    assert_int_equal(sscanf(process_output(p), "ladle-broker: ready at %255s", endpoint), 1);
    grid_set_endpoint(endpoint);
    return p;
}

static struct process *
worker_of(const char *version, const char *name)
{
    return process(harness_binary(format("ladle-worker%s", version)), "--broker", grid_endpoint(),
                   "--name", name, "--slots", "1", "--directory",
                   harness_path(format("worker-%s", name)));
}

static struct process *
client_of(const char *version, const char *base)
{
    return known_with(format("known%s", version), NULL, NULL,
                      (const char *const[]){"submit", "count=5", base, "retries=-1", NULL});
}

/* Within a second of its connection, and in words that name both. */
static void
assert_refused(struct process *p, int64_t since, int theirs, int ours)
{
    int status = process_await(p, SOON);

    assert_true(status == 1);
    assert_in_range(harness_now() - since, 0, 1000);
    if (!process_wrote(p, format("you speak protocol %d", theirs)) ||
        !process_wrote(p, format("this broker %d", ours)))
        print_error("%s\n", process_errors(p));
    assert_true(process_wrote(p, format("you speak protocol %d", theirs)));
    assert_true(process_wrote(p, format("this broker %d", ours)));
}

static void
row_29_version_skew(void **state)
{
    enum { OURS = LADLE_PROTOCOL };
    struct process *p;
    int64_t since;

    (void)state;
    /* Those of one version less and one more work together: with a broker between them, and with
     * an older and a newer one. */
    broker_of("-v2");
    p = worker_of("", "older");
    await(process_wrote(p, ": ready"), SOON);
    assert_succeeds(client_of("", "base=0"), SOON);
    assert_succeeds(client_of("-v2", "base=10"), SOON);
    process_kill(p);
    p = worker_of("-v3", "newer");
    await(process_wrote(p, ": ready"), SOON);
    assert_succeeds(client_of("-v3", "base=20"), SOON);
    assert_succeeds(client_of("-v2", "base=30"), SOON);
    process_kill(p);

    broker_of("");
    p = worker_of("-v2", "next");
    await(process_wrote(p, ": ready"), SOON);
    assert_succeeds(client_of("-v2", "base=40"), SOON);
    assert_succeeds(client_of("", "base=50"), SOON);

    /* Two apart they do not. */
    since = harness_now();
    assert_refused(worker_of("-v3", "future"), since, OURS + 2, OURS);
    since = harness_now();
    assert_refused(client_of("-v3", "base=1000"), since, OURS + 2, OURS);
    broker_of("-v3");
    since = harness_now();
    assert_refused(worker_of("", "past"), since, OURS, OURS + 2);
    since = harness_now();
    assert_refused(client_of("", "base=1000"), since, OURS, OURS + 2);
    history_check(30, 0, 1);
}

static const struct CMUnitTest rows[] = {
    ROW(row_29_version_skew),
};

FAULTS_MAIN("versions")
