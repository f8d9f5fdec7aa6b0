/*
 * What operations that bring a plan of their own share with shoal_start.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_API_REQUEST_H
#define SHL_API_REQUEST_H

#include "engine/comm.h"

/* Start a call that has been checked; a plan is taken over unless it fails. Takes the token. */
enum shoal_status shl_api_start(struct shoal_comm *comm, const struct shoal_call *call,
                                struct shl_plan *plan, struct shoal_request **request);

/* "shm", "tcp", ...; "mixed", or "self" for one rank. */
const char *shl_api_transport_name(const struct shoal_comm *comm);

#endif
