/*
 * The state of one transport and of its links, shared by the files of this folder.
 *
 * A link is two reliable queue pairs to one peer. On the first, frames (SENDs) carry small messages
 * and the protocol; payload of large ones is written (WRITE WITH IMMEDIATE) into windows that the
 * receiver grants, and copied or reduced from there to its place. A window belongs to the
 * transport, so a write that comes late hurts nobody: cancel needs no round trip.
 *
 * On the second, the direct pair, of which there is one a rail, payload is written from the
 * sender's memory to where the receiver wants it (verbs_direct.h). When the rail of the first
 * fails, another takes its place, or the control channel (verbs_move.h).
 *
 * Windows are a common pool. One is granted before the sender is known to have posted only while
 * more than half are free; the others go to messages whose sender is READY, and therefore always
 * come back. So no message can block another.
 *
 * Invariant: sent - peer_taken receive requests of the peer are in use, at most SHL_VERBS_SLOTS; so
 * no send ever finds the peer without one. The last two are for CREDIT frames only.
 *
 * Reading path: verbs_transport.c (the contract) -> verbs_attach.c (connections), verbs_wake.c
 * (when a link is first used) -> verbs_send.c, verbs_recv.c (posting) -> verbs_post.c (frames and
 * writes leave) -> verbs_poll.c, verbs_arrive.c (completions) -> verbs_cancel.c; in place:
 * verbs_place.c (receiving), verbs_direct.c (sending), verbs_fence.c, verbs_memory.c
 * (registrations); failures: verbs_move.c, verbs_seek.c, verbs_channel.c, verbs_event.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_LINK_H
#define SHL_TRANSPORT_VERBS_LINK_H

#include "transport/verbs/verbs_direct.h"
#include "transport/verbs/verbs_move.h"
#include "transport/verbs/verbs_rail.h"
#include "transport/verbs/verbs_seek.h"

#include <string.h>

#define SHL_VERBS_SIGNAL 8 /* every so many sends ask for a completion */
#define SHL_VERBS_KEPT 32  /* EAGER messages of a link that nobody has posted for */
#define SHL_VERBS_BUCKETS 32
#define SHL_VERBS_WINDOW_BYTES 131072
#define SHL_VERBS_WINDOWS 64     /* of a transport, to receive into */
#define SHL_VERBS_STAGES 32      /* of the same size, to send from */
#define SHL_VERBS_XFER_WINDOWS 8 /* granted at once for one message */
#define SHL_VERBS_NOTES_MAX 65536
#define SHL_VERBS_INLINE_BYTES 128
#define SHL_VERBS_CAUSE_BYTES 256
#define SHL_VERBS_PEERS_MAX (1u << 24)
/* What a descriptor that is watched is of: a rail, else the control channel of a peer. */
#define SHL_VERBS_WATCH_CHANNEL (UINT64_C(1) << 32)
#define SHL_VERBS_WATCH_EVENTS (UINT64_C(2) << 32)
#define SHL_VERBS_WATCH_CM (UINT64_C(3) << 32)
#define SHL_VERBS_WATCH_SEEK (UINT64_C(4) << 32)
/* wr_id: rail, or lane of a direct pair (bits 56-63), peer (32-55), to send or to receive (31),
 * number (0-30). */
#define SHL_VERBS_SEND_REQUEST (UINT64_C(1) << 31)
#define SHL_VERBS_SLOT_BYTES (sizeof(struct shl_verbs_frame) + SHL_VERBS_EAGER_BYTES)

struct shl_verbs_link;
struct shl_verbs_calls;
struct shl_verbs_memory;

/* A frame that waits: to be sent, or for somebody to post what it is about. */
struct shl_verbs_note {
    struct shl_list link;
    struct shl_verbs_frame frame;
    struct shl_xfer *xfer; /* a GRANT in `serving`: the send that it is for */
};

struct shl_verbs_kept {
    struct shl_list link;
    struct shl_verbs_frame frame;
    uint8_t payload[SHL_VERBS_EAGER_BYTES];
};

/* Memory to receive into. */
struct shl_verbs_window {
    struct shl_list link; /* in windows_free, else alone */
    uint8_t *memory;
    uint16_t index, generation;
    struct shl_verbs_link *owner; /* whose peer may write; NULL: free */
    struct shl_xfer *xfer;        /* NULL: cancelled, what comes is dropped */
    uint64_t offset;
    uint32_t length;
};

/* Memory to send from. */
struct shl_verbs_stage {
    struct shl_list link;
    uint8_t *memory;
};

/* A posted send request, until it is known to be complete. */
struct shl_verbs_request {
    struct shl_verbs_stage *stage; /* NULL: a frame, which is in the send slot */
    struct shl_xfer *xfer;         /* NULL: a frame, or cancelled */
    uint32_t bytes;
    uint32_t window; /* that a stage is written to, */
    uint64_t address;
};

enum shl_verbs_state {
    SHL_VERBS_DIALLING,
    SHL_VERBS_GREETING,   /* our greeting is sent, the peer's is awaited */
    SHL_VERBS_JOINING,    /* rdma_cm connects our queue pairs */
    SHL_VERBS_CONNECTING, /* our queue pairs are up, the peer's are awaited */
    SHL_VERBS_PROVING,    /* a frame goes each way */
    SHL_VERBS_AGREEING,   /* it did; what does the peer say? */
    SHL_VERBS_UP,
    SHL_VERBS_GONE, /* the peer closed in good order */
    SHL_VERBS_LOST  /* also: refused in attach */
};

struct shl_verbs_link {
    struct shl_transport *t;
    uint32_t peer;
    enum shl_verbs_state state;
    char cause[SHL_VERBS_CAUSE_BYTES];
    int fd; /* control channel */
    uint8_t greeting[sizeof(struct shl_verbs_greeting)];
    uint32_t greeting_bytes; /* of the peer's, so far */
    bool proof_sent, proof_received;
    bool asleep; /* UP, and nobody has used it: it has no queue pairs yet */

    uint32_t rail;       /* that carries frames and windows; SHL_VERBS_CHANNEL, SHL_VERBS_NOWHERE */
    uint32_t first_rail; /* that carries them if it works at both ends */
    struct shl_verbs_move move;
    struct shl_verbs_quest *quest; /* for ways to the peer; NULL: none is under way */
    struct shl_verbs_channel channel;
    struct ibv_qp *qp;
    struct shl_verbs_join join; /* of it */
    uint8_t nonce[SHL_VERBS_NONCE_BYTES];
    uint32_t qp_rail;      /* where it is */
    uint32_t inline_bytes; /* that it takes with a request */
    uint32_t posted_recvs;
    struct ibv_mr *slots_mr;
    uint32_t peer_window_key;
    struct shl_verbs_direct direct;
    uint8_t *recv_slots, *send_slots; /* SHL_VERBS_SLOTS of SHL_VERBS_SLOT_BYTES */
    uint32_t first_psn;

    /* Receive requests, in total: the peer's that we used, and that it gave back; ours likewise. */
    uint32_t sent, peer_taken;
    uint32_t taken, taken_told;
    /* EAGER messages, in total. */
    uint32_t eager_sent, peer_unkept;
    uint32_t unkept, unkept_told;
    /* Send requests, in total. */
    uint32_t requested, completed;
    uint32_t signalled; /* of the outstanding ones */
    uint64_t quiet_ns;  /* since when `signalled` is not zero and nothing completes; 0: not so */
    struct shl_verbs_request requests[SHL_VERBS_SLOTS];

    struct shl_list recvs[SHL_VERBS_BUCKETS]; /* posted, by tag */
    struct shl_list sends[SHL_VERBS_BUCKETS]; /* posted, larger than a frame or out of credit */
    struct shl_list eager;                    /* sends that wait for a send or receive request */
    struct shl_list outbox;                   /* notes to send, in this order */
    struct shl_list serving;                  /* GRANTs for posted sends */
    struct shl_list notes[SHL_VERBS_BUCKETS]; /* about what is not posted here */
    struct shl_list kept[SHL_VERBS_BUCKETS];
    struct shl_list kept_free;
    struct shl_verbs_kept *kept_memory;
    struct shl_list granting; /* grant nodes of receives that may need more windows */
    uint64_t bytes_sent, bytes_received;
};

struct shl_transport {
    const struct shl_transport_env *env;
    struct shl_verbs_port port; /* of the nearest rail */
    bool usable;
    char why_not[SHL_VERBS_CAUSE_BYTES];
    struct shl_verbs_link **links; /* by peer; NULL: not reached */
    uint64_t *hosts;               /* by rank: equal numbers are one host */
    struct shl_verbs_calls *calls;
    struct shl_verbs_cm *cm; /* NULL: queue pairs are connected over the control connection */
    struct shl_verbs_seeker *seeker; /* NULL: not needed so far */

    struct ibv_cq *cq; /* the nearest rail's; NULL: nothing is open */
    int epoll_fd;
    uint32_t polls;
    bool armed;

    /* Completions taken from the queue and not handled yet: [deferred_next, deferred_count). */
    struct ibv_wc *deferred;
    uint32_t deferred_next, deferred_count, deferred_capacity;

    struct shl_verbs_rail rails[SHL_VERBS_RAILS];
    uint32_t rail_count;
    uint32_t nearest; /* of the rails, to this rank */
    struct shl_verbs_memory *memory;
    struct shl_list holds_free, hold_blocks;
    uint64_t register_bytes; /* from here on registering for one transfer is faster than copying */

    uint8_t *pool;
    struct shl_verbs_window windows[SHL_VERBS_WINDOWS];
    struct shl_verbs_stage stages[SHL_VERBS_STAGES];
    struct shl_list windows_free, stages_free;
    uint32_t windows_free_count;
    struct shl_list notes_free;
    uint32_t note_count;
    struct shl_list note_blocks;
};

/* The transport's view of shl_xfer.scratch. */
struct shl_verbs_send_state {
    uint64_t placed; /* bytes given to the queue pair */
    uint64_t acked;
    uint64_t granted; /* bytes that windows were granted for, from the start */
    struct shl_verbs_hold *hold;
    uint32_t outstanding; /* requests of it on direct pairs */
    bool ready_sent;
    bool served;    /* a window was granted */
    bool direct;    /* it goes to a place */
    bool invited;   /* the place was announced in this life of the direct pairs */
    bool posted;    /* all of it, to direct pairs */
    bool unsettled; /* the pairs ended meanwhile: only the peer knows whether it has landed */
};
_Static_assert(sizeof(struct shl_verbs_send_state) <= sizeof(((struct shl_xfer *)0)->scratch),
               "send state fits in the transfer");
struct shl_verbs_recv_state {
    struct shl_list grant; /* in granting, else alone */
    uint64_t granted, landed;
    uint32_t windows; /* granted and not landed */
    uint8_t place;    /* index + 1; 0: none */
    bool ready;       /* the sender has posted */
    bool windowed;    /* the sender wants windows */
};
_Static_assert(sizeof(struct shl_verbs_recv_state) <= sizeof(((struct shl_xfer *)0)->scratch),
               "receive state fits in the transfer");

static inline struct shl_verbs_send_state *shl_verbs_send_state(struct shl_xfer *xfer)
{
    return (struct shl_verbs_send_state *)xfer->scratch;
}

static inline struct shl_verbs_recv_state *shl_verbs_recv_state(struct shl_xfer *xfer)
{
    return (struct shl_verbs_recv_state *)xfer->scratch;
}

/* How many pieces an immediate value tells of. */
static inline uint32_t shl_verbs_pieces_told(uint32_t immediate)
{
    return immediate >> 5 & 0x3ff;
}

/* Is there something to say on the channel, or to move? */
static inline bool shl_verbs_move_due(const struct shl_verbs_link *link)
{
    return (link->rail >= SHL_VERBS_CHANNEL && !link->asleep) || link->channel.met_due ||
           link->channel.busy || link->quest;
}

/* Is a send in place complete? */
static inline bool shl_verbs_send_landed(const struct shl_verbs_send_state *state)
{
    return state->direct && state->posted && !state->unsettled && state->outstanding == 0;
}

static inline uint32_t shl_verbs_peer_of(const struct ibv_wc *completion)
{
    return (uint32_t)(completion->wr_id >> 32) & (SHL_VERBS_PEERS_MAX - 1);
}

static inline uint32_t shl_verbs_bucket(const struct shl_tag *tag)
{
    uint32_t mixed = ((uint32_t)tag->seq ^ tag->comm * 0x85ebca6bu ^ tag->msg) * 0x9e3779b1u;
    return mixed >> 27;
}
_Static_assert(SHL_VERBS_BUCKETS == 32, "shl_verbs_bucket keeps five bits");

/* ---- verbs_link.c: making and ending links -------------------------------------------------- */

enum shoal_status shl_verbs_link_create(struct shl_transport *t, uint32_t peer);
void shl_verbs_link_destroy(struct shl_verbs_link *link);
/* Nothing is written or read through the queue pair any more. */
void shl_verbs_link_shut(struct shl_verbs_link *link, enum shl_verbs_state state);
/* The control channel is closed and not watched any more. */
void shl_verbs_link_hang_up(struct shl_verbs_link *link);
/* The peer has closed in good order. */
void shl_verbs_link_gone(struct shl_verbs_link *link);
/* Give the peer up and tell the engine, once. */
void shl_verbs_link_fail(struct shl_verbs_link *link, enum shoal_status status, const char *format,
                         ...) __attribute__((format(printf, 3, 4), cold));

/* ---- verbs_wake.c: links that are made when they are first used ------------------------------ */

/* Is the link to this peer not connected in attach? Both ends answer alike. */
bool shl_verbs_sleeps_first(const struct shl_transport *t, uint32_t peer);
void shl_verbs_lie_down(struct shl_verbs_link *link);
/* Somebody uses the link: if it sleeps, frames go by the control channel from now on, and ways to
 * the peer are looked for. It may fail. */
void shl_verbs_wake(struct shl_verbs_link *link);
/* The same, but the peer has found a way. */
void shl_verbs_rouse(struct shl_verbs_link *link);
/* Memory for frames. */
enum shoal_status shl_verbs_link_slots(struct shl_verbs_link *link);

/* ---- verbs_pair.c: queue pairs -------------------------------------------------------------- */

/* A pair for frames on a rail, of that life; and connecting it with the peer's on the same, which
 * by rdma_cm only begins here. */
enum shoal_status shl_verbs_pair_create(struct shl_verbs_link *link, uint32_t rail, uint64_t life);
enum shoal_status shl_verbs_pair_join(struct shl_verbs_link *link, uint32_t peer_pair,
                                      uint32_t peer_psn);
/* How many rails and queue pairs both ends have. */
enum shoal_status shl_verbs_pair_agree(struct shl_verbs_link *link,
                                       const struct shl_verbs_greeting *peer);
/* All pairs of a new link. */
enum shoal_status shl_verbs_pair_create_all(struct shl_verbs_link *link);
enum shoal_status shl_verbs_pair_connect_all(struct shl_verbs_link *link,
                                             const struct shl_verbs_greeting *peer);
/* 1: all that had to be connected by rdma_cm are; 0: not yet; -1: one failed, see its cause. */
int shl_verbs_pair_joined_all(struct shl_verbs_link *link, const char **cause);
/* New direct pairs, which await their peers; and connecting those that both ends have. */
enum shoal_status shl_verbs_pair_direct_create(struct shl_verbs_link *link);
enum shoal_status shl_verbs_pair_direct_connect(struct shl_verbs_link *link,
                                                const uint32_t peer_pairs[SHL_VERBS_LANES],
                                                uint32_t peer_psn);
/* Post receive request `slot` on a direct pair (again). It hears of one write; its memory is a
 * token, where writes have no immediate value. */
enum shoal_status shl_verbs_pair_direct_recv(struct shl_verbs_link *link, uint32_t index,
                                             uint32_t slot);
/* What connecting a pair with the peer's on a rail asks of the kernel. */
struct shl_verbs_trial {
    struct shl_verbs_port port;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_qp_attr attr;
};
void shl_verbs_trial_prepare(const struct shl_verbs_link *link, uint32_t rail,
                             struct shl_verbs_trial *trial);
/* Ask it, with a pair that nobody uses; it may take a second. 0, or the error. Threads: any. */
int shl_verbs_trial_run(const struct shl_verbs_trial *trial);
/* Post receive request `slot` (again). */
enum shoal_status shl_verbs_pair_recv(struct shl_verbs_link *link, uint32_t slot);

/* ---- verbs_calls.c: control channels --------------------------------------------------------- */

enum shoal_status shl_verbs_calls_create(struct shl_verbs_calls **calls);
void shl_verbs_calls_close(struct shl_verbs_calls *calls);
enum shoal_status shl_verbs_calls_dial(struct shl_verbs_calls *calls, struct shl_control *control,
                                       uint32_t peer, uint64_t deadline_ns);
/* The next outcome; false: none yet. fd -1: failed, with its cause. */
bool shl_verbs_calls_take(struct shl_verbs_calls *calls, uint32_t *peer, int *fd, char *cause,
                          size_t cause_bytes);

/* ---- verbs_attach.c -------------------------------------------------------------------------- */

size_t shl_verbs_describe(struct shl_transport *t, void *blob, size_t capacity);
enum shoal_status shl_verbs_attach(struct shl_transport *t, const void *const *blobs,
                                   const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches);

/* ---- verbs_note.c ---------------------------------------------------------------------------- */

/* A copy of the frame; NULL: no memory, and the link has failed. */
struct shl_verbs_note *shl_verbs_note_new(struct shl_verbs_link *link,
                                          const struct shl_verbs_frame *frame);
void shl_verbs_note_free(struct shl_transport *t, struct shl_verbs_note *note);
struct shl_verbs_note *shl_verbs_note_find(struct shl_verbs_link *link, const struct shl_tag *tag,
                                           uint8_t type);
struct shl_verbs_kept *shl_verbs_kept_find(struct shl_verbs_link *link, const struct shl_tag *tag);
void shl_verbs_kept_free(struct shl_verbs_link *link, struct shl_verbs_kept *kept);
struct shl_xfer *shl_verbs_find(struct shl_list *buckets, const struct shl_tag *tag);

/* ---- verbs_post.c: frames and writes leave ----------------------------------------------------
 */

/* Queue a frame about a message. */
void shl_verbs_say(struct shl_verbs_link *link, enum shl_verbs_frame_type type,
                   const struct shl_xfer *xfer);
void shl_verbs_say_grant(struct shl_verbs_link *link, const struct shl_xfer *xfer,
                         const struct shl_verbs_window *window);
void shl_verbs_say_release(struct shl_verbs_link *link, const struct shl_verbs_frame *grant);
/* Send what can be sent now; returns how much that was. */
unsigned shl_verbs_flush(struct shl_verbs_link *link);
/* Can an EAGER frame leave now? Then send it. */
bool shl_verbs_eager_now(struct shl_verbs_link *link, const struct shl_xfer *xfer);
/* No request belongs to this transfer any more. */
void shl_verbs_forget(struct shl_verbs_link *link, const struct shl_xfer *xfer);
/* A CREDIT frame that asks for its completion: the proof of a new pair, or the last word. */
bool shl_verbs_say_last(struct shl_verbs_link *link);
/* Requests up to number `upto` (exclusive) are complete. */
void shl_verbs_completed(struct shl_verbs_link *link, uint32_t upto);
/* Give requests from that number on to the carrier, which is a new one. */
void shl_verbs_carry_again(struct shl_verbs_link *link, uint32_t from);
/* The frame of a request, with the credits of now. */
const uint8_t *shl_verbs_frame_refresh(struct shl_verbs_link *link, uint32_t number);

/* ---- verbs_send.c, verbs_recv.c ----------------------------------------------------------------
 */

enum shoal_status shl_verbs_send(struct shl_transport *t, struct shl_xfer *xfer);
enum shoal_status shl_verbs_recv(struct shl_transport *t, struct shl_xfer *xfer);
void shl_verbs_complete(struct shl_xfer *xfer, enum shoal_status status);
/* Is a frame about a posted send about the same thing? If not, it is answered, and the engine told;
 * the send may have ended. */
bool shl_verbs_agrees(struct shl_verbs_link *link, struct shl_xfer *xfer,
                      const struct shl_verbs_frame *frame);
enum shoal_status shl_verbs_length_differs(const struct shl_verbs_link *link,
                                           const struct shl_xfer *xfer, uint64_t bytes);
/* A GRANT or PLACE for what is not posted yet: is there no other one? If there is, the link fails.
 */
bool shl_verbs_is_first(struct shl_verbs_link *link, const struct shl_verbs_frame *frame);
/* Frames about sends of this rank. */
void shl_verbs_on_announce(struct shl_verbs_link *link, const struct shl_verbs_frame *frame);
/* Frames about receives of this rank; `payload` is only valid during the call. */
void shl_verbs_on_eager(struct shl_verbs_link *link, const struct shl_verbs_frame *frame,
                        const uint8_t *payload);
void shl_verbs_on_ready(struct shl_verbs_link *link, const struct shl_verbs_frame *frame);
void shl_verbs_on_release(struct shl_verbs_link *link, const struct shl_verbs_frame *frame);
void shl_verbs_on_write(struct shl_verbs_link *link, uint32_t immediate, uint32_t bytes);
/* End a receive: windows that are still out become nobody's. */
void shl_verbs_recv_complete(struct shl_verbs_link *link, struct shl_xfer *xfer,
                             enum shoal_status status);
void shl_verbs_recv_forget(struct shl_verbs_link *link, struct shl_xfer *xfer);
/* The sender has posted: a place or windows will be used soon. */
void shl_verbs_sender_ready(struct shl_verbs_link *link, struct shl_xfer *xfer);
/* Grant windows to receives that need some. */
unsigned shl_verbs_grant(struct shl_verbs_link *link);
void shl_verbs_window_free(struct shl_transport *t, struct shl_verbs_window *window);
/* The window of that name, to which the peer may write; NULL: none, and the link has failed. */
struct shl_verbs_window *shl_verbs_window_named(struct shl_verbs_link *link, uint32_t name);
/* Tell the sender of a message without a place, with a window if there are many. */
void shl_verbs_announce(struct shl_verbs_link *link, struct shl_xfer *xfer);

/* ---- verbs_poll.c, verbs_arrive.c --------------------------------------------------------------
 */

unsigned shl_verbs_poll(struct shl_transport *t);
bool shl_verbs_arm(struct shl_transport *t, bool sleeping);
/* Handle all completions that are there; returns how many. */
unsigned shl_verbs_drain(struct shl_transport *t);
/* Take completions from the queue, to be handled later; returns how many. */
unsigned shl_verbs_take(struct shl_transport *t, uint32_t most);
/* A request failed: because the peer has closed in good order? Then the link is GONE. */
bool shl_verbs_said_bye(struct shl_verbs_link *link);
void shl_verbs_arrive(struct shl_transport *t, const struct ibv_wc *completion);
void shl_verbs_on_frame(struct shl_verbs_link *link, const struct shl_verbs_frame *frame,
                        uint32_t bytes);

/* ---- verbs_cancel.c ----------------------------------------------------------------------------
 */

void shl_verbs_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq);
void shl_verbs_review(struct shl_transport *t, uint32_t comm, uint64_t seq);

#endif
