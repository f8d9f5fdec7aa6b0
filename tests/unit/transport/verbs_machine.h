/*
 * RDMA machines that do not exist: a table of functions stands for libibverbs, to show what soft
 * devices cannot (InfiniBand, several ports, nodes that do not open, odd tables).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef UNIT_TRANSPORT_VERBS_MACHINE_H
#define UNIT_TRANSPORT_VERBS_MACHINE_H

#include "support/test.h"
#include "transport/verbs/verbs_port.h"
#include "transport/verbs/verbs_sys.h"

#define GIDS_MAX 8

struct machine_device {
    struct ibv_device device; /* first: what the code under test gets */
    struct ibv_context context;
    int open_errno, query_errno, gid_errno;
    uint8_t ports;
    struct ibv_port_attr port[3]; /* from 1 */
    struct ibv_gid_entry gids[GIDS_MAX];
    int gid_count;
};

#define LINK_LOCAL "fe80000000000000020a4dfffe000001"
#define LOOPBACK_V4 "00000000000000000000ffff7f000001" /* the one address all machines have */
#define ELSEWHERE_V4 "00000000000000000000ffffc0000207"
#define HOLE "00000000000000000000000000000000"

extern int machine_list_errno;   /* of listing devices; 0: it works */
extern const char *machine_pkey; /* SHOAL_IB_PKEY */

/* machine_set_up - a machine without devices; before each test. */
int machine_set_up(void **state);

struct machine_device *machine_add_device(const char *name, uint8_t link_layer);
/* `hex`: 32 digits. On port 1. */
void machine_add_gid(struct machine_device *fake, uint32_t index, uint32_t type, const char *hex);
struct machine_device *machine_add_roce(const char *name);

/* machine_find - what was found is in `machine_found`. `machine_finder` is shl_verbs_ports_find,
 * unless a test sets it. */
enum shoal_status machine_find(const char *hca, const char *gid_index);
extern struct shl_verbs_port machine_found[8];
extern uint32_t machine_found_count;
extern enum shoal_status (*machine_finder)(const struct shl_config *config,
                                           struct shl_verbs_port *ports, uint32_t capacity,
                                           uint32_t *count);

const struct shl_verbs_port *machine_port_named(const char *device, uint32_t number);
void machine_assert_rejected(const char *device, uint32_t number, const char *part);

#endif
