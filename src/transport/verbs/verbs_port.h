/*
 * Which ports of which RDMA devices this rank may use, and why not the others.
 *
 * No type of libibverbs shows here, so that `shoal info` and builds without it can include this.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_PORT_H
#define SHL_TRANSPORT_VERBS_PORT_H

#include "core/config.h"
#include "core/near.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHL_VERBS_PORTS_MAX 64
#define SHL_VERBS_RAILS 4 /* ports that a rank uses at one time */
#define SHL_VERBS_NAME_BYTES 64
#define SHL_VERBS_REASON_BYTES 320
#define SHL_VERBS_GID_TEXT_BYTES 46
#define SHL_VERBS_GID_BYTES 16
#define SHL_VERBS_CONNECT_AUTO                                                                     \
    0 /* config's ib_connect: by rdma_cm only where there is no other                              \
       */

enum shl_verbs_kind {
    SHL_VERBS_UNKNOWN_KIND,
    SHL_VERBS_INFINIBAND,
    SHL_VERBS_ROCE,
    SHL_VERBS_IWARP
};

/* A port; of a device that cannot be opened there is one entry, with port 0. */
struct shl_verbs_port {
    char device[SHL_VERBS_NAME_BYTES];
    uint32_t port; /* from 1 */
    bool usable;
    char reason[SHL_VERBS_REASON_BYTES]; /* why it is not usable; or why this GID */
    enum shl_verbs_kind kind;
    bool active;
    uint32_t mtu_bytes;
    uint64_t speed_mbit; /* 0: unknown */
    uint32_t lid;        /* InfiniBand */
    int32_t numa_node;   /* -1: unknown */
    bool spare_gid;      /* the port has an entry with a better GID */
    uint32_t gid_index;
    uint32_t pkey_index; /* of the table of partition keys */
    uint8_t gid[SHL_VERBS_GID_BYTES];
    char gid_text[SHL_VERBS_GID_TEXT_BYTES]; /* "" without a GID */
    char interface[32];                      /* that has the GID's address, or `address` */
    bool by_cm;                              /* queue pairs are connected by rdma_cm */
    uint8_t address[SHL_VERBS_GID_BYTES];    /* for rdma_cm: IPv4-mapped, or IPv6 */
};

/*
 * shl_verbs_ports_find - look at every device, in the order in which they are best used: usable
 * ones first, the fastest of these first, then by name.
 *
 * Errors  SHOAL_ERR_UNSUPPORTED: this build or this machine has no libibverbs, or the kernel no
 *         RDMA; SHOAL_ERR_CONFIG: SHOAL_IB_HCA, SHOAL_IB_GID_INDEX or SHOAL_IB_PKEY is
 *         malformed
 */
enum shoal_status shl_verbs_ports_find(const struct shl_config *config,
                                       struct shl_verbs_port *ports, uint32_t capacity,
                                       uint32_t *count);

/* shl_verbs_gids_find - the same, with an entry for each GID of a RoCE port that could be used, the
 * one that would be first. Errors: the same. */
enum shoal_status shl_verbs_gids_find(const struct shl_config *config, struct shl_verbs_port *ports,
                                      uint32_t capacity, uint32_t *count);

/*
 * shl_verbs_ports_choose - which ports this rank uses as its rails: usable ones of the kind of the
 * first, the nearest ones if there are more than `capacity`; and of equally near ones, the first.
 * Says in the reason of each usable port how near it is, and whether it is left out.
 *
 * They stay in the order of shl_verbs_ports_find, so that ranks of one host that are near to
 * different devices number them alike.
 *
 * near     NULL: all are equally near
 * chosen   receives indices into `ports`
 * nearest  receives the position in `chosen` of the nearest one
 * Returns  how many
 */
uint32_t shl_verbs_ports_choose(struct shl_verbs_port *ports, uint32_t count, shl_near_fn *near,
                                uint32_t *chosen, uint32_t capacity, uint32_t *nearest);

/* Why no device was found, and what to do; never fails. */
const char *shl_verbs_none_string(void);
const char *shl_verbs_kind_string(enum shl_verbs_kind kind);
/* How queue pairs of a usable port are connected, and why so. */
const char *shl_verbs_connect_string(const struct shl_verbs_port *port);

#endif
