/*
 * The schedules of every algorithm for some small rank counts are what they were: each is compared
 * with a file under tests/golden/. Where a change is meant, write them anew and read the diff:
 *
 *     build/tests/unit/collectives/collectives_golden_test update
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/schedule_check.h"
#include "collectives/schedule_print.h"

#include "shapes.h"
#include "support/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef GOLDEN_DIRECTORY
#error "the build says where the golden files are"
#endif

#define FILES_MAX 512
#define NAME_BYTES 128

static bool updating;
static char names[FILES_MAX][NAME_BYTES]; /* of the files that there should be */
static uint32_t name_count;

/* All ranks' schedules as text; the caller frees it. */
static char *print_all(const struct shl_algorithm *algorithm, const struct shl_shape *shape)
{
    struct shl_schedule **schedules;
    char *text = NULL;
    size_t bytes = 0;
    ASSERT_OK(shl_algorithm_build_all(algorithm, shape, &schedules));
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    for (uint32_t rank = 0; rank < shape->rank_count; rank++)
        shl_schedule_print(schedules[rank], stream);
    assert_int_equal(fclose(stream), 0);
    shl_schedule_free_all(schedules, shape->rank_count);
    return text;
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return NULL;
    char *text = NULL;
    size_t room = 0;
    if (getdelim(&text, &room, '\0', file) < 0) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

static uint32_t first_difference(const char *a, const char *b)
{
    uint32_t line = 1;
    for (; *a && *a == *b; a++, b++)
        line += *a == '\n';
    return line;
}

static void compare(const struct shl_algorithm *algorithm, const struct shl_shape *shape,
                    const char *suffix)
{
    char path[512];
    assert_true(name_count < FILES_MAX);
    char *name = names[name_count++];
    snprintf(name, NAME_BYTES, "%s_%s_%s.txt", shoal_collective_string(algorithm->collective),
             algorithm->name, suffix);
    snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIRECTORY, name);
    char *now = print_all(algorithm, shape);
    if (updating) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(now, file);
        assert_int_equal(fclose(file), 0);
    } else {
        char *before = read_file(path);
        if (!before)
            fail_msg("%s is missing; run this test with the argument update", path);
        else if (strcmp(before, now) != 0)
            fail_msg("%s differs from line %u on; where that is meant, run this test with the "
                     "argument update",
                     path, first_difference(before, now));
        free(before);
    }
    free(now);
}

static void small_rank_counts(void **state)
{
    (void)state;
    static const uint32_t counts[] = {2, 3, 5, 8};
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        for (size_t c = 0; c < 4; c++) {
            char suffix[32];
            struct shl_shape shape = {.rank_count = counts[c], .chunks = 1};
            shape.root = shape_rooted(algorithm->collective) ? counts[c] / 3 : 0;
            snprintf(suffix, sizeof(suffix), "p%u", counts[c]);
            if (shl_algorithm_suits(algorithm, counts[c], NULL))
                compare(algorithm, &shape, suffix);
        }
    }
}

static void several_hosts(void **state)
{
    (void)state;
    static const struct {
        uint32_t hosts, local;
    } maps[] = {{2, 2}, {2, 3}, {3, 2}};
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        for (size_t m = 0; algorithm->needs_hosts && m < 3; m++) {
            char suffix[32];
            struct shape_hosts hosts;
            struct shl_shape shape = {.rank_count = maps[m].hosts * maps[m].local, .chunks = 1};
            shape.root = shape_rooted(algorithm->collective) ? 1 : 0;
            shape.hosts = shape_hosts_even(&hosts, shape.rank_count, maps[m].local);
            snprintf(suffix, sizeof(suffix), "%ux%u", maps[m].hosts, maps[m].local);
            compare(algorithm, &shape, suffix);
        }
    }
}

/* Chunks change schedules in a regular way; one file each shows how. */
static void two_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        struct shl_shape shape = {.rank_count = 3, .chunks = 2};
        if (algorithm->pipelined && !algorithm->needs_hosts)
            compare(algorithm, &shape, "p3_chunks2");
    }
}

/* A file that nothing compares with any more would look like a promise. */
static void no_file_is_left_over(void **state)
{
    (void)state;
    DIR *directory = opendir(GOLDEN_DIRECTORY);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        bool known = entry->d_name[0] == '.' || !strchr(entry->d_name, '_');
        for (uint32_t i = 0; i < name_count; i++)
            known |= strcmp(entry->d_name, names[i]) == 0;
        if (!known)
            fail_msg("%s/%s belongs to no algorithm; delete it", GOLDEN_DIRECTORY, entry->d_name);
    }
    closedir(directory);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_rank_counts),
        cmocka_unit_test(several_hosts),
        cmocka_unit_test(two_chunks),
        cmocka_unit_test(no_file_is_left_over),
    };
    updating = argc > 1 && strcmp(argv[1], "update") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
