/*
 * Contexts, communicators and memory: what a process sets up before it reduces.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_COMM_H
#define SHOAL_COMM_H

#include <shoal/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- context ---------------------------------------------------------------------------- */

/*
 * Options structs begin with struct_size = sizeof(struct ...), so that they can grow. Zero or NULL
 * in any other field means the default.
 */
struct shoal_context_options {
    size_t struct_size;
    const char *config_file;     /* YAML; NULL: SHOAL_CONFIG_FILE, else none */
    const char *const *settings; /* "SHOAL_KEY=value" strings that win over the environment */
    size_t setting_count;
};

/*
 * shoal_context_create - read and check the configuration, prepare memory and reduction kernels.
 *
 * options  may be NULL
 * Errors   SHOAL_ERR_CONFIG names the unknown key or bad value; *context is untouched
 * Threads  any; no thread is started before the first communicator
 */
SHOAL_API enum shoal_status shoal_context_create(const struct shoal_context_options *options,
                                                 struct shoal_context **context);

/*
 * shoal_context_destroy - release a context; NULL is legal.
 * Errors   SHOAL_ERR_BUSY while communicators or allocations of it exist
 */
SHOAL_API enum shoal_status shoal_context_destroy(struct shoal_context *context);

/* ---- communicator ----------------------------------------------------------------------- */

struct shoal_comm_options {
    size_t struct_size;
    uint32_t rank;
    uint32_t size;
    const char *rendezvous;   /* "host:port", "[v6]:port"; rank 0 serves it if nobody else does */
    const char *job;          /* job name, separates jobs that share an address; NULL: "default" */
    uint32_t init_timeout_ms; /* 0: SHOAL_INIT_TIMEOUT_MS */
    uint32_t op_timeout_ms;   /* default deadline of blocking operations; 0: SHOAL_TIMEOUT_MS */
};

/*
 * shoal_comm_create - meet `size` ranks at the rendezvous and form a communicator.
 *
 * Collective over all ranks of the job. Blocks for at most the init timeout.
 * Errors   SHOAL_ERR_ABSENT lists the ranks that did not come; SHOAL_ERR_AUTH, _VERSION, _CONFIG
 *          (ranks disagree on settings that must agree), _SYSTEM; *comm is untouched
 * Threads  any
 */
SHOAL_API enum shoal_status shoal_comm_create(struct shoal_context *context,
                                              const struct shoal_comm_options *options,
                                              struct shoal_comm **comm);

/*
 * shoal_comm_create_from_env - the same, with rank, size and address from the environment of
 * `shoal run`, torchrun, Open MPI, MPICH/hydra (PMI), Slurm, MPIJob or PyTorchJob.
 * Errors   SHOAL_ERR_CONFIG says which variables were looked for
 */
SHOAL_API enum shoal_status shoal_comm_create_from_env(struct shoal_context *context,
                                                       struct shoal_comm **comm);

/*
 * shoal_comm_split - partition a communicator by color; ranks order by (key, parent rank).
 *
 * Collective over the parent; given up when one of its rounds takes longer than the init timeout.
 * color    SHOAL_COLOR_NONE: take part in the call, get *child = NULL
 * Owns     the caller gets the child, which lives on when the parent is destroyed. Operations of
 *          the program's (shoal_op_create) are not passed on
 * Errors   those of shoal_allreduce on the parent; SHOAL_ERR_ABORTED: another rank gave it up
 * Threads  any; in the order of the parent's operations
 */
#define SHOAL_COLOR_NONE UINT32_MAX
SHOAL_API enum shoal_status shoal_comm_split(struct shoal_comm *comm, uint32_t color, int32_t key,
                                             struct shoal_comm **child);

/*
 * shoal_comm_destroy - leave a communicator; NULL is legal. Local; outstanding requests are
 * aborted first. Never blocks on a dead peer.
 * Threads  any; no other call on it may be under way
 */
SHOAL_API enum shoal_status shoal_comm_destroy(struct shoal_comm *comm);

/*
 * shoal_comm_abort - fail every outstanding operation on every rank with SHOAL_ERR_ABORTED and
 * this reason. The communicator stays usable. `reason` is borrowed for the call.
 * Threads  any, also while another thread is blocked in an operation
 */
SHOAL_API enum shoal_status shoal_comm_abort(struct shoal_comm *comm, const char *reason);

/* shoal_comm_rank, shoal_comm_size - this process's place, and how many there are; 0 for NULL.
 * Threads: any. */
SHOAL_API uint32_t shoal_comm_rank(const struct shoal_comm *comm);
SHOAL_API uint32_t shoal_comm_size(const struct shoal_comm *comm);

/*
 * shoal_comm_why - one line on what the oldest outstanding operation waits for, e.g.
 * "allreduce #8812 waits for rank 3, which has not called it, for 4.2 s".
 *
 * text     receives at most text_bytes bytes with the terminating zero
 * Threads  any, also while another thread is blocked in the operation
 */
SHOAL_API enum shoal_status shoal_comm_why(struct shoal_comm *comm, char *text, size_t text_bytes);

/* ---- memory ----------------------------------------------------------------------------- */

/*
 * shoal_mem_alloc - memory that local ranks can reduce from and push into directly.
 *
 * bytes    rounded up to pages; contents are zero; aligned to 4096 at least
 * Owns     the caller, until shoal_mem_free
 * Errors   SHOAL_ERR_INVALID: bytes is 0; SHOAL_ERR_NOMEM
 * Threads  any
 */
SHOAL_API enum shoal_status shoal_mem_alloc(struct shoal_context *context, size_t bytes,
                                            void **pointer);

/* shoal_mem_free - give memory of shoal_mem_alloc back; NULL is legal. No operation may use it.
 * SHOAL_ERR_INVALID: it is none, or not its beginning. Threads: any. */
SHOAL_API enum shoal_status shoal_mem_free(struct shoal_context *context, void *pointer);

/*
 * shoal_mem_register - announce ordinary memory that will be used again and again.
 *
 * Owns     the caller; it must stay mapped until shoal_mem_deregister
 * Errors   SHOAL_ERR_INVALID: no bytes, or some that are registered already. All of it inside of
 *          memory of shoal_mem_alloc is accepted, and nothing more is done
 * Threads  any
 */
SHOAL_API enum shoal_status shoal_mem_register(struct shoal_context *context, void *pointer,
                                               size_t bytes);

/*
 * shoal_mem_register_dmabuf - the same for memory that a driver shares as a dmabuf: `bytes` bytes
 * from `offset` on of the file `fd` are what `pointer` maps. RDMA devices that can are given the
 * dmabuf itself, others the pages by address, and where neither works the memory is copied; the log
 * says which (SHOAL_LOG_LEVEL=info). Processors must be able to read and write at `pointer`, and
 * `fd` must stay open until shoal_mem_deregister.
 */
SHOAL_API enum shoal_status shoal_mem_register_dmabuf(struct shoal_context *context, void *pointer,
                                                      size_t bytes, int fd, uint64_t offset);

/* shoal_mem_deregister - by the address that was registered, of either kind, before it is unmapped.
 * SHOAL_ERR_INVALID: none was registered there. Threads: any. */
SHOAL_API enum shoal_status shoal_mem_deregister(struct shoal_context *context, void *pointer);

#ifdef __cplusplus
}
#endif
#endif
