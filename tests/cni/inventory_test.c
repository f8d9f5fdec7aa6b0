/*
 * Distances between PCI functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inventory.h"

#include "support/test.h"

#include <stdlib.h>

#define ROOT "/sys/devices/pci0000:00/0000:00:01.0"

static void distances(void **state)
{
    (void)state;
    static const struct {
        const char *one, *two;
        int64_t one_node, two_node;
        const char *distance;
    } cases[] = {
        /* Functions of one device; below one switch; below a deeper one. */
        {ROOT "/0000:01:00.0", ROOT "/0000:01:00.2", 0, 0, "PIX"},
        {ROOT "/0000:01:00.0/0000:02:01.0/0000:03:00.0",
         ROOT "/0000:01:00.0/0000:02:02.0/0000:04:00.0", 0, 0, "PIX"},
        {ROOT "/0000:01:00.0/0000:02:01.0/0000:03:00.0/0000:04:00.0/0000:05:00.0",
         ROOT "/0000:01:00.0/0000:02:02.0/0000:06:00.0", 0, 0, "PXB"},
        {ROOT "/0000:01:00.0", "/sys/devices/pci0000:00/0000:00:02.0/0000:02:00.0", 0, 0, "PHB"},
        {ROOT "/0000:01:00.0", "/sys/devices/pci0000:40/0000:40:01.0", 0, 0, "NODE"},
        {ROOT "/0000:01:00.0", "/sys/devices/pci0000:80/0000:80:01.0", 0, 1, "SYS"},
        {ROOT "/0000:01:00.0", "/sys/devices/pci0000:80/0000:80:01.0", -1, -1, "SYS"},
        /* No PCI functions at all. */
        {"/sys/devices/virtual/net/lo", ROOT, 0, 0, "NODE"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(
            cni_pci_distance(cases[i].one, cases[i].two, cases[i].one_node, cases[i].two_node),
            cases[i].distance);
        assert_string_equal(
            cni_pci_distance(cases[i].two, cases[i].one, cases[i].two_node, cases[i].one_node),
            cases[i].distance);
    }
}

static void last_parts(void **state)
{
    (void)state;
    assert_string_equal(cni_last_part("/a/b"), "b");
    assert_string_equal(cni_last_part("b"), "b");
    assert_null(cni_last_part(NULL));
}

/* What the machine tells otherwise than in files is in the archive as if it were one. */
static void texts_of_no_file(void **state)
{
    (void)state;
    struct cni_arena *arena = cni_arena_create();
    struct cni_sysfs *sysfs = cni_sysfs_open(arena, "/", true);
    char *bytes = NULL;
    size_t count = 0;
    assert_non_null(sysfs);
    assert_true(cni_sysfs_live(sysfs));
    assert_string_equal(cni_sysfs_add(sysfs, "0,0,0,1", "/netlink/dcb/%s/pfc", "eth0"), "0,0,0,1");
    FILE *archive = open_memstream(&bytes, &count);
    assert_true(cni_sysfs_capture(sysfs, archive));
    fclose(archive);
    assert_non_null(memmem(bytes, count, "netlink/dcb/eth0/pfc", 20));
    assert_non_null(memmem(bytes, count, "0,0,0,1", 7));
    free(bytes);
    cni_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances),
        cmocka_unit_test(last_parts),
        cmocka_unit_test(texts_of_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
