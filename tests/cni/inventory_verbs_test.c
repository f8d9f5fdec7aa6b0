/*
 * The packet size of InfiniBand ports and which devices have a provider, which no file tells: asked
 * of the stand-in for libibverbs, and read from a captured tree.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inventory.h"

#include "support/test.h"
#include "support/verbs_soft.h"
#include "transport/verbs/verbs_sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct shl_verbs_sys *soft; /* the stand-in's */
static struct shl_verbs_sys changed;

static int infiniband_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
    int error = soft->query_port(context, port, attr);
    attr->link_layer = IBV_LINK_LAYER_INFINIBAND;
    attr->active_mtu = IBV_MTU_2048;
    return error;
}

static struct ibv_context *no_context(struct ibv_device *device)
{
    (void)device;
    return NULL;
}

static int set_up(void **state)
{
    verbs_soft_install(1);
    soft = shl_verbs;
    changed = *soft;
    changed.query_port = infiniband_port;
    shl_verbs = &changed;
    *state = cni_arena_create();
    return 0;
}

static int tear_down(void **state)
{
    cni_arena_destroy(*state);
    assert_int_equal(verbs_soft_objects(), 0);
    return 0;
}

static bool contains(const char *bytes, size_t count, const char *word)
{
    return memmem(bytes, count, word, strlen(word)) != NULL;
}

static void asked_and_captured(void **state)
{
    char *archive = NULL;
    size_t bytes = 0;
    struct cni_sysfs *sysfs = cni_sysfs_open(*state, "/", true);
    struct cni_verbs *verbs = cni_verbs_open(sysfs);
    assert_int_equal(cni_verbs_active_mtu(verbs, "soft0", 1), 2048);
    assert_int_equal(cni_verbs_active_mtu(verbs, "soft0", 2), -1);
    assert_int_equal(cni_verbs_active_mtu(verbs, "other", 1), -1);
    cni_verbs_close(verbs);
    FILE *out = open_memstream(&archive, &bytes);
    assert_true(cni_sysfs_capture(sysfs, out));
    assert_int_equal(fclose(out), 0);
    assert_true(contains(archive, bytes, "verbs/soft0/1/active_mtu"));
    free(archive);
}

static void not_of_a_device_that_does_not_open(void **state)
{
    changed.open_device = no_context;
    struct cni_verbs *verbs = cni_verbs_open(cni_sysfs_open(*state, "/", false));
    assert_int_equal(cni_verbs_active_mtu(verbs, "soft0", 1), -1);
    cni_verbs_close(verbs);
}

static struct ibv_device **no_list(int *count)
{
    *count = 0;
    errno = ENOSYS;
    return NULL;
}

static void listed_or_not(void **state)
{
    char *archive = NULL;
    size_t bytes = 0;
    struct cni_sysfs *sysfs = cni_sysfs_open(*state, "/", true);
    struct cni_verbs *verbs = cni_verbs_open(sysfs);
    assert_string_equal(cni_verbs_user_space(verbs, "soft0", true), "listed");
    assert_string_equal(cni_verbs_user_space(verbs, "mlx5_0", true), "unlisted");
    assert_null(cni_verbs_user_space(verbs, "mlx5_1", false));
    cni_verbs_close(verbs);
    FILE *out = open_memstream(&archive, &bytes);
    assert_true(cni_sysfs_capture(sysfs, out));
    assert_int_equal(fclose(out), 0);
    assert_true(contains(archive, bytes, "verbs/mlx5_0/user_space"));
    assert_false(contains(archive, bytes, "verbs/mlx5_1"));
    free(archive);
    changed.open_device = no_context; /* listed all the same */
    verbs = cni_verbs_open(sysfs);
    assert_string_equal(cni_verbs_user_space(verbs, "soft0", true), "listed");
    cni_verbs_close(verbs);
}

static void unknown_where_nothing_is_listed(void **state)
{
    changed.get_device_list = no_list;
    struct cni_verbs *verbs = cni_verbs_open(cni_sysfs_open(*state, "/", false));
    assert_null(cni_verbs_user_space(verbs, "soft0", true));
    assert_null(cni_verbs_user_space(NULL, "soft0", true));
    cni_verbs_close(verbs);
}

/* Even though this machine has a device of that name. */
static void replayed(void **state)
{
    char root[] = "/tmp/shoal-verbs.XXXXXX";
    assert_non_null(mkdtemp(root));
    const char *const parts[] = {"verbs", "soft0", "1"};
    char path[200];
    snprintf(path, sizeof(path), "%s", root);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", parts[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    snprintf(path + strlen(path), sizeof(path) - strlen(path), "/active_mtu");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("4096\n", file);
    assert_int_equal(fclose(file), 0);
    struct cni_verbs *verbs = cni_verbs_open(cni_sysfs_open(*state, root, false));
    assert_int_equal(cni_verbs_active_mtu(verbs, "soft0", 1), 4096);
    assert_int_equal(cni_verbs_active_mtu(verbs, "soft1", 1), -1);
    cni_verbs_close(verbs);
    for (char *end = path + strlen(path); end > path + strlen(root) - 1; end = strrchr(path, '/')) {
        *end = '\0';
        if (remove(path) != 0)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(asked_and_captured, set_up, tear_down),
        cmocka_unit_test_setup_teardown(not_of_a_device_that_does_not_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(listed_or_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_where_nothing_is_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replayed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
