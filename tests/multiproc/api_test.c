/*
 * The C ABI between real ranks: every collective, type and operation against a plain reference, in
 * every way that data can travel; splitting; several requests, communicators and threads.
 *
 * Operands are small whole numbers, so that every type holds every result exactly; sums of floats
 * that do not are only compared between ranks, bit by bit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/ranks.h"
#include "multiproc/values.h"
#include "support/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define QUIET "SHOAL_LOG_LEVEL=error"
#define BUFFER_BYTES (8u << 20)

/* How data travels. */
struct way {
    const char *settings[3];
    bool shared_send, shared_recv; /* from shoal_mem_alloc */
    bool some;                     /* ... but on rank 0 only */
};

static const struct way ways[] = {
    {{"SHOAL_SHM_COPY=staged", QUIET}, false, false, false},
    {{"SHOAL_SHM_COPY=cma", QUIET}, false, false, false},
    {{"SHOAL_SHM_COPY=auto", QUIET}, true, true, false},
    {{"SHOAL_SHM_COPY=cma", QUIET}, true, true, true},
    {{"SHOAL_SHM_COPY=staged", QUIET}, true, false, false},
    {{"SHOAL_TRANSPORT=tcp", QUIET}, false, false, false},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static void run_ranks(uint32_t size, const struct way *way, void (*body)(struct rank *))
{
    struct ranks_job job = {
        .size = size, .settings = way->settings, .body = body, .arg = way, .op_timeout_ms = 20000};
    struct rank_report *reports = ranks_run(&job);
    for (uint32_t r = 0; r < size; r++)
        if (reports[r].status != SHOAL_OK)
            fail_msg("%s, shared %d %d some %d, %u ranks, rank %u: %s", way->settings[0],
                     way->shared_send, way->shared_recv, way->some, size, r, reports[r].text);
}

/* The first thing that went wrong on this rank. */
static void note(struct rank *self, int status, const char *what, size_t number)
{
    if (status == SHOAL_OK || self->report->status != SHOAL_OK)
        return;
    self->report->status = status;
    snprintf(self->report->text, sizeof(self->report->text), "%s, %zu: %d %s", what, number, status,
             shoal_last_error());
}

/* ---- every collective ------------------------------------------------------------------------ */

struct buffers {
    uint8_t *send, *recv, *right;
    bool send_shared, recv_shared;
};

static void *get(struct rank *self, bool shared)
{
    void *data = NULL;
    if (!shared)
        return calloc(1, BUFFER_BYTES);
    note(self, shoal_mem_alloc(self->context, BUFFER_BYTES, &data), "shoal_mem_alloc", 0);
    return data;
}

static void open_buffers(struct rank *self, struct buffers *buffers)
{
    const struct way *way = self->arg;
    bool mine = !way->some || self->rank == 0;
    buffers->send_shared = way->shared_send && mine;
    buffers->recv_shared = way->shared_recv && mine;
    buffers->send = get(self, buffers->send_shared);
    buffers->recv = get(self, buffers->recv_shared);
    buffers->right = get(self, false);
}

static void put_back(struct rank *self, void *data, bool shared)
{
    if (shared)
        note(self, shoal_mem_free(self->context, data), "shoal_mem_free", 0);
    else
        free(data);
}

static void close_buffers(struct rank *self, struct buffers *buffers)
{
    put_back(self, buffers->send, buffers->send_shared);
    put_back(self, buffers->recv, buffers->recv_shared);
    free(buffers->right);
}

/* One call with known operands; the receive buffer begins one element past its block, so that what
 * is written outside is seen. */
static void call_once(struct rank *self, struct buffers *buffers, struct shoal_call call,
                      bool in_place)
{
    uint32_t size = self->size, rank = self->rank;
    size_t count = call.count, elem = shoal_dtype_bytes(call.dtype);
    bool gathers = call.collective == SHOAL_ALLGATHER;
    bool scatters = call.collective == SHOAL_REDUCE_SCATTER;
    bool copies = gathers || call.collective == SHOAL_BROADCAST;
    size_t in_count = scatters ? count * size : count;
    size_t out_count = gathers ? count * size : count;
    uint8_t *send = buffers->send + elem, *recv = buffers->recv + elem;
    if (in_place && gathers)
        send = recv + rank * count * elem;
    else if (in_place && scatters)
        recv = send + rank * count * elem;
    else if (in_place)
        recv = send;
    uint32_t from = call.collective == SHOAL_BROADCAST ? call.root : rank;
    for (size_t i = 0; i < in_count; i++)
        value_put(call.dtype, send, i, value_operand(copies ? from : rank, size, i, call.op));
    for (size_t i = 0; i < out_count; i++) {
        unsigned value;
        if (gathers)
            value = value_operand((uint32_t)(i / count), size, i % count, call.op);
        else if (copies)
            value = value_operand(call.root, size, i, call.op);
        else
            value = value_reduced(size, scatters ? rank * count + i : i, call.op);
        value_put(call.dtype, buffers->right, i, value);
    }
    bool receives = call.collective != SHOAL_REDUCE || rank == call.root;
    struct shoal_request *request = NULL;
    call.struct_size = sizeof(call);
    call.send = send;
    call.recv = receives ? recv : NULL;
    int status = shoal_start_wait(self->comm, &call, UINT32_MAX, &request);
    if (status == SHOAL_OK && receives && memcmp(recv, buffers->right, out_count * elem) != 0)
        status = SHOAL_ERR_INTERNAL;
    char what[128];
    snprintf(what, sizeof(what), "%s %s %s root %u in place %d",
             shoal_collective_string(call.collective), shoal_dtype_string(call.dtype),
             shoal_op_string(call.op), call.root, in_place);
    note(self, status, what, count);
}

static void call_everything(struct rank *self)
{
    struct buffers buffers;
    open_buffers(self, &buffers);
    /* Within a line, in slots, in windows of several sizes, or pulled. */
    static const size_t counts[] = {0, 1, 37, 1500, 150001};
    for (uint32_t which = 0; which < SHOAL_BARRIER; which++)
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
            for (uint32_t dtype = 0; dtype < SHOAL_DTYPE_COUNT; dtype++)
                for (uint32_t op = 0; op < SHOAL_OP_COUNT; op++) {
                    struct shoal_call call = {.collective = (enum shoal_collective)which,
                                              .dtype = (enum shoal_dtype)dtype,
                                              .op = op,
                                              .root = (dtype + op) % self->size,
                                              .count = counts[c]};
                    /* Large ones take turns with the types. */
                    if (counts[c] > 100000 && (dtype + op) % 6 != which % 6)
                        continue;
                    if (self->report->status == SHOAL_OK)
                        call_once(self, &buffers, call, (dtype + op + c) % 2);
                }
    note(self, shoal_barrier(self->comm), "barrier", 0);
    close_buffers(self, &buffers);
}

static void test_every_collective(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {2, 3, 5};
    for (size_t s = 0; s < 3; s++)
        for (size_t w = 0; w < WAYS; w++)
            run_ranks(sizes[s], &ways[w], call_everything);
}

/* ---- floats whose sums depend on the order ----------------------------------------------------
 */

static void compare_bits(struct rank *self)
{
    const size_t count = 100003;
    struct buffers buffers;
    open_buffers(self, &buffers);
    float *data = (float *)(void *)buffers.send, *all = (float *)(void *)buffers.recv;
    uint32_t seed = self->rank * 7919 + 1;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (float)((int32_t)seed) * (i % 5 ? 1e-9f : 1e20f);
    }
    note(self, shoal_allreduce(self->comm, data, data, count, SHOAL_F32, SHOAL_SUM), "sum", count);
    note(self, shoal_allgather(self->comm, data, all, count, SHOAL_F32), "gather", count);
    for (uint32_t r = 1; r < self->size; r++)
        if (memcmp(all, all + r * count, count * sizeof(float)) != 0)
            note(self, SHOAL_ERR_INTERNAL, "other bits on rank", r);
    close_buffers(self, &buffers);
}

static void test_same_bits_everywhere(void **state)
{
    (void)state;
    for (size_t w = 0; w < WAYS; w++)
        run_ranks(w % 2 ? 3 : 5, &ways[w], compare_bits);
}

/* ---- user-defined operations ------------------------------------------------------------------
 */

/* x -> a x + b, packed: associative, and the order shows. */
static void compose(const void *a, const void *b, void *out, size_t count, enum shoal_dtype dtype,
                    void *user)
{
    const uint64_t *x = a, *y = b;
    uint64_t *to = out;
    (void)dtype;
    ++*(uint64_t *)user;
    for (size_t i = 0; i < count; i++) {
        uint32_t slope = (uint32_t)(x[i] >> 32) * (uint32_t)(y[i] >> 32);
        uint32_t offset = (uint32_t)x[i] * (uint32_t)(y[i] >> 32) + (uint32_t)y[i];
        to[i] = (uint64_t)slope << 32 | offset;
    }
}

static void add(const void *a, const void *b, void *out, size_t count, enum shoal_dtype dtype,
                void *user)
{
    (void)dtype;
    ++*(uint64_t *)user;
    for (size_t i = 0; i < count; i++)
        ((uint64_t *)out)[i] = ((const uint64_t *)a)[i] + ((const uint64_t *)b)[i];
}

static uint64_t function_of(uint32_t rank, size_t at)
{
    return (uint64_t)(2 * rank + 3 + at % 7) << 32 | (rank * 11 + at % 13);
}

static void reduce_by_user(struct rank *self)
{
    struct buffers buffers;
    uint64_t calls = 0;
    uint32_t composed, added;
    struct shoal_op_options composing = {sizeof(composing), compose, &calls, 0};
    struct shoal_op_options adding = {sizeof(adding), add, &calls, 1};
    open_buffers(self, &buffers);
    note(self, shoal_op_create(self->comm, &composing, &composed), "create", 0);
    note(self, shoal_op_create(self->comm, &adding, &added), "create", 1);
    static const size_t counts[] = {1, 100, 1100, 60000};
    uint64_t *send = (void *)buffers.send, *recv = (void *)buffers.recv;
    for (size_t n = 0; n < 24 && self->report->status == SHOAL_OK; n++) {
        size_t count = counts[n % 4];
        uint32_t op = n % 8 < 4 ? composed : added, root = (uint32_t)n % self->size;
        bool in_place = n >= 12;
        for (size_t i = 0; i < count; i++)
            send[i] = function_of(self->rank, i);
        uint64_t *out = in_place ? send : recv;
        int status = n % 3 ? shoal_allreduce(self->comm, send, out, count, SHOAL_U64, op)
                           : shoal_reduce(self->comm, send, out, count, SHOAL_U64, op, root);
        for (size_t i = 0; i < count && (n % 3 || self->rank == root) && status == SHOAL_OK; i++) {
            uint64_t right = function_of(0, i), next;
            for (uint32_t r = 1; r < self->size; r++) {
                next = function_of(r, i);
                (op == composed ? compose : add)(&right, &next, &right, 1, SHOAL_U64, &calls);
            }
            if (out[i] != right)
                status = SHOAL_ERR_INTERNAL;
        }
        note(self, status, op == composed ? "composing" : "adding", count);
    }
    close_buffers(self, &buffers);
}

static void test_user_operations(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= 5; size++)
        for (size_t w = 0; w < WAYS; w += size % 2 ? 3 : 5)
            run_ranks(size, &ways[w], reduce_by_user);
}

/* ---- requests ---------------------------------------------------------------------------------
 */

#define MANY 11 /* more than run at a time */

static void wait_in_any_order(struct rank *self)
{
    struct shoal_request *requests[MANY];
    static int32_t data[MANY][20000];
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            size_t count = i % 3 == 0 ? 20000 : i % 3 == 1 ? 1 : 1000;
            for (size_t k = 0; k < count; k++)
                data[i][k] = (int32_t)(i + self->rank);
            struct shoal_call call = {.struct_size = sizeof(call),
                                      .collective = SHOAL_ALLREDUCE,
                                      .dtype = SHOAL_I32,
                                      .count = count,
                                      .send = data[i],
                                      .recv = data[i]};
            note(self, shoal_start(self->comm, &call, &requests[i]), "start", i);
            if (self->report->status != SHOAL_OK)
                return;
        }
        for (unsigned n = 0; n < MANY; n++) {
            unsigned i = (n * (round + 2) + self->rank) % MANY; /* 11 is prime: each once */
            int status = SHOAL_IN_PROGRESS;
            while (n % 2 && status == SHOAL_IN_PROGRESS)
                status = shoal_request_test(requests[i]);
            status = shoal_request_wait(requests[i], UINT32_MAX);
            int32_t right = (int32_t)(self->size * i + self->size * (self->size - 1) / 2);
            note(self, status == SHOAL_OK && data[i][0] != right ? SHOAL_ERR_INTERNAL : status,
                 "request", i);
            note(self, shoal_request_destroy(requests[i]), "destroy", i);
        }
    }
}

static void test_requests_in_any_order(void **state)
{
    (void)state;
    for (size_t w = 0; w < WAYS; w++)
        run_ranks(3, &ways[w], wait_in_any_order);
}

/* ---- communicators ----------------------------------------------------------------------------
 */

static int sum_on(struct shoal_comm *comm, uint32_t *sum)
{
    uint32_t mine = shoal_comm_rank(comm) + 1;
    return shoal_allreduce(comm, &mine, sum, 1, SHOAL_U32, SHOAL_SUM);
}

static void split_in_many_ways(struct rank *self)
{
    struct shoal_comm *half = NULL, *reversed = NULL, *few = (void *)self;
    uint32_t sum = 0, world = self->size;
    note(self, shoal_comm_split(self->comm, self->rank % 2, 0, &half), "halves", 0);
    note(self, shoal_comm_split(self->comm, 7, -(int32_t)self->rank, &reversed), "reversed", 0);
    note(self, shoal_comm_split(self->comm, self->rank < 2 ? 1 : SHOAL_COLOR_NONE, 0, &few), "few",
         0);
    if (self->report->status != SHOAL_OK)
        return;
    if (shoal_comm_rank(reversed) != world - 1 - self->rank || (self->rank >= 2) != (few == NULL) ||
        shoal_comm_rank(half) != self->rank / 2)
        note(self, SHOAL_ERR_INTERNAL, "places", self->rank);
    /* Children outlive their parent, and children of children theirs. */
    struct shoal_comm *grandchild = NULL;
    note(self, shoal_comm_split(reversed, self->rank / 2, 0, &grandchild), "grandchild", 0);
    note(self, shoal_comm_destroy(self->comm), "destroy", 0);
    self->comm = NULL;
    note(self, shoal_comm_destroy(reversed), "destroy", 1);
    note(self, sum_on(half, &sum), "sum of a half", 0);
    uint32_t members = shoal_comm_size(half);
    if (sum != members * (members + 1) / 2)
        note(self, SHOAL_ERR_INTERNAL, "sum of a half", sum);
    note(self, sum_on(grandchild, &sum), "sum of a grandchild", 0);
    if (few) {
        note(self, sum_on(few, &sum), "sum of few", 0);
        if (sum != 3)
            note(self, SHOAL_ERR_INTERNAL, "sum of few", sum);
    }
    shoal_comm_destroy(grandchild);
    shoal_comm_destroy(few);
    if (shoal_context_destroy(self->context) != SHOAL_ERR_BUSY)
        note(self, SHOAL_ERR_INTERNAL, "a context with a communicator was destroyed", 0);
    shoal_comm_destroy(half);
}

static void test_split(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= 5; size++)
        for (size_t w = 0; w < WAYS; w += 5)
            run_ranks(size, &ways[w], split_in_many_ways);
}

/* ---- threads ----------------------------------------------------------------------------------
 */

#define THREADS 3
#define THREAD_ROUNDS 40

struct worker {
    struct rank *self;
    struct shoal_comm *comm;
    int status;
};

static void *work_alone(void *arg)
{
    struct worker *worker = arg;
    static const size_t counts[] = {1, 3000, 100000};
    int32_t *data = malloc(100000 * sizeof(*data));
    int32_t size = (int32_t)worker->self->size;
    for (int i = 0; i < THREAD_ROUNDS && worker->status == SHOAL_OK; i++) {
        size_t count = counts[i % 3];
        for (size_t k = 0; k < count; k++)
            data[k] = i + (int32_t)worker->self->rank;
        worker->status = shoal_allreduce(worker->comm, data, data, count, SHOAL_I32, SHOAL_SUM);
        if (worker->status == SHOAL_OK && data[count - 1] != size * i + size * (size - 1) / 2)
            worker->status = SHOAL_ERR_INTERNAL;
        if (i % 10 == 9 && worker->status == SHOAL_OK) { /* forming one while others work */
            struct shoal_comm *child = NULL;
            worker->status = shoal_comm_split(worker->comm, 0, 0, &child);
            if (worker->status == SHOAL_OK)
                worker->status = shoal_barrier(child);
            shoal_comm_destroy(child);
        }
    }
    free(data);
    return NULL;
}

static void work_in_threads(struct rank *self)
{
    pthread_t threads[THREADS];
    struct worker workers[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        workers[i].self = self;
        note(self, shoal_comm_split(self->comm, 0, 0, &workers[i].comm), "split", (size_t)i);
    }
    if (self->report->status != SHOAL_OK)
        return;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work_alone, &workers[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        note(self, workers[i].status, "thread", (size_t)i);
        shoal_comm_destroy(workers[i].comm);
    }
}

static void test_threads_with_communicators_of_their_own(void **state)
{
    (void)state;
    for (size_t w = 0; w < WAYS; w += 5)
        run_ranks(3, &ways[w], work_in_threads);
}

int main(int argc, char **argv)
{
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_collective),
        cmocka_unit_test(test_same_bits_everywhere),
        cmocka_unit_test(test_user_operations),
        cmocka_unit_test(test_requests_in_any_order),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_threads_with_communicators_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
