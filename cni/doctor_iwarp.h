/*
 * The probe of iWARP devices, in builds that have librdmacm's headers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_DOCTOR_IWARP_H
#define CNI_DOCTOR_IWARP_H

#include "doctor.h"

/* cni_doctor_iwarp - memory, two queue pairs, a write between them, over an IPv4 address of the
 * device's interface. */
void cni_doctor_iwarp(struct cni_doctor *doctor, const char *device, const char *interface,
                      const char *address);

#endif
