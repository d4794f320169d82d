#include "../../worker/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void
quota_of_v2_is_read(void **state)
{
    (void)state;
    assert_int_equal(slots_quota_v2("max 100000\n"), 0);
    assert_int_equal(slots_quota_v2("200000 100000\n"), 2000);
    assert_int_equal(slots_quota_v2("150000 100000"), 1500);
    assert_int_equal(slots_quota_v2("50000"), 500);
    assert_int_equal(slots_quota_v2(""), 0);
    assert_int_equal(slots_quota_v2("0 100000"), 0);
    assert_int_equal(slots_quota_v2("100000 0"), 0);
    assert_int_equal(slots_quota_v2("99999999999999999999 1"), 0);
}

static void
quota_of_v1_is_read(void **state)
{
    (void)state;
    assert_int_equal(slots_quota_v1("-1\n", "100000\n"), 0);
    assert_int_equal(slots_quota_v1("250000\n", "100000\n"), 2500);
    assert_int_equal(slots_quota_v1("", "100000"), 0);
    assert_int_equal(slots_quota_v1("100000", "0"), 0);
}

static void
cgroup_is_found_among_controllers(void **state)
{
    static const char mixed[] = "12:cpuset:/sets\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/user\n"
                                "0::/unified/here\n";
    char path[64];

    (void)state;
    assert_int_equal(slots_cgroup(mixed, "cpu", path, sizeof(path)), 0);
    assert_string_equal(path, "/docker/abc");
    assert_int_equal(slots_cgroup(mixed, "cpuacct", path, sizeof(path)), 0);
    assert_int_equal(slots_cgroup(mixed, NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "/unified/here");
    assert_int_equal(slots_cgroup(mixed, "memory", path, sizeof(path)), -1);
    assert_int_equal(slots_cgroup("0::/", NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "/");
    assert_int_equal(slots_cgroup("", NULL, path, sizeof(path)), -1);
    assert_int_equal(slots_cgroup("nonsense\n::\n", "cpu", path, sizeof(path)), -1);
    assert_int_equal(slots_cgroup(mixed, "cpu", path, 5), -1);
}

static void
quota_limits_slots(void **state)
{
    (void)state;
    assert_int_equal(slots_of(8, 0), 8);
    assert_int_equal(slots_of(8, 1500), 2);
    assert_int_equal(slots_of(8, 2000), 2);
    assert_int_equal(slots_of(8, 100), 1);
    assert_int_equal(slots_of(8, 64000), 8);
    assert_int_equal(slots_of(0, 0), 1);
}

/* ---- a file system in a directory ---------------------------------------------------------------
 */

static char root[] = "/tmp/ladle-slots-XXXXXX";

static void
put(const char *path, const char *text)
{
    char whole[256];
    FILE *f;

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *c = whole + strlen(root) + 1; *c != '\0'; c++)
        if (*c == '/') {
            *c = '\0';
            mkdir(whole, 0700);
            *c = '/';
        }
    assert_non_null(f = fopen(whole, "w"));
    fputs(text, f);
    fclose(f);
}

static int
make_root(void **state)
{
    (void)state;
    strcpy(root + strlen(root) - 6, "XXXXXX");
    return mkdtemp(root) == NULL;
}

static int
remove_root(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

static void
tightest_limit_of_all_levels_counts(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/slice/scope\n");
    assert_int_equal(slots_under(root, 16), 16);
    put("/sys/fs/cgroup/slice/scope/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/slice/cpu.max", "300000 100000\n");
    assert_int_equal(slots_under(root, 16), 3);
    put("/sys/fs/cgroup/slice/scope/cpu.max", "800000 100000\n");
    assert_int_equal(slots_under(root, 16), 3);
    put("/sys/fs/cgroup/slice/scope/cpu.max", "120000 100000\n");
    assert_int_equal(slots_under(root, 16), 2);
}

static void
container_finds_its_limit_at_the_mount(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    assert_int_equal(slots_under(root, 16), 4);
}

static void
old_cgroups_are_understood(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "5:cpuacct,cpu:/docker/abc\n0::/system\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(slots_under(root, 16), 3);
}

static void
this_machine_has_a_slot(void **state)
{
    (void)state;
    assert_true(slots_offered() >= 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quota_of_v2_is_read),
        cmocka_unit_test(quota_of_v1_is_read),
        cmocka_unit_test(cgroup_is_found_among_controllers),
        cmocka_unit_test(quota_limits_slots),
        cmocka_unit_test_setup_teardown(tightest_limit_of_all_levels_counts, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(container_finds_its_limit_at_the_mount, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(old_cgroups_are_understood, make_root, remove_root),
        cmocka_unit_test(this_machine_has_a_slot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
