/* test_shares.c - shared constants in the client's state machine: what the broker is told of them,
 * and when nobody needs them any more. */
#include "../../client/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct share a = {.digest = "a", .size = 5}, b = {.digest = "b", .size = 6};

static int
setup(void **state)
{
    return (*state = core_new()) == NULL;
}

static int
teardown(void **state)
{
    core_check(*state);
    core_free(*state);
    return 0;
}

static void
welcome(struct core *core)
{
    struct message m = {.type = MESSAGE_WELCOME,
                        .welcome = {.window = 1 << 20, .workers = 1, .slots = 2}};

    assert_int_equal(core_input(core, &m, 0), 0);
}

/* A job of one task that may ask for `digest`; NULL: for nothing. */
static struct job *
job(struct core *core, const char *digest, struct chunk **chunk_p)
{
    struct shared shared = {.name = "name", .size = 5};
    struct spec spec = {.function = "f", .cpus = 1, .shared = &shared, .nshared = digest != NULL};
    struct job *j;

    snprintf(shared.digest, sizeof(shared.digest), "%s", digest != NULL ? digest : "");
    assert_non_null(j = core_job(core, &spec, 0));
    assert_int_equal(core_append(core, j, "x", 1, chunk_p), 0);
    core_close(core, j);
    return j;
}

static void
end(struct core *core, struct job *j)
{
    struct message m = {.type = MESSAGE_ENDED,
                        .ended = {.job = j->number, .count = 1, .worker = "", .text = ""}};

    assert_int_equal(core_input(core, &m, 0), 0);
}

static const char *
output(struct core *core)
{
    static char told[512];
    struct message m;

    told[0] = '\0';
    while (core_output(core, &m, 0)) {
        strcat(told, message_name(m.type));
        if (m.type == MESSAGE_SHARE || m.type == MESSAGE_UNSHARE)
            snprintf(told + strlen(told), 80, " %s", m.share.digest);
        strcat(told, "\n");
    }
    return told;
}

static void
let_go(struct core *core, struct job *j, struct chunk *c)
{
    core_release_tasks(core, c, 1);
    core_release(core, j);
}

static void
broker_is_told_before_the_jobs_and_again_when_it_is_new(void **state)
{
    struct core *core = *state;
    struct chunk *c;
    struct job *j;

    core_share(core, &a);
    j = job(core, "a", &c);
    assert_string_equal(output(core), "");
    welcome(core);
    assert_string_equal(output(core), "share a\njob\ninputs\njob_end\n");
    core_share(core, &b);
    assert_string_equal(output(core), "share b\n");
    core_gone(core);
    core_offer(core, &b, false); /* which the new one need not know */
    welcome(core);
    assert_string_equal(output(core), "share a\njob\ninputs\ntold\njob_end\n");
    let_go(core, j, c);
    assert_ptr_equal(core_share_unneeded(core), &b);
}

static void
constant_is_needed_until_its_last_task_has_ended(void **state)
{
    struct core *core = *state;
    struct chunk *c, *d;
    struct job *j, *k;

    welcome(core);
    core_share(core, &a);
    j = job(core, "a", &c);
    k = job(core, NULL, &d);
    output(core);
    assert_null(core_share_unneeded(core));
    core_offer(core, &a, false);
    assert_null(core_share_unneeded(core));
    assert_string_equal(output(core), "unshare a\n");
    assert_null(core_share_unneeded(core));
    core->news = false;
    end(core, j); /* though its result is kept for longer */
    assert_true(core->news);
    assert_ptr_equal(core_share_unneeded(core), &a);
    assert_null(core_share_unneeded(core));
    assert_string_equal(output(core), "");
    let_go(core, j, c);
    let_go(core, k, d);
}

static void
stream_of_tasks_needs_it_until_it_is_closed(void **state)
{
    struct core *core = *state;
    struct shared shared = {.name = "name", .digest = "a"};
    struct spec spec = {
        .function = "f", .cpus = 1, .singles = true, .shared = &shared, .nshared = 1};
    struct chunk *c;
    struct job *j;

    welcome(core);
    core_share(core, &a);
    assert_non_null(j = core_job(core, &spec, 0));
    assert_int_equal(core_append(core, j, "x", 1, &c), 0);
    output(core);
    end(core, j);
    core_offer(core, &a, false);
    output(core);
    assert_null(core_share_unneeded(core));
    core_close(core, j);
    assert_ptr_equal(core_share_unneeded(core), &a);
    let_go(core, j, c);
}

static void
cancelled_tasks_need_nothing(void **state)
{
    struct core *core = *state;
    struct chunk *c;
    struct job *j;

    welcome(core);
    core_share(core, &a);
    j = job(core, "a", &c);
    output(core);
    core_offer(core, &a, false);
    core_cancel(core, j, 0, 1);
    assert_string_equal(output(core), "cancel\nunshare a\n");
    assert_ptr_equal(core_share_unneeded(core), &a);
    let_go(core, j, c);
}

static void
what_is_offered_again_in_time_was_never_away(void **state)
{
    struct core *core = *state;

    welcome(core);
    core_share(core, &a);
    output(core);
    core_offer(core, &a, false);
    core_offer(core, &a, true);
    assert_string_equal(output(core), "");
    assert_null(core_share_unneeded(core));
    core_offer(core, &a, false);
    core_share(core, &b);
    assert_string_equal(output(core), "unshare a\nshare b\n"); /* never more than there may be */
    assert_ptr_equal(core_share_unneeded(core), &a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(broker_is_told_before_the_jobs_and_again_when_it_is_new),
        TEST(constant_is_needed_until_its_last_task_has_ended),
        TEST(stream_of_tasks_needs_it_until_it_is_closed),
        TEST(cancelled_tasks_need_nothing),
        TEST(what_is_offered_again_in_time_was_never_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
