/*
 * Scripts of collectives: operands, the naive reference, comparing.
 *
 * Operands are small integers, so that sums are exact in f32 and f64 in whatever order they are
 * added; f16, bf16 and fp8 are only compared between ranks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/script.h"

static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

/* Element `index` of the operand of `rank`. */
static int64_t operand(const struct script_op *op, uint32_t rank, size_t index)
{
    uint64_t drawn = mix(op->salt * 1000003 + rank * 7919 + index);
    if (op->op == SHOAL_PROD)
        return drawn % 64 == 0 ? 2 : 1; /* products stay exact */
    return (int64_t)(drawn % 97) - (op->dtype == SHOAL_U8 ? 0 : 48);
}

static uint64_t affine(const struct script_op *op, uint32_t rank, size_t index)
{
    return mix(op->salt + rank * 104729 + index * 31) | 1; /* any pair of 32-bit numbers */
}

/* First applies `a`, then `b`: (a2 a1, a2 b1 + b2). */
static uint64_t compose(uint64_t a, uint64_t b)
{
    uint32_t a1 = (uint32_t)(a >> 32), b1 = (uint32_t)a;
    uint32_t a2 = (uint32_t)(b >> 32), b2 = (uint32_t)b;
    return (uint64_t)(a2 * a1) << 32 | (uint32_t)(a2 * b1 + b2);
}

static void reduce_affine(const void *a, const void *b, void *out, size_t count,
                          enum shoal_dtype dtype, void *user)
{
    (void)dtype;
    (void)user;
    for (size_t i = 0; i < count; i++) {
        uint64_t left, right;
        memcpy(&left, (const uint8_t *)a + 8 * i, 8);
        memcpy(&right, (const uint8_t *)b + 8 * i, 8);
        uint64_t both = compose(left, right);
        memcpy((uint8_t *)out + 8 * i, &both, 8);
    }
}

void script_make_op(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->size; i++) {
        struct shoal_comm *comm = cluster->members[i].comm;
        comm->user_ops[comm->user_op_count++] =
            (struct shl_user_op){.function = reduce_affine, .commutes = false};
    }
}

/* ---- elements ------------------------------------------------------------------------------- */

static void put(const struct script_op *op, uint8_t *data, size_t index, int64_t value)
{
    uint8_t *at = data + index * shoal_dtype_bytes(op->dtype);
    switch (op->dtype) {
    case SHOAL_F32:
        memcpy(at, &(float){(float)value}, 4);
        break;
    case SHOAL_F64:
        memcpy(at, &(double){(double)value}, 8);
        break;
    case SHOAL_F16: /* small integers in the bits are small numbers, too */
    case SHOAL_BF16:
        memcpy(at, &(uint16_t){(uint16_t)(0x3c00 + (value & 0xff))}, 2);
        break;
    case SHOAL_F8E4M3:
    case SHOAL_F8E5M2:
        *at = (uint8_t)(0x30 + (value & 7));
        break;
    default: /* little endian: the low bytes */
        memcpy(at, &value, shoal_dtype_bytes(op->dtype));
        break;
    }
}

static void fill(const struct script_op *op, uint32_t rank, uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (op->op == SCRIPT_AFFINE)
            memcpy(data + 8 * i, &(uint64_t){affine(op, rank, i)}, 8);
        else
            put(op, data, i, operand(op, rank, i));
    }
}

static bool is_exact(enum shoal_dtype dtype)
{
    return dtype <= SHOAL_U64 || dtype == SHOAL_F32 || dtype == SHOAL_F64;
}

/* Element `index` of the reduction over all ranks, at index 0 of `out`. */
static void reduce_all(const struct script_op *op, uint32_t size, size_t index, uint8_t *out)
{
    if (op->op == SCRIPT_AFFINE) {
        uint64_t all = affine(op, 0, index);
        for (uint32_t rank = 1; rank < size; rank++)
            all = compose(all, affine(op, rank, index));
        memcpy(out, &all, 8);
        return;
    }
    int64_t all = operand(op, 0, index);
    for (uint32_t rank = 1; rank < size; rank++) {
        int64_t next = operand(op, rank, index);
        switch (op->op) {
        case SHOAL_PROD:
            all *= next;
            break;
        case SHOAL_MIN:
            all = next < all ? next : all;
            break;
        case SHOAL_MAX:
            all = next > all ? next : all;
            break;
        default:
            all += next;
            break;
        }
    }
    if (op->op == SHOAL_AVG) {
        if (op->dtype == SHOAL_F32) {
            memcpy(out, &(float){(float)all / (float)size}, 4);
            return;
        }
        if (op->dtype == SHOAL_F64) {
            memcpy(out, &(double){(double)all / (double)size}, 8);
            return;
        }
        all /= size; /* the sum of u8 does not wrap: script_random sees to it */
    }
    put(op, out, 0, all);
}

/* ---- calls ---------------------------------------------------------------------------------- */

struct script_op script_random(struct cluster *cluster, size_t count_max)
{
    static const enum shoal_dtype dtypes[] = {SHOAL_I32, SHOAL_F32,  SHOAL_F64,    SHOAL_I64,
                                              SHOAL_U8,  SHOAL_BF16, SHOAL_F8E4M3, SHOAL_F16};
    struct script_op op = {.salt = cluster_random(cluster, UINT32_MAX)};
    op.collective = (enum shoal_collective)cluster_random(cluster, SHOAL_COLLECTIVE_COUNT);
    if (cluster_random(cluster, 3) == 0)
        op.collective = SHOAL_ALLREDUCE;
    op.dtype = dtypes[cluster_random(cluster, sizeof(dtypes) / sizeof(dtypes[0]))];
    bool reduces = op.collective == SHOAL_ALLREDUCE || op.collective == SHOAL_REDUCE ||
                   op.collective == SHOAL_REDUCE_SCATTER;
    if (reduces)
        op.op = (uint32_t)cluster_random(cluster, SHOAL_OP_COUNT);
    if (op.dtype == SHOAL_U8 && op.op == SHOAL_AVG)
        op.op = SHOAL_MAX;
    if (reduces && cluster_random(cluster, 6) == 0) {
        op.op = SCRIPT_AFFINE;
        op.dtype = SHOAL_U64;
    }
    if (op.collective == SHOAL_BROADCAST || op.collective == SHOAL_REDUCE)
        op.root = (uint32_t)cluster_random(cluster, cluster->size);
    if (op.collective != SHOAL_BARRIER)
        op.count = cluster_random(cluster, 4) == 0 ? cluster_random(cluster, 4)
                                                   : cluster_random(cluster, count_max);
    op.in_place = cluster_random(cluster, 2) == 0;
    return op;
}

static size_t send_count(const struct script_op *op, uint32_t size)
{
    return op->collective == SHOAL_REDUCE_SCATTER ? op->count * size : op->count;
}

static size_t recv_count(const struct script_op *op, uint32_t size)
{
    return op->collective == SHOAL_ALLGATHER ? op->count * size : op->count;
}

static void make_buffers(struct cluster *cluster, uint32_t rank, struct script_call *call)
{
    const struct script_op *op = &call->op;
    size_t elem = shoal_dtype_bytes(op->dtype);
    size_t sends = send_count(op, cluster->size) * elem;
    size_t recvs = recv_count(op, cluster->size) * elem;
    size_t larger = sends > recvs ? sends : recvs;
    call->store[0] = malloc(larger + 16);
    call->store[1] = malloc(larger + 16);
    CHECK(cluster, call->store[0] != NULL && call->store[1] != NULL);
    memset(call->store[0], 0x55, larger + 16);
    memset(call->store[1], 0x55, larger + 16);
    size_t skew = op->salt % 3; /* buffers need no alignment */
    call->send = call->store[0] + skew;
    call->recv = call->store[1] + skew;
    if (op->in_place) {
        call->recv = call->send;
        if (op->collective == SHOAL_ALLGATHER)
            call->send = call->recv + rank * op->count * elem;
        if (op->collective == SHOAL_REDUCE_SCATTER)
            call->recv = call->send + rank * op->count * elem;
    }
    if (op->collective != SHOAL_BROADCAST || rank == op->root)
        fill(op, rank, call->send, send_count(op, cluster->size));
}

void script_start(struct cluster *cluster, uint32_t rank, const struct script_op *op,
                  uint64_t timeout_ns, struct script_call *call)
{
    struct member *member = &cluster->members[rank];
    *call = (struct script_call){.op = *op};
    make_buffers(cluster, rank, call);
    struct shoal_call api = {.struct_size = sizeof(api),
                             .collective = op->collective,
                             .dtype = op->dtype,
                             .op = op->op,
                             .root = op->root,
                             .count = op->count,
                             .send = call->send,
                             .recv = call->recv};
    call->start_ns = cluster_now_ns(cluster);
    call->deadline_ns = call->start_ns + timeout_ns;
    shl_token_take(member->engine);
    call->status = shl_request_start(member->comm, &api, &call->request);
    shl_token_give(member->engine);
    if (call->status < 0)
        snprintf(call->text, sizeof(call->text), "%s", shl_error_text());
    else
        call->status = SHOAL_IN_PROGRESS;
}

bool script_settled(struct cluster *cluster, uint32_t rank, struct script_call *call)
{
    if (call->status != SHOAL_IN_PROGRESS)
        return true;
    struct member *member = &cluster->members[rank];
    struct shoal_request *request = call->request;
    shl_token_take(member->engine);
    if (request->status == SHOAL_IN_PROGRESS && !call->gave_up &&
        cluster_now_ns(cluster) >= call->deadline_ns) {
        call->gave_up = true;
        shl_incident_raise(member->comm, request->seq, SHOAL_ERR_TIMEOUT, "it took too long");
    }
    call->status = request->status;
    if (call->status != SHOAL_IN_PROGRESS) {
        snprintf(call->text, sizeof(call->text), "%s", request->text);
        shl_request_free(request);
        call->request = NULL;
    }
    shl_token_give(member->engine);
    return call->status != SHOAL_IN_PROGRESS;
}

static void print_stuck(const struct cluster *cluster, const struct script_call *calls)
{
    for (uint32_t i = 0; i < cluster->size; i++) {
        const struct script_op *op = &calls[i].op;
        print_error("rank %u: %s of %zu %s, op %u, root %u: %d %s\n", i,
                    shoal_collective_string(op->collective), op->count,
                    shoal_dtype_string(op->dtype), op->op, op->root, (int)calls[i].status,
                    calls[i].text);
    }
}

void script_run(struct cluster *cluster, const struct script_op *ops, uint64_t spread_ns,
                uint64_t timeout_ns, uint64_t limit_ns, struct script_call *calls)
{
    uint64_t start_ns[CLUSTER_RANKS_MAX];
    bool started[CLUSTER_RANKS_MAX] = {false};
    uint64_t end_ns = cluster_now_ns(cluster) + limit_ns;
    for (uint32_t i = 0; i < cluster->size; i++) {
        start_ns[i] = cluster_now_ns(cluster) + cluster_random(cluster, spread_ns + 1);
        (void)shl_sim_network_wake(cluster->network, start_ns[i]);
        calls[i] = (struct script_call){.status = SHOAL_IN_PROGRESS};
    }
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (uint32_t i = 0; i < cluster->size; i++) {
            if (cluster->members[i].crashed)
                continue;
            if (!started[i] && cluster_now_ns(cluster) >= start_ns[i]) {
                started[i] = true;
                script_start(cluster, i, &ops[i], timeout_ns, &calls[i]);
            }
            waiting |= !started[i] || !script_settled(cluster, i, &calls[i]);
        }
        if (cluster_now_ns(cluster) >= end_ns)
            print_stuck(cluster, calls);
        CHECK(cluster, cluster_now_ns(cluster) < end_ns);
        if (waiting)
            cluster_turn(cluster, end_ns);
    }
}

/* ---- checking ------------------------------------------------------------------------------- */

static void fail_element(struct cluster *cluster, uint32_t rank, const struct script_op *op,
                         size_t index)
{
    print_error("rank %u, %s of %zu %s, op %u, root %u, %s place: element %zu is wrong\n", rank,
                shoal_collective_string(op->collective), op->count, shoal_dtype_string(op->dtype),
                op->op, op->root, op->in_place ? "in" : "out of", index);
    CHECK(cluster, !"the result is what the operands give");
}

/* What element `index` of the rank's result must be. */
static void expect(const struct cluster *cluster, uint32_t rank, const struct script_op *op,
                   size_t index, uint8_t *out)
{
    switch (op->collective) {
    case SHOAL_BROADCAST:
        put(op, out, 0, operand(op, op->root, index));
        break;
    case SHOAL_ALLGATHER:
        put(op, out, 0, operand(op, (uint32_t)(index / op->count), index % op->count));
        break;
    case SHOAL_REDUCE_SCATTER:
        reduce_all(op, cluster->size, rank * op->count + index, out);
        break;
    default:
        reduce_all(op, cluster->size, index, out);
        break;
    }
}

static bool has_result(const struct script_op *op, uint32_t rank)
{
    return op->collective != SHOAL_BARRIER && (op->collective != SHOAL_REDUCE || rank == op->root);
}

void script_verify(struct cluster *cluster, uint32_t rank, const struct script_call *call)
{
    const struct script_op *op = &call->op;
    bool moves = op->collective == SHOAL_BROADCAST || op->collective == SHOAL_ALLGATHER;
    if (!has_result(op, rank) || (!moves && !is_exact(op->dtype)))
        return;
    size_t elem = shoal_dtype_bytes(op->dtype), count = recv_count(op, cluster->size);
    for (size_t i = 0; i < count; i++) {
        uint8_t expected[8];
        expect(cluster, rank, op, i, expected);
        if (memcmp(expected, call->recv + i * elem, elem) != 0)
            fail_element(cluster, rank, op, i);
    }
    /* Nothing behind the end, either. */
    const uint8_t *end = call->recv + count * elem;
    if (call->recv == call->store[1] + op->salt % 3)
        CHECK(cluster, end[0] == 0x55 && end[1] == 0x55 && end[2] == 0x55);
}

void script_verify_equal(struct cluster *cluster, const struct script_call *a,
                         const struct script_call *b)
{
    const struct script_op *op = &a->op;
    if (op->collective != SHOAL_ALLREDUCE && op->collective != SHOAL_BROADCAST &&
        op->collective != SHOAL_ALLGATHER)
        return;
    size_t bytes = recv_count(op, cluster->size) * shoal_dtype_bytes(op->dtype);
    CHECK(cluster, memcmp(a->recv, b->recv, bytes) == 0);
}

void script_free(struct script_call *call)
{
    /* A rank that crashed never asked for its outcome. */
    struct shoal_request *request = call->request;
    if (request != NULL && request->status != SHOAL_IN_PROGRESS)
        shl_request_free(request);
    else if (request != NULL)
        request->detached = true;
    call->request = NULL;
    free(call->store[0]);
    free(call->store[1]);
    call->store[0] = call->store[1] = NULL;
}
