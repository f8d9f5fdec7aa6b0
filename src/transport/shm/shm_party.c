/*
 * The exchange of descriptors and verdicts among the ranks of one host.
 *
 *   member -> hub      card, descriptors
 *   hub    -> member   all cards and descriptors, in batches; each is acknowledged, so that few
 *                      descriptors are in flight (the kernel limits them per user)
 *   member -> hub      bit maps: whom I see, whose memory I can read
 *   hub    -> member   bit map: with whom you are connected
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/shm/shm_party.h"

#include "control/control.h"
#include "core/bytes.h"
#include "core/log.h"
#include "core/sys.h"

#include <string.h>

#define BATCH 21 /* members a message, which carries at most 64 descriptors */
#define MESSAGE_BYTES 4096
#define ACK 0x5a

/* ---- life cycle ------------------------------------------------------------------------- */

static void decline_one(const struct shl_transport_env *env, uint32_t rank, uint64_t deadline_ns)
{
    void *link;
    int channel;
    if (shl_shm_links->request(env, rank, deadline_ns, &link) == SHOAL_OK &&
        shl_shm_links->await(link, &channel) == SHOAL_OK)
        shl_fd->close(channel);
}

/* Takes no part: a channel that closes tells the others not to wait. */
static void decline(const struct shl_transport_env *env, const uint32_t *ranks, uint32_t count,
                    uint32_t me, uint64_t deadline_ns)
{
    for (uint32_t i = 1; i < count && me == 0; i++)
        decline_one(env, ranks[i], deadline_ns);
    if (me != 0)
        decline_one(env, ranks[0], deadline_ns);
}

static bool alloc_tables(struct shl_shm_party *party, uint32_t count, uint32_t me)
{
    party->members = shl_mem->alloc(count * sizeof(*party->members));
    party->reach = shl_mem->alloc(me ? 1 : (size_t)count * SHL_SHM_MAP_BYTES(count));
    return party->members && party->reach;
}

enum shoal_status shl_shm_party_create(const struct shl_transport_env *env, const uint32_t *ranks,
                                       uint32_t count, uint32_t me, uint64_t deadline_ns,
                                       struct shl_shm_party **out)
{
    struct shl_shm_party *party = shl_mem->alloc(sizeof(*party));
    if (!party || !alloc_tables(party, count, me)) {
        if (party)
            party->hub_channel = -1;
        shl_shm_party_destroy(party);
        decline(env, ranks, count, me, deadline_ns);
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to meet %u local ranks", count);
    }
    party->env = env;
    party->count = count;
    party->me = me;
    party->hub_channel = -1;
    for (uint32_t i = 0; i < count; i++) {
        party->members[i].rank = ranks[i];
        party->members[i].channel = -1;
        memset(party->members[i].fds, -1, sizeof(party->members[i].fds));
    }
    *out = party;
    return SHOAL_OK;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        shl_fd->close(*fd);
    *fd = -1;
}

void shl_shm_party_destroy(struct shl_shm_party *party)
{
    if (!party)
        return;
    for (uint32_t i = 0; i < party->count; i++) {
        for (int k = 0; k < SHL_SHM_FDS; k++)
            close_fd(&party->members[i].fds[k]);
        close_fd(&party->members[i].channel);
    }
    close_fd(&party->hub_channel);
    shl_mem->free(party->members);
    shl_mem->free(party->reach);
    shl_mem->free(party);
}

/* ---- cards ------------------------------------------------------------------------------ */

static void put_card(struct shl_bytes *out, const struct shl_shm_card *card)
{
    shl_bytes_put_u8(out, card->present);
    shl_bytes_put_u64(out, card->pid);
    shl_bytes_put_u64(out, card->pid_namespace);
    shl_bytes_put_u64(out, card->nonce);
    shl_bytes_put_u64(out, card->probe_address);
    shl_bytes_put_u64(out, card->probe_word);
}

static void get_card(struct shl_bytes *in, struct shl_shm_card *card)
{
    card->present = shl_bytes_get_u8(in) != 0;
    card->pid = shl_bytes_get_u64(in);
    card->pid_namespace = shl_bytes_get_u64(in);
    card->nonce = shl_bytes_get_u64(in);
    card->probe_address = shl_bytes_get_u64(in);
    card->probe_word = shl_bytes_get_u64(in);
}

/* A message without descriptors. */
static enum shoal_status recv_plain(int channel, void *message, size_t capacity, size_t *bytes,
                                    uint64_t deadline_ns)
{
    int none[1];
    uint32_t count;
    return shl_control_recv_fds(channel, none, 0, &count, message, capacity, bytes, deadline_ns);
}

static void close_fds(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        shl_fd->close(fds[i]);
}

static enum shoal_status send_card(int channel, const struct shl_shm_card *card, const int *fds,
                                   uint64_t deadline_ns)
{
    uint8_t message[MESSAGE_BYTES];
    struct shl_bytes out = shl_bytes_writer(message, sizeof(message));
    put_card(&out, card);
    return shl_control_send_fds(channel, fds, card->present ? SHL_SHM_FDS : 0, message, out.at,
                                deadline_ns);
}

static enum shoal_status recv_card(struct shl_shm_member *member, uint64_t deadline_ns)
{
    uint8_t message[MESSAGE_BYTES];
    size_t bytes;
    int fds[SHL_SHM_FDS];
    uint32_t count;
    SHL_TRY(shl_control_recv_fds(member->channel, fds, SHL_SHM_FDS, &count, message,
                                 sizeof(message), &bytes, deadline_ns));
    struct shl_bytes in = shl_bytes_reader(message, bytes);
    struct shl_shm_card card;
    get_card(&in, &card);
    if (in.failed || count != (card.present ? (uint32_t)SHL_SHM_FDS : 0)) {
        close_fds(fds, count);
        return shl_fail(SHOAL_ERR_PEER, "rank %u sent a malformed card", member->rank);
    }
    member->card = card;
    memcpy(member->fds, fds, count * sizeof(int));
    return SHOAL_OK;
}

/* ---- batches of cards ------------------------------------------------------------------- */

/* Fills one batch from `*next` on, skipping `skip` and absent members. */
static void put_batch(const struct shl_shm_party *party, uint32_t skip, uint32_t *next,
                      struct shl_bytes *out, int *fds, uint32_t *fd_count)
{
    *fd_count = 0;
    for (; *next < party->count && *fd_count < SHL_SHM_FDS * BATCH; ++*next) {
        const struct shl_shm_member *member = &party->members[*next];
        if (*next == skip || !member->card.present)
            continue;
        shl_bytes_put_u32(out, *next);
        put_card(out, &member->card);
        memcpy(fds + *fd_count, member->fds, sizeof(member->fds));
        *fd_count += SHL_SHM_FDS;
    }
}

/* Each batch begins with: is it the last one? */
static enum shoal_status send_batches(const struct shl_shm_party *party, uint32_t to,
                                      uint64_t deadline_ns)
{
    int channel = party->members[to].channel;
    uint32_t next = 0;
    bool last;
    do {
        uint8_t message[MESSAGE_BYTES];
        int fds[SHL_SHM_FDS * BATCH];
        uint32_t fd_count;
        struct shl_bytes out = shl_bytes_writer(message, sizeof(message));
        shl_bytes_put_u8(&out, 0);
        put_batch(party, to, &next, &out, fds, &fd_count);
        last = next == party->count;
        message[0] = last;
        SHL_TRY(shl_control_send_fds(channel, fds, fd_count, message, out.at, deadline_ns));
        uint8_t ack = 0;
        size_t bytes;
        SHL_TRY(recv_plain(channel, &ack, 1, &bytes, deadline_ns));
        if (bytes != 1 || ack != ACK)
            return shl_fail(SHOAL_ERR_PEER, "rank %u did not acknowledge descriptors",
                            party->members[to].rank);
    } while (!last);
    return SHOAL_OK;
}

/* Takes the descriptors of one batch; those of a card that makes no sense are closed. */
static enum shoal_status get_batch(struct shl_shm_party *party, struct shl_bytes *in,
                                   const int *fds, uint32_t fd_count)
{
    for (uint32_t i = 0; i < fd_count; i += SHL_SHM_FDS) {
        uint32_t index = shl_bytes_get_u32(in);
        struct shl_shm_card card;
        get_card(in, &card);
        if (in->failed || i + SHL_SHM_FDS > fd_count || index >= party->count ||
            index == party->me || party->members[index].card.present || !card.present) {
            close_fds(fds + i, fd_count - i);
            return shl_fail(SHOAL_ERR_PEER, "rank %u sent a malformed list of local ranks",
                            party->members[0].rank);
        }
        party->members[index].card = card;
        memcpy(party->members[index].fds, fds + i, sizeof(party->members[index].fds));
    }
    return SHOAL_OK;
}

static enum shoal_status recv_batches(struct shl_shm_party *party, uint64_t deadline_ns)
{
    bool last;
    do {
        uint8_t message[MESSAGE_BYTES];
        int fds[SHL_SHM_FDS * BATCH];
        uint32_t fd_count;
        size_t bytes;
        SHL_TRY(shl_control_recv_fds(party->hub_channel, fds, SHL_SHM_FDS * BATCH, &fd_count,
                                     message, sizeof(message), &bytes, deadline_ns));
        struct shl_bytes in = shl_bytes_reader(message, bytes);
        last = shl_bytes_get_u8(&in) != 0;
        SHL_TRY(get_batch(party, &in, fds, fd_count));
        uint8_t ack = ACK;
        SHL_TRY(shl_control_send_fds(party->hub_channel, NULL, 0, &ack, 1, deadline_ns));
    } while (!last);
    return SHOAL_OK;
}

/* ---- gathering -------------------------------------------------------------------------- */

/* A member that fails is absent from then on; the others go on without it. */
static void leave_out(struct shl_shm_party *party, uint32_t index)
{
    struct shl_shm_member *member = &party->members[index];
    shl_log(SHL_LOG_INFO, "rank %u of this host is not reached through shared memory: %s",
            member->rank, shl_error_text());
    member->card.present = false;
    close_fd(&member->channel);
}

static void hub_collect(struct shl_shm_party *party, uint64_t deadline_ns)
{
    for (uint32_t i = 1; i < party->count; i++) {
        struct shl_shm_member *member = &party->members[i];
        if (shl_shm_links->request(party->env, member->rank, deadline_ns, &member->link) !=
            SHOAL_OK) {
            member->link = NULL;
            leave_out(party, i);
        }
    }
    for (uint32_t i = 1; i < party->count; i++) {
        struct shl_shm_member *member = &party->members[i];
        if (!member->link)
            continue;
        if (shl_shm_links->await(member->link, &member->channel) != SHOAL_OK ||
            recv_card(member, deadline_ns) != SHOAL_OK)
            leave_out(party, i);
        member->link = NULL;
    }
}

static void hub_gather(struct shl_shm_party *party, uint64_t deadline_ns)
{
    /* Half of the time to come, so that the other half is left for those who came. */
    uint64_t now_ns = shl_now_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    hub_collect(party, now_ns + left_ns / 2);
    for (uint32_t i = 1; i < party->count; i++) {
        if (party->members[i].channel >= 0 && send_batches(party, i, deadline_ns) != SHOAL_OK)
            leave_out(party, i);
    }
}

static enum shoal_status member_gather(struct shl_shm_party *party, const struct shl_shm_card *card,
                                       const int *fds, uint64_t deadline_ns)
{
    void *link;
    SHL_TRY(shl_shm_links->request(party->env, party->members[0].rank, deadline_ns, &link));
    SHL_TRY(shl_shm_links->await(link, &party->hub_channel));
    SHL_TRY(send_card(party->hub_channel, card, fds, deadline_ns));
    return recv_batches(party, deadline_ns);
}

enum shoal_status shl_shm_party_gather(struct shl_shm_party *party, const struct shl_shm_card *card,
                                       const int fds[SHL_SHM_FDS], uint64_t deadline_ns)
{
    struct shl_shm_member *self = &party->members[party->me];
    if (party->me != 0)
        return member_gather(party, card, fds, deadline_ns);
    self->card = *card;
    memcpy(self->fds, fds, sizeof(self->fds)); /* lent for the batches; they stay the caller's */
    hub_gather(party, deadline_ns);
    memset(self->fds, -1, sizeof(self->fds));
    return SHOAL_OK;
}

/* ---- agreement -------------------------------------------------------------------------- */

static uint8_t *reach_of(const struct shl_shm_party *party, uint32_t index)
{
    return party->reach + (size_t)index * SHL_SHM_MAP_BYTES(party->count);
}

static enum shoal_status recv_report(struct shl_shm_party *party, uint32_t from, uint8_t *pull,
                                     uint64_t deadline_ns)
{
    uint8_t message[MESSAGE_BYTES];
    size_t bytes, map_bytes = SHL_SHM_MAP_BYTES(party->count);
    SHL_TRY(
        recv_plain(party->members[from].channel, message, sizeof(message), &bytes, deadline_ns));
    if (bytes != 2 * map_bytes)
        return shl_fail(SHOAL_ERR_PEER, "rank %u sent a malformed report",
                        party->members[from].rank);
    memcpy(reach_of(party, from), message, map_bytes);
    memcpy(pull, message + map_bytes, map_bytes);
    return SHOAL_OK;
}

/* `all_pull` falls when a member sees another whose memory it cannot read. */
static void weigh_pulls(struct shl_shm_party *party, uint32_t from, const uint8_t *pull)
{
    for (uint32_t i = 0; i < party->count; i++) {
        if (shl_shm_bit(reach_of(party, from), i) && !shl_shm_bit(pull, i))
            party->all_pull = false;
    }
}

/* Row `index` of the verdict: those who see it and whom it sees. */
static void make_verdict(const struct shl_shm_party *party, uint32_t index, uint8_t *verdict)
{
    memset(verdict, 0, SHL_SHM_MAP_BYTES(party->count));
    for (uint32_t i = 0; i < party->count; i++) {
        if (i != index && shl_shm_bit(reach_of(party, index), i) &&
            shl_shm_bit(reach_of(party, i), index))
            shl_shm_bit_set(verdict, i);
    }
}

static void hub_agree(struct shl_shm_party *party, const uint8_t *reach, const uint8_t *pull,
                      uint64_t deadline_ns, uint8_t *verdict)
{
    uint8_t theirs[MESSAGE_BYTES / 2];
    uint8_t message[MESSAGE_BYTES];
    size_t map_bytes = SHL_SHM_MAP_BYTES(party->count);
    party->all_pull = true;
    memcpy(reach_of(party, 0), reach, map_bytes);
    weigh_pulls(party, 0, pull);
    for (uint32_t i = 1; i < party->count; i++) {
        if (party->members[i].channel < 0)
            continue;
        if (recv_report(party, i, theirs, deadline_ns) != SHOAL_OK) {
            memset(reach_of(party, i), 0, map_bytes);
            leave_out(party, i);
        } else {
            weigh_pulls(party, i, theirs);
        }
    }
    for (uint32_t i = 1; i < party->count; i++) {
        if (party->members[i].channel < 0)
            continue;
        message[0] = party->all_pull;
        make_verdict(party, i, message + 1);
        if (shl_control_send_fds(party->members[i].channel, NULL, 0, message, 1 + map_bytes,
                                 deadline_ns) != SHOAL_OK)
            leave_out(party, i); /* it is gone, and control will say so */
    }
    make_verdict(party, 0, verdict);
}

static enum shoal_status member_agree(struct shl_shm_party *party, const uint8_t *reach,
                                      const uint8_t *pull, uint64_t deadline_ns, uint8_t *verdict,
                                      bool *all_pull)
{
    uint8_t message[MESSAGE_BYTES];
    size_t bytes, map_bytes = SHL_SHM_MAP_BYTES(party->count);
    memcpy(message, reach, map_bytes);
    memcpy(message + map_bytes, pull, map_bytes);
    SHL_TRY(shl_control_send_fds(party->hub_channel, NULL, 0, message, 2 * map_bytes, deadline_ns));
    SHL_TRY(recv_plain(party->hub_channel, message, sizeof(message), &bytes, deadline_ns));
    if (bytes != 1 + map_bytes)
        return shl_fail(SHOAL_ERR_PEER, "rank %u sent a malformed verdict", party->members[0].rank);
    *all_pull = message[0] != 0;
    memcpy(verdict, message + 1, map_bytes);
    return SHOAL_OK;
}

enum shoal_status shl_shm_party_agree(struct shl_shm_party *party, const uint8_t *reach,
                                      const uint8_t *pull, uint64_t deadline_ns, uint8_t *verdict,
                                      bool *all_pull)
{
    if (party->me != 0)
        return member_agree(party, reach, pull, deadline_ns, verdict, all_pull);
    hub_agree(party, reach, pull, deadline_ns, verdict);
    *all_pull = party->all_pull;
    return SHOAL_OK;
}
