/*
 * What identifies the host, and the part of it that this process lives in.
 *
 * Equal identities mean only that it is worth trying: locality is proved by an exchange.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_HOST_H
#define SHL_CORE_HOST_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

#define SHL_HOST_ID_BYTES 144 /* any text that shl_host_id_format writes */

struct shl_host {
    char boot_id[40];       /* changes with every boot; "random-..." where the kernel hides it */
    char name[65];          /* UTS node name: tells containers of one host apart */
    uint64_t net_namespace; /* inode; 0: unknown. Abstract Unix sockets end at its border */
    uint64_t pid_namespace; /* inode; 0: unknown. Process numbers mean something only inside it */
    uint64_t pid;
};

/* shl_host_identify - read them. SHOAL_ERR_SYSTEM only when not even random bytes can be had. */
enum shoal_status shl_host_identify(struct shl_host *host);

/* shl_host_id_format - "boot id/network namespace/name", the text that ranks compare. */
void shl_host_id_format(const struct shl_host *host, char *text, size_t capacity);

#endif
