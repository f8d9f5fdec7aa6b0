/*
 * The exchange among the members of one communicator: each has a set of sixteen slots in its area,
 * which all others read.
 *
 * Invariant: a member writes only its own slots, and reuses one only after every other member has
 * said that it finished the operation that was in it.
 *
 * Cost. The flag, the signature and 32 bytes of payload share one cache line, and the pair of lines
 * that processors fetch together holds 96; so an exchange of a small payload is one line each way.
 * How far a member has finished rides in that line too: in step, nobody reads anything else.
 *
 * Order of stores: payload, signature and progress, then the flag (release); a reader takes the
 * flag (acquire) first. A reader has read all of an operation before it publishes `finished`
 * (release, or by the next flag), and a writer sees that (acquire) before it overwrites.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/group.h"

#include "core/sys.h"
#include "transport/shm/shm.h"

#include <sched.h>
#include <string.h>

#define PULL_BYTES (64u << 20) /* one system call moves at most this */

_Static_assert(SHL_GROUP_PAYLOAD_BYTES < 1 << 16, "progress has 16 bits for the payload's size");
_Static_assert((SHL_GROUP_OPS & (SHL_GROUP_OPS - 1)) == 0, "slots survive a wrap of the sequence");
_Static_assert(SHL_SHM_SETS <= 1 << 16, "a set's name has 16 bits for its number");

struct member {
    const struct shl_shm_set *set;
    struct shl_shm_peer *peer; /* NULL: me */
    uint64_t generation;       /* of the set, while it serves this group */
    uint64_t finished;         /* as last seen */
};

/* What the last unsuccessful look for one operation waited for; NULL: nothing. */
struct awaited {
    const _Atomic uint64_t *flag;
    uint64_t value;
};

struct shl_group {
    struct shl_list link; /* in shl_transport.groups, or .retired */
    struct shl_transport *t;
    struct shl_shm_set *mine;
    uint32_t count, me;
    uint32_t my_set;
    uint32_t core;                /* as in my set */
    uint64_t finished;            /* mine: operations below this one */
    uint64_t all_finished;        /* of the others, as last computed */
    uint64_t used[SHL_GROUP_OPS]; /* 1 + the last sequence that I posted into these slots */
    struct awaited awaited[SHL_GROUP_OPS];
    struct member members[];
};

/* ---- sets ------------------------------------------------------------------------------- */

/* What other ranks call a set: its number, and which use of it. */
static uint64_t set_name(uint32_t set, uint64_t generation)
{
    return generation << 16 | set;
}

static struct shl_shm_set *own_set(struct shl_transport *t, uint32_t set)
{
    return (struct shl_shm_set *)(void *)((uint8_t *)t->area + shl_shm_set_offset(t->locals, set));
}

/* Has everyone read all that I posted? A member whose set serves another group is done with this
 * one. */
static bool all_have_read(const struct shl_group *group)
{
    uint64_t last = 0;
    for (unsigned i = 0; i < SHL_GROUP_OPS; i++)
        last = group->used[i] > last ? group->used[i] : last;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct member *member = &group->members[i];
        if (i == group->me)
            continue;
        uint64_t generation = atomic_load_explicit(&member->set->generation, memory_order_acquire);
        if (generation == member->generation &&
            atomic_load_explicit(&member->set->finished, memory_order_acquire) < last)
            return false;
    }
    return true;
}

static void bury(struct shl_group *group)
{
    group->t->set_state[group->my_set] &= (uint8_t)~SHL_SHM_SET_LINGERS;
    shl_list_remove(&group->link);
    shl_mem->free(group);
}

static void bury_read(struct shl_transport *t)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &t->retired)
    {
        struct shl_group *group = SHL_CONTAINER_OF(node, struct shl_group, link);
        if (all_have_read(group))
            bury(group);
    }
}

/* Has anything come that the last look at a group missed? */
bool shl_shm_groups_have_news(const struct shl_transport *t)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &t->groups)
    {
        const struct shl_group *group = SHL_CONTAINER_OF(node, struct shl_group, link);
        for (unsigned i = 0; i < SHL_GROUP_OPS; i++) {
            const struct awaited *awaited = &group->awaited[i];
            if (awaited->flag &&
                atomic_load_explicit(awaited->flag, memory_order_acquire) == awaited->value)
                return true;
        }
    }
    return false;
}

void shl_shm_groups_close(struct shl_transport *t)
{
    struct shl_list *node, *next;
    SHL_LIST_FOR_EACH(node, next, &t->retired)
    bury(SHL_CONTAINER_OF(node, struct shl_group, link));
}

enum shoal_status shl_group_reserve(struct shl_transport *shm, uint64_t *slots_offset)
{
    if (!shm->area)
        return shl_fail(SHOAL_ERR_UNSUPPORTED, "this rank shares no memory with another");
    bury_read(shm);
    uint32_t set = 0;
    while (set < SHL_SHM_SETS && shm->set_state[set])
        set++;
    if (set == SHL_SHM_SETS)
        return shl_fail(SHOAL_ERR_NOMEM,
                        "%u communicators share memory already; destroy some that are not used",
                        SHL_SHM_SETS);
    struct shl_shm_set *own = own_set(shm, set);
    for (unsigned i = 0; i < SHL_GROUP_SLOTS; i++)
        atomic_store_explicit(&own->slots[i].flag, 0, memory_order_relaxed);
    atomic_store_explicit(&own->finished, 0, memory_order_relaxed);
    /* Others learn the name only after this, so they see clean slots. */
    atomic_store_explicit(&own->generation, ++shm->set_generation, memory_order_release);
    shm->set_state[set] = SHL_SHM_SET_RESERVED;
    *slots_offset = set_name(set, shm->set_generation);
    return SHOAL_OK;
}

void shl_group_unreserve(struct shl_transport *shm, uint64_t slots_offset)
{
    shm->set_state[slots_offset & 0xffff] &= (uint8_t)~SHL_SHM_SET_RESERVED;
}

/* ---- life cycle ------------------------------------------------------------------------- */

static enum shoal_status find_member(struct shl_group *group, struct member *member, uint32_t rank,
                                     uint64_t name)
{
    struct shl_transport *t = group->t;
    struct shl_shm_peer *peer = shl_shm_peer_of(t, rank);
    if (!peer)
        return shl_fail(SHOAL_ERR_INVALID, "rank %u shares no memory with this one", rank);
    if ((name & 0xffff) >= SHL_SHM_SETS)
        return shl_fail(SHOAL_ERR_PEER, "rank %u names slots that it cannot have", rank);
    const uint8_t *area = (const uint8_t *)peer->header;
    member->set = (const struct shl_shm_set *)(const void *)(area + shl_shm_set_offset(
                                                                        t->locals, name & 0xffff));
    member->generation = name >> 16;
    member->peer = peer;
    return SHOAL_OK;
}

enum shoal_status shl_group_create(struct shl_transport *shm, const uint32_t *members,
                                   uint32_t count, uint32_t me, const uint64_t *slots_offsets,
                                   struct shl_group **out)
{
    struct shl_group *group = shl_mem->alloc(sizeof(*group) + count * sizeof(group->members[0]));
    if (!group)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for a group of %u ranks", count);
    group->t = shm;
    group->count = count;
    group->me = me;
    group->my_set = (uint32_t)(slots_offsets[me] & 0xffff);
    group->mine = own_set(shm, group->my_set);
    group->members[me].set = group->mine;
    for (uint32_t i = 0; i < count; i++) {
        if (i == me)
            continue;
        enum shoal_status status =
            find_member(group, &group->members[i], members[i], slots_offsets[i]);
        if (status != SHOAL_OK) {
            shl_mem->free(group);
            return status;
        }
    }
    shl_list_append(&shm->groups, &group->link);
    *out = group;
    return SHOAL_OK;
}

/*
 * A slower member may still have to read what this one posted last. Until then the slots are not
 * used for another group: the group is retired and its slots linger.
 */
void shl_group_destroy(struct shl_group *group)
{
    if (!group)
        return;
    group->t->set_state[group->my_set] |= SHL_SHM_SET_LINGERS;
    shl_list_remove(&group->link);
    shl_list_append(&group->t->retired, &group->link);
    bury_read(group->t);
}

/* ---- publishing ------------------------------------------------------------------------- */

static unsigned slot_of(uint64_t seq, unsigned phase)
{
    return (unsigned)(seq % SHL_GROUP_OPS) * SHL_GROUP_PHASES + phase;
}

static uint64_t flag_of(uint64_t seq, unsigned phase)
{
    return seq * SHL_GROUP_PHASES + phase + 1;
}

static uint64_t least_finished(const struct shl_group *group)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < group->count; i++) {
        if (i != group->me && group->members[i].finished < least)
            least = group->members[i].finished;
    }
    return least;
}

static void note_finished(struct member *member, uint64_t finished)
{
    if (finished > member->finished)
        member->finished = finished;
}

bool shl_group_ready(struct shl_group *group, uint64_t seq)
{
    uint64_t need = group->used[seq % SHL_GROUP_OPS];
    if (SHL_LIKELY(need <= group->all_finished))
        return true;
    group->all_finished = least_finished(group); /* what came with the members' posts */
    if (SHL_LIKELY(need <= group->all_finished))
        return true;
    for (uint32_t i = 0; i < group->count; i++) {
        if (i != group->me)
            note_finished(&group->members[i], atomic_load_explicit(&group->members[i].set->finished,
                                                                   memory_order_acquire));
    }
    group->all_finished = least_finished(group);
    return need <= group->all_finished;
}

void shl_group_post(struct shl_group *group, uint64_t seq, unsigned phase,
                    const struct shl_signature *signature, const void *payload, uint32_t bytes)
{
    unsigned slot = slot_of(seq, phase);
    struct shl_shm_slot *head = &group->mine->slots[slot];
    SHL_ASSERT(bytes <= SHL_GROUP_PAYLOAD_BYTES && phase < SHL_GROUP_PHASES);
    if (bytes == sizeof(uint64_t)) /* the shortest way for the shortest messages */
        memcpy(head->payload, payload, sizeof(uint64_t));
    else if (bytes)
        memcpy(bytes <= SHL_SHM_INLINE_BYTES ? head->payload : group->mine->bodies[slot], payload,
               bytes);
    head->signature = *signature;
    atomic_store_explicit(&head->progress, group->finished << 16 | bytes, memory_order_relaxed);
    group->used[seq % SHL_GROUP_OPS] = seq + 1;
    atomic_store_explicit(&head->flag, flag_of(seq, phase), memory_order_release);
}

void shl_group_wake(struct shl_group *group)
{
    /* The post comes before our look at `sleeping`: shm_layout.h, item 6. */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < group->count; i++) {
        if (i != group->me)
            shl_shm_wake_if_asleep(group->members[i].peer, SHL_SHM_ASLEEP);
    }
}

void shl_group_finish(struct shl_group *group, uint64_t seq)
{
    if (seq + 1 <= group->finished)
        return;
    for (unsigned i = 0; i < SHL_GROUP_OPS; i++) {
        if (group->awaited[i].value <= flag_of(seq, SHL_GROUP_PHASES - 1))
            group->awaited[i].flag = NULL; /* of an operation that was given up */
    }
    group->finished = seq + 1;
    /* Nobody reads this line as long as the members keep pace. */
    atomic_store_explicit(&group->mine->finished, seq + 1, memory_order_release);
}

/* ---- looking ---------------------------------------------------------------------------- */

static bool makes_sense(struct shl_group *group, struct member *member, uint64_t progress)
{
    uint32_t bytes = (uint32_t)(progress & 0xffff);
    if (SHL_LIKELY(bytes <= SHL_GROUP_PAYLOAD_BYTES))
        return true;
    if (member->peer)
        shl_shm_peer_spoil(group->t, member->peer, "its slot claims %u bytes", bytes);
    return false;
}

bool shl_group_gathered(struct shl_group *group, uint64_t seq, unsigned phase,
                        const struct shl_signature *signature, struct shl_group_look *look)
{
    unsigned slot = slot_of(seq, phase);
    uint64_t flag = flag_of(seq, phase);
    struct awaited *awaited = &group->awaited[seq % SHL_GROUP_OPS];
    for (; look->cursor < group->count; look->cursor++) {
        struct member *member = &group->members[look->cursor];
        const struct shl_shm_slot *head = &member->set->slots[slot];
        if (look->cursor == group->me)
            continue;
        if (atomic_load_explicit(&head->flag, memory_order_acquire) != flag) {
            /* Whoever goes to sleep now looks here again after saying so. */
            awaited->flag = &head->flag;
            awaited->value = flag;
            return false;
        }
        uint64_t progress = atomic_load_explicit(&head->progress, memory_order_relaxed);
        if (!makes_sense(group, member, progress))
            return false;
        look->differences |=
            (head->signature.count ^ signature->count) | (head->signature.call ^ signature->call);
        note_finished(member, progress >> 16);
    }
    awaited->flag = NULL;
    return true;
}

bool shl_group_waits_for_core(struct shl_group *group, uint64_t seq, unsigned phase,
                              const struct shl_group_look *look)
{
    unsigned slot = slot_of(seq, phase);
    uint32_t here = (uint32_t)sched_getcpu() + 1;
    if (group->core != here) {
        group->core = here;
        atomic_store_explicit(&group->mine->core, here, memory_order_relaxed);
    }
    for (uint32_t i = look->cursor; i < group->count; i++) {
        const struct shl_shm_set *set = group->members[i].set;
        if (i == group->me || atomic_load_explicit(&set->slots[slot].flag, memory_order_relaxed) ==
                                  flag_of(seq, phase))
            continue;
        uint32_t core = atomic_load_explicit(&set->core, memory_order_relaxed);
        if (core == here || core == 0)
            return true;
    }
    return false;
}

bool shl_group_peek(struct shl_group *group, uint32_t index, uint64_t seq, unsigned phase,
                    struct shl_group_peek *peek)
{
    unsigned slot = slot_of(seq, phase);
    struct member *member = &group->members[index];
    const struct shl_shm_slot *head = &member->set->slots[slot];
    if (atomic_load_explicit(&head->flag, memory_order_acquire) != flag_of(seq, phase))
        return false;
    uint64_t progress = atomic_load_explicit(&head->progress, memory_order_relaxed);
    uint32_t bytes = (uint32_t)(progress & 0xffff);
    if (!makes_sense(group, member, progress))
        return false;
    note_finished(member, progress >> 16);
    peek->signature = &head->signature;
    peek->payload = bytes <= SHL_SHM_INLINE_BYTES ? head->payload : member->set->bodies[slot];
    peek->bytes = bytes;
    return true;
}

/* ---- members' buffers ------------------------------------------------------------------- */

void shl_group_describe(struct shl_group *group, const void *buffer, uint64_t bytes,
                        struct shl_group_buffer *description)
{
    description->address = (uint64_t)(uintptr_t)buffer;
    description->heap_offset = shl_heap_offset(group->t->env->heap, buffer, bytes);
    description->bytes = bytes;
}

void *shl_group_map(struct shl_group *group, uint32_t member, const struct shl_group_buffer *buffer)
{
    struct shl_group_buffer copy;
    memcpy(&copy, buffer, sizeof(copy));
    /* It may lie in the member's shared memory: judge and use this one copy. */
    __asm__ volatile("" ::: "memory");
    if (copy.heap_offset == UINT64_MAX)
        return NULL;
    if (member == group->me)
        return (void *)(uintptr_t)copy.address;
    return shl_shm_map_heap(group->members[member].peer, copy.heap_offset, copy.bytes);
}

bool shl_group_can_pull(const struct shl_group *group)
{
    return group->t->all_pull && group->t->copy != SHL_SHM_COPY_STAGED;
}

enum shoal_status shl_group_pull(struct shl_group *group, uint32_t member, uint64_t address,
                                 void *out, size_t bytes)
{
    if (member == group->me) {
        memcpy(out, (const void *)(uintptr_t)address, bytes);
        return SHOAL_OK;
    }
    if (!shl_group_can_pull(group))
        return shl_fail(SHOAL_ERR_UNSUPPORTED,
                        "the local ranks cannot read each other's memory (process_vm_readv), or "
                        "SHOAL_SHM_COPY forbids it");
    for (size_t done = 0; done < bytes;) {
        size_t part = bytes - done < PULL_BYTES ? bytes - done : PULL_BYTES;
        SHL_TRY(shl_shm_pull_bytes(group->members[member].peer, address + done,
                                   (uint8_t *)out + done, part));
        done += part;
    }
    return SHOAL_OK;
}
