/*
 * Rank, size and meeting place from the environment that a launcher sets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_LAUNCH_ENV_H
#define SHL_ELASTIC_LAUNCH_ENV_H

#include "core/config.h"

struct shl_launch_env {
    uint32_t rank, size;
    char rendezvous[280]; /* "host:port" */
    char job[128];
    const char *launcher; /* constant: "shoal run", "torchrun", "Open MPI", ... */
};

/* shl_launch_env_read - SHOAL_* first, then torchrun/PyTorchJob, Open MPI, MPICH/hydra, Slurm.
 * SHOAL_ERR_CONFIG lists the variables that were looked for. */
enum shoal_status shl_launch_env_read(const struct shl_config *config, struct shl_launch_env *env);

/* shl_launch_env_fixed - the launcher that started this process and ends or restarts all ranks when
 * one fails, so that no elastic job can live under it; NULL: none that is known. */
const char *shl_launch_env_fixed(void);

#endif
