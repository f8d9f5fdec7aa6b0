/*
 * Messages of netlink: attributes one by one, and questions to the kernel about its routing.
 *
 * Invariant: nothing of an answer is read before its length was checked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_NETLINK_H
#define CNI_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cni_netlink_attribute {
    uint16_t type;
    const uint8_t *data;
    size_t bytes;
};

/* cni_netlink_next - the next attribute of [*at, *at + *left), or false. */
bool cni_netlink_next(const uint8_t **at, size_t *left, struct cni_netlink_attribute *out);
/* cni_netlink_find - the first of a type. */
bool cni_netlink_find(const uint8_t *at, size_t left, uint16_t type,
                      struct cni_netlink_attribute *found);

/* cni_netlink_ask - send a request and receive one message from the kernel: its length, or -1.
 * Needs no rights, and waits half a second at most. */
long cni_netlink_ask(const void *question, size_t bytes, void *answer, size_t capacity);

/* cni_netlink_dump - every message that answers a request: `take` is called with each, header
 * included. False: no answer, or not to its end. */
bool cni_netlink_dump(const void *question, size_t bytes,
                      void (*take)(void *user, const void *message, size_t bytes), void *user);

#endif
