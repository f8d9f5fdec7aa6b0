/*
 * Addresses and subnets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cidr.h"

#include "support/test.h"

static struct cni_cidr cidr(const char *text)
{
    struct cni_cidr cidr;
    if (!cni_cidr_parse(text, &cidr))
        fail_msg("%s was not read", text);
    return cidr;
}

static void malformed(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8x",
        "10.0.0/8",
        "300.0.0.0/8",
        "fd00::/129",
        "fd00::g/64",
        "/24",
        "10.0.0.0/0024",
        "10.0.0.0/ 8",
    };
    struct cni_cidr parsed;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (cni_cidr_parse(texts[i], &parsed))
            fail_msg("\"%s\" was read", texts[i]);
}

static void relations(void **state)
{
    (void)state;
    const struct cni_cidr wide = cidr("10.0.0.0/8"), narrow = cidr("10.1.2.0/24");
    const struct cni_cidr apart = cidr("10.1.3.0/24"), six = cidr("fd00::/64"), all = cidr("::/0");
    struct cni_address inside, outside;
    assert_true(cni_address_parse("10.1.2.255", &inside));
    assert_true(cni_address_parse("10.1.3.0", &outside));
    assert_true(cni_cidr_overlaps(&wide, &narrow) && cni_cidr_overlaps(&narrow, &wide));
    assert_false(cni_cidr_overlaps(&narrow, &apart) || cni_cidr_overlaps(&wide, &six));
    assert_true(cni_cidr_overlaps(&six, &all));
    assert_true(cni_cidr_contains(&narrow, &inside) && !cni_cidr_contains(&narrow, &outside));
    assert_true(cni_address_compare(&inside, &outside) < 0);
    const struct cni_cidr address = cidr("10.1.2.3/24"), single = cidr("10.1.2.3/32");
    assert_true(cni_cidr_has_host_bits(&address));
    assert_false(cni_cidr_has_host_bits(&narrow) || cni_cidr_has_host_bits(&single));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed),
        cmocka_unit_test(relations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
