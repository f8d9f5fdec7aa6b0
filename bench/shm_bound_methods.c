/*
 * shm_bound: the methods. Invariant: every method ends with the whole result in every rank's
 * output, and no rank runs more than an operation ahead.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "shm_bound.h"

#include <sched.h>
#include <string.h>
#include <sys/uio.h>

#define SPINS 200 /* before a waiter yields */

const char *const bound_method_names[METHODS] = {"exchange", "mapped",    "mapped-nt", "pull",
                                                 "staged",   "staged-nt", "stream"};

/* ---- waiting -------------------------------------------------------------------------------- */

static void wait_for(const _Atomic uint64_t *flag, uint64_t value)
{
    for (unsigned spins = 0; atomic_load_explicit(flag, memory_order_acquire) < value; spins++) {
        if (bound.crowded || spins > SPINS)
            sched_yield();
#if defined(__x86_64__)
        else
            __builtin_ia32_pause();
#endif
    }
}

void bound_barrier(void)
{
    static uint64_t turn;
    turn++;
    atomic_store_explicit(&bound.shared->barrier[bound.rank].value, turn, memory_order_release);
    for (uint32_t i = 0; i < bound.options.ranks; i++)
        wait_for(&bound.shared->barrier[i].value, turn);
}

/* ---- slices --------------------------------------------------------------------------------- */

/* Bytes [*from, *to) of `bytes` belong to rank r; whole elements, whole lines where there are
 * enough. */
static void slice_of(uint64_t bytes, uint32_t r, uint64_t *from, uint64_t *to)
{
    uint64_t unit =
        bytes >= (uint64_t)BOUND_LINE_PAIR * bound.options.ranks ? BOUND_LINE_PAIR : sizeof(float);
    uint64_t units = bytes / unit;
    *from = units * r / bound.options.ranks * unit;
    *to = r + 1 == bound.options.ranks ? bytes : units * (r + 1) / bound.options.ranks * unit;
}

/* ---- methods -------------------------------------------------------------------------------- */

static void run_exchange(uint64_t at, uint64_t bytes)
{
    static uint64_t turn;
    unsigned slot = (unsigned)(++turn % BOUND_EXCHANGE_SLOTS);
    struct bound_flag *mine = &bound.shared->exchange[bound.rank][slot];
    const void *inputs[BOUND_RANKS_MAX];
    bool small = bytes <= sizeof(mine->payload);
    memcpy(small ? mine->payload : bound.shared->slots[bound.rank][slot], bound.private_in + at,
           bytes);
    atomic_store_explicit(&mine->value, turn, memory_order_release);
    for (uint32_t i = 0; i < bound.options.ranks; i++) {
        const struct bound_flag *flag = &bound.shared->exchange[i][slot];
        wait_for(&flag->value, turn);
        inputs[i] = small ? flag->payload : bound.shared->slots[i][slot];
    }
    /* Slots come again after four turns, and nobody is more than one turn ahead. */
    bound.sum->many(bound.private_out + at, inputs, bound.options.ranks, bytes / sizeof(float));
}

static void run_mapped(uint64_t at, uint64_t bytes, bool nontemporal)
{
    const void *inputs[BOUND_RANKS_MAX];
    void *outputs[BOUND_RANKS_MAX];
    uint64_t from, to;
    slice_of(bytes, bound.rank, &from, &to);
    bound_barrier(); /* inputs are ready, outputs are free */
    for (uint32_t i = 0; i < bound.options.ranks; i++) {
        inputs[i] = bound.mapped_in[i] + at + from;
        outputs[i] = bound.mapped_out[i] + at + from;
    }
    bound.sum->push(outputs, bound.options.ranks, inputs, bound.options.ranks,
                    (to - from) / sizeof(float), nontemporal ? 0 : bound.options.ranks);
    bound_barrier();
}

static void pull(uint32_t from_rank, uint64_t address, void *to, uint64_t bytes)
{
    struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)address, bytes};
    if (process_vm_readv(bound.shared->pids[from_rank], &local, 1, &remote, 1, 0) != (ssize_t)bytes)
        bound_die("process_vm_readv");
}

static void pull_and_reduce(uint64_t at, uint64_t bytes)
{
    const void *inputs[BOUND_RANKS_MAX];
    for (uint32_t i = 0; i < bound.options.ranks; i++) {
        inputs[i] = i == bound.rank ? (const void *)(bound.private_in + at) : bound.bounce[i];
        if (i != bound.rank)
            pull(i, bound.shared->private_in[i] + at, bound.bounce[i], bytes);
    }
    bound.sum->many(bound.private_out + at, inputs, bound.options.ranks, bytes / sizeof(float));
}

static void run_pull(uint64_t at, uint64_t bytes)
{
    uint64_t from, to;
    slice_of(bytes, bound.rank, &from, &to);
    bound_barrier();
    for (; from < to; from += BOUND_PULL_BYTES)
        pull_and_reduce(at + from, to - from < BOUND_PULL_BYTES ? to - from : BOUND_PULL_BYTES);
    bound_barrier();
    for (uint32_t k = 1; k < bound.options.ranks; k++) {
        uint32_t other = (bound.rank + k) % bound.options.ranks;
        slice_of(bytes, other, &from, &to);
        if (to > from)
            pull(other, bound.shared->private_out[other] + at + from, bound.private_out + at + from,
                 to - from);
    }
    bound_barrier();
}

/* Everything of the window but the own slice goes where its owner finds it. */
static void stage_in(uint64_t at, uint64_t bytes, unsigned side, bool nontemporal)
{
    uint64_t from, to;
    slice_of(bytes, bound.rank, &from, &to);
    shl_copy(bound.shared->window[bound.rank][side], bound.private_in + at, from, nontemporal);
    shl_copy(bound.shared->window[bound.rank][side] + to, bound.private_in + at + to, bytes - to,
             nontemporal);
}

static void reduce_slice(uint64_t at, uint64_t bytes, unsigned side, bool nontemporal, bool stream)
{
    const void *inputs[BOUND_RANKS_MAX];
    uint64_t from, to;
    slice_of(bytes, bound.rank, &from, &to);
    for (uint32_t i = 0; i < bound.options.ranks; i++)
        inputs[i] =
            i == bound.rank ? bound.private_in + at + from : bound.shared->window[i][side] + from;
    uint8_t *result = bound.shared->result[bound.rank][side] + from;
    uint8_t *out = bound.private_out + at + from;
    if (stream) {
        void *outs[2] = {result, out};
        bound.sum->push(outs, 2, inputs, bound.options.ranks, (to - from) / 4, 0);
        return;
    }
    bound.sum->many(result, inputs, bound.options.ranks, (to - from) / 4);
    shl_copy(out, result, to - from, nontemporal);
}

static void stage_out(uint64_t at, uint64_t bytes, unsigned side, bool nontemporal)
{
    for (uint32_t k = 1; k < bound.options.ranks; k++) {
        uint32_t other = (bound.rank + k) % bound.options.ranks;
        uint64_t from, to;
        slice_of(bytes, other, &from, &to);
        shl_copy(bound.private_out + at + from, bound.shared->result[other][side] + from, to - from,
                 nontemporal);
    }
}

static uint64_t window_at(uint64_t bytes, uint64_t index)
{
    uint64_t left = bytes - index * BOUND_WINDOW_BYTES;
    return left < BOUND_WINDOW_BYTES ? left : BOUND_WINDOW_BYTES;
}

/* Two windows alternate, so one barrier a step is enough: in step k, window k is reduced, window
 * k + 1 is brought in and window k - 1 is taken out. */
static void run_staged(uint64_t at, uint64_t bytes, bool nontemporal, bool stream)
{
    uint64_t windows = (bytes + BOUND_WINDOW_BYTES - 1) / BOUND_WINDOW_BYTES;
    bound_barrier();
    stage_in(at, window_at(bytes, 0), 0, stream);
    for (uint64_t k = 0; k <= windows; k++) {
        bound_barrier();
        if (k + 1 < windows)
            stage_in(at + (k + 1) * BOUND_WINDOW_BYTES, window_at(bytes, k + 1), (k + 1) % 2,
                     stream);
        if (k > 0)
            stage_out(at + (k - 1) * BOUND_WINDOW_BYTES, window_at(bytes, k - 1), (k - 1) % 2,
                      nontemporal);
        if (k < windows)
            reduce_slice(at + k * BOUND_WINDOW_BYTES, window_at(bytes, k), k % 2, nontemporal,
                         stream);
    }
}

void bound_run(enum bound_method method, uint64_t at, uint64_t bytes)
{
    switch (method) {
    case EXCHANGE:
        run_exchange(at, bytes);
        break;
    case MAPPED:
    case MAPPED_NT:
        run_mapped(at, bytes, method == MAPPED_NT);
        break;
    case PULL:
        run_pull(at, bytes);
        break;
    default:
        run_staged(at, bytes, method != STAGED, method == STREAM);
    }
}

bool bound_applies(enum bound_method method, uint64_t bytes)
{
    if (method == EXCHANGE)
        return bytes <= BOUND_EXCHANGE_BYTES;
    return bytes >= 1024; /* below it only the exchange makes sense */
}
