/*
 * Large messages, always moved by the receiver's hand so that nobody stores into another rank's
 * memory:
 *   in place  the sender's bytes lie in its heap: copied once to where they belong, or given to
 *             the sink where they are
 *   cma       they lie in ordinary memory: process_vm_readv, once to where they belong, or through
 *             a small buffer that stays in cache to the sink
 *   cells     otherwise: the sender streams them through a few cells that stay in cache
 *
 * Invariant: a receive completes only if the offer still stood after the last byte was read; else
 * the sender had cancelled, and what was read may be anything.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "transport/shm/shm.h"
#include "transport/shm/shm_copy.h"

/* ---- delivery --------------------------------------------------------------------------- */

/* Puts the next `bytes` of the message to the place or the sink that the receive names. */
void shl_shm_place(struct shl_transport *t, struct shl_xfer *xfer, const void *piece, size_t bytes)
{
    uint64_t offset = xfer->moved_bytes;
    if (xfer->sink)
        xfer->sink(xfer, offset, piece, bytes);
    else
        shl_shm_copy((uint8_t *)xfer->data + offset, piece, bytes, xfer->bytes >= t->nt_bytes);
    xfer->moved_bytes = offset + bytes;
}

static void answer(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer,
                   enum shl_shm_reply_state state)
{
    unsigned index = (unsigned)xfer->scratch[SHL_SHM_RECV_INDEX];
    uint32_t generation = (uint32_t)xfer->scratch[SHL_SHM_RECV_GENERATION];
    shl_list_remove(&xfer->link);
    if (state == SHL_SHM_GRANTED) {
        shl_list_append(&peer->staged, &xfer->link);
    } else {
        peer->in[index].xfer = NULL;
        if (state == SHL_SHM_DONE)
            shl_shm_complete(t, xfer);
        else
            shl_list_append(&peer->stranded, &xfer->link);
    }
    shl_shm_reply(t, peer, index, shl_shm_reply_word(generation, shl_shm_elem_bytes(xfer), state),
                  xfer->moved_bytes);
}

static bool still_stands(const struct shl_shm_peer *peer, const struct shl_xfer *xfer)
{
    unsigned index = (unsigned)xfer->scratch[SHL_SHM_RECV_INDEX];
    /* Everything read from the sender's memory so far was read before this. */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&peer->theirs->valid[index], memory_order_relaxed) ==
           xfer->scratch[SHL_SHM_RECV_GENERATION];
}

/* ---- choice ----------------------------------------------------------------------------- */

/* Measured at every size above the eager limit: one copy by the kernel beats two by the ranks,
 * threefold where cores share no near cache. */
static bool prefers_cma(const struct shl_transport *t, const struct shl_shm_peer *peer)
{
    return peer->can_pull && t->copy != SHL_SHM_COPY_STAGED;
}

void shl_shm_pull_begin(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer,
                        unsigned index, const struct shl_shm_offer *offer)
{
    void *in_place = NULL;
    if (offer->heap_offset != UINT64_MAX)
        in_place = shl_shm_map_heap(peer, offer->heap_offset, offer->bytes);
    xfer->scratch[SHL_SHM_RECV_INDEX] = index;
    xfer->scratch[SHL_SHM_RECV_ADDRESS] = offer->address;
    xfer->scratch[SHL_SHM_RECV_IN_PLACE] = (uint64_t)(uintptr_t)in_place;
    xfer->scratch[SHL_SHM_RECV_GENERATION] = offer->generation;
    peer->in[index].xfer = xfer;
    peer->in[index].generation = offer->generation;
    shl_list_append(&peer->pulling, &xfer->link);
    if (!in_place && !prefers_cma(t, peer))
        answer(t, peer, xfer, SHL_SHM_GRANTED);
}

/* ---- reading the sender's memory -------------------------------------------------------- */

/*
 * The first part of every read is the sender's probe word: it shows that the process with this id
 * is still the one we met at attach.
 */
enum shoal_status shl_shm_pull_bytes(const struct shl_shm_peer *peer, uint64_t address, void *out,
                                     size_t bytes)
{
    uint64_t word = 0;
    struct iovec local[2] = {{&word, sizeof(word)}, {out, bytes}};
    struct iovec remote[2] = {{(void *)(uintptr_t)peer->probe_address, sizeof(word)},
                              {(void *)(uintptr_t)address, bytes}};
    ssize_t got = shl_mem->vm_readv(peer->pid, local, 2, remote, 2, 0);
    if (got < 0)
        return shl_fail_errno("process_vm_readv of %zu bytes of rank %u (pid %ld)", bytes,
                              peer->rank, (long)peer->pid);
    if ((size_t)got != bytes + sizeof(word) || word != peer->probe_word)
        return shl_fail(SHOAL_ERR_PEER,
                        "process_vm_readv read %zd of %zu bytes of rank %u, or another process",
                        got, bytes, peer->rank);
    return SHOAL_OK;
}

static bool pull_to_sink(struct shl_transport *t, const struct shl_shm_peer *peer,
                         struct shl_xfer *xfer, size_t bytes)
{
    size_t most = SHL_SHM_BOUNCE_BYTES - SHL_SHM_BOUNCE_BYTES % shl_shm_elem_bytes(xfer);
    while (bytes) {
        size_t part = bytes < most ? bytes : most;
        uint64_t from = xfer->scratch[SHL_SHM_RECV_ADDRESS] + xfer->moved_bytes;
        if (shl_shm_pull_bytes(peer, from, t->bounce, part) != SHOAL_OK)
            return false;
        shl_shm_place(t, xfer, t->bounce, part);
        bytes -= part;
    }
    return true;
}

static bool pull_step(struct shl_transport *t, const struct shl_shm_peer *peer,
                      struct shl_xfer *xfer, size_t bytes)
{
    uint64_t in_place = xfer->scratch[SHL_SHM_RECV_IN_PLACE];
    if (in_place) {
        shl_shm_place(t, xfer, (const uint8_t *)(uintptr_t)in_place + xfer->moved_bytes, bytes);
        return true;
    }
    if (xfer->sink)
        return pull_to_sink(t, peer, xfer, bytes);
    uint64_t from = xfer->scratch[SHL_SHM_RECV_ADDRESS] + xfer->moved_bytes;
    if (shl_shm_pull_bytes(peer, from, (uint8_t *)xfer->data + xfer->moved_bytes, bytes) !=
        SHOAL_OK)
        return false;
    xfer->moved_bytes += bytes;
    return true;
}

static void pull_on(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer)
{
    size_t step = SHL_SHM_STEP_BYTES - SHL_SHM_STEP_BYTES % shl_shm_elem_bytes(xfer);
    uint64_t left = xfer->bytes - xfer->moved_bytes;
    bool moved = pull_step(t, peer, xfer, left < step ? left : step);
    if (!still_stands(peer, xfer))
        answer(t, peer, xfer, SHL_SHM_REFUSED);
    else if (!moved) /* the kernel does not let us after all: let the sender do it */
        answer(t, peer, xfer, SHL_SHM_GRANTED);
    else if (xfer->moved_bytes == xfer->bytes)
        answer(t, peer, xfer, SHL_SHM_DONE);
}

/* ---- cells ------------------------------------------------------------------------------ */

static bool cell_is_here(const struct shl_shm_peer *peer)
{
    const struct shl_shm_cell_head *head = &peer->theirs->heads[peer->cell_head % SHL_SHM_CELLS];
    return atomic_load_explicit(&head->stamp, memory_order_acquire) == peer->cell_head + 1;
}

static bool cell_fits(const struct shl_shm_cell_head *head, const struct shl_xfer *xfer)
{
    return head->bytes && head->bytes <= SHL_SHM_CELL_BYTES && head->offset == xfer->moved_bytes &&
           head->bytes <= xfer->bytes - xfer->moved_bytes &&
           head->bytes % shl_shm_elem_bytes(xfer) == 0;
}

/* Cells of a receive that was cancelled are read over. */
static void read_cell(struct shl_transport *t, struct shl_shm_peer *peer)
{
    unsigned cell = (unsigned)(peer->cell_head % SHL_SHM_CELLS);
    const struct shl_shm_cell_head *shared = &peer->theirs->heads[cell];
    struct shl_shm_cell_head head = {.offset = shared->offset,
                                     .generation = shared->generation,
                                     .bytes = shared->bytes,
                                     .offer = shared->offer};
    __asm__ volatile("" ::: "memory"); /* judge and use this one copy */
    struct shl_xfer *xfer = NULL;
    if (head.offer < SHL_SHM_OFFERS && peer->in[head.offer].generation == head.generation)
        xfer = peer->in[head.offer].xfer;
    if (xfer) {
        if (!cell_fits(&head, xfer)) {
            shl_shm_peer_spoil(t, peer, "its cell has bytes %u at %llu, expected at %llu of %llu",
                               head.bytes, (unsigned long long)head.offset,
                               (unsigned long long)xfer->moved_bytes,
                               (unsigned long long)xfer->bytes);
            return;
        }
        shl_shm_place(t, xfer, peer->theirs->cells[cell], head.bytes);
    }
    peer->cell_head++;
    atomic_store_explicit(&peer->mine->cells_read, peer->cell_head, memory_order_release);
    shl_shm_mark_dirty(t, peer, SHL_SHM_DIRTY_ROOM);
    if (xfer && xfer->moved_bytes == xfer->bytes)
        answer(t, peer, xfer, SHL_SHM_DONE);
}

static unsigned read_cells(struct shl_transport *t, struct shl_shm_peer *peer)
{
    unsigned events = 0;
    while (events < 2 * SHL_SHM_CELLS && !peer->dead && !shl_list_empty(&peer->staged) &&
           cell_is_here(peer)) {
        read_cell(t, peer);
        events++;
    }
    if (events || peer->dead)
        return events;
    /* Nothing came. Has the sender withdrawn? */
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &peer->staged)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (still_stands(peer, xfer))
            continue;
        answer(t, peer, xfer, SHL_SHM_REFUSED);
        events++;
    }
    return events;
}

unsigned shl_shm_pull_progress(struct shl_transport *t, struct shl_shm_peer *peer)
{
    unsigned events = 0;
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &peer->pulling)
    {
        pull_on(t, peer, SHL_CONTAINER_OF(node, struct shl_xfer, link));
        events++;
    }
    if (!shl_list_empty(&peer->staged))
        events += read_cells(t, peer);
    return events;
}

bool shl_shm_pull_has_work(const struct shl_shm_peer *peer)
{
    if (!shl_list_empty(&peer->pulling))
        return true;
    return !shl_list_empty(&peer->staged) && cell_is_here(peer);
}
