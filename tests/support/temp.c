/*
 * Temporary folders.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/temp.h"

#include "support/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

void shl_test_temp_create(struct shl_test_temp *temp)
{
    const char *parent = getenv("TMPDIR");
    snprintf(temp->path, sizeof(temp->path), "%.128s/shoal-test-XXXXXX",
             parent && *parent ? parent : "/tmp");
    if (!mkdtemp(temp->path))
        fail_msg("no folder %s", temp->path);
}

static void make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700); /* most exist; opening the file tells */
        *slash = '/';
    }
}

void shl_test_temp_write(const struct shl_test_temp *temp, const char *name, const void *content,
                         size_t bytes, char path[SHL_TEST_PATH_BYTES])
{
    char full[2 * SHL_TEST_PATH_BYTES];
    int used = snprintf(full, sizeof(full), "%s/%s", temp->path, name);
    assert_true(used < SHL_TEST_PATH_BYTES);
    make_folders(full);
    FILE *file = fopen(full, "wb");
    if (!file)
        fail_msg("no file %s", full);
    size_t written = fwrite(content, 1, bytes, file);
    fclose(file);
    assert_int_equal(written, bytes);
    if (path)
        memcpy(path, full, (size_t)used + 1);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

void shl_test_temp_remove(struct shl_test_temp *temp)
{
    if (temp->path[0])
        nftw(temp->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    temp->path[0] = 0;
}

int shl_test_temp_set_up(void **state)
{
    struct shl_test_temp *temp = calloc(1, sizeof(*temp));
    assert_non_null(temp);
    shl_test_temp_create(temp);
    *state = temp;
    return 0;
}

int shl_test_temp_tear_down(void **state)
{
    shl_test_temp_remove(*state);
    free(*state);
    return 0;
}
