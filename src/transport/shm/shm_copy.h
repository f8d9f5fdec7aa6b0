/*
 * Copies within one address space that may bypass the cache. (The kernels of device/ are a sibling
 * layer, out of reach here.)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_SHM_COPY_H
#define SHL_TRANSPORT_SHM_COPY_H

#include <stdbool.h>
#include <stddef.h>

/* memcpy; with streaming stores when `nontemporal`, fenced before return. Any alignment. */
void shl_shm_copy(void *out, const void *in, size_t bytes, bool nontemporal);

#endif
