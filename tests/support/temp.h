/*
 * A folder for one test, and files in it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_TEMP_H
#define SUPPORT_TEMP_H

#include <stddef.h>

#define SHL_TEST_PATH_BYTES 256

struct shl_test_temp {
    char path[SHL_TEST_PATH_BYTES];
};

/* All three fail the test when they cannot do it. */
void shl_test_temp_create(struct shl_test_temp *temp);
/* Writes temp/name, making the folders on the way; `path` may be NULL, else receives the path. */
void shl_test_temp_write(const struct shl_test_temp *temp, const char *name, const void *content,
                         size_t bytes, char path[SHL_TEST_PATH_BYTES]);
void shl_test_temp_remove(struct shl_test_temp *temp);

/* For cmocka's list of tests: *state is a folder of the test's own. */
#define SHL_TEST_IN_FOLDER(test)                                                                   \
    cmocka_unit_test_setup_teardown(test, shl_test_temp_set_up, shl_test_temp_tear_down)
int shl_test_temp_set_up(void **state);
int shl_test_temp_tear_down(void **state);

#endif
