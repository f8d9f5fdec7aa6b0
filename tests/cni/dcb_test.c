/*
 * Answers of DCB, as the kernel lays them out; cut short, hostile, of something else. No test here
 * has an interface with DCB: the bytes are made by hand.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dcb.h"

#include "support/test.h"

#include <linux/dcbnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

static uint8_t answer[1024];
static size_t at;

/* An attribute with a body; its offset, for close_nest. */
static size_t put(uint16_t type, const void *body, size_t bytes)
{
    size_t start = at;
    struct nlattr head = {.nla_len = (uint16_t)(NLA_HDRLEN + bytes), .nla_type = type};
    memcpy(answer + at, &head, sizeof(head));
    if (bytes)
        memcpy(answer + at + NLA_HDRLEN, body, bytes);
    at += NLA_ALIGN(head.nla_len);
    return start;
}

static void close_nest(size_t start)
{
    struct nlattr head;
    memcpy(&head, answer + start, sizeof(head));
    head.nla_len = (uint16_t)(at - start);
    memcpy(answer + start, &head, sizeof(head));
}

static void close_message(uint16_t type, uint8_t cmd)
{
    struct nlmsghdr head = {.nlmsg_len = (uint32_t)at, .nlmsg_type = type};
    struct dcbmsg message = {.cmd = cmd};
    memcpy(answer, &head, sizeof(head));
    memcpy(answer + NLMSG_HDRLEN, &message, sizeof(message));
}

/* What an adapter answers; `dscp`: with a mapping of DSCP 26. */
static void make_answer(uint8_t paused, bool dscp, uint16_t flags)
{
    const struct ieee_pfc pfc = {.pfc_cap = 8, .pfc_en = paused};
    const struct dcb_app ethertype = {IEEE_8021QAZ_APP_SEL_ETHERTYPE, 3, 0x8915};
    const struct dcb_app code_point = {IEEE_8021QAZ_APP_SEL_DSCP, 3, 26};
    memset(answer, 0, sizeof(answer));
    at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct dcbmsg));
    put(DCB_ATTR_IFNAME, "eth0", 5);
    size_t ieee = put(DCB_ATTR_IEEE | flags, NULL, 0);
    put(DCB_ATTR_IEEE_ETS, "some bytes", 10);
    size_t table = put(DCB_ATTR_IEEE_APP_TABLE | flags, NULL, 0);
    put(DCB_ATTR_IEEE_APP, &ethertype, sizeof(ethertype));
    if (dscp)
        put(DCB_ATTR_IEEE_APP, &code_point, sizeof(code_point));
    close_nest(table);
    put(DCB_ATTR_IEEE_PFC, &pfc, sizeof(pfc));
    close_nest(ieee);
    close_message(RTM_GETDCB, DCB_CMD_IEEE_GET);
}

static void priorities_and_trust(void **state)
{
    struct cni_dcb dcb;
    (void)state;
    make_answer(1 << 3, true, 0);
    assert_true(cni_dcb_parse(answer, at, &dcb));
    assert_string_equal(dcb.pfc, "0,0,0,1,0,0,0,0");
    assert_string_equal(dcb.trust, "dscp");
    make_answer(0x81, false, NLA_F_NESTED); /* newer kernels say that they nest */
    assert_true(cni_dcb_parse(answer, at, &dcb));
    assert_string_equal(dcb.pfc, "1,0,0,0,0,0,0,1");
    assert_string_equal(dcb.trust, "pcp");
}

/* Every prefix, in memory of exactly its size, so that sanitizers see a byte too many. */
static void answers_cut_short(void **state)
{
    (void)state;
    make_answer(1 << 3, true, 0);
    for (size_t bytes = 0; bytes < at; bytes++) {
        struct cni_dcb dcb;
        uint8_t *cut = malloc(bytes + 1);
        assert_non_null(cut);
        memcpy(cut, answer, bytes);
        assert_false(cni_dcb_parse(cut, bytes, &dcb));
        free(cut);
    }
}

static void hostile_lengths(void **state)
{
    static const uint16_t lengths[] = {0, 1, 3, 0xffff};
    (void)state;
    for (size_t offset = NLMSG_HDRLEN + 4; offset + 2 <= at; offset += 4)
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            struct cni_dcb dcb;
            make_answer(1 << 3, true, 0);
            memcpy(answer + offset, &lengths[i], 2);
            cni_dcb_parse(answer, at, &dcb); /* ends, and stays inside */
        }
}

static void other_messages(void **state)
{
    struct cni_dcb dcb;
    (void)state;
    make_answer(1 << 3, true, 0);
    close_message(NLMSG_ERROR, DCB_CMD_IEEE_GET);
    assert_false(cni_dcb_parse(answer, at, &dcb));
    close_message(RTM_GETDCB, DCB_CMD_GSTATE);
    assert_false(cni_dcb_parse(answer, at, &dcb));
    at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct dcbmsg));
    close_message(RTM_GETDCB, DCB_CMD_IEEE_GET); /* an adapter without priorities */
    assert_false(cni_dcb_parse(answer, at, &dcb));
}

static void interfaces_without(void **state)
{
    struct cni_dcb dcb;
    (void)state;
    assert_false(cni_dcb_ask("lo", &dcb));
    assert_false(cni_dcb_ask("nosuchinterface", &dcb));
    assert_false(cni_dcb_ask("a name that is longer than names of interfaces are", &dcb));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(priorities_and_trust), cmocka_unit_test(answers_cut_short),
        cmocka_unit_test(hostile_lengths),      cmocka_unit_test(other_messages),
        cmocka_unit_test(interfaces_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
