/*
 * Ringing an eventfd.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bell.h"

#include "core/sys.h"

#include <errno.h>

#define ATTEMPTS 4

void shl_bell_ring(int fd)
{
    const uint64_t one = 1;
    for (int i = 0; i < ATTEMPTS; i++) {
        if (shl_fd->write(fd, &one, sizeof(one)) >= 0 || errno == EAGAIN)
            return;
    }
}
