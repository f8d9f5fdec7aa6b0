/*
 * Inside of the coordinator: its state and its clients ("guests"). All of it belongs to its thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_COORDINATOR_INTERNAL_H
#define SHL_ELASTIC_STORE_COORDINATOR_INTERNAL_H

#include "elastic/server.h"
#include "elastic/store/coordinator.h"
#include "elastic/store/journal.h"
#include "elastic/store/wire.h"

/* Connections that have authenticated. One more makes the longest silent one leave: clients come
 * back when they need to, and hosts that vanished never close theirs. */
#define SHL_COORDINATOR_GUESTS 2048

struct shl_coordinator {
    struct shl_server base;
    struct shl_journal journal;
    struct shl_list guests; /* the longest silent one first */
    uint32_t guest_count;
};

struct shl_guest {
    struct shl_list link;
    struct shl_coordinator *coordinator;
    struct shl_watch watch;
    struct shl_timer timer; /* while a request is not whole, or a reply not sent */
    uint8_t header[SHL_STORE_HEADER_BYTES];
    uint8_t *body; /* of the request being read */
    size_t at;     /* bytes of header and body that are here */
    uint32_t body_bytes;
    uint8_t *reply; /* being sent */
    size_t reply_bytes, sent;
};

void shl_guest_accept(struct shl_coordinator *coordinator, int fd);
void shl_guest_close(struct shl_guest *guest);

#endif
