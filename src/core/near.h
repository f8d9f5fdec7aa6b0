/*
 * How near a device is to the processors that the caller runs on.
 *
 * Found out by topology/, used by transports to choose devices; the engine hands the function over,
 * since neither may include the other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_NEAR_H
#define SHL_CORE_NEAR_H

#include <stdbool.h>
#include <stdint.h>

/* The distance of what is attached to the whole machine, or nobody knows where. */
#define SHL_NEAR_UNKNOWN 1000

struct shl_near {
    uint32_t distance; /* only to be compared */
    char text[96];     /* the same in words */
};

/* `device` is the kernel's name of it; `interface` that of its network interface, by which devices
 * made of software are found: "" for none. false: it is not known where it is. */
typedef bool shl_near_fn(const char *device, const char *interface, struct shl_near *near);

#endif
