#include "../../client/stacks.h"

#include "../../client/crash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fenv.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each test is a process: there is one set of stacks in it. */

static int steps;
static struct board_death death;
static struct stack *stack_of[100001];

static void
in_process(void (*test)(void), int expected)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        test();
        _exit(99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), expected);
}

static const char *
describe(void)
{
    return "dive";
}

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            _exit(__LINE__ % 90 + 2);                                                              \
    } while (0)

/* ---- to and fro -------------------------------------------------------------------------------
 */

/* Each stack counts, goes on to a new one until there are so many, and then back again. */
static int most;

static void
go_deeper(void)
{
    int mine = ++steps;
    double scale = mine;
    char mark[100];

    expect(((uintptr_t)__builtin_frame_address(0) & 15) == 0);
    memset(mark, mine, sizeof(mark));
    stack_of[mine] = stacks_current();
    if (mine < most) {
        expect(stacks_reserve() == 0);
        stacks_switch_to_new();
        expect(steps == mine && scale == mine);
        for (size_t i = 0; i < sizeof(mark); i++)
            expect(mark[i] == (char)mine);
    }
    if (--steps == 0)
        _exit(1);
    stacks_abandon(stack_of[mine - 1]);
}

static void
run_chain(void)
{
    stacks_open(1 << 20, go_deeper);
    expect(stacks_reserve() == 0);
    stacks_switch_to_new();
}

static void
each_stack_stays_as_it_was_left(void **state)
{
    (void)state;
    most = 1000;
    in_process(run_chain, 1);
}

static void
a_hundred_thousand_stacks(void **state)
{
    (void)state;
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    most = 100000;
    in_process(run_chain, 1);
#endif
}

/* ---- what is given back -----------------------------------------------------------------------
 */

static long
resident_pages(void)
{
    struct rusage use;
    long pages = -1;
    char line[64] = "";
    FILE *file = fopen("/proc/self/statm", "r");

    (void)getrusage(RUSAGE_SELF, &use);
    if (file != NULL && fgets(line, sizeof(line), file) != NULL)
        pages = strtol(strchr(line, ' '), NULL, 10);
    if (file != NULL)
        fclose(file);
    return pages;
}

static void __attribute__((noinline)) touch(size_t size)
{
    volatile char *room = __builtin_alloca(size);

    for (size_t i = 0; i < size; i += 1024)
        room[i] = 1;
}

static void
use_and_trim(void)
{
    static struct stack *first;
    long before;

    if (steps++ == 0) {
        first = stacks_current();
        before = resident_pages();
        expect(stacks_reserve() == 0);
        stacks_switch_to_new();
        expect(resident_pages() > before + 500);
        stacks_trim();
        expect(resident_pages() < before + 100);
        _exit(1);
    }
    touch(3 << 20);
    stacks_abandon(first);
}

static void
run_trim(void)
{
    stacks_open(8 << 20, use_and_trim);
    expect(stacks_reserve() == 0);
    stacks_switch_to_new();
}

static void
deep_stacks_give_their_memory_back(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    skip(); /* a sanitizer's own memory of it stays */
#endif
    in_process(run_trim, 1);
}

/* ---- what belongs to a stack ------------------------------------------------------------------
 */

/* Both kinds of arithmetic have a mode of their own on some machines. */
static double
third(void)
{
    volatile double one = 1, three = 3;

    return one / three;
}

static void
round_differently(void)
{
    static struct stack *first;
    static double nearest;

    if (steps++ == 0) {
        first = stacks_current();
        expect(fegetround() == FE_TONEAREST);
        nearest = third();
        fesetround(FE_UPWARD);
        expect(third() > nearest);
        expect(stacks_reserve() == 0);
        stacks_switch_to_new();
        expect(fegetround() == FE_UPWARD && third() > nearest);
        _exit(1);
    }
    expect(fegetround() == FE_TONEAREST && third() == nearest);
    fesetround(FE_DOWNWARD);
    stacks_abandon(first);
}

static void
run_rounding(void)
{
    stacks_open(1 << 20, round_differently);
    expect(stacks_reserve() == 0);
    stacks_switch_to_new();
}

static void
rounding_belongs_to_a_stack(void **state)
{
    (void)state;
    in_process(run_rounding, 1);
}

/* ---- the end of a stack -----------------------------------------------------------------------
 */

static int words[2];

/* ---- limits ------------------------------------------------------------------------------------
 */

static void
run_limited(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    struct rlimit limit;

    expect(f != NULL && fscanf(f, "%*u %*u %*u %*u %*u %llu", &pages) == 1);
    fclose(f);
    expect(getrlimit(RLIMIT_DATA, &limit) == 0);
    limit.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (8 << 20);
    expect(setrlimit(RLIMIT_DATA, &limit) == 0);
    most = 300;
    run_chain();
}

static void
a_limit_of_data_does_not_keep_from_stacks(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    skip(); /* for each stack it maps a trace of its own, and dies without */
#endif
    in_process(run_limited, 1);
}

static unsigned __attribute__((noinline)) dive(unsigned n)
{
    volatile char room[2000];

    room[n % sizeof(room)] = (char)n;
    return n == UINT32_MAX ? 0 : dive(n + 1) + (unsigned)room[n % sizeof(room)];
}

static void
dive_in(void)
{
    _exit(dive(0) == 7);
}

static void
run_dive(void)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer has a handler of its own */
    dup2(words[1], STDERR_FILENO);
    close(words[0]);
    close(words[1]);
    stacks_open(256 << 10, dive_in);
    crash_open(&death, NULL, describe);
    expect(stacks_reserve() == 0);
    stacks_switch_to_new();
}

static void
a_full_stack_says_so(void **state)
{
    char text[256] = "";

    (void)state;
    assert_int_equal(pipe(words), 0);
    in_process(run_dive, -SIGSEGV);
    close(words[1]);
    assert_true(read(words[0], text, sizeof(text) - 1) > 0);
    close(words[0]);
    assert_string_equal(text, "the stack of dive is full: it has 262144 bytes; "
                              "futures_config_t's stack_size gives more\n");
}

static void
run_raised(void)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL);
    stacks_open(256 << 10, dive_in);
    crash_open(&death, NULL, describe);
    raise(SIGSEGV);
}

/* Nothing fails again after it. */
static void
a_signal_that_was_sent_ends_the_process(void **state)
{
    (void)state;
    in_process(run_raised, -SIGSEGV);
}

static void
handle(int sig)
{
    (void)sig;
    _exit(42);
}

static void
run_with_handler(void)
{
    signal(SIGSEGV, handle);
    stacks_open(256 << 10, dive_in);
    crash_open(&death, NULL, describe);
    raise(SIGSEGV);
}

static void
a_handler_of_the_program_stays(void **state)
{
    (void)state;
    in_process(run_with_handler, 42);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_stack_stays_as_it_was_left),
        cmocka_unit_test(a_hundred_thousand_stacks),
        cmocka_unit_test(deep_stacks_give_their_memory_back),
        cmocka_unit_test(rounding_belongs_to_a_stack),
        cmocka_unit_test(a_limit_of_data_does_not_keep_from_stacks),
        cmocka_unit_test(a_full_stack_says_so),
        cmocka_unit_test(a_signal_that_was_sent_ends_the_process),
        cmocka_unit_test(a_handler_of_the_program_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
