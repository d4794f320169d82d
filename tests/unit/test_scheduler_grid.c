/* Who may run what, what clients are told about it, programs on their way, and status. */
#include "grid.h"

#include "../../proto/limits.h"

#include <stdio.h>
#include <string.h>

static struct grid *
with_client(void **state)
{
    struct grid *g = *state;

    grid_client(g, 1);
    grid_forget(g);
    return g;
}

/* Job `job` with one task that needs this. */
static void
need(struct grid *g, uint64_t job, const char *needs)
{
    struct spec spec = grid_spec();

    spec.needs = needs;
    grid_job(g, 1, job, &spec);
    grid_inputs(g, 1, job, 0, 1);
    grid_forget(g);
}

static void
tasks_go_only_where_their_needs_are_met(void **state)
{
    struct grid *g = with_client(state);

    need(g, 10, "zone=b");
    need(g, 11, "gpu");
    need(g, 12, "");
    grid_worker_with(g, 2, "plain", 4, "x86_64", "zone=a");
    grid_forget(g);
    grid_results(g, 2, 1, 3, 0, 1, 1, NULL); /* the one that needs nothing ran there */
    grid_expect(g, "1: results 0 job=12 0+1 attempt=1\n");
    grid_pass(g, 200000);
    grid_forget(g);
    grid_worker_with(g, 3, "gpu", 4, "x86_64", "gpu=2, zone=b");
    grid_expect(g, "3: welcome gpu workers=2 slots=8\n"
                   "1: grid workers=2 slots=8\n"
                   "3: job 1 square\n"
                   "3: slice 2 job=1 0+1 attempt=1\n"
                   "3: job 2 square\n"
                   "3: slice 3 job=2 0+1 attempt=1\n");
}

static void
each_worker_may_have_labels_of_its_own(void **state)
{
    enum { MANY = 300, FIRST = 10 };
    struct grid *g = with_client(state);
    char label[32], name[32];

    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(label, sizeof(label), "node=%u", i);
        snprintf(name, sizeof(name), "n%u", i);
        grid_worker_with(g, FIRST + i, name, i == 250 ? 4 : i == 270 ? 3 : 1, "x86_64", label);
        if (i % 100 == 99)
            grid_forget(g);
    }
    grid_pass(g, 200000);
    grid_forget(g);
    grid_job(g, 1, 10,
             &(struct spec){.program = grid_spec().program,
                            .function = "square",
                            .name = "",
                            .needs = "",
                            .cpus = 3});
    grid_inputs(g, 1, 10, 0,
                2); /* the one with the most room, and the only other one with enough */
    grid_expect(g, "1: accepted job=10 below=2\n"
                   "260: job 1 square\n"
                   "260: slice 1 job=1 0+1 attempt=1\n"
                   "280: job 1 square\n"
                   "280: slice 2 job=1 1+1 attempt=1\n");
    need(g, 11, "node=17");
    grid_results(g, 27, 3, 2, 0, 1, 1, NULL);
    grid_expect(g, "1: results 0 job=11 0+1 attempt=1\n");
}

static void
machine_is_a_label_too(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    spec.program.machine = "";
    spec.needs = "arch=aarch64";
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_worker_with(g, 2, "pc", 1, "x86_64", "");
    grid_worker_with(g, 3, "pi", 1, "aarch64", "");
    grid_expect(g, "2: welcome pc workers=1 slots=1\n"
                   "3: welcome pi workers=2 slots=2\n"
                   "1: grid workers=2 slots=2\n"
                   "1: accepted job=10 below=1\n"
                   "3: job 1 square\n"
                   "3: slice 1 job=1 0+1 attempt=1\n");
}

static void
client_is_told_once_why_its_tasks_wait(void **state)
{
    struct grid *g = with_client(state);

    need(g, 10, "zone=b");
    grid_pass(g, 1900000);
    grid_expect(g, "");
    grid_pass(g, 100000);
    grid_expect(g, "1: notice job=10: no worker is connected\n");
    grid_beat(g, 1);
    grid_worker_with(g, 2, "n", 4, "x86_64", "zone=a");
    grid_worker_with(g, 3, "m", 4, "x86_64", "zone=c,gpu=1");
    grid_pass(g, 100000);
    grid_forget(g);
    grid_pass(g, 2000000);
    grid_expect(g, "1: notice job=10: no worker has zone=b; there are zone=a, zone=c\n");
    grid_beat(g, 1);
    grid_pass(g, 3000000);
    grid_expect(g, "");
}

/* The notice about a job with this spec, given the workers that are there. */
static void
notice_is(struct grid *g, const struct spec *spec, const char *text)
{
    char expected[512];

    grid_pass(g, 200000);
    grid_job(g, 1, 10, spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_forget(g);
    grid_pass(g, 2000000);
    snprintf(expected, sizeof(expected), "1: notice job=10: %s\n", text);
    grid_expect(g, expected);
}

static void
notice_tells_of_another_machine(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    grid_worker(g, 2, "n", 4);
    spec.program.machine = "aarch64";
    notice_is(g, &spec, "the program is for aarch64, and the workers are x86_64");
}

static void
notice_tells_of_too_few_slots(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    grid_worker(g, 2, "n", 4);
    spec.cpus = 8;
    notice_is(g, &spec, "no worker has 8 slots; the largest has 4");
}

static void
notice_tells_of_a_program_that_nobody_offers(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    grid_worker(g, 2, "n", 4);
    spec.program = (struct program){.name = "tool", .machine = ""};
    notice_is(g, &spec, "no worker offers the program tool: start one with --program");
}

static void
notice_tells_of_needs_that_no_one_worker_meets(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    grid_worker_with(g, 2, "n", 4, "x86_64", "gpu=1");
    grid_worker_with(g, 3, "m", 4, "x86_64", "zone=b");
    spec.needs = "zone=b, gpu=1";
    notice_is(g, &spec, "no single worker has all that it needs (gpu=1,zone=b)");
}

static void
busy_workers_are_no_reason_for_a_notice(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "n", 1);
    need(g, 10, "");
    need(g, 11, "");
    grid_pass(g, 3000000);
    grid_expect(g, "");
}

static void
unknown_needs_are_rejected_at_once_if_asked_for(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    spec.fail_if_unknown = true;
    spec.needs = "moon";
    grid_worker(g, 2, "n", 1);
    grid_pass(g, 200000);
    grid_forget(g);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 5);
    grid_expect(g, "1: accepted job=10 below=5\n"
                   "1: ended job=10 0+5 REJECTED attempt=0 : no worker has moon\n");
}

static void
names_of_workers_are_made_unique(void **state)
{
    struct grid *g = *state;

    grid_worker(g, 2, "node", 1);
    grid_worker(g, 3, "node", 1);
    grid_worker(g, 4, "node", 1);
    grid_worker(g, 5, "", 1);
    grid_expect(g, "2: welcome node workers=1 slots=1\n"
                   "3: welcome node-2 workers=2 slots=2\n"
                   "4: welcome node-3 workers=3 slots=3\n"
                   "5: welcome there workers=4 slots=4\n");
}

static void
grid_is_told_now_and_then(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    grid_expect(g, "2: welcome a workers=1 slots=1\n"
                   "1: grid workers=1 slots=1\n");
    grid_worker(g, 3, "b", 1);
    grid_worker(g, 4, "c", 1);
    grid_expect(g, "3: welcome b workers=2 slots=2\n"
                   "4: welcome c workers=3 slots=3\n");
    grid_pass(g, 100000);
    grid_expect(g, "1: grid workers=3 slots=3\n");
}

/* ---- programs -----------------------------------------------------------------------------------
 */

static void
want(struct grid *g, uint32_t worker, const char *digest)
{
    struct message m = {.type = MESSAGE_PROGRAM_WANTED,
                        .program_wanted = {.digest = digest, .offset = 0}};

    assert_int_equal(grid_say(g, worker, &m), 0);
}

static void
give(struct grid *g, uint32_t client, const char *digest, size_t size)
{
    struct message m = {.type = MESSAGE_PROGRAM_PART,
                        .program_part = {.digest = digest, .size = size, .text = ""}};
    struct blob *data = blob_new(size + 1);

    memset(data->bytes, 1, size + 1);
    m.program_part.columns =
        (struct columns){.count = 1, .size = (uint32_t)size, .data = data, .length = size};
    if (size == 0)
        m.program_part.text = "cannot open it";
    assert_int_equal(grid_say(g, client, &m), 0);
    blob_unref(data);
}

static void
program_is_asked_for_once_and_kept(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    grid_worker(g, 3, "b", 1);
    need(g, 10, "");
    grid_pass(g, 200000);
    grid_forget(g);
    want(g, 2, "d");
    want(g, 3, "d");
    grid_expect(g, "1: program_wanted d at=0\n");
    give(g, 1, "d", 5);
    grid_expect(g, "3: program_part d at=0 bytes=5 of=5 \n"
                   "2: program_part d at=0 bytes=5 of=5 \n");
    want(g, 3, "d");
    grid_expect(g, "3: program_part d at=0 bytes=5 of=5 \n");
}

static void
program_that_nobody_has_is_told(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    need(g, 10, "");
    grid_pass(g, 200000);
    grid_forget(g);
    want(g, 2, "other");
    want(g, 2, "d");
    give(g, 1, "d", 0);
    grid_expect(g, "2: program_part other at=0 bytes=0 of=0 no client that has it is connected\n"
                   "1: program_wanted d at=0\n"
                   "2: program_part d at=0 bytes=0 of=0 cannot open it\n");
}

static void
program_is_asked_of_the_next_client(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    grid_worker(g, 2, "a", 1);
    need(g, 10, "");
    grid_client(g, 3);
    grid_job(g, 3, 30, &spec);
    grid_pass(g, 200000);
    grid_forget(g);
    want(g, 2, "d");
    grid_expect(g, "1: program_wanted d at=0\n");
    scheduler_gone(g->scheduler, 1, g->now);
    grid_expect(g, "2: cancel job=1 0+1\n"
                   "2: job_end 1 total=1\n"
                   "3: program_wanted d at=0\n");
    give(g, 3, "d", 9);
    grid_expect(g, "2: program_part d at=0 bytes=9 of=9 \n");
}

static void
clients_that_go_do_not_use_up_the_tries(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    grid_worker(g, 2, "a", 1);
    need(g, 10, "");
    for (uint32_t client = 3; client < 13; client++) {
        grid_client(g, client);
        grid_job(g, client, 30, &spec);
    }
    want(g, 2, "d");
    scheduler_gone(g->scheduler, 1, g->now);
    for (uint32_t client = 3; client < 12; client++)
        scheduler_gone(g->scheduler, client, g->now);
    grid_forget(g);
    give(g, 12, "d", 9);
    grid_expect(g, "2: program_part d at=0 bytes=9 of=9 \n");
}

static void
program_fails(struct grid *g, uint32_t worker, uint64_t lease)
{
    struct message m = {.type = MESSAGE_PROGRAM_FAILED,
                        .program_failed = {.digest = "d", .text = "libm.so.9: not found"}};

    assert_int_equal(grid_say(g, worker, &m), 0);
    assert_int_equal(grid_returned(g, worker, lease, 0, 1, RETURNED_PROGRAM), 0);
}

static void
program_that_cannot_start_goes_elsewhere(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 2);
    grid_worker(g, 3, "b", 1);
    need(g, 10, "");
    grid_pass(g, 200000);
    grid_forget(g);
    program_fails(g, 2, 1);
    grid_expect(g, "3: job 1 square\n"
                   "3: slice 2 job=1 0+1 attempt=1\n");
}

static void
program_that_cannot_start_in_one_way_may_in_others(void **state)
{
    struct message m = {.type = MESSAGE_PROGRAM_FAILED,
                        .program_failed = {.digest = "d", .text = "initializer returned 1"}};
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    grid_worker(g, 2, "a", 2);
    for (uint64_t job = 1; job <= 3; job++) {
        spec.program.environment = job == 1 ? "A=1" : "A=2";
        spec.program.environment_size = 4;
        spec.program.directory = job == 3 ? "/data" : "";
        grid_job(g, 1, job, &spec);
        grid_inputs(g, 1, job, 0, 1);
    }
    grid_forget(g);
    m.program_failed.job = 1;
    assert_int_equal(grid_say(g, 2, &m), 0);
    assert_int_equal(grid_returned(g, 2, 1, 0, 1, RETURNED_PROGRAM), 0);
    grid_expect(g, "1: ended job=1 0+1 REJECTED attempt=0 : the program cannot start on worker a: "
                   "initializer returned 1\n"
                   "2: job 3 square\n"
                   "2: slice 3 job=3 0+1 attempt=1\n");
    m.program_failed.job = 99; /* which nobody knows by now */
    assert_int_equal(grid_say(g, 2, &m), 0);
    grid_expect(g, "");
}

static void
program_that_starts_nowhere_is_rejected(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    grid_worker_with(g, 3, "pi", 1, "aarch64", "");
    need(g, 10, "");
    grid_pass(g, 200000);
    grid_forget(g);
    program_fails(g, 2, 1);
    grid_expect(g, "1: ended job=10 0+1 REJECTED attempt=0 : the program cannot start on worker a: "
                   "libm.so.9: not found\n");
    need(g, 11, ""); /* of one that is submitted later, too */
    scheduler_check(g->scheduler);
}

static void
program_that_starts_nowhere_is_tried_anew_for_the_next_client(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    grid_worker(g, 2, "a", 1);
    need(g, 10, "");
    grid_pass(g, 200000);
    program_fails(g, 2, 1);
    scheduler_gone(g->scheduler, 1, g->now);
    scheduler_check(g->scheduler);
    grid_client(g, 3);
    grid_forget(g);
    grid_job(g, 3, 30, &spec);
    grid_inputs(g, 3, 30, 0, 1);
    grid_expect(g, "3: accepted job=30 below=1\n"
                   "2: job 2 square\n"
                   "2: slice 2 job=2 0+1 attempt=1\n");
}

/* ---- status -------------------------------------------------------------------------------------
 */

static struct message_status
ask_status(struct grid *g, uint32_t peer, uint32_t first_worker)
{
    struct message m = {.type = MESSAGE_STATUS_WANTED,
                        .status_wanted = {.first_worker = first_worker}};
    uint32_t to;

    grid_forget(g);
    assert_int_equal(grid_say(g, peer, &m), 0);
    assert_true(scheduler_output(g->scheduler, &to, &m));
    assert_int_equal(to, peer);
    assert_int_equal(m.type, MESSAGE_STATUS);
    return m.status;
}

static void
status_shows_workers_and_jobs(void **state)
{
    struct grid *g = with_client(state);
    struct message_status status;

    grid_worker_with(g, 2, "a", 2, "x86_64", "gpu=1");
    need(g, 10, "");
    need(g, 11, "moon");
    grid_pass(g, 2000000);
    status = ask_status(g, 1, 0);
    assert_int_equal(status.clients, 1);
    assert_int_equal(status.workers, 1);
    assert_int_equal(status.slots, 2);
    assert_int_equal(status.jobs, 2);
    assert_int_equal(status.tasks_accepted, 2);
    assert_int_equal(status.bytes_held, 2 * (TASK_COST + 8));
    assert_int_equal(status.nworker_rows, 1);
    assert_string_equal(status.worker_rows[0].name, "a");
    assert_string_equal(status.worker_rows[0].labels, "gpu=1");
    assert_int_equal(status.worker_rows[0].busy, 1);
    assert_int_equal(status.worker_rows[0].queued, 1);
    assert_int_equal(status.njob_rows, 2);
    assert_int_equal(status.job_rows[0].running, 1);
    assert_string_equal(status.job_rows[0].notice, "");
    assert_int_equal(status.job_rows[1].waiting, 1);
    assert_string_equal(status.job_rows[1].notice, "no worker has moon");
    assert_string_equal(status.job_rows[1].client, "program");
}

static void
status_comes_in_pages(void **state)
{
    struct grid *g = with_client(state);
    uint32_t seen = 0, workers = LIMIT_ROWS + 50;

    for (uint32_t i = 0; i < workers; i++)
        grid_worker(g, 10 + i, "n", 1);
    g->length = 0;
    while (seen < workers) {
        struct message_status status = ask_status(g, 1, seen);

        assert_in_range(status.nworker_rows, 1, LIMIT_ROWS);
        seen += status.nworker_rows;
    }
    assert_int_equal(seen, workers);
    assert_int_equal(ask_status(g, 1, seen).nworker_rows, 0);
}

int
main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)
    const struct CMUnitTest tests[] = {
        STORY(tasks_go_only_where_their_needs_are_met),
        STORY(each_worker_may_have_labels_of_its_own),
        STORY(machine_is_a_label_too),
        STORY(client_is_told_once_why_its_tasks_wait),
        STORY(notice_tells_of_another_machine),
        STORY(notice_tells_of_too_few_slots),
        STORY(notice_tells_of_a_program_that_nobody_offers),
        STORY(notice_tells_of_needs_that_no_one_worker_meets),
        STORY(busy_workers_are_no_reason_for_a_notice),
        STORY(unknown_needs_are_rejected_at_once_if_asked_for),
        STORY(names_of_workers_are_made_unique),
        STORY(grid_is_told_now_and_then),
        STORY(program_is_asked_for_once_and_kept),
        STORY(program_that_nobody_has_is_told),
        STORY(program_is_asked_of_the_next_client),
        STORY(clients_that_go_do_not_use_up_the_tries),
        STORY(program_that_cannot_start_goes_elsewhere),
        STORY(program_that_cannot_start_in_one_way_may_in_others),
        STORY(program_that_starts_nowhere_is_rejected),
        STORY(program_that_starts_nowhere_is_tried_anew_for_the_next_client),
        STORY(status_shows_workers_and_jobs),
        STORY(status_comes_in_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
