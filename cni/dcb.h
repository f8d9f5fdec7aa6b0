/*
 * Priorities of an interface as the kernel tells them by netlink (DCB), for drivers that have no
 * files about them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_DCB_H
#define CNI_DCB_H

#include <stdbool.h>
#include <stddef.h>

/* In the words of the vendors' files qos/pfc and qos/trust. */
struct cni_dcb {
    char pfc[16];      /* "0,0,0,1,0,0,0,0": priorities 0 to 7 that are paused */
    const char *trust; /* "dscp" when DSCP values are mapped to priorities, else "pcp" */
};

/* cni_dcb_ask - of an interface in this network namespace. False: its driver, or this kernel, has
 * no DCB. Needs no rights, and waits half a second at most. */
bool cni_dcb_ask(const char *interface, struct cni_dcb *dcb);

/* cni_dcb_parse - what an answer says; false: nothing of priority flow control. */
bool cni_dcb_parse(const void *answer, size_t bytes, struct cni_dcb *dcb);

#endif
