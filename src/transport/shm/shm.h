/*
 * The shared-memory transport, seen from its own files.
 *
 *   shm_open.c    open, close, describe, sleep and wake
 *   shm_attach.c  who is local, proof that memory is shared
 *   shm_party.c   the exchange of descriptors through the lowest local rank
 *   shm_probe.c   caches, process_vm_readv, host
 *   shm_map.c     mappings of peers' memory
 *   shm_ring.c    records: small messages, offers, demands
 *   shm_send.c    sends: eager, offered, streamed
 *   shm_demand.c  sends that found no room
 *   shm_announce.c  large receives, so that ranks which wait for each other learn why
 *   shm_recv.c    receives, and messages that came before them
 *   shm_pull.c    large messages: read in place, copied by the kernel, or through cells
 *   shm_cancel.c  cancel, review
 *   shm_group.c   direct forms of one communicator
 *
 * Invariant: a posted transfer is in exactly one list: of its peer, or `finished`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_SHM_H
#define SHL_TRANSPORT_SHM_H

#include "core/config.h"
#include "core/heap.h"
#include "core/host.h"
#include "transport/shm/shm_layout.h"

#include <sys/types.h>

#define SHL_SHM_NOBODY UINT32_MAX

/* Uses of shl_xfer.scratch. */
enum {
    SHL_SHM_SEND_INDEX,    /* of the offer */
    SHL_SHM_SEND_STREAMED, /* bytes put into cells */
    SHL_SHM_SEND_ELEM,     /* the receiver's elem_bytes */
    SHL_SHM_SEND_ASKED     /* 1 + the receiver's count of posts when last asked about */
};
enum {
    SHL_SHM_RECV_INDEX,      /* of the offer */
    SHL_SHM_RECV_ADDRESS,    /* in the sender's address space */
    SHL_SHM_RECV_IN_PLACE,   /* address here of the sender's bytes; 0: ordinary memory */
    SHL_SHM_RECV_GENERATION, /* of the offer */
};
#define SHL_SHM_STEP_BYTES (256u << 10)  /* moved of one message before others get a turn */
#define SHL_SHM_BOUNCE_BYTES (64u << 10) /* between process_vm_readv and a sink: stays in cache */

/* Values of SHOAL_SHM_COPY. */
enum { SHL_SHM_COPY_AUTO, SHL_SHM_COPY_STAGED, SHL_SHM_COPY_CMA };

/* A message that came before its receive. */
struct shl_shm_kept {
    struct shl_tag tag;
    struct shl_signature signature;
    struct shl_shm_offer offer; /* kind OFFER */
    uint32_t bytes;             /* kind DATA */
    uint16_t index;             /* kind OFFER */
    uint8_t kind;
};

/* One of our offers. The index stays taken until the receiver's last reply. */
struct shl_shm_outgoing {
    struct shl_xfer *xfer; /* NULL: cancelled, or all of it is in cells */
    uint32_t generation;
    bool granted;
};

/* One of the peer's offers that we accepted. */
struct shl_shm_incoming {
    struct shl_xfer *xfer;
    uint32_t generation;
};

/* An announcement, sent or received. */
struct shl_shm_heard {
    struct shl_tag tag;
    struct shl_signature signature;
    bool used;
};

#define SHL_SHM_HEARD 8u

enum shl_shm_demand_state { SHL_SHM_DEMAND_IDLE, SHL_SHM_DEMAND_ASKED, SHL_SHM_DEMAND_FOUND };

struct shl_shm_demand {
    struct shl_xfer *xfer; /* NULL: cancelled meanwhile */
    uint32_t generation;
    enum shl_shm_demand_state state;
};

struct shl_shm_peer {
    uint32_t rank, index; /* index among the local ranks */
    bool reachable;       /* both sides agreed */
    bool dead;            /* dropped by the engine, or its shared words made no sense */
    bool loss_due;        /* env->lost is owed, with `loss` */
    char loss[128];
    uint8_t dirty; /* SHL_SHM_DIRTY_*: it may have to be woken */
    bool can_pull; /* process_vm_readv works */
    pid_t pid;
    int heap_fd, bell_fd;
    uint64_t heap_bytes;
    uint64_t probe_address, probe_word;  /* in its ordinary memory: its identity for every pull */
    const struct shl_shm_header *header; /* its area, read only */
    const struct shl_shm_block *theirs;  /* what it tells us */
    struct shl_shm_block *mine;          /* what we tell it */
    uint8_t *heap;                       /* its whole heap, mapped on first use */
    bool heap_refused;
    const char *reason; /* why it is not reachable */

    /* We send. */
    struct shl_list pending;   /* found no room yet */
    struct shl_list offered;   /* the receiver has not answered */
    struct shl_list streaming; /* granted: goes through cells, first one first */
    uint64_t tail, moved_seen; /* ring bytes written; copied out by the peer */
    uint64_t sent, credits_seen;
    uint64_t cell_tail, cells_read_seen;
    uint64_t offers_busy; /* bit mask of `out` */
    struct shl_shm_outgoing out[SHL_SHM_OFFERS];
    struct shl_shm_demand demand;
    unsigned heard_count, heard_next;
    struct shl_shm_heard heard[SHL_SHM_HEARD]; /* receives of the peer whose send is not posted */

    /* We receive. */
    struct shl_list posted;  /* no message yet */
    struct shl_list pulling; /* being read from the sender's memory */
    struct shl_list staged;  /* coming through cells */
    uint64_t position;       /* ring bytes read */
    uint64_t cell_head;
    uint64_t offers_known; /* bit mask: offers of the peer that we have not finally answered */
    struct shl_shm_incoming in[SHL_SHM_OFFERS];
    bool demanded;
    bool tell_due;             /* an announcement found no room */
    struct shl_shm_heard told; /* the last announcement */
    uint64_t kept_mask;
    struct shl_shm_kept kept[SHL_SHM_CREDITS];
    uint8_t *kept_payload; /* SHL_SHM_CREDITS * SHL_SHM_EAGER_BYTES, touched when used */

    struct shl_list stranded; /* the other side withdrew: only cancel ends these */
};

#define SHL_SHM_DIRTY_NEWS 1u /* records, cells */
#define SHL_SHM_DIRTY_ROOM 2u /* room, credits, replies */

struct shl_transport {
    const struct shl_transport_env *env;
    char host_id[SHL_HOST_ID_BYTES];
    uint64_t pid_namespace;
    int bell_fd;         /* our doorbell, an eventfd */
    uint64_t probe_word; /* peers read it with process_vm_readv */
    uint32_t copy;       /* SHL_SHM_COPY_* */
    uint64_t nt_bytes;   /* from here on results bypass the cache */
    bool all_pull;       /* process_vm_readv works between all local ranks, all know it */
    bool armed, delivering, loss_due;
    unsigned depth;             /* of calls into the transport */
    uint32_t *ranks;            /* world ranks of the local ones, ascending */
    uint32_t *index_of;         /* world rank to local index, SHL_SHM_NOBODY: not local */
    uint32_t locals, me;        /* local ranks; my index */
    struct shl_shm_peer *peers; /* by local index; mine is unused */
    uint32_t *dirty;            /* peers that may have to be woken */
    uint32_t dirty_count;
    uint8_t *kept_payloads;
    struct shl_shm_header *area; /* what peers see of us */
    int area_fd;
    uint8_t set_state[SHL_SHM_SETS]; /* of our sets of slots: SHL_SHM_SET_* */
    uint64_t set_generation;
    struct shl_list groups;
    struct shl_list retired; /* destroyed groups whose last words somebody may still have to read */
    uint8_t *bounce;
    struct shl_list finished; /* done() is owed */
};

#define SHL_SHM_SET_RESERVED 1u
#define SHL_SHM_SET_LINGERS 2u /* a retired group's */

/* shm_open.c */
void shl_shm_complete(struct shl_transport *t, struct shl_xfer *xfer);
void shl_shm_mark_dirty(struct shl_transport *t, struct shl_shm_peer *peer, uint8_t what);
void shl_shm_wake_if_asleep(const struct shl_shm_peer *peer, uint32_t bits);
/* The peer's shared words make no sense: never look at them again and report it lost. */
void shl_shm_peer_spoil(struct shl_transport *t, struct shl_shm_peer *peer, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
/* NULL: that rank is not reached, or gone. */
struct shl_shm_peer *shl_shm_peer_of(struct shl_transport *t, uint32_t rank);

/* shm_attach.c */
enum shoal_status shl_shm_attach(struct shl_transport *t, const void *const *blobs,
                                 const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches);
void shl_shm_detach(struct shl_transport *t);
size_t shl_shm_describe(struct shl_transport *t, void *blob, size_t capacity);

/* shm_probe.c */
uint64_t shl_shm_cache_bytes(void); /* L2 of this core */
void shl_shm_allow_pulls(void);     /* where Yama would refuse them */
bool shl_shm_pull_works(const struct shl_shm_peer *peer);

/* shm_map.c */
/* Takes both descriptors; area_fd is closed before return. */
enum shoal_status shl_shm_map_area(struct shl_transport *t, struct shl_shm_peer *peer, int area_fd);
void shl_shm_unmap(struct shl_transport *t, struct shl_shm_peer *peer);
enum shoal_status shl_shm_make_area(struct shl_transport *t);
void shl_shm_free_area(struct shl_transport *t);
/* A range of the peer's heap, writable; NULL when it is not one or cannot be mapped. */
void *shl_shm_map_heap(struct shl_shm_peer *peer, uint64_t offset, uint64_t bytes);

/* shm_ring.c */
enum shl_shm_peek { SHL_SHM_EMPTY, SHL_SHM_READY, SHL_SHM_CORRUPT };
struct shl_shm_record *shl_shm_ring_reserve(struct shl_transport *t, struct shl_shm_peer *peer,
                                            uint32_t payload_bytes);
void shl_shm_ring_publish(struct shl_transport *t, struct shl_shm_peer *peer,
                          struct shl_shm_record *record);
/* Copies the head; `payload` stays in shared memory until advance. */
enum shl_shm_peek shl_shm_ring_peek(struct shl_shm_peer *peer, struct shl_shm_record *head,
                                    const uint8_t **payload);
void shl_shm_ring_advance(struct shl_transport *t, struct shl_shm_peer *peer,
                          const struct shl_shm_record *head);
bool shl_shm_ring_has_news(const struct shl_shm_peer *peer);
bool shl_shm_ring_would_fit(const struct shl_shm_peer *peer, uint64_t payload_bytes);

/* shm_send.c */
enum shoal_status shl_shm_send(struct shl_transport *t, struct shl_xfer *xfer);
bool shl_shm_send_start(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer,
                        bool on_demand);
unsigned shl_shm_send_progress(struct shl_transport *t, struct shl_shm_peer *peer);
bool shl_shm_send_has_work(const struct shl_shm_peer *peer);
bool shl_shm_send_waits(const struct shl_shm_peer *peer); /* for anything from the receiver */

/* shm_announce.c */
void shl_shm_announce(struct shl_transport *t, struct shl_shm_peer *peer,
                      const struct shl_xfer *xfer);
void shl_shm_announce_due(struct shl_transport *t, struct shl_shm_peer *peer);
/* true: nothing fitting is posted, and the engine must hear of it. */
bool shl_shm_announce_heard(struct shl_transport *t, struct shl_shm_peer *peer,
                            const struct shl_tag *tag, const struct shl_signature *signature);
/* Does a send fit what was announced for it? false: `other` is the announcement. */
bool shl_shm_announce_fits(struct shl_shm_peer *peer, const struct shl_xfer *xfer,
                           struct shl_shm_heard *other);
void shl_shm_announce_forget(struct shl_shm_peer *peer, uint32_t comm, uint64_t seq);

/* shm_demand.c */
unsigned shl_shm_demand_progress(struct shl_transport *t, struct shl_shm_peer *peer);
bool shl_shm_demand_has_work(const struct shl_shm_peer *peer);

/* shm_recv.c */
enum shoal_status shl_shm_recv(struct shl_transport *t, struct shl_xfer *xfer);
unsigned shl_shm_recv_progress(struct shl_transport *t, struct shl_shm_peer *peer);
void shl_shm_reply(struct shl_transport *t, struct shl_shm_peer *peer, unsigned index,
                   uint64_t word, uint64_t start);
void shl_shm_kept_drop(struct shl_transport *t, struct shl_shm_peer *peer, unsigned slot);

/* shm_pull.c */
void shl_shm_pull_begin(struct shl_transport *t, struct shl_shm_peer *peer, struct shl_xfer *xfer,
                        unsigned index, const struct shl_shm_offer *offer);
unsigned shl_shm_pull_progress(struct shl_transport *t, struct shl_shm_peer *peer);
bool shl_shm_pull_has_work(const struct shl_shm_peer *peer);
enum shoal_status shl_shm_pull_bytes(const struct shl_shm_peer *peer, uint64_t address, void *out,
                                     size_t bytes);
void shl_shm_place(struct shl_transport *t, struct shl_xfer *xfer, const void *piece, size_t bytes);

/* shm_group.c */
bool shl_shm_groups_have_news(const struct shl_transport *t);
void shl_shm_groups_close(struct shl_transport *t);

/* shm_cancel.c */
void shl_shm_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq);
void shl_shm_review(struct shl_transport *t, uint32_t comm, uint64_t seq);

static inline uint64_t shl_shm_reply_word(uint32_t generation, uint32_t elem_bytes,
                                          enum shl_shm_reply_state state)
{
    return (uint64_t)generation << 32 | (uint64_t)elem_bytes << 8 | (uint64_t)state;
}

static inline uint32_t shl_shm_elem_bytes(const struct shl_xfer *xfer)
{
    return xfer->elem_bytes ? xfer->elem_bytes : 1;
}

#endif
