/* test_programs.c - the cache of programs, in a directory of its own. */
#include "../../worker/machine.h"
#include "../../worker/programs.h"

#include "../../proto/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1u << 20)

static char directory[] = "/tmp/ladle-programs-XXXXXX";
static const char *in_use;

static bool
is_used(void *arg, const char *digest)
{
    (void)arg;
    return in_use != NULL && strcmp(in_use, digest) == 0;
}

struct file { /* a program that is somewhere else */
    char *bytes;
    size_t size;
    char digest[65];
};

static void
seal(struct file *f)
{
    unsigned char sum[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(sum, (unsigned char *)f->bytes, f->size);
    sodium_bin2hex(f->digest, sizeof(f->digest), sum, sizeof(sum));
}

static struct file
file_new(size_t size, char fill)
{
    struct file f = {.bytes = malloc(size), .size = size};

    assert_non_null(f.bytes);
    memset(f.bytes, fill, size);
    seal(&f);
    return f;
}

static struct program
program_of(const struct file *f)
{
    struct program p = {.name = "tool", .machine = "", .arguments = "", .size = f->size};

    memcpy(p.digest, f->digest, sizeof(p.digest));
    return p;
}

static int
part(struct programs *s, const struct file *f, uint64_t offset, const char **why)
{
    size_t size = f->size - offset < LIMIT_PART ? f->size - offset : LIMIT_PART;
    struct blob *data = blob_copy(f->bytes + offset, size);
    struct message_program_part m = {
        .digest = f->digest,
        .offset = offset,
        .size = f->size,
        .columns = {.count = 1, .size = (uint32_t)size, .data = data, .length = size}};
    int result = programs_part(s, CONTENT_PROGRAM, &m, 0, why);

    blob_unref(data);
    return result;
}

static int
fetch(struct programs *s, const struct file *f, const char **why)
{
    struct program p = program_of(f);
    const char *digest;
    uint64_t offset;
    int result = 0;

    *why = "";
    assert_int_equal(programs_fetch(s, CONTENT_PROGRAM, p.digest, p.name, 0), 0);
    while (result == 0 && programs_wanted(s, &digest, &offset, 0)) {
        assert_string_equal(digest, f->digest);
        result = part(s, f, offset, why);
    }
    return result;
}

static unsigned
files(void)
{
    char path[64];
    DIR *dir;
    unsigned n = 0;
    const struct dirent *d;

    snprintf(path, sizeof(path), "%s/programs", directory);
    assert_non_null(dir = opendir(path));
    while ((d = readdir(dir)) != NULL)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n;
}

static int
setup(void **state)
{
    strcpy(directory + strlen(directory) - 6, "XXXXXX");
    in_use = NULL;
    if (sodium_init() < 0 || mkdtemp(directory) == NULL)
        return -1;
    *state = programs_open(directory, 8 * MIB, is_used, NULL);
    return *state == NULL;
}

static int
teardown(void **state)
{
    char command[64];

    programs_close(*state);
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    return system(command);
}

static void
program_comes_in_parts_and_stays(void **state)
{
    struct file f = file_new(3 * MIB + 5, 'x');
    const char *why, *path;
    struct stat st;

    assert_null(programs_path(*state, CONTENT_PROGRAM, f.digest));
    assert_int_equal(fetch(*state, &f, &why), 1);
    assert_non_null(path = programs_path(*state, CONTENT_PROGRAM, f.digest));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, f.size);
    assert_int_equal(st.st_mode & 0777, 0500);
    assert_int_equal(files(), 1);
    free(f.bytes);
}

static void
parts_may_come_in_any_order_and_twice(void **state)
{
    struct file f = file_new(4 * MIB, 'x');
    struct program p = program_of(&f);
    const char *why, *digest;
    uint64_t offset;
    unsigned asked = 0;

    f.bytes[2 * MIB] = 'y';
    seal(&f);
    p = program_of(&f);
    programs_fetch(*state, CONTENT_PROGRAM, p.digest, p.name, 0);
    assert_true(programs_wanted(*state, &digest, &offset, 0));
    assert_int_equal(offset, 0);
    assert_false(programs_wanted(*state, &digest, &offset, 0)); /* until the size is known */
    assert_int_equal(part(*state, &f, 0, &why), 0);
    while (programs_wanted(*state, &digest, &offset, 0))
        asked++;
    assert_int_equal(asked, 3);
    assert_int_equal(part(*state, &f, 3 * MIB, &why), 0);
    assert_int_equal(part(*state, &f, 3 * MIB, &why), 0);
    assert_int_equal(part(*state, &f, 1 * MIB, &why), 0);
    assert_int_equal(part(*state, &f, 2 * MIB, &why), 1);
    assert_non_null(programs_path(*state, CONTENT_PROGRAM, f.digest));
    free(f.bytes);
}

static void
what_does_not_come_is_asked_for_again(void **state)
{
    struct file f = file_new(10, 'x');
    struct program p = program_of(&f);
    const char *digest;
    uint64_t offset;

    programs_fetch(*state, CONTENT_PROGRAM, p.digest, p.name, 0);
    assert_true(programs_wanted(*state, &digest, &offset, 0));
    assert_false(programs_wanted(*state, &digest, &offset, 1));
    assert_true(programs_wanted(*state, &digest, &offset, programs_deadline(*state)));
    assert_int_equal(offset, 0);
    free(f.bytes);
}

static void
what_never_comes_is_given_up(void **state)
{
    enum { MINUTE = 60000000 };
    struct file f = file_new(10, 'x');
    struct program p = program_of(&f);
    enum content kind = CONTENT_CONSTANT;
    const char *asked, *why;
    char digest[65] = "";
    int64_t now = 0;
    uint64_t offset;

    programs_fetch(*state, CONTENT_PROGRAM, p.digest, p.name, 0);
    while (now < MINUTE) {
        assert_false(programs_given_up(*state, &kind, digest, now, &why));
        (void)programs_wanted(*state, &asked, &offset, now);
        now = programs_deadline(*state); /* asked for again in between */
    }
    assert_int_equal(now, MINUTE);
    assert_true(programs_given_up(*state, &kind, digest, now, &why));
    assert_int_equal(kind, CONTENT_PROGRAM);
    assert_string_equal(digest, p.digest);
    assert_non_null(strstr(why, "has sent nothing for 60 s"));
    assert_false(programs_given_up(*state, &kind, digest, now, &why));
    assert_false(programs_wanted(*state, &asked, &offset, now));
    free(f.bytes);
}

static void
least_recently_used_goes_first_and_what_is_used_stays(void **state)
{
    struct file f[4];
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    const char *why;

    for (int i = 0; i < 4; i++) {
        f[i] = file_new(2 * MIB + 100, (char)('a' + i));
        if (i == 3)
            break;
        assert_int_equal(fetch(*state, &f[i], &why), 1);
        times[0].tv_sec = times[1].tv_sec = 1000 + i;
        assert_int_equal(
            utimensat(AT_FDCWD, programs_path(*state, CONTENT_PROGRAM, f[i].digest), times, 0), 0);
    }
    in_use = f[0].digest; /* the oldest */
    assert_int_equal(fetch(*state, &f[3], &why), 1);
    assert_non_null(programs_path(*state, CONTENT_PROGRAM, f[0].digest));
    assert_null(programs_path(*state, CONTENT_PROGRAM, f[1].digest));
    assert_non_null(programs_path(*state, CONTENT_PROGRAM, f[2].digest));
    assert_non_null(programs_path(*state, CONTENT_PROGRAM, f[3].digest));
    for (int i = 0; i < 4; i++)
        free(f[i].bytes);
}

static void
program_over_the_budget_is_refused_in_words(void **state)
{
    struct file f = file_new(9 * MIB, 'x');
    const char *why;

    assert_int_equal(fetch(*state, &f, &why), -1);
    assert_non_null(strstr(why, "--cache-size"));
    assert_int_equal(files(), 0);
    free(f.bytes);
}

static void
disk_that_is_full_of_used_programs_is_told(void **state)
{
    struct file a = file_new(5 * MIB, 'a'), b = file_new(5 * MIB, 'b');
    const char *why;

    assert_int_equal(fetch(*state, &a, &why), 1);
    in_use = a.digest;
    assert_int_equal(fetch(*state, &b, &why), -1);
    assert_non_null(strstr(why, "--cache-size"));
    assert_non_null(programs_path(*state, CONTENT_PROGRAM, a.digest));
    in_use = NULL;
    assert_int_equal(fetch(*state, &b, &why), 1);
    free(a.bytes);
    free(b.bytes);
}

static void
damaged_program_is_not_kept(void **state)
{
    struct file f = file_new(MIB + 1, 'x');
    const char *why;

    f.bytes[7] = 'y';
    assert_int_equal(fetch(*state, &f, &why), -1);
    assert_non_null(strstr(why, "damaged"));
    assert_int_equal(files(), 0);
    free(f.bytes);
}

static void
file_that_was_damaged_on_disk_is_fetched_anew(void **state)
{
    struct file f = file_new(1000, 'x');
    const char *why, *path;
    int fd;

    assert_int_equal(fetch(*state, &f, &why), 1);
    path = programs_path(*state, CONTENT_PROGRAM, f.digest);
    chmod(path, 0700);
    assert_true((fd = open(path, O_WRONLY)) >= 0);
    assert_int_equal(pwrite(fd, "y", 1, 500), 1);
    close(fd);
    assert_non_null(programs_path(*state, CONTENT_PROGRAM,
                                  f.digest)); /* it was checked, once for this worker */
    programs_close(*state);
    *state = programs_open(directory, 8 * MIB, is_used, NULL);
    assert_null(programs_path(*state, CONTENT_PROGRAM, f.digest));
    assert_int_equal(files(), 0);
    assert_int_equal(fetch(*state, &f, &why), 1);
    free(f.bytes);
}

static void
program_for_another_machine_is_refused_by_name(void **state)
{
    struct file f = file_new(2000, 0);
    Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB},
                         .e_machine = EM_AARCH64};
    const char *why, *other = "aarch64";

    if (strcmp(machine_host(), "aarch64") == 0) {
        header.e_machine = EM_RISCV;
        other = "riscv64";
    }
    memcpy(f.bytes, &header, sizeof(header));
    seal(&f);
    assert_int_equal(fetch(*state, &f, &why), -1);
    assert_non_null(strstr(why, other));
    assert_non_null(strstr(why, machine_host()));
    assert_int_equal(files(), 0);
    free(f.bytes);
}

static void
program_that_cannot_be_had_is_told_in_its_words(void **state)
{
    struct file f = file_new(10, 'x');
    struct program p = program_of(&f);
    struct message_program_part m = {.digest = f.digest, .text = "its file is gone"};
    const char *why = "";

    programs_fetch(*state, CONTENT_PROGRAM, p.digest, p.name, 0);
    assert_int_equal(programs_part(*state, CONTENT_PROGRAM, &m, 0, &why), -1);
    assert_non_null(strstr(why, "its file is gone"));
    assert_int_equal(programs_part(*state, CONTENT_PROGRAM, &m, 0, &why),
                     0); /* of no fetch any more */
    free(f.bytes);
}

static void
parts_that_do_not_fit_end_the_fetch(void **state)
{
    struct file f = file_new(2 * MIB, 'x');
    struct program p = program_of(&f);
    struct message_program_part m = {.digest = f.digest, .size = 2 * MIB, .offset = 5};
    const char *why = "";

    programs_fetch(*state, CONTENT_PROGRAM, p.digest, p.name, 0);
    assert_int_equal(programs_part(*state, CONTENT_PROGRAM, &m, 0, &why), -1);
    assert_int_equal(files(), 0);
    free(f.bytes);
}

static void
two_workers_share_a_directory(void **state)
{
    struct programs *other = programs_open(directory, 8 * MIB, is_used, NULL);
    struct file f = file_new(2 * MIB, 'x');
    struct program p = program_of(&f);
    const char *why;

    programs_fetch(*state, CONTENT_PROGRAM, p.digest, p.name, 0);
    assert_int_equal(part(*state, &f, 0, &why), 0);
    assert_int_equal(fetch(other, &f, &why), 1);
    assert_int_equal(part(*state, &f, MIB, &why), 1);
    assert_non_null(programs_path(*state, CONTENT_PROGRAM, f.digest));
    assert_non_null(programs_path(other, CONTENT_PROGRAM, f.digest));
    assert_int_equal(files(), 1);
    programs_close(other);
    free(f.bytes);
}

/* ---- constants ---------------------------------------------------------------------------------
 */

static int
constant_part(struct programs *s, const struct file *f, uint64_t offset, const char **why)
{
    size_t size = f->size - offset < LIMIT_PART ? f->size - offset : LIMIT_PART;
    struct blob *data = blob_copy(f->bytes + offset, size);
    struct message_program_part m = {
        .digest = f->digest,
        .offset = offset,
        .size = f->size,
        .columns = {.count = 1, .size = (uint32_t)size, .data = data, .length = size}};
    int result = programs_part(s, CONTENT_CONSTANT, &m, 0, why);

    blob_unref(data);
    return result;
}

static int
fetch_constant(struct programs *s, const struct file *f, const char **why)
{
    const char *digest;
    uint64_t offset;
    int result = 0;

    *why = "";
    assert_int_equal(programs_fetch(s, CONTENT_CONSTANT, f->digest, "table", 0), 0);
    while (result == 0 && programs_wanted(s, &digest, &offset, 0))
        result = constant_part(s, f, offset, why);
    return result;
}

static void
constant_is_kept_beside_programs_until_it_is_dropped(void **state)
{
    struct file f = file_new(MIB + 5, 'x');
    const char *why, *path;
    struct stat st;

    /* What would be the wrong machine for a program. */
    memcpy(f.bytes, "\177ELF\2\1\1", 8);
    seal(&f);
    assert_int_equal(fetch_constant(*state, &f, &why), 1);
    assert_null(programs_path(*state, CONTENT_PROGRAM, f.digest));
    assert_non_null(path = programs_path(*state, CONTENT_CONSTANT, f.digest));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    programs_drop(*state, CONTENT_PROGRAM, f.digest);
    assert_int_equal(files(), 1);
    programs_drop(*state, CONTENT_CONSTANT, f.digest);
    assert_int_equal(files(), 0);
    assert_null(programs_path(*state, CONTENT_CONSTANT, f.digest));
    programs_drop(*state, CONTENT_CONSTANT, "../../etc/passwd"); /* nothing, of course */
    free(f.bytes);
}

static void
dropping_ends_what_is_on_its_way(void **state)
{
    struct file f = file_new(3 * MIB, 'x');
    const char *why, *digest;
    uint64_t offset;

    assert_int_equal(programs_fetch(*state, CONTENT_PROGRAM, f.digest, "p", 0), 0);
    assert_true(programs_wanted(*state, &digest, &offset, 0));
    assert_int_equal(part(*state, &f, 0, &why), 0);
    assert_true(programs_wanted(*state, &digest, &offset, 0));
    assert_int_equal(files(), 1);
    programs_drop(*state, CONTENT_PROGRAM, f.digest);
    assert_int_equal(files(), 0);
    assert_false(programs_wanted(*state, &digest, &offset, 0));
    assert_int_equal(part(*state, &f, MIB, &why), 0);
    assert_int_equal(files(), 0);
    free(f.bytes);
}

static void
damaged_constant_is_not_kept(void **state)
{
    struct file f = file_new(MIB + 1, 'x');
    const char *why;

    f.bytes[7] = 'y';
    assert_int_equal(fetch_constant(*state, &f, &why), -1);
    assert_non_null(strstr(why, "constant 'table' came damaged"));
    assert_int_equal(files(), 0);
    free(f.bytes);
}

static void
constant_of_a_run_before_is_looked_through_in_steps(void **state)
{
    struct programs *s = *state;
    struct file f = file_new(8 * MIB - 1000, 'x');
    const char *why, *wanted;
    char digest[65];
    uint64_t offset;
    int steps = 0;

    assert_int_equal(fetch_constant(s, &f, &why), 1);
    programs_close(s);
    *state = s = programs_open(directory, 16 * MIB, is_used, NULL);
    assert_null(programs_path(s, CONTENT_CONSTANT, f.digest));
    assert_int_equal(programs_fetch(s, CONTENT_CONSTANT, f.digest, "table", 0), 0);
    assert_false(programs_wanted(s, &wanted, &offset, 0));
    assert_int_equal(programs_deadline(s), 0);
    while (!programs_check(s, digest))
        assert_in_range(++steps, 1, 10);
    assert_true(steps > 0);
    assert_string_equal(digest, f.digest);
    assert_non_null(programs_path(s, CONTENT_CONSTANT, f.digest));
    assert_false(programs_check(s, digest));
    free(f.bytes);
}

static void
damaged_constant_of_a_run_before_is_fetched_anew(void **state)
{
    struct programs *s = *state;
    struct file f = file_new(1000, 'x');
    const char *why, *path;
    char digest[65];
    int fd;

    assert_int_equal(fetch_constant(s, &f, &why), 1);
    path = programs_path(s, CONTENT_CONSTANT, f.digest);
    chmod(path, 0600);
    assert_true((fd = open(path, O_WRONLY)) >= 0);
    assert_int_equal(pwrite(fd, "y", 1, 500), 1);
    close(fd);
    programs_close(s);
    *state = s = programs_open(directory, 8 * MIB, is_used, NULL);
    assert_int_equal(programs_fetch(s, CONTENT_CONSTANT, f.digest, "table", 0), 0);
    assert_false(programs_check(s, digest));
    assert_false(programs_check(s, digest));
    assert_int_equal(files(), 0);
    assert_int_equal(fetch_constant(s, &f, &why), 1);
    assert_non_null(programs_path(s, CONTENT_CONSTANT, f.digest));
    free(f.bytes);
}

static void
constants_and_programs_share_one_budget(void **state)
{
    struct file f = file_new(5 * MIB, 'a'), g = file_new(5 * MIB, 'b');
    const char *why;

    assert_int_equal(fetch(*state, &f, &why), 1);
    in_use = f.digest;
    assert_int_equal(fetch_constant(*state, &g, &why), -1);
    assert_non_null(strstr(why, "constant 'table' has 6 MiB, and no more than 8 MiB"));
    in_use = NULL;
    assert_int_equal(fetch_constant(*state, &g, &why), 1);
    assert_null(programs_path(*state, CONTENT_PROGRAM, f.digest));
    in_use = g.digest;
    assert_int_equal(fetch(*state, &f, &why), -1);
    assert_non_null(programs_path(*state, CONTENT_CONSTANT, g.digest));
    free(f.bytes);
    free(g.bytes);
}

static void
only_so_much_is_under_way_to_a_worker(void **state)
{
    struct file f = file_new(6 * MIB, 'a'), g = file_new(12 * MIB, 'b');
    const char *why, *digest;
    uint64_t offset;
    unsigned asked = 0;

    programs_close(*state);
    *state = programs_open(directory, 64 * MIB, is_used, NULL);
    for (struct file *at = &f; at != NULL; at = at == &f ? &g : NULL) {
        assert_int_equal(programs_fetch(*state, CONTENT_CONSTANT, at->digest, "p", 0), 0);
        assert_true(programs_wanted(*state, &digest, &offset, 0));
        assert_string_equal(digest, at->digest);
        assert_int_equal(constant_part(*state, at, 0, &why), 0);
        while (programs_wanted(*state, &digest, &offset, 0))
            asked++;
    }
    assert_int_equal(asked, 8); /* 5 of the one, 3 of the other */
    assert_int_equal(constant_part(*state, &f, MIB, &why), 0);
    assert_true(programs_wanted(*state, &digest, &offset, 0)); /* one came, one may */
    assert_false(programs_wanted(*state, &digest, &offset, 0));
    programs_drop(*state, CONTENT_CONSTANT, f.digest);
    for (asked = 0; programs_wanted(*state, &digest, &offset, 0); asked++)
        ;
    assert_int_equal(asked, 4); /* in place of those that nobody waits for now */
    free(f.bytes);
    free(g.bytes);
}

static void
digests_are_no_paths(void **state)
{
    assert_null(programs_path(*state, CONTENT_PROGRAM, "../../../bin/sh"));
    assert_null(programs_path(*state, CONTENT_PROGRAM, ""));
}

static void
machines_are_told_from_headers(void **state)
{
    Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB},
                         .e_machine = EM_X86_64};
    const unsigned char *bytes = (const unsigned char *)&header;

    (void)state;
    assert_string_equal(machine_of_header(bytes, sizeof(header)), "x86_64");
    header.e_machine = 0x1234;
    assert_string_equal(machine_of_header(bytes, sizeof(header)), "unknown");
    header.e_ident[EI_DATA] = ELFDATA2MSB;
    header.e_machine = (Elf64_Half)(EM_S390 << 8);
    assert_string_equal(machine_of_header(bytes, sizeof(header)), "s390x");
    assert_string_equal(machine_of_header(bytes, 10), "");
    assert_string_equal(machine_of_header((const unsigned char *)"#!/usr/bin/env python3\n", 23),
                        "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(program_comes_in_parts_and_stays),
        TEST(parts_may_come_in_any_order_and_twice),
        TEST(what_does_not_come_is_asked_for_again),
        TEST(what_never_comes_is_given_up),
        TEST(least_recently_used_goes_first_and_what_is_used_stays),
        TEST(program_over_the_budget_is_refused_in_words),
        TEST(disk_that_is_full_of_used_programs_is_told),
        TEST(damaged_program_is_not_kept),
        TEST(file_that_was_damaged_on_disk_is_fetched_anew),
        TEST(program_for_another_machine_is_refused_by_name),
        TEST(program_that_cannot_be_had_is_told_in_its_words),
        TEST(parts_that_do_not_fit_end_the_fetch),
        TEST(two_workers_share_a_directory),
        TEST(constant_is_kept_beside_programs_until_it_is_dropped),
        TEST(dropping_ends_what_is_on_its_way),
        TEST(damaged_constant_is_not_kept),
        TEST(constant_of_a_run_before_is_looked_through_in_steps),
        TEST(damaged_constant_of_a_run_before_is_fetched_anew),
        TEST(constants_and_programs_share_one_budget),
        TEST(only_so_much_is_under_way_to_a_worker),
        TEST(digests_are_no_paths),
        cmocka_unit_test(machines_are_told_from_headers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
