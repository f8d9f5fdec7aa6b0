/*
 * Reading the environment of launchers.
 *
 * Each launcher is a row: where rank and size stand, and how the meeting place is found. Launchers
 * that give no address meet on one host at an abstract Unix socket named after the job.
 *
 * Invariant: the first launcher of which any variable is set decides; the environments of two are
 * never mixed, except that SHOAL_RENDEZVOUS and SHOAL_JOB always win.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/launch_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct launcher {
    const char *name;
    const char *rank, *size;
    enum shoal_status (*meet)(const struct launcher *launcher, struct shl_launch_env *env);
};

static const char *get(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static enum shoal_status parse_u32(const char *name, const char *text, uint32_t *value)
{
    char *end;
    unsigned long parsed = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || parsed > UINT32_MAX - 1)
        return shl_fail(SHOAL_ERR_CONFIG, "%s=\"%s\" is no number", name, text);
    *value = (uint32_t)parsed;
    return SHOAL_OK;
}

/* ---- where to meet ----------------------------------------------------------------------- */

static enum shoal_status need_address(const struct launcher *launcher)
{
    return shl_fail(SHOAL_ERR_CONFIG,
                    "%s runs this job on several hosts and says not where to meet; set "
                    "SHOAL_RENDEZVOUS to host:port of rank 0",
                    launcher->name);
}

/* One name for all processes of a job on this host, and for no other job. */
static void meet_locally(struct shl_launch_env *env, const char *tag, const char *id,
                         const char *part)
{
    char parent[24];
    snprintf(parent, sizeof(parent), "%ld", (long)getppid());
    snprintf(env->rendezvous, sizeof(env->rendezvous), "@shoal-%u-%s-%.30s-%.20s",
             (unsigned)getuid(), tag, id ? id : parent, part ? part : "0");
}

static enum shoal_status meet_by_config(const struct launcher *launcher, struct shl_launch_env *env)
{
    if (env->size == 1) {
        meet_locally(env, "alone", NULL, NULL);
        return SHOAL_OK;
    }
    return shl_fail(SHOAL_ERR_CONFIG,
                    "%s and %s are set, but SHOAL_RENDEZVOUS is not; set it to "
                    "host:port of rank 0",
                    launcher->rank, launcher->size);
}

static enum shoal_status meet_torch(const struct launcher *launcher, struct shl_launch_env *env)
{
    const char *host = get("MASTER_ADDR"), *port_text = get("MASTER_PORT");
    uint32_t port = 0;
    (void)launcher;
    if (!host || !port_text)
        return shl_fail(SHOAL_ERR_CONFIG,
                        "RANK and WORLD_SIZE are set, but %s is not; set it, or "
                        "SHOAL_RENDEZVOUS",
                        host ? "MASTER_PORT" : "MASTER_ADDR");
    SHL_TRY(parse_u32("MASTER_PORT", port_text, &port));
    if (!port || port > 65534)
        return shl_fail(SHOAL_ERR_CONFIG,
                        "MASTER_PORT=%u: the rendezvous uses the port after it, "
                        "so 1..65534 are legal; or set SHOAL_RENDEZVOUS",
                        port);
    /* PyTorch's own store listens on MASTER_PORT. */
    snprintf(env->rendezvous, sizeof(env->rendezvous),
             strchr(host, ':') ? "[%.253s]:%u" : "%.253s:%u", host, port + 1);
    return SHOAL_OK;
}

/* Whether all ranks are on this host, as far as the launcher says. */
static bool is_single_host(const char *local_size_name, uint32_t size)
{
    const char *local = get(local_size_name);
    uint32_t local_size = 0;
    return !local ||
           (parse_u32(local_size_name, local, &local_size) == SHOAL_OK && local_size == size);
}

static enum shoal_status meet_open_mpi(const struct launcher *launcher, struct shl_launch_env *env)
{
    if (!is_single_host("OMPI_COMM_WORLD_LOCAL_SIZE", env->size))
        return need_address(launcher);
    const char *id = get("PMIX_NAMESPACE");
    meet_locally(env, "ompi", id ? id : get("OMPI_MCA_ess_base_jobid"), NULL);
    return SHOAL_OK;
}

static enum shoal_status meet_hydra(const struct launcher *launcher, struct shl_launch_env *env)
{
    if (!is_single_host("MPI_LOCALNRANKS", env->size))
        return need_address(launcher);
    meet_locally(env, "pmi", NULL, NULL); /* the proxy is the parent of all local ranks */
    return SHOAL_OK;
}

/* "node[03-07,9],other" -> "node03". False: no host could be read. */
static bool first_host(const char *list, char *host, size_t capacity)
{
    size_t stem = strcspn(list, "[,");
    size_t digits = list[stem] == '[' ? strcspn(list + stem + 1, "-,]") : 0;
    if (!stem || stem + digits >= capacity || stem + digits > 253)
        return false;
    memcpy(host, list, stem);
    if (digits)
        memcpy(host + stem, list + stem + 1, digits);
    host[stem + digits] = '\0';
    return true;
}

static enum shoal_status meet_slurm(const struct launcher *launcher, struct shl_launch_env *env)
{
    const char *id = get("SLURM_JOB_ID"), *step = get("SLURM_STEP_ID");
    const char *nodes = get("SLURM_STEP_NUM_NODES");
    const char *list = get("SLURM_STEP_NODELIST");
    char host[256];
    if (!nodes)
        nodes = get("SLURM_NNODES");
    if (!list)
        list = get("SLURM_NODELIST");
    if (nodes && strcmp(nodes, "1") == 0) {
        meet_locally(env, "slurm", id, step);
        return SHOAL_OK;
    }
    if (!list || !first_host(list, host, sizeof(host))) {
        const char *launch = get("SLURM_LAUNCH_NODE_IPADDR");
        if (!launch)
            return need_address(launcher);
        snprintf(host, sizeof(host), "%.253s", launch);
    }
    /* Steps of one allocation, and jobs on one host, get different ports. */
    unsigned long spread =
        (id ? strtoul(id, NULL, 10) : 0) * 7 + (step ? strtoul(step, NULL, 10) : 0);
    snprintf(env->rendezvous, sizeof(env->rendezvous), strchr(host, ':') ? "[%s]:%lu" : "%s:%lu",
             host, 20000 + spread % 12000);
    return SHOAL_OK;
}

static const struct launcher launchers[] = {
    {"torchrun or PyTorchJob", "RANK", "WORLD_SIZE", meet_torch},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", meet_open_mpi},
    {"MPICH", "PMI_RANK", "PMI_SIZE", meet_hydra},
    {"Slurm", "SLURM_PROCID", "SLURM_NTASKS", meet_slurm},
};

static const struct launcher by_config = {"SHOAL_RANK and SHOAL_SIZE", "SHOAL_RANK", "SHOAL_SIZE",
                                          meet_by_config};

/* ---- reading ----------------------------------------------------------------------------- */

static enum shoal_status take(const struct launcher *launcher, const char *rank, const char *size,
                              const struct shl_config *config, struct shl_launch_env *env)
{
    struct shl_launch_env read = {.launcher = launcher->name};
    if (!rank || !size)
        return shl_fail(SHOAL_ERR_CONFIG, "%s is set, but %s is not; set both or neither",
                        rank ? launcher->rank : launcher->size,
                        rank ? launcher->size : launcher->rank);
    SHL_TRY(parse_u32(launcher->rank, rank, &read.rank));
    SHL_TRY(parse_u32(launcher->size, size, &read.size));
    if (read.rank >= read.size)
        return shl_fail(SHOAL_ERR_CONFIG, "%s=%u is not below %s=%u", launcher->rank, read.rank,
                        launcher->size, read.size);
    if (strlen(config->job) >= sizeof(read.job))
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_JOB has more than %zu characters",
                        sizeof(read.job) - 1);
    if (strlen(config->rendezvous) >= sizeof(read.rendezvous))
        return shl_fail(SHOAL_ERR_CONFIG, "SHOAL_RENDEZVOUS has more than %zu characters",
                        sizeof(read.rendezvous) - 1);
    snprintf(read.job, sizeof(read.job), "%s", config->job);
    if (config->rendezvous[0])
        snprintf(read.rendezvous, sizeof(read.rendezvous), "%s", config->rendezvous);
    else
        SHL_TRY(launcher->meet(launcher, &read));
    *env = read;
    return SHOAL_OK;
}

enum shoal_status shl_launch_env_read(const struct shl_config *config, struct shl_launch_env *env)
{
    const char *own_rank = config->rank[0] ? config->rank : NULL;
    const char *own_size = config->size[0] ? config->size : NULL;
    if (own_rank || own_size)
        return take(&by_config, own_rank, own_size, config, env);
    for (size_t i = 0; i < sizeof(launchers) / sizeof(launchers[0]); i++) {
        const struct launcher *launcher = &launchers[i];
        const char *rank = get(launcher->rank), *size = get(launcher->size);
        /* A lone size says nothing: Slurm sets it in a batch script as well, which is no rank. */
        if (rank)
            return take(launcher, rank, size, config, env);
    }
    return shl_fail(SHOAL_ERR_CONFIG,
                    "no launcher found: none of SHOAL_RANK, RANK (torchrun, PyTorchJob), "
                    "OMPI_COMM_WORLD_RANK (Open MPI), PMI_RANK (MPICH), SLURM_PROCID (Slurm) is "
                    "set; start the program with `shoal run -n N -- PROGRAM`");
}

const char *shl_launch_env_fixed(void)
{
    if (get("TORCHELASTIC_RUN_ID"))
        return "torchrun";
    if (get("OMPI_COMM_WORLD_RANK"))
        return "Open MPI's mpirun";
    return get("PMI_RANK") ? "MPICH's mpiexec" : NULL;
}
