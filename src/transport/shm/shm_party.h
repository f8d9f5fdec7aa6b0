/*
 * How the ranks of one host meet: each gives the lowest of them, the hub, its descriptors, and
 * gets everyone's; each then tries to use them and reports; the hub decides for both sides of each
 * pair alike.
 *
 * Invariant: a pair is connected only if both sides reported success to the hub, and a rank that
 * does not hear the verdict connects to nobody.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_SHM_PARTY_H
#define SHL_TRANSPORT_SHM_PARTY_H

#include "transport/transport.h"

#define SHL_SHM_PARTY_MAX 8192 /* two bit maps fit one message */

/* What a rank says of itself. */
struct shl_shm_card {
    bool present; /* it has an area, and descriptors came with the card */
    uint64_t pid, pid_namespace;
    uint64_t nonce;                     /* in its area */
    uint64_t probe_address, probe_word; /* of its ordinary memory */
};

/* And the descriptors that come with it. */
enum { SHL_SHM_FD_HEAP, SHL_SHM_FD_AREA, SHL_SHM_FD_BELL, SHL_SHM_FDS };

struct shl_shm_member {
    uint32_t rank;
    int fds[SHL_SHM_FDS]; /* -1: none; the party's until taken */
    struct shl_shm_card card;
    void *link;  /* hub: the request for the channel */
    int channel; /* hub: to this member */
};

struct shl_shm_party {
    const struct shl_transport_env *env;
    struct shl_shm_member *members; /* by rank, ascending; the first is the hub */
    uint32_t count, me;
    int hub_channel; /* others: to the hub */
    uint8_t *reach;  /* hub: `count` bit maps of the same size */
    bool all_pull;   /* hub: so far */
};

#define SHL_SHM_MAP_BYTES(count) (((count) + 7) / 8)

static inline bool shl_shm_bit(const uint8_t *map, uint32_t index)
{
    return map[index / 8] >> (index % 8) & 1;
}

static inline void shl_shm_bit_set(uint8_t *map, uint32_t index)
{
    map[index / 8] |= (uint8_t)(1u << (index % 8));
}

/* shl_shm_party_create - `ranks` ascending; `me` an index. When it fails, the ranks that wait for
 * this one are told at once. */
enum shoal_status shl_shm_party_create(const struct shl_transport_env *env, const uint32_t *ranks,
                                       uint32_t count, uint32_t me, uint64_t deadline_ns,
                                       struct shl_shm_party **party);
void shl_shm_party_destroy(struct shl_shm_party *party); /* closes descriptors not taken */

/*
 * shl_shm_party_gather - give card and descriptors (borrowed), get everyone's into `members`.
 * Members that do not come in time are not present. An error means that this rank is alone.
 */
enum shoal_status shl_shm_party_gather(struct shl_shm_party *party, const struct shl_shm_card *card,
                                       const int fds[SHL_SHM_FDS], uint64_t deadline_ns);

/*
 * shl_shm_party_agree - report whom this rank sees (`reach`) and whose ordinary memory it can read
 * (`pull`); get the members that both sides see, and whether all such pairs can pull.
 */
enum shoal_status shl_shm_party_agree(struct shl_shm_party *party, const uint8_t *reach,
                                      const uint8_t *pull, uint64_t deadline_ns, uint8_t *verdict,
                                      bool *all_pull);

/* How channels come to be. Replaced only by tests, before any transport attaches. */
struct shl_shm_links {
    enum shoal_status (*request)(const struct shl_transport_env *env, uint32_t peer,
                                 uint64_t deadline_ns, void **link);
    enum shoal_status (*await)(void *link, int *fd); /* releases the link */
};

extern const struct shl_shm_links *shl_shm_links;
extern const struct shl_shm_links shl_shm_links_control;

#endif
