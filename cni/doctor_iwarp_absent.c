/*
 * iWARP devices in a build without librdmacm's headers: they are not tried.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor_iwarp.h"

void cni_doctor_iwarp(struct cni_doctor *doctor, const char *device, const char *interface,
                      const char *address)
{
    cni_doctor_bad(
        doctor, CNI_CHECK_probe_ports, CNI_NOTE,
        "%s %s of %s is not tried: this build has no rdma_cm; on Debian: apt-get install "
        "librdmacm-dev",
        device, address, interface);
}
