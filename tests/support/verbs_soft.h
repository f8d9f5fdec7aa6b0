/*
 * An RDMA device that exists only in this process: a table of functions in place of libibverbs'.
 *
 * Reliable queue pairs of one process reach each other; sends and writes are carried out while they
 * are posted. It is stricter than devices: a send that finds no receive request, a key that does
 * not cover the memory, or a completion queue that overflows breaks the connection or the test. It
 * shows that the transport uses verbs correctly, under any sanitizer, and nothing about real
 * devices.
 *
 * Threads  any; one mutex
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_VERBS_SOFT_H
#define SUPPORT_VERBS_SOFT_H

#include <stdbool.h>
#include <stdint.h>

#define VERBS_SOFT_DEVICES_MAX 4

/* verbs_soft_install - from now on the verbs transport finds RoCE devices "soft0", "soft1"... */
void verbs_soft_install(unsigned count);

/* From now on they are iWARP devices: rdma_cm alone connects them, no write has an immediate value,
 * and a request carries at most 64 bytes itself. `iwarp` false: RoCE again. */
void verbs_soft_be_iwarp(bool iwarp);
bool verbs_soft_is_iwarp(void);
/* rdma_cm has connected two queue pairs. */
void verbs_soft_join(uint32_t one, uint32_t other);

struct ibv_device;

/* The device of that number, for verbs_soft_cm.c. */
struct ibv_device *verbs_soft_device(unsigned number);

/* Objects made and not destroyed: contexts, domains, regions, queues, queue pairs. */
unsigned verbs_soft_objects(void);

#endif
