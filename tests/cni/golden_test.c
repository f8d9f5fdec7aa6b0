/*
 * What is found in each case and in each real manifest, line by line, against golden files. Where a
 * change is meant, write them anew and read the diff:
 *
 *     build/tests/cni/cni_golden_test update
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "read.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#define MANIFESTS 71

static bool updating;
static char *everything; /* all reports, for the rules that they show */

static void remember(const char *report)
{
    size_t before = everything ? strlen(everything) : 0;
    everything = realloc(everything, before + strlen(report) + 1);
    assert_non_null(everything);
    strcpy(everything + before, report);
}

static void compare(const char *path, const char *now)
{
    char *before = read_file(path);
    if (updating) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(now, file);
        assert_int_equal(fclose(file), 0);
    } else if (!before) {
        fail_msg("%s is missing; run this test with the argument update", path);
    } else if (strcmp(before, now) != 0) {
        fail_msg("%s differs; where that is meant, run this test with the argument update. It "
                 "would now be:\n%s",
                 path, now);
    }
    free(before);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "README.md") != 0;
}

/* Cases called node-... are checked against both inventories of the tests of `inspect`. */
static void cases(void **state)
{
    (void)state;
    static const char *const nodes[] = {"golden/shared-two-rails.json",
                                        "golden/exclusive-infiniband.json", NULL};
    struct dirent **entries;
    int count = scandir("cases", &entries, is_visible, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        char path[512], golden[512];
        bool against_nodes = strncmp(entries[i]->d_name, "node-", 5) == 0;
        snprintf(path, sizeof(path), "cases/%s", entries[i]->d_name);
        snprintf(golden, sizeof(golden), "golden/%s.txt", entries[i]->d_name);
        char *report = report_of(path, against_nodes ? nodes : NULL);
        compare(golden, report);
        remember(report);
        free(report);
        free(entries[i]);
    }
    free(entries);
}

/* One report of all: most have no findings. */
static void real_manifests(void **state)
{
    (void)state;
    struct dirent **entries;
    char *all = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&all, &bytes);
    int count = scandir("manifests", &entries, is_visible, alphasort);
    assert_int_equal(count, MANIFESTS);
    for (int i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof(path), "manifests/%s", entries[i]->d_name);
        char *report = report_of(path, NULL);
        fputs(report, stream);
        free(report);
        free(entries[i]);
    }
    fclose(stream);
    free(entries);
    compare("golden/manifests.txt", all);
    remember(all);
    free(all);
}

/* A rule that no case breaks would be untested. */
static void every_rule_is_shown(void **state)
{
    (void)state;
    for (size_t i = 0; i < CNI_RULE_COUNT; i++) {
        char mark[64];
        snprintf(mark, sizeof(mark), "[%s]\n", cni_rules[i].id);
        if (!strstr(everything, mark))
            fail_msg("no case breaks the rule %s", cni_rules[i].id);
    }
}

/* The tutorial's attachment is explained fault by fault, and its correction is clean. */
static void tutorial(void **state)
{
    (void)state;
    static const char *const faults[] = {"ipoib-master", "ipoib-inherited", "no-ipam", "cni-name",
                                         "carries-no-rdma"};
    char *report = report_of("cases/tutorial-ipoib.yaml", NULL);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        if (!strstr(report, faults[i]))
            fail_msg("%s was not found", faults[i]);
    free(report);
    report = report_of("cases/tutorial-ipoib-corrected.yaml", NULL);
    assert_null(strstr(report, "error"));
    assert_null(strstr(report, "warning"));
    free(report);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases),
        cmocka_unit_test(real_manifests),
        cmocka_unit_test(every_rule_is_shown),
        cmocka_unit_test(tutorial),
    };
    updating = argc > 1 && strcmp(argv[1], "update") == 0;
    if (chdir(CNI_TESTS) != 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(everything);
    return failed;
}
