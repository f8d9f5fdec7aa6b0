/*
 * What TCP over loopback can do between two processes, and what the tcp transport makes of it, in
 * one run: spinning ping-pong, and streams one way and both ways.
 *
 * Two processes, one a core. Rounds of the raw sockets and of the transport alternate, and the
 * median of each is shown, so that what disturbs the machine disturbs both. With --limit only the
 * floor of an allreduce of two ranks is measured, from raw sockets, and printed as "bytes,us": half
 * a round trip up to 64 KiB, as many bytes both ways at once beyond.
 *
 *     build/bench/tcp_bound [rounds]
 *     build/bench/tcp_bound --limit FIRST LAST FACTOR
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config.h"
#include "core/sys.h"
#include "tcp_pair.h"
#include "transport/tcp/tcp_channel.h"
#include "transport/transport.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STREAMS 2
#define ROUNDS_MAX 101
#define BUFFER_BYTES ((size_t)64 << 20)
#define HALF_TRIP_BYTES_MAX 65536
#define LIMIT_US 200000.0 /* time given to one size */

enum direction { ONE_WAY, BOTH_WAYS };

static int rank;                 /* of this process: 0 or 1 */
static int raw_fds[STREAMS];     /* connected to the other process */
static int flow_fds[2][STREAMS]; /* handed to the transports of one and of two flows */
static uint8_t *out_buffer, *in_buffer;

static void die(const char *what)
{
    fprintf(stderr, "tcp_bound: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- raw sockets ---------------------------------------------------------------------------- */

static void raw_send(size_t bytes)
{
    for (size_t at = 0; at < bytes;)
        at += tcp_pair_moved(send(raw_fds[0], out_buffer + at, bytes - at, MSG_NOSIGNAL));
}

static void raw_recv(size_t bytes)
{
    for (size_t at = 0; at < bytes;)
        at += tcp_pair_moved(recv(raw_fds[0], in_buffer + at, bytes - at, 0));
}

static void raw_ping(size_t bytes)
{
    if (rank == 0) {
        raw_send(bytes);
        raw_recv(bytes);
    } else {
        raw_recv(bytes);
        raw_send(bytes);
    }
}

/* Both at once, as in an allreduce of two ranks. */
static void raw_swap(size_t bytes)
{
    size_t out = 0, in = 0;
    while (out < bytes || in < bytes) {
        if (out < bytes)
            out += tcp_pair_moved(send(raw_fds[0], out_buffer + out, bytes - out, MSG_NOSIGNAL));
        if (in < bytes)
            in += tcp_pair_moved(recv(raw_fds[0], in_buffer + in, bytes - in, 0));
    }
}

static void raw_stream(size_t bytes, enum direction direction, int streams)
{
    struct tcp_pair_transfer transfer = {.fds = raw_fds,
                                         .streams = streams,
                                         .sends = rank == 0 || direction == BOTH_WAYS,
                                         .receives = rank == 1 || direction == BOTH_WAYS,
                                         .out = out_buffer,
                                         .in = in_buffer,
                                         .bytes = bytes};
    tcp_pair_run(&transfer);
}

/* ---- the transport -------------------------------------------------------------------------- */

static struct shl_transport_env env;
static struct shl_transport *transports[STREAMS]; /* index: flows - 1 */
static uint64_t next_message;

static enum shoal_status dial(struct shl_control *control, uint32_t peer,
                              enum shl_channel_kind kind, uint32_t index, uint64_t deadline_ns,
                              shl_channel_fn ready, void *arg)
{
    int *channel_fds = (int *)control;
    (void)deadline_ns;
    if (kind != SHL_CHANNEL_TCP_DATA || channel_fds[index] < 0)
        return SHOAL_OK; /* stays asked for: nothing breaks and nobody knocks here */
    int fd = channel_fds[index];
    channel_fds[index] = -1;
    ready(arg, peer, index, fd, NULL);
    return SHOAL_OK;
}

static const char *host_id(struct shl_control *control)
{
    (void)control;
    return "";
}

static bool wanted(void *arg, const struct shl_tag *tag)
{
    (void)arg, (void)tag;
    return true;
}

static void seen(void *arg, uint32_t peer, const struct shl_tag *tag,
                 const struct shl_signature *signature)
{
    (void)arg, (void)peer, (void)tag, (void)signature;
}

static void lost(void *arg, uint32_t peer, enum shoal_status status, const char *cause)
{
    (void)arg, (void)peer, (void)status;
    fprintf(stderr, "tcp_bound: lost: %s\n", cause);
    exit(1);
}

static void done(struct shl_xfer *xfer)
{
    if (xfer->status != SHOAL_OK)
        exit(1);
}

static void check(enum shoal_status status)
{
    if (status < 0) {
        fprintf(stderr, "tcp_bound: %s\n", shl_error_text());
        exit(1);
    }
}

static void open_transport(int flows)
{
    static struct shl_config configs[STREAMS];
    char setting[32];
    const char *const settings[] = {setting};
    char *const nothing[] = {NULL};
    struct shl_config_options options = {
        .settings = settings, .setting_count = 1, .environment = nothing};
    uint8_t blob[64];
    bool reaches[2];
    snprintf(setting, sizeof(setting), "SHOAL_TCP_FLOWS=%d", flows);
    check(shl_config_load(&options, &configs[flows - 1]));
    static struct shl_transport_env envs[STREAMS];
    envs[flows - 1] = env;
    envs[flows - 1].config = &configs[flows - 1];
    envs[flows - 1].control = (struct shl_control *)flow_fds[flows - 1];
    check(shl_transport_tcp.open(&envs[flows - 1], &transports[flows - 1]));
    struct shl_transport *t = transports[flows - 1];
    size_t bytes = shl_transport_tcp.describe(t, blob, sizeof(blob));
    const void *const blobs[2] = {blob, blob};
    const size_t sizes[2] = {bytes, bytes};
    check(shl_transport_tcp.attach(t, blobs, sizes, UINT64_MAX, reaches));
}

static void post(struct shl_transport *t, struct shl_xfer *xfer, bool sends, uint64_t seq,
                 size_t bytes)
{
    *xfer = (struct shl_xfer){.peer = (uint32_t)(1 - rank),
                              .tag = {.seq = seq},
                              .data = sends ? out_buffer : in_buffer,
                              .bytes = bytes,
                              .elem_bytes = 4,
                              .done = done};
    check(sends ? shl_transport_tcp.send(t, xfer) : shl_transport_tcp.recv(t, xfer));
}

static void await(struct shl_transport *t, const struct shl_xfer *xfer)
{
    while (xfer->status == SHOAL_IN_PROGRESS)
        shl_transport_tcp.poll(t);
}

static void ping(struct shl_transport *t, size_t bytes)
{
    struct shl_xfer in, out;
    uint64_t seq = next_message++;
    post(t, &in, false, seq, bytes);
    if (rank == 1)
        await(t, &in);
    post(t, &out, true, seq, bytes);
    if (rank == 0)
        await(t, &in);
    await(t, &out);
}

static void swap(struct shl_transport *t, size_t bytes)
{
    struct shl_xfer in, out;
    uint64_t seq = next_message++;
    post(t, &in, false, seq, bytes);
    post(t, &out, true, seq, bytes);
    await(t, &in);
    await(t, &out);
}

static void stream(struct shl_transport *t, size_t bytes, enum direction direction)
{
    struct shl_xfer in = {0}, out = {0};
    uint64_t seq = next_message++;
    if (rank == 1 || direction == BOTH_WAYS)
        post(t, &in, false, seq, bytes);
    if (rank == 0 || direction == BOTH_WAYS)
        post(t, &out, true, seq, bytes);
    await(t, &in);
    await(t, &out);
}

/* ---- measuring ------------------------------------------------------------------------------ */

static double now_us(void)
{
    return (double)shl_now_ns() / 1000;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), compare);
    return values[count / 2];
}

static void measure_small(size_t bytes, bool at_once, int rounds)
{
    double raw[ROUNDS_MAX], ours[ROUNDS_MAX];
    int times = bytes > 16384 ? 200 : 1000;
    for (int round = 0; round < rounds; round++) {
        double start = now_us();
        for (int i = 0; i < times; i++)
            at_once ? raw_swap(bytes) : raw_ping(bytes);
        raw[round] = (now_us() - start) / times;
        start = now_us();
        for (int i = 0; i < times; i++)
            at_once ? swap(transports[0], bytes) : ping(transports[0], bytes);
        ours[round] = (now_us() - start) / times;
    }
    double a = median(raw, rounds), b = median(ours, rounds);
    if (rank == 0)
        printf("%s %7zu B          raw %9.2f us      tcp transport %9.2f us   x %.2f\n",
               at_once ? "both at once  " : "there and back", bytes, a, b, b / a);
}

static void measure_stream(size_t bytes, enum direction direction, int streams, int rounds)
{
    double raw[ROUNDS_MAX], ours[ROUNDS_MAX];
    int times = (int)(BUFFER_BYTES / bytes);
    for (int round = 0; round < rounds; round++) {
        raw_ping(8);
        double start = now_us();
        for (int i = 0; i < times; i++)
            raw_stream(bytes, direction, streams);
        raw_ping(8);
        raw[round] = (double)bytes * times / (now_us() - start) / 1000;
        start = now_us();
        for (int i = 0; i < times; i++)
            stream(transports[streams - 1], bytes, direction);
        raw_ping(8);
        ours[round] = (double)bytes * times / (now_us() - start) / 1000;
    }
    double a = median(raw, rounds), b = median(ours, rounds);
    if (rank == 0)
        printf("%s %8zu KiB, %d stream%s raw %6.2f GB/s     tcp transport %6.2f GB/s     x %.2f\n",
               direction == ONE_WAY ? "one way  " : "both ways", bytes >> 10, streams,
               streams > 1 ? "s  " : "   ", a, b, b / a);
}

static void measure_all(int rounds)
{
    const size_t pings[] = {8, 4096, 16384, 65536, 262144};
    const size_t streams[] = {262144, 1 << 20, BUFFER_BYTES};
    for (size_t i = 0; i < sizeof(pings) / sizeof(pings[0]); i++)
        measure_small(pings[i], false, rounds);
    for (size_t i = 0; i < sizeof(pings) / sizeof(pings[0]); i++)
        measure_small(pings[i], true, rounds);
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++)
        for (int flows = 1; flows <= STREAMS; flows++) {
            measure_stream(streams[i], ONE_WAY, flows, rounds);
            measure_stream(streams[i], BOTH_WAYS, flows, rounds);
        }
}

static void both_ways(size_t bytes)
{
    for (size_t rest = bytes, step; rest; rest -= step) {
        step = rest < BUFFER_BYTES ? rest : BUFFER_BYTES;
        raw_stream(step, BOTH_WAYS, 1);
    }
}

static void measure_limit(size_t bytes)
{
    bool small = bytes <= HALF_TRIP_BYTES_MAX;
    double start = now_us();
    long trips = 0;
    do {
        for (int i = 0; i < 4; i++, trips++)
            small ? raw_ping(bytes) : both_ways(bytes);
        out_buffer[0] = now_us() < start + LIMIT_US; /* rank 0 decides for both */
        raw_ping(8);
    } while (rank == 0 ? out_buffer[0] : in_buffer[0]);
    if (rank == 0)
        printf("%zu,%.3f\n", bytes, (now_us() - start) / (double)trips / (small ? 2 : 1));
}

static void pin(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(rank, &set);
    sched_setaffinity(0, sizeof(set), &set); /* with one core it stays where it is */
}

static int usage(void)
{
    fprintf(stderr,
            "usage: tcp_bound [rounds, 1 to %d]\n"
            "       tcp_bound --limit FIRST LAST FACTOR\n",
            ROUNDS_MAX);
    return 2;
}

static void map_buffers(void)
{
    out_buffer =
        mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    in_buffer =
        mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (out_buffer == MAP_FAILED || in_buffer == MAP_FAILED)
        die("mmap");
    memset(out_buffer, rank + 1, BUFFER_BYTES);
    memset(in_buffer, 0, BUFFER_BYTES);
}

static void compare_transport(int rounds)
{
    static const struct shl_tcp_channels channels = {dial, host_id};
    shl_tcp_channels = &channels;
    env = (struct shl_transport_env){.rank = (uint32_t)rank,
                                     .size = 2,
                                     .epoch = 1,
                                     .wanted = wanted,
                                     .seen = seen,
                                     .lost = lost};
    open_transport(1);
    open_transport(2);
    measure_all(rounds);
    raw_ping(8);
}

int main(int argc, char **argv)
{
    bool limit = argc == 5 && strcmp(argv[1], "--limit") == 0;
    int rounds = argc > 1 ? atoi(argv[1]) : 11, pairs[3][STREAMS][2];
    size_t first = limit ? strtoull(argv[2], NULL, 10) : 0;
    size_t last = limit ? strtoull(argv[3], NULL, 10) : 0;
    size_t factor = limit ? strtoull(argv[4], NULL, 10) : 0;
    if (limit ? first < 8 || factor < 2 : argc > 2 || rounds < 1 || rounds > ROUNDS_MAX)
        return usage();
    for (int set = 0; set < 3; set++)
        for (int i = 0; i < STREAMS; i++)
            tcp_pair_connect(pairs[set][i]);
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        die("fork");
    rank = child == 0;
    pin();
    for (int i = 0; i < STREAMS; i++) {
        raw_fds[i] = pairs[0][i][rank];
        flow_fds[0][i] = i == 0 ? pairs[1][0][rank] : -1;
        flow_fds[1][i] = pairs[2][i][rank];
        for (int set = 0; set < 3; set++)
            close(pairs[set][i][1 - rank]);
    }
    map_buffers();
    for (size_t bytes = first; limit && bytes <= last; bytes *= factor)
        measure_limit(bytes);
    if (!limit)
        compare_transport(rounds);
    fflush(NULL);
    if (rank == 1)
        _exit(0);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
