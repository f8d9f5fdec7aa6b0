/*
 * Fails the k-th call of the fault tables, and sweeps a scenario over every k.
 *
 *     shl_fault_sweep(SHL_FAULT_ALL, load_and_free, NULL, 1000);
 *
 * Calls that give something back (free, unmap, close, shutdown) are neither counted nor failed.
 *
 * Threads  the counters are atomic, so the k-th call may be any thread's; install and remove only
 *          while no other thread runs
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SUPPORT_FAULT_H
#define SUPPORT_FAULT_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

enum shl_fault_kinds {
    SHL_FAULT_MEM = 1,    /* shl_mem but for SHL_FAULT_VM */
    SHL_FAULT_FD = 2,     /* shl_fd */
    SHL_FAULT_RANDOM = 4, /* shl_random */
    SHL_FAULT_SOCK = 8,   /* shl_sock */
    SHL_FAULT_VM = 32,    /* shl_mem->vm_readv and vm_writev: they move data */
    SHL_FAULT_ALL = 47,
    SHL_FAULT_WRITE = 64, /* of SHL_FAULT_FD, write alone: the bells that wake threads */
    SHL_FAULT_STICKY = 16 /* the k-th call and all later ones, as when memory has run out */
};

/* shl_fault_install - put counting tables over the kernel's; nothing fails until armed. */
void shl_fault_install(void);
void shl_fault_remove(void);

/* shl_fault_arm - from now on count calls of these kinds and fail number `k` (1 is the next one; 0
 * counts only). Forgets what was counted before. */
void shl_fault_arm(unsigned kinds, uint64_t k);
/* shl_fault_pause - count and fail nothing more; what was counted and hit stays readable. Lets a
 * scenario look at the damage in the middle of a sweep. */
void shl_fault_pause(void);
uint64_t shl_fault_calls(void);   /* counted since armed */
bool shl_fault_fired(void);       /* call k was reached */
const char *shl_fault_site(void); /* the function that failed, "mem.alloc"; "" */

/*
 * shl_fault_sweep - run `scenario` with the first call failing, then the second, until one run
 * needs no more calls than that. Installs and removes the tables.
 *
 * Fails the test, naming k and the call, when a run without a fault does not return OK, when an
 * error carries no detail, when memory, mappings or descriptors leak, or when k_max runs were not
 * enough. A run that returns OK in spite of the fault is legal. The scenario must release
 * everything whatever it returns. Returns the number of runs in which a fault was hit.
 */
typedef enum shoal_status (*shl_fault_scenario)(void *arg);
uint64_t shl_fault_sweep(unsigned kinds, shl_fault_scenario scenario, void *arg, uint64_t k_max);

/* For the other files of this helper: counts a call; true, with errno set, if it is to fail. */
bool shl_fault_hit(unsigned kind, const char *site, int error);
void shl_fault_install_sock(void);
void shl_fault_remove_sock(void);

#endif
