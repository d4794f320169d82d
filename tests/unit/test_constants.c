/* test_constants.c - how the constants of jobs are mapped into an executor. */
#include "../../client/shared.h"

#include "../../client/futures.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/ladle-constant-XXXXXX";

static int
setup(void **state)
{
    int fd;

    (void)state;
    strcpy(path + strlen(path) - 6, "XXXXXX");
    if ((fd = mkstemp(path)) < 0 || write(fd, "hello", 5) != 5)
        return -1;
    return close(fd);
}

static int
teardown(void **state)
{
    (void)state;
    return unlink(path);
}

/* A job that knows these bytes as "word", and an empty constant. */
static struct constants *
job(const char *digest, uint64_t size)
{
    struct shared shared[2] = {{.name = "empty", .path = "/no/where"},
                               {.name = "word", .size = size, .path = path}};
    struct spec from = {.function = "f", .shared = shared, .nshared = 2}, *spec;
    struct constants *c;

    snprintf(shared[1].digest, sizeof(shared[1].digest), "%s", digest);
    assert_non_null(spec = spec_new(&from));
    assert_non_null(c = constants_open(spec));
    spec_unref(spec);
    return c;
}

static bool
is_mapped(void)
{
    char line[4096];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL)
        found = found || strstr(line, path) != NULL;
    fclose(maps);
    return found;
}

static void
constants_are_found_by_name(void **state)
{
    struct constants *c = job("x", 5);
    size_t size = 7;

    (void)state;
    assert_memory_equal(constants_find(c, "word", &size), "hello", 5);
    assert_int_equal(size, 5);
    assert_non_null(constants_find(c, "word", NULL));
    assert_non_null(constants_find(c, "empty", &size));
    assert_int_equal(size, 0);
    assert_null(constants_find(c, "other", &size));
    assert_int_equal(errno, ENOENT);
    assert_null(constants_find(NULL, "word", &size));
    assert_int_equal(errno, ENOENT);
    constants_close(c);
    constants_close(NULL);
}

static void
each_content_is_mapped_once_until_its_last_job_goes(void **state)
{
    struct constants *c = job("x", 5), *d = job("x", 5), *e;
    const void *at = constants_find(c, "word", NULL);

    (void)state;
    assert_ptr_equal(constants_find(d, "word", NULL), at);
    unlink(path); /* the worker may do that */
    e = job("x", 5);
    assert_ptr_equal(constants_find(e, "word", NULL), at);
    constants_close(c);
    constants_close(d);
    constants_ref(e);
    constants_close(e);
    assert_true(is_mapped());
    assert_memory_equal(constants_find(e, "word", NULL), "hello", 5);
    constants_close(e);
    assert_false(is_mapped());
    assert_int_equal(setup(state), 0);
}

static void
file_that_is_not_as_it_was_said_is_not_mapped(void **state)
{
    struct constants *c = job("x", 4096 * 3), *d;

    (void)state;
    assert_null(constants_find(c, "word", NULL));
    assert_int_equal(errno, EPROTO);
    assert_non_null(strstr(futures_error(), "the constant \"word\" cannot be mapped from /tmp/"));
    d = job("x", 5); /* of the same digest, and right */
    assert_non_null(constants_find(d, "word", NULL));
    constants_close(c);
    constants_close(d);
    unlink(path);
    c = job("y", 5);
    assert_null(constants_find(c, "word", NULL));
    assert_int_equal(errno, ENOENT);
    assert_non_null(strstr(futures_error(), path));
    assert_non_null(constants_find(c, "empty", NULL));
    constants_close(c);
    assert_int_equal(setup(state), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(constants_are_found_by_name),
        TEST(each_content_is_mapped_once_until_its_last_job_goes),
        TEST(file_that_is_not_as_it_was_said_is_not_mapped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
