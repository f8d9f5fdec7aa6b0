/*
 * Measuring what messages and reductions cost, for the cost model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ENGINE_PROBE_H
#define SHL_ENGINE_PROBE_H

#include "engine/comm.h"

/*
 * shl_probe_link - ping-pong with one other rank, which calls it at the same time.
 *
 * first     exactly one of the two sends first
 * alpha_s   one-way time of a small message; written on success only
 * Errors    SHOAL_ERR_TIMEOUT after timeout_ns; nothing is left posted
 */
enum shoal_status shl_probe_link(struct shoal_comm *comm, uint32_t peer, bool first,
                                 uint64_t timeout_ns, double *alpha_s, double *beta_s_per_byte);

/* shl_probe_reduce - seconds to combine one byte of float32. */
double shl_probe_reduce(void);

#endif
