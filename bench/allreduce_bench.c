/*
 * allreduce_bench: starts ranks or takes a place among them, runs all sizes, reports on rank 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int complain(const char *what)
{
    fprintf(stderr, "allreduce_bench: %s: %s\n", what, shoal_last_error());
    return 1;
}

/* ---- one rank ------------------------------------------------------------------------------ */

static int make_pool(struct bench *bench)
{
    const struct bench_options *o = bench->options;
    uint64_t largest = (o->max_bytes + 4095) / 4096 * 4096 + 8192;
    bench->pool_bytes = o->rotate_bytes > largest ? o->rotate_bytes : largest;
    for (int i = 0; i < 2; i++) {
        void *pool = NULL;
        if (o->memory == BENCH_SHARED) {
            if (shoal_mem_alloc(bench->context, bench->pool_bytes, &pool) != SHOAL_OK)
                return complain("shared memory");
        } else if (posix_memalign(&pool, 4096, bench->pool_bytes) != 0) {
            fprintf(stderr, "allreduce_bench: no memory for %llu bytes; lower --maxbytes\n",
                    (unsigned long long)bench->pool_bytes);
            return 1;
        }
        memset(pool, 0, bench->pool_bytes); /* every page is there before anything is timed */
        bench->pool[i] = pool;
        if (o->register_memory &&
            shoal_mem_register(bench->context, pool, bench->pool_bytes) != SHOAL_OK)
            return complain("register");
    }
    bench->times_us = malloc(1000 * sizeof(double));
    return bench->times_us ? 0 : 1;
}

static void free_pool(struct bench *bench)
{
    for (int i = 0; i < 2; i++) {
        if (bench->pool[i] && bench->options->register_memory)
            shoal_mem_deregister(bench->context, bench->pool[i]);
        if (bench->options->memory == BENCH_SHARED)
            shoal_mem_free(bench->context, bench->pool[i]);
        else
            free(bench->pool[i]);
    }
    free(bench->times_us);
}

static struct bench_row make_row(const struct bench *bench, uint64_t bytes, enum shoal_dtype dtype,
                                 uint32_t op)
{
    const struct bench_options *o = bench->options;
    bool blocks = o->collective == SHOAL_ALLGATHER || o->collective == SHOAL_REDUCE_SCATTER;
    bool rooted = o->collective == SHOAL_BROADCAST || o->collective == SHOAL_REDUCE;
    size_t elem_bytes = shoal_dtype_bytes(dtype);
    struct bench_row row = {.dtype = dtype, .op = op, .root = rooted ? (int)o->root : -1};
    row.count = bytes / elem_bytes / (blocks ? bench->size : 1);
    row.bytes = row.count * elem_bytes * (blocks ? bench->size : 1);
    return row;
}

static void show_progress(const struct bench *bench, uint64_t bytes, bool show)
{
    if (!show || bench->rank != 0)
        return;
    fprintf(stderr, bytes ? "\r\033[K... %llu bytes" : "\r\033[K", (unsigned long long)bytes);
    fflush(stderr);
}

static int run_sizes(struct bench *bench, struct bench_row *rows, size_t *count)
{
    const struct bench_options *o = bench->options;
    bool show = isatty(STDERR_FILENO) && isatty(STDOUT_FILENO);
    for (int dtype = 0; dtype < SHOAL_DTYPE_COUNT; dtype++)
        for (uint32_t op = 0; op < SHOAL_OP_COUNT; op++) {
            if (!(o->dtype_mask >> dtype & 1) || !(o->op_mask >> op & 1))
                continue;
            for (uint64_t bytes = o->min_bytes; bytes <= o->max_bytes && *count < BENCH_ROWS_MAX;) {
                struct bench_row row = make_row(bench, bytes, (enum shoal_dtype)dtype, op);
                show_progress(bench, bytes, show);
                int error = bench_measure(bench, &row);
                show_progress(bench, 0, show);
                if (error)
                    return 1;
                rows[(*count)++] = row;
                if (bench->rank == 0)
                    bench_print_row(bench, &row, stdout);
                uint64_t next = o->step_factor > 0 ? (uint64_t)((double)bytes * o->step_factor)
                                                   : bytes + o->step_bytes;
                bytes = next > bytes ? next : bytes + 1;
            }
        }
    return 0;
}

static int report(const struct bench *bench, const struct bench_row *rows, size_t count)
{
    int error = 0;
    for (size_t i = 0; i < count; i++)
        error |= rows[i].side[0].wrong > 0 || rows[i].side[1].wrong > 0;
    if (bench->rank != 0)
        return error;
    bench_print_footer(bench, rows, count, stdout);
    if (bench->options->json_file)
        error |= bench_write_json(bench, rows, count);
    if (bench->options->plot_file)
        error |= bench_write_plot(bench, rows, count);
    return error;
}

/* Bind to the index-th CPU that this process may use. */
static void pin(uint32_t index)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 || CPU_COUNT(&allowed) == 0)
        return;
    index %= (uint32_t)CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && index-- == 0) {
            CPU_SET(cpu, &one);
            (void)sched_setaffinity(0, sizeof(one), &one);
            return;
        }
}

static int run_comm(struct bench *bench)
{
    struct bench_row *rows = calloc(BENCH_ROWS_MAX, sizeof(*rows));
    size_t count = 0;
    bench->rank = shoal_comm_rank(bench->comm);
    bench->size = shoal_comm_size(bench->comm);
    if (bench->options->pin)
        pin(bench->rank);
    int error = !rows || make_pool(bench);
    if (!error && bench->rank == 0)
        bench_print_header(bench, stdout);
    if (!error)
        error = run_sizes(bench, rows, &count);
    if (!error)
        error = report(bench, rows, count);
    free_pool(bench);
    free(rows);
    return error;
}

/* address NULL: from the environment. */
static int run_rank(const struct bench_options *options, uint32_t rank, const char *address)
{
    struct bench bench = {.options = options};
    struct shoal_comm_options comm = {.struct_size = sizeof(comm),
                                      .rank = rank,
                                      .size = options->ranks,
                                      .rendezvous = address,
                                      .op_timeout_ms = options->timeout_ms};
    if (shoal_context_create(NULL, &bench.context) != SHOAL_OK)
        return complain("context");
    double start = bench_now_us();
    enum shoal_status status = address ? shoal_comm_create(bench.context, &comm, &bench.comm)
                                       : shoal_comm_create_from_env(bench.context, &bench.comm);
    bench.init_ms = (bench_now_us() - start) / 1000;
    int error = status == SHOAL_OK ? run_comm(&bench) : complain("communicator");
    shoal_comm_destroy(bench.comm);
    shoal_context_destroy(bench.context);
    return error;
}

/* ---- local ranks ---------------------------------------------------------------------------- */

/* A loopback port that was free a moment ago. */
static int free_address(char *address, size_t capacity)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
                getsockname(fd, (struct sockaddr *)&at, &bytes) != 0;
    if (error)
        fprintf(stderr, "allreduce_bench: no loopback port: %s\n", strerror(errno));
    else
        snprintf(address, capacity, "127.0.0.1:%u", ntohs(at.sin_port));
    if (fd >= 0)
        close(fd);
    return error;
}

static int make_secret(void)
{
    uint8_t raw[32];
    char text[65];
    if (getenv("SHOAL_SECRET") || getenv("SHOAL_SECRET_FILE"))
        return 0;
    if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
        return 1;
    for (size_t i = 0; i < sizeof(raw); i++)
        snprintf(text + 2 * i, 3, "%02x", raw[i]);
    return setenv("SHOAL_SECRET", text, 1) != 0;
}

static int wait_for(const pid_t *children, uint32_t count)
{
    int first_error = 0;
    for (uint32_t left = count; left > 0; left--) {
        int status;
        pid_t pid = wait(&status);
        if (pid < 0)
            break;
        int error = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (error == 0 || first_error)
            continue;
        first_error = error;
        for (uint32_t r = 0; r < count; r++) {
            if (children[r] == pid && WIFSIGNALED(status))
                fprintf(stderr, "allreduce_bench: rank %u died of signal %d\n", r,
                        WTERMSIG(status));
        }
    }
    return first_error;
}

static int run_local(const struct bench_options *options)
{
    char address[64];
    pid_t *children = calloc(options->ranks, sizeof(*children));
    if (!children || make_secret() || free_address(address, sizeof(address)))
        return 1;
    fflush(stdout);
    pid_t parent = getpid();
    for (uint32_t r = 0; r < options->ranks; r++) {
        children[r] = fork();
        if (children[r] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(1);
            int error = run_rank(options, r, address);
            fflush(stdout);
            _exit(error);
        }
        if (children[r] < 0) {
            fprintf(stderr, "allreduce_bench: cannot start rank %u: %s\n", r, strerror(errno));
            return 1; /* PDEATHSIG ends those that run. */
        }
    }
    int error = wait_for(children, options->ranks);
    free(children);
    return error;
}

int main(int argc, char **argv)
{
    struct bench_options options;
    int error = bench_parse(argc, argv, &options);
    if (error)
        return error < 0 ? 0 : error;
    return options.ranks > 0 ? run_local(&options) : run_rank(&options, 0, NULL);
}
