/*
 * Descriptors over a Unix socket, with a few bytes that say what they are.
 *
 * A message is a header of 8 bytes (u32 bytes, u32 descriptors) that carries the descriptors, then
 * the bytes.
 *
 * Invariant: after an error no descriptor that came with the message is left open here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control.h"
#include "control/sock.h"
#include "core/sys.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define FDS_MAX 64
#define DATA_MAX 4096
#define HEADER_BYTES 8

union ancillary {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

static enum shoal_status check_uid(int channel_fd)
{
    struct ucred peer;
    socklen_t bytes = sizeof(peer);
    if (shl_sock->getsockopt(channel_fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes))
        return shl_fail_errno("cannot ask who is at the other end of a local channel");
    if (peer.uid != geteuid())
        return shl_fail(SHOAL_ERR_AUTH,
                        "the process at the other end of a local channel has uid %u, this one %u",
                        (unsigned)peer.uid, (unsigned)geteuid());
    return SHOAL_OK;
}

enum shoal_status shl_control_send_fds(int channel_fd, const int *fds, uint32_t count,
                                       const void *data, size_t bytes, uint64_t deadline_ns)
{
    union ancillary ancillary;
    uint8_t header[HEADER_BYTES];
    if (count > FDS_MAX || bytes > DATA_MAX)
        return shl_fail(SHOAL_ERR_INVALID, "%u descriptors with %zu bytes; %d with %d are allowed",
                        count, bytes, FDS_MAX, DATA_MAX);
    SHL_TRY(check_uid(channel_fd));
    struct shl_bytes out = shl_bytes_writer(header, sizeof(header));
    shl_bytes_put_u32(&out, (uint32_t)bytes);
    shl_bytes_put_u32(&out, count);
    struct iovec part = {header, sizeof(header)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count) {
        memset(&ancillary, 0, sizeof(ancillary));
        message.msg_control = ancillary.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    }
    ssize_t sent;
    while ((sent = shl_sock->sendmsg(channel_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return shl_fail_errno("cannot pass %u descriptors", count);
        SHL_TRY(shl_sock_wait(channel_fd, POLLOUT, deadline_ns));
    }
    /* The descriptors went with the first byte; the rest is ordinary data. */
    SHL_TRY(
        shl_sock_send_all(channel_fd, header + sent, sizeof(header) - (size_t)sent, deadline_ns));
    return shl_sock_send_all(channel_fd, data, bytes, deadline_ns);
}

static void close_all(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        shl_fd->close(fds[i]);
}

/* Collects whatever descriptors came, so that they can be used or closed. */
static uint32_t collect(struct msghdr *message, int fds[FDS_MAX])
{
    uint32_t found = 0;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && found < FDS_MAX; i++)
            memcpy(&fds[found++], CMSG_DATA(head) + i * sizeof(int), sizeof(int));
    }
    return found;
}

static enum shoal_status recv_header(int channel_fd, uint8_t header[HEADER_BYTES], int fds[FDS_MAX],
                                     uint32_t *found, uint64_t deadline_ns)
{
    union ancillary ancillary;
    struct iovec part = {header, HEADER_BYTES};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = ancillary.bytes,
                             .msg_controllen = sizeof(ancillary.bytes)};
    ssize_t got;
    while ((got = shl_sock->recvmsg(channel_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return shl_fail_errno("cannot receive descriptors");
        SHL_TRY(shl_sock_wait(channel_fd, POLLIN, deadline_ns));
        message.msg_controllen = sizeof(ancillary.bytes);
    }
    if (!got)
        return shl_fail(SHOAL_ERR_PEER, "the other end closed instead of passing descriptors");
    *found = collect(&message, fds);
    if (message.msg_flags & MSG_CTRUNC)
        return shl_fail(SHOAL_ERR_SYSTEM,
                        "passed descriptors were cut off; raise `ulimit -n` of this process");
    return shl_sock_recv_all(channel_fd, header + got, HEADER_BYTES - (size_t)got, deadline_ns);
}

enum shoal_status shl_control_recv_fds(int channel_fd, int *fds, uint32_t capacity, uint32_t *count,
                                       void *data, size_t data_capacity, size_t *bytes,
                                       uint64_t deadline_ns)
{
    uint8_t header[HEADER_BYTES];
    int came[FDS_MAX];
    uint32_t found = 0;
    SHL_TRY(check_uid(channel_fd));
    enum shoal_status status = recv_header(channel_fd, header, came, &found, deadline_ns);
    struct shl_bytes in = shl_bytes_reader(header, sizeof(header));
    uint32_t said_bytes = status < 0 ? 0 : shl_bytes_get_u32(&in);
    uint32_t said_fds = status < 0 ? 0 : shl_bytes_get_u32(&in);
    if (status == SHOAL_OK && (said_fds != found || found > capacity || said_bytes > data_capacity))
        status = shl_fail(SHOAL_ERR_PEER,
                          "a peer announced %u descriptors and %u bytes; %u came and %u with %zu "
                          "fit",
                          said_fds, said_bytes, found, capacity, data_capacity);
    if (status == SHOAL_OK)
        status = shl_sock_recv_all(channel_fd, data, said_bytes, deadline_ns);
    if (status < 0) {
        close_all(came, found);
        return status;
    }
    memcpy(fds, came, found * sizeof(int));
    *count = found;
    *bytes = said_bytes;
    return SHOAL_OK;
}
