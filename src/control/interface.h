/*
 * Which of this host's addresses a rank listens on and publishes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_INTERFACE_H
#define SHL_CONTROL_INTERFACE_H

#include "control/sock.h"

#define SHL_INTERFACES_MAX 128

/* One address of one interface; an interface with several addresses appears several times. */
struct shl_interface {
    char name[32];
    struct shl_sockaddr addr; /* port 0 */
    uint32_t prefix_bits;
    bool up;
    bool carrier; /* without it an address may still work soon; it comes after the others */
    bool loopback;
};

enum shoal_status shl_interface_list(struct shl_interface *list, uint32_t capacity,
                                     uint32_t *count);

/*
 * shl_interface_select - pick addresses, best first. Pure.
 *
 * spec           SHOAL_INTERFACE: a comma list of name prefixes, =exact names and CIDRs; an item
 *                with ^ excludes. A marker (^, = or both) also holds for the items that follow
 *                it, as in NCCL: "^docker,lo" excludes both. "+" ends it: "^docker,+eth". Empty:
 *                every interface that is up, without those that containers and tunnels make.
 * loopback_only  nothing but loopback is safe: everything else is dropped, whatever spec says
 * chosen         indices into list, loopback last
 * Errors         SHOAL_ERR_CONFIG when spec is malformed or selects nothing; the text lists what
 *                there is
 */
enum shoal_status shl_interface_select(const struct shl_interface *list, uint32_t count,
                                       const char *spec, bool loopback_only, uint32_t *chosen,
                                       uint32_t capacity, uint32_t *chosen_count);

#endif
