/*
 * The DCB question and its answer.
 *
 * Invariant: nothing of an answer is read before its length was checked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dcb.h"

#include "netlink.h"

#include <linux/dcbnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_BYTES 16384

/* Drivers sort by DSCP as soon as one value is mapped. */
static bool maps_dscp(const struct cni_netlink_attribute *table)
{
    const uint8_t *at = table->data;
    size_t left = table->bytes;
    for (struct cni_netlink_attribute entry; cni_netlink_next(&at, &left, &entry);) {
        struct dcb_app app;
        if (entry.type != DCB_ATTR_IEEE_APP || entry.bytes < sizeof(app))
            continue;
        memcpy(&app, entry.data, sizeof(app));
        if (app.selector == IEEE_8021QAZ_APP_SEL_DSCP)
            return true;
    }
    return false;
}

bool cni_dcb_parse(const void *answer, size_t bytes, struct cni_dcb *dcb)
{
    struct nlmsghdr head;
    struct dcbmsg message;
    struct cni_netlink_attribute ieee, found;
    struct ieee_pfc pfc;
    size_t skip = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(message));
    if (bytes < skip)
        return false;
    memcpy(&head, answer, sizeof(head));
    memcpy(&message, (const uint8_t *)answer + NLMSG_HDRLEN, sizeof(message));
    if (head.nlmsg_type != RTM_GETDCB || message.cmd != DCB_CMD_IEEE_GET || head.nlmsg_len < skip ||
        head.nlmsg_len > bytes)
        return false;
    if (!cni_netlink_find((const uint8_t *)answer + skip, head.nlmsg_len - skip, DCB_ATTR_IEEE,
                          &ieee) ||
        !cni_netlink_find(ieee.data, ieee.bytes, DCB_ATTR_IEEE_PFC, &found) ||
        found.bytes < sizeof(pfc))
        return false;
    memcpy(&pfc, found.data, sizeof(pfc));
    for (int priority = 0; priority < 8; priority++) {
        dcb->pfc[priority * 2] = (char)('0' + (pfc.pfc_en >> priority & 1));
        dcb->pfc[priority * 2 + 1] = priority < 7 ? ',' : '\0';
    }
    bool dscp = cni_netlink_find(ieee.data, ieee.bytes, DCB_ATTR_IEEE_APP_TABLE, &found) &&
                maps_dscp(&found);
    dcb->trust = dscp ? "dscp" : "pcp";
    return true;
}

/* The question; its length, 0 for a name that no interface can have. */
static size_t question(const char *interface, uint8_t *out, size_t capacity)
{
    size_t name_bytes = strlen(interface) + 1;
    struct nlattr name = {.nla_len = (uint16_t)(NLA_HDRLEN + name_bytes),
                          .nla_type = DCB_ATTR_IFNAME};
    struct dcbmsg message = {.dcb_family = AF_UNSPEC, .cmd = DCB_CMD_IEEE_GET};
    size_t at = NLMSG_HDRLEN, after = at + NLMSG_ALIGN(sizeof(message));
    size_t total = after + NLA_ALIGN(name.nla_len);
    if (name_bytes > IF_NAMESIZE || total > capacity)
        return 0;
    struct nlmsghdr head = {.nlmsg_len = (uint32_t)total,
                            .nlmsg_type = RTM_GETDCB,
                            .nlmsg_flags = NLM_F_REQUEST,
                            .nlmsg_seq = 1};
    memset(out, 0, total);
    memcpy(out, &head, sizeof(head));
    memcpy(out + at, &message, sizeof(message));
    memcpy(out + after, &name, sizeof(name));
    memcpy(out + after + NLA_HDRLEN, interface, name_bytes);
    return total;
}

bool cni_dcb_ask(const char *interface, struct cni_dcb *dcb)
{
    uint8_t asked[128], answer[ANSWER_BYTES];
    size_t bytes = question(interface, asked, sizeof(asked));
    long got = bytes ? cni_netlink_ask(asked, bytes, answer, sizeof(answer)) : -1;
    return got > 0 && cni_dcb_parse(answer, (size_t)got, dcb);
}
