/*
 * From descriptions to connected peers.
 *
 * Equal host identities only say whom to try. Locality is proved: a rank is reached when its
 * descriptors came through an authenticated channel, its memory is mapped here, the mapping shows
 * the nonce that its owner wrote there, and the other side found the same.
 *
 * Invariant: whatever fails here, this rank still takes part in the exchange if it can, so that
 * both sides of each pair come to the same answer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"
#include "core/host.h"
#include "core/log.h"
#include "core/sys.h"
#include "transport/shm/shm.h"
#include "transport/shm/shm_party.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTION_VERSION 1

/* ---- who is local ----------------------------------------------------------------------- */

size_t shl_shm_describe(struct shl_transport *t, void *blob, size_t capacity)
{
    struct shl_bytes out = shl_bytes_writer(blob, capacity);
    shl_bytes_put_u8(&out, DESCRIPTION_VERSION);
    shl_bytes_put_string(&out, t->host_id);
    return out.failed ? 0 : out.at;
}

static bool may_be_local(const struct shl_transport *t, const void *blob, size_t bytes)
{
    char host_id[SHL_HOST_ID_BYTES];
    struct shl_bytes in = shl_bytes_reader(blob, bytes);
    if (shl_bytes_get_u8(&in) != DESCRIPTION_VERSION)
        return false;
    shl_bytes_get_string(&in, host_id, sizeof(host_id));
    return !in.failed && strcmp(host_id, t->host_id) == 0;
}

static void find_locals(struct shl_transport *t, const void *const *blobs, const size_t *blob_bytes)
{
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < t->env->size && count < SHL_SHM_PARTY_MAX; rank++) {
        if (rank != t->env->rank && !may_be_local(t, blobs[rank], blob_bytes[rank]))
            continue;
        if (rank == t->env->rank)
            t->me = count;
        t->index_of[rank] = count;
        t->ranks[count++] = rank;
    }
    t->locals = count;
}

/* ---- our own area ----------------------------------------------------------------------- */

static void init_peer(struct shl_transport *t, uint32_t index, uint32_t rank)
{
    struct shl_shm_peer *peer = &t->peers[index];
    peer->rank = rank;
    peer->index = index;
    peer->reason = "it did not take part in the exchange of descriptors";
    peer->mine = (struct shl_shm_block *)(void *)((uint8_t *)t->area + shl_shm_block_offset(index));
    peer->kept_payload = t->kept_payloads + (size_t)index * SHL_SHM_CREDITS * SHL_SHM_EAGER_BYTES;
    struct shl_list *lists[] = {&peer->pending, &peer->offered, &peer->streaming, &peer->posted,
                                &peer->pulling, &peer->staged,  &peer->stranded};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        shl_list_init(lists[i]);
}

static size_t kept_payloads_bytes(const struct shl_transport *t)
{
    return (size_t)t->locals * SHL_SHM_CREDITS * SHL_SHM_EAGER_BYTES;
}

static enum shoal_status prepare(struct shl_transport *t)
{
    t->peers = shl_mem->alloc(t->locals * sizeof(*t->peers));
    t->dirty = shl_mem->alloc(t->locals * sizeof(*t->dirty));
    t->bounce = shl_mem->alloc_aligned(SHL_SHM_PAGE, SHL_SHM_BOUNCE_BYTES);
    for (uint32_t i = 0; t->peers && i < t->locals; i++)
        t->peers[i].heap_fd = t->peers[i].bell_fd = -1;
    if (!t->peers || !t->dirty || !t->bounce)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for %u local ranks", t->locals);
    /* Mapped, not allocated: most of it is never touched. */
    void *kept = shl_mem->map(NULL, kept_payloads_bytes(t), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (kept == MAP_FAILED)
        return shl_fail_errno("mmap of %zu bytes for early messages", kept_payloads_bytes(t));
    t->kept_payloads = kept;
    SHL_TRY(shl_shm_make_area(t));
    for (uint32_t i = 0; i < t->locals; i++)
        init_peer(t, i, t->ranks[i]);
    return SHOAL_OK;
}

static void fill_card(const struct shl_transport *t, struct shl_shm_card *card)
{
    card->present = true;
    card->pid = (uint64_t)getpid();
    card->pid_namespace = t->pid_namespace;
    card->nonce = t->area->nonce;
    card->probe_address = (uint64_t)(uintptr_t)&t->probe_word;
    card->probe_word = t->probe_word;
}

/* ---- proof ------------------------------------------------------------------------------ */

/* A doorbell must not block or raise a signal, whatever the peer passed. */
static bool is_doorbell(int fd)
{
    struct stat info;
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK) && fstat(fd, &info) == 0 && !S_ISFIFO(info.st_mode) &&
           !S_ISSOCK(info.st_mode);
}

/* Maps the member's area and looks for the nonce that its owner says is there. */
static enum shoal_status meet(struct shl_transport *t, struct shl_shm_peer *peer,
                              struct shl_shm_member *member)
{
    const struct shl_shm_card *card = &member->card;
    int area_fd = member->fds[SHL_SHM_FD_AREA];
    peer->heap_fd = member->fds[SHL_SHM_FD_HEAP];
    peer->bell_fd = member->fds[SHL_SHM_FD_BELL];
    for (int i = 0; i < SHL_SHM_FDS; i++)
        member->fds[i] = -1;
    peer->pid = (pid_t)card->pid;
    peer->probe_address = card->probe_address;
    peer->probe_word = card->probe_word;
    SHL_TRY(shl_shm_map_area(t, peer, area_fd));
    if (!is_doorbell(peer->bell_fd))
        return shl_fail(SHOAL_ERR_PEER, "rank %u passed no eventfd as its doorbell", peer->rank);
    if (peer->header->magic != SHL_SHM_MAGIC || peer->header->nonce != card->nonce)
        return shl_fail(SHOAL_ERR_PEER,
                        "what rank %u shares does not hold what it wrote; not the same memory",
                        peer->rank);
    /* Process numbers mean something only inside one namespace. */
    peer->can_pull = card->pid_namespace == t->pid_namespace && shl_shm_pull_works(peer);
    return SHOAL_OK;
}

static void meet_all(struct shl_transport *t, struct shl_shm_party *party, uint8_t *reach,
                     uint8_t *pull)
{
    for (uint32_t i = 0; i < t->locals; i++) {
        struct shl_shm_peer *peer = &t->peers[i];
        if (i == t->me || !party->members[i].card.present)
            continue;
        if (meet(t, peer, &party->members[i]) != SHOAL_OK) {
            shl_log(SHL_LOG_INFO, "%s", shl_error_text());
            peer->reason = "its memory could not be mapped here";
            continue;
        }
        peer->reason = "it could not map our memory";
        shl_shm_bit_set(reach, i);
        if (peer->can_pull)
            shl_shm_bit_set(pull, i);
    }
}

/* What no peer will use is given back at once. */
static void forget_peer(struct shl_transport *t, struct shl_shm_peer *peer)
{
    shl_shm_unmap(t, peer);
    if (peer->heap_fd >= 0)
        shl_fd->close(peer->heap_fd);
    if (peer->bell_fd >= 0)
        shl_fd->close(peer->bell_fd);
    peer->heap_fd = peer->bell_fd = -1;
    peer->reachable = false;
}

static void apply_verdict(struct shl_transport *t, const uint8_t *verdict, bool *reaches)
{
    for (uint32_t i = 0; i < t->locals; i++) {
        struct shl_shm_peer *peer = &t->peers[i];
        if (i == t->me)
            continue;
        if (shl_shm_bit(verdict, i) && peer->theirs) {
            peer->reachable = true;
            peer->reason = NULL;
            reaches[peer->rank] = true;
            continue;
        }
        forget_peer(t, peer);
        shl_log(SHL_LOG_INFO, "rank %u of this host is not reached through shared memory: %s",
                peer->rank, peer->reason);
    }
}

/* ---- attach ----------------------------------------------------------------------------- */

static enum shoal_status meet_and_agree(struct shl_transport *t, struct shl_shm_party *party,
                                        bool prepared, uint64_t deadline_ns, bool *reaches)
{
    uint8_t maps[3][SHL_SHM_MAP_BYTES(SHL_SHM_PARTY_MAX)];
    memset(maps, 0, sizeof(maps));
    struct shl_shm_card card = {.present = false};
    if (prepared)
        fill_card(t, &card);
    const int fds[SHL_SHM_FDS] = {[SHL_SHM_FD_HEAP] = shl_heap_fd(t->env->heap),
                                  [SHL_SHM_FD_AREA] = t->area_fd,
                                  [SHL_SHM_FD_BELL] = t->bell_fd};
    SHL_TRY(shl_shm_party_gather(party, &card, fds, deadline_ns));
    if (prepared)
        meet_all(t, party, maps[0], maps[1]);
    SHL_TRY(shl_shm_party_agree(party, maps[0], maps[1], deadline_ns, maps[2], &t->all_pull));
    if (prepared)
        apply_verdict(t, maps[2], reaches);
    return SHOAL_OK;
}

/* Trouble that costs only this transport is logged; the ranks then use another one. */
static void without(const char *what)
{
    shl_log(SHL_LOG_WARN, "no shared memory on this rank: %s: %s", what, shl_error_text());
}

enum shoal_status shl_shm_attach(struct shl_transport *t, const void *const *blobs,
                                 const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches)
{
    memset(reaches, 0, t->env->size * sizeof(*reaches));
    if (t->index_of[t->env->rank] != SHL_SHM_NOBODY)
        return shl_fail(SHOAL_ERR_BUSY, "the shared-memory transport is attached already");
    find_locals(t, blobs, blob_bytes);
    if (t->locals == 1) {
        t->locals = 0; /* nobody to talk to */
        return SHOAL_OK;
    }
    bool prepared = prepare(t) == SHOAL_OK;
    if (!prepared)
        without("its own area could not be made");
    else if (t->copy != SHL_SHM_COPY_STAGED)
        shl_shm_allow_pulls();
    struct shl_shm_party *party = NULL;
    if (shl_shm_party_create(t->env, t->ranks, t->locals, t->me, deadline_ns, &party) != SHOAL_OK ||
        meet_and_agree(t, party, prepared, deadline_ns, reaches) != SHOAL_OK) {
        without("the exchange of descriptors failed");
        prepared = false;
    }
    shl_shm_party_destroy(party);
    if (!prepared)
        shl_shm_detach(t);
    return SHOAL_OK;
}

void shl_shm_detach(struct shl_transport *t)
{
    shl_shm_groups_close(t);
    for (uint32_t i = 0; t->peers && i < t->locals; i++)
        forget_peer(t, &t->peers[i]);
    shl_shm_free_area(t);
    if (t->kept_payloads)
        shl_mem->unmap(t->kept_payloads, kept_payloads_bytes(t));
    shl_mem->free(t->peers);
    shl_mem->free(t->dirty);
    shl_mem->free(t->bounce);
    t->kept_payloads = NULL;
    t->peers = NULL;
    t->dirty = NULL;
    t->bounce = NULL;
    t->locals = 0;
}
