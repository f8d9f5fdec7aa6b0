/*
 * Where connections come from, and the mailbox through which they reach the token's holder.
 *
 * Control hands out a connected descriptor in its own thread; everything else here runs under the
 * progress token. The mailbox is the only thing both touch.
 *
 * Invariant: a mailbox lives until it is closed and no request is outstanding, so a descriptor that
 * arrives after close() is closed and never lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_TCP_CHANNEL_H
#define SHL_TRANSPORT_TCP_CHANNEL_H

#include "control/control.h"
#include "core/list.h"
#include "core/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The source of channels: control's, or a test's. */
struct shl_tcp_channels {
    /* As shl_control_dial. */
    enum shoal_status (*dial)(struct shl_control *control, uint32_t peer,
                              enum shl_channel_kind kind, uint32_t index, uint64_t deadline_ns,
                              shl_channel_fn ready, void *arg);
    /* What names this host: equal on two ranks means loopback. */
    const char *(*host_id)(struct shl_control *control);
};
extern const struct shl_tcp_channels *shl_tcp_channels; /* replaced only by tests */

#define SHL_TCP_ARRIVAL_CAUSE_BYTES 200

/* A request, and then its outcome. */
struct shl_tcp_arrival {
    struct shl_list link;
    struct shl_tcp_mailbox *mailbox;
    enum shl_channel_kind kind;
    uint32_t peer, index;
    int fd; /* -1: failed, see cause */
    char cause[SHL_TCP_ARRIVAL_CAUSE_BYTES];
};

struct shl_tcp_mailbox;

enum shoal_status shl_tcp_mailbox_create(struct shl_tcp_mailbox **mailbox);
/* Closes descriptors nobody took; frees it now, or with the last outstanding request. */
void shl_tcp_mailbox_close(struct shl_tcp_mailbox *mailbox);
/* Readable while something may have arrived. */
int shl_tcp_mailbox_fd(const struct shl_tcp_mailbox *mailbox);
bool shl_tcp_mailbox_filled(const struct shl_tcp_mailbox *mailbox); /* cheap */
/* The next outcome, NULL: none. The caller owns the descriptor and frees the arrival. */
struct shl_tcp_arrival *shl_tcp_mailbox_take(struct shl_tcp_mailbox *mailbox);

/* Ask for a channel; its outcome arrives in the mailbox. */
enum shoal_status shl_tcp_mailbox_dial(struct shl_tcp_mailbox *mailbox, struct shl_control *control,
                                       uint32_t peer, enum shl_channel_kind kind, uint32_t index,
                                       uint64_t deadline_ns);

#endif
