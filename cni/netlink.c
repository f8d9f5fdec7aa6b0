/*
 * Walking attributes, and a socket for each question.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "netlink.h"

#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define WAIT_US 500000
#define DUMP_BYTES 32768 /* the kernel's messages are at most this large */
#define MESSAGES_MAX 1000

bool cni_netlink_next(const uint8_t **at, size_t *left, struct cni_netlink_attribute *out)
{
    struct nlattr head;
    if (*left < sizeof(head))
        return false;
    memcpy(&head, *at, sizeof(head));
    if (head.nla_len < sizeof(head) || head.nla_len > *left)
        return false;
    *out = (struct cni_netlink_attribute){.type = head.nla_type & NLA_TYPE_MASK,
                                          .data = *at + NLA_HDRLEN,
                                          .bytes = head.nla_len - NLA_HDRLEN};
    size_t aligned = (size_t)NLA_ALIGN(head.nla_len), step = aligned < *left ? aligned : *left;
    *at += step;
    *left -= step;
    return true;
}

bool cni_netlink_find(const uint8_t *at, size_t left, uint16_t type,
                      struct cni_netlink_attribute *found)
{
    while (cni_netlink_next(&at, &left, found))
        if (found->type == type)
            return true;
    return false;
}

/* A socket on which the question was sent, or -1. */
static int ask(const void *question, size_t bytes)
{
    const struct timeval wait = {.tv_usec = WAIT_US};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0 &&
        sendto(fd, question, bytes, 0, (struct sockaddr *)&kernel, sizeof(kernel)) ==
            (ssize_t)bytes)
        return fd;
    close(fd);
    return -1;
}

/* From the kernel only: other processes may send here, too. */
static long receive(int fd, void *answer, size_t capacity)
{
    struct sockaddr_nl from = {.nl_family = AF_NETLINK};
    socklen_t from_bytes = sizeof(from);
    ssize_t got = recvfrom(fd, answer, capacity, 0, (struct sockaddr *)&from, &from_bytes);
    return got > 0 && from.nl_pid == 0 ? (long)got : -1;
}

long cni_netlink_ask(const void *question, size_t bytes, void *answer, size_t capacity)
{
    int fd = ask(question, bytes);
    if (fd < 0)
        return -1;
    long got = receive(fd, answer, capacity);
    close(fd);
    return got;
}

/* Messages of one datagram; true at the end of all. */
static bool take_messages(const uint8_t *at, size_t left, bool *good,
                          void (*take)(void *user, const void *message, size_t bytes), void *user)
{
    struct nlmsghdr head;
    while (left >= sizeof(head)) {
        memcpy(&head, at, sizeof(head));
        if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > left)
            return true;
        if (head.nlmsg_type == NLMSG_DONE || head.nlmsg_type == NLMSG_ERROR) {
            *good = head.nlmsg_type == NLMSG_DONE;
            return true;
        }
        take(user, at, head.nlmsg_len);
        size_t aligned = NLMSG_ALIGN((size_t)head.nlmsg_len);
        size_t step = aligned < left ? aligned : left;
        at += step;
        left -= step;
    }
    return false;
}

bool cni_netlink_dump(const void *question, size_t bytes,
                      void (*take)(void *user, const void *message, size_t bytes), void *user)
{
    static uint8_t answer[DUMP_BYTES];
    bool good = false, ended = false;
    int fd = ask(question, bytes);
    for (int i = 0; fd >= 0 && !ended && i < MESSAGES_MAX; i++) {
        long got = receive(fd, answer, sizeof(answer));
        ended = got < 0 || take_messages(answer, (size_t)got, &good, take, user);
    }
    if (fd >= 0)
        close(fd);
    return good;
}
