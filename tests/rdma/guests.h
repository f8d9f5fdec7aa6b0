/*
 * Guests as hosts: guest kernels, each with a network interface at a tap device, on one bridge that
 * can be made to lose, in silence, what one sends to another.
 *
 * Invariant: the bridge is in a network namespace of the calling process, and ends with it; guests
 * end with the process that booted them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_RDMA_GUESTS_H
#define TESTS_RDMA_GUESTS_H

#include <stdbool.h>
#include <stdint.h>

#define GUESTS_MAX 8u
#define GUESTS_BRIDGE "10.77.0.254" /* where the process that opened is reached by guests */

/* guests_open - bridge and tap devices, in a new network namespace, where jobs need no secret.
 * `guest_sh`: tests/rdma/guest.sh. False: it cannot be done here, for the reason that was printed.
 */
bool guests_open(const char *guest_sh, uint32_t count);
void guests_close(void);
/* A folder that guests share with this process until guests_close. */
const char *guests_folder(void);

/* guests_boot - become, in a child, the guest, which runs a command of NULL-ended words with rxe0
 * on vec0 and an address of its own on the bridge. Returns only if that failed. */
void guests_boot(uint32_t guest, const char *const *command);

/* The whole machine stands still, and goes on. SIGTERM to the process that booted it is a crash. */
void guests_freeze(uint32_t guest);
void guests_thaw(uint32_t guest);

/* What `from` sends to `to` is lost. */
void guests_cut(uint32_t from, uint32_t to);
/* What anybody sends to it, and it to anybody, the bridge included. */
void guests_cut_off(uint32_t guest);
void guests_heal(void); /* all that were cut */

/* RDMA packets that a guest has sent to others since then; guests_heal forgets it. */
void guests_count_rdma(uint32_t guest);
uint64_t guests_rdma_packets(void);

#endif
