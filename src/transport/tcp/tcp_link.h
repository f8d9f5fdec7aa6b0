/*
 * The state of one transport and of its links, shared by the files of this folder.
 *
 * A *link* joins this rank with one peer: numbered frames, posted transfers, kept messages. Its
 * *flows* are connections; each pulls frames from the link's one queue, so the fastest flow carries
 * most. A frame stays in the window until the peer has acknowledged its number, whichever flow
 * carried it; when a flow breaks, its unacknowledged frames are queued again.
 *
 * Invariant: every frame in [tx_first, tx_next) is either in `ready` (flow < 0) or was given to
 * the flow it names; every posted transfer is in exactly one list of its link and counted in
 * `posted`.
 *
 * Reading path: tcp_transport.c (the contract) -> tcp_send.c, tcp_match.c (posting) -> tcp_pull.c
 * (bytes leave) -> tcp_parse.c, tcp_chunk.c (bytes arrive) -> tcp_retain.c (acknowledged).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_TCP_LINK_H
#define SHL_TRANSPORT_TCP_LINK_H

#include "transport/tcp/tcp_channel.h"
#include "transport/tcp/tcp_wire.h"

#include <string.h>

#define SHL_TCP_FLOWS_MAX 16
#define SHL_TCP_WINDOW 512            /* frames not yet acknowledged; a power of two */
#define SHL_TCP_BUCKETS 32            /* of tags; a power of two */
#define SHL_TCP_RING_BYTES 393216     /* small messages not yet acknowledged */
#define SHL_TCP_KEPT_BLOCK_BYTES 1024 /* unit of kept EAGER messages and of their credit */
#define SHL_TCP_KEPT_BLOCKS 256
#define SHL_TCP_KEPT_SLOTS 8    /* kept PUSH messages; their credit counts messages */
#define SHL_TCP_NOTICES_MAX 512 /* announcements and questions that wait for a post */
#define SHL_TCP_BATCH 16        /* frames without payload sent in one call */
#define SHL_TCP_BOUNCE_BYTES 524288
#define SHL_TCP_ZERO_BYTES 65536
#define SHL_TCP_CAUSE_BYTES 256
/* As a rule both sides want a link at the same time; when only this one does it must knock. */
#define SHL_TCP_KNOCK_AFTER_NS UINT64_C(20000000)

/* Two whole small messages, so that one fits behind the rest of another. */
#define SHL_TCP_STAGING_BYTES (2 * (SHL_TCP_HEADER_BYTES + SHL_TCP_EAGER_BYTES))

struct shl_tcp_link;

/* A numbered frame, kept until acknowledged. */
struct shl_tcp_frame {
    struct shl_list link;  /* in ready, else alone */
    struct shl_xfer *xfer; /* CHUNK: owns the bytes. EAGER: until all of it was sent. Or NULL */
    struct shl_tag tag;
    struct shl_signature signature;
    uint64_t offset;
    uint64_t ring_end; /* EAGER: where its record ends in the ring */
    uint32_t sequence;
    uint32_t length;
    uint32_t ring_at; /* EAGER: its record in the ring: header, then payload */
    uint8_t type, flags, elem_bytes;
    int8_t flow; /* that carries or carried it; -1: in ready */
};

/* What a flow is sending: headers, then the payload of the last one, then its trailer. */
struct shl_tcp_tx {
    bool busy;
    bool orphaned; /* the payload's memory is no longer ours: zeros are sent instead */
    struct shl_tcp_frame *frame; /* whose payload it is; NULL: none, or orphaned */
    const uint8_t *payload;
    uint32_t header_bytes, header_at;
    uint32_t payload_bytes, payload_at;
    uint32_t trailer_bytes, trailer_at;
    uint8_t trailer[SHL_TCP_TRAILER_BYTES];
    uint8_t headers[SHL_TCP_BATCH * SHL_TCP_HEADER_BYTES];
};

/* The CHUNK that a flow is receiving. */
struct shl_tcp_chunk {
    bool active;
    bool discard;          /* duplicate, or its transfer was cancelled */
    bool duplicate;        /* its number has been counted already */
    struct shl_xfer *xfer; /* NULL when discarded */
    uint64_t offset;
    uint32_t sequence;
    uint32_t length;
    uint32_t at;   /* payload bytes received */
    uint32_t skip; /* of these were placed by an earlier flow */
    bool push;
    struct shl_tcp_kept *slot; /* PUSH that nobody has posted for: lands here */
    uint32_t elem_bytes;
    uint32_t carry_bytes; /* of an element that is not complete yet; sink only */
    uint8_t carry[SHL_TCP_ELEM_BYTES_MAX];
};

struct shl_tcp_flow {
    struct shl_tcp_link *link;
    uint32_t index;
    int fd;              /* -1: down */
    bool dialling;       /* a channel has been asked for */
    bool hello_due;      /* a bare header goes first: it tells what has arrived */
    bool held;           /* no frames before the peer's hello: it may have them already */
    int tx_errno;        /* sending failed; what the peer sent before is still read */
    uint32_t events;     /* that epoll watches */
    uint32_t wake_bytes; /* epoll reports no fewer */
    uint8_t *staging;
    uint32_t begin, end; /* unparsed bytes in staging */
    struct shl_tcp_chunk chunk;
    struct shl_tcp_tx tx;
};

/* A message nobody has posted a receive for: in a chain of blocks, or in the memory of a slot. */
struct shl_tcp_kept {
    struct shl_list link;
    struct shl_tcp_kept *next;
    struct shl_tag tag;
    struct shl_signature signature;
    uint32_t bytes;
    uint32_t sequence; /* of the PUSH that fills this slot */
    bool filling;
    uint8_t *slot; /* SHL_TCP_PUSH_BYTES; NULL: this is a block */
    uint8_t data[SHL_TCP_KEPT_BLOCK_BYTES];
};

/* An ANNOUNCE or ASK for which nothing is posted here yet. */
struct shl_tcp_notice {
    struct shl_list link;
    struct shl_tag tag;
    struct shl_signature signature;
    uint64_t bytes;
    uint8_t type, elem_bytes;
};

enum shl_tcp_link_state {
    SHL_TCP_OPENING, /* no flow was ever up */
    SHL_TCP_UP,
    SHL_TCP_BROKEN, /* no flow is up, they are dialled again */
    SHL_TCP_GONE,   /* the peer closed the link in good order */
    SHL_TCP_LOST
};

struct shl_tcp_link {
    struct shl_list node; /* in the transport */
    struct shl_transport *t;
    uint32_t peer;
    enum shl_tcp_link_state state;
    uint32_t flow_count, flows_up;
    uint32_t chunk_bytes;   /* large messages are cut into pieces of so much */
    uint32_t futile_breaks; /* since a peer's header came over any flow */
    uint64_t deadline_ns;   /* while no flow is up */
    uint64_t knock_ns;      /* while no flow is up: when to knock; 0: need not */
    bool knocking;          /* asked for, without an outcome yet */
    char cause[SHL_TCP_CAUSE_BYTES];

    /* Sending. */
    uint32_t tx_first, tx_next; /* numbers: oldest unacknowledged, next to give */
    struct shl_list ready;      /* frames to send, by number */
    struct shl_list pushes;     /* sends that go out whole and unannounced, not in a frame yet */
    struct shl_list streams;    /* announced sends with bytes that are in no frame yet */
    struct shl_list sending;    /* sends all in frames, not yet complete */
    uint64_t ring_head, ring_tail;
    uint16_t blocks_used, blocks_limit; /* in total, as the wire counts them: modulo 65536 */
    uint16_t slots_used, slots_limit;

    /* Receiving. */
    uint32_t rx_next, rx_top; /* numbers: oldest missing, one after the highest seen */
    uint64_t rx_seen[SHL_TCP_WINDOW / 64];
    uint16_t blocks_taken;    /* that the peer has used */
    uint16_t blocks_returned; /* of which no longer hold memory */
    uint16_t slots_returned;
    bool ack_due;
    bool ack_goal_set;
    uint32_t ack_goal; /* a message ended: acknowledge up to this number at once */
    uint32_t ack_told; /* in the last header sent, like the next two */
    uint16_t blocks_told, slots_told;
    bool bye;
    uint32_t bye_sequence;

    /* Posted and kept, by tag. */
    uint32_t posted;       /* transfers */
    uint32_t large_posted; /* receives that come as chunks */
    uint32_t starved;      /* sends of at most SHL_TCP_PUSH_BYTES that wait for credit or room */
    bool deferred;         /* an announcement or a question found no room in the window */
    bool announces_lost, asks_lost;
    struct shl_list recvs[SHL_TCP_BUCKETS];
    struct shl_list waiting[SHL_TCP_BUCKETS]; /* sends not announced yet */
    struct shl_list kept[SHL_TCP_BUCKETS];
    struct shl_list notices[SHL_TCP_BUCKETS];
    uint32_t kept_count, notice_count;
    uint32_t kept_fresh, notice_fresh; /* blocks never used yet: their pages stay untouched */
    struct shl_tcp_kept *kept_free;
    struct shl_tcp_kept *slot_free;
    struct shl_list notice_free;

    /* Counters. */
    uint64_t frames_sent, frames_resent, flow_breaks, bytes_sent, bytes_received;

    /* Storage, allocated with the link. */
    struct shl_tcp_frame *frames; /* [sequence % SHL_TCP_WINDOW] */
    uint8_t *ring;
    uint32_t *partial; /* [sequence % SHL_TCP_WINDOW]: bytes of a broken chunk already in place */
    struct shl_tcp_kept *kept_blocks;
    struct shl_tcp_kept *kept_slots;
    uint8_t *slot_memory;
    struct shl_tcp_notice *notice_entries;
    uint8_t *staging;
    struct shl_tcp_flow *flows;
};

struct shl_tcp_peer {
    struct shl_tcp_link *link; /* NULL: not used yet */
    uint32_t flow_count;
    bool local; /* on this host */
    bool dropped;
    bool standing; /* flow 0 is asked for although there is no link: the peer may come first */
};

struct shl_transport {
    const struct shl_transport_env *env;
    struct shl_tcp_peer *peers;
    struct shl_list links;
    uint32_t link_count;
    uint32_t flows_wanted; /* what this side would choose for a peer on another host */
    uint32_t polls;
    uint64_t look_ns; /* when to look for stalls again */
    uint64_t changes; /* cancels so far */
    int epoll_fd;
    struct shl_tcp_mailbox *mailbox;
    uint8_t *bounce; /* lands what goes through a sink, and what nobody wants */
    uint8_t *zeros;
};

/* The transport's view of shl_xfer.scratch. */
struct shl_tcp_send_state {
    uint64_t next;  /* bytes already in frames */
    uint64_t acked; /* bytes acknowledged */
    uint32_t elem_bytes;
    bool small; /* may go without an announcement, if there is credit */
    bool push;
    bool asked;
};
struct shl_tcp_recv_state {
    bool large;    /* counted in large_posted: comes as chunks */
    bool announce; /* must be announced */
    bool announced;
};
_Static_assert(sizeof(struct shl_tcp_send_state) <= sizeof(((struct shl_xfer *)0)->scratch),
               "send state fits in the transfer");

static inline struct shl_tcp_send_state *shl_tcp_send_state(struct shl_xfer *xfer)
{
    return (struct shl_tcp_send_state *)xfer->scratch;
}

static inline struct shl_tcp_recv_state *shl_tcp_recv_state(struct shl_xfer *xfer)
{
    return (struct shl_tcp_recv_state *)xfer->scratch;
}

static inline uint32_t shl_tcp_bucket(const struct shl_tag *tag)
{
    uint32_t mixed = ((uint32_t)tag->seq ^ tag->comm * 0x85ebca6bu ^ tag->msg) * 0x9e3779b1u;
    return mixed >> 27;
}
_Static_assert(SHL_TCP_BUCKETS == 32, "shl_tcp_bucket keeps five bits");

/* Blocks of credit a small message takes. */
static inline uint32_t shl_tcp_blocks(uint32_t bytes)
{
    return bytes ? (bytes + SHL_TCP_KEPT_BLOCK_BYTES - 1) / SHL_TCP_KEPT_BLOCK_BYTES : 1;
}

static inline bool shl_tcp_window_open(const struct shl_tcp_link *link)
{
    return link->tx_next - link->tx_first < SHL_TCP_WINDOW;
}

/* ---- tcp_link.c --------------------------------------------------------------------------- */

/* The link to a peer, created and dialled on first use. SHOAL_ERR_PEER once it is lost. */
enum shoal_status shl_tcp_link_get(struct shl_transport *t, uint32_t peer,
                                   struct shl_tcp_link **link);
void shl_tcp_link_destroy(struct shl_tcp_link *link);
/* The one place where the state changes. */
void shl_tcp_link_become(struct shl_tcp_link *link, enum shl_tcp_link_state state);
/* Give the peer up: close its flows and tell the engine, once. */
void shl_tcp_link_fail(struct shl_tcp_link *link, enum shoal_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
/* Close all flows without telling anybody. */
void shl_tcp_link_shut(struct shl_tcp_link *link, enum shl_tcp_link_state state);
/* Nothing is missing before the peer's BYE any more. */
void shl_tcp_link_ended(struct shl_tcp_link *link);
/* From now on no flow is up: set the deadline. */
void shl_tcp_link_wait(struct shl_tcp_link *link, uint64_t timeout_ms);
/* Lost when it was down for too long. */
void shl_tcp_link_check(struct shl_tcp_link *link);
void shl_tcp_link_explain(struct shl_tcp_link *link, char *text, size_t text_bytes);

/* ---- tcp_flow.c --------------------------------------------------------------------------- */

/* The connections that peers may want before this rank does. */
enum shoal_status shl_tcp_stand_by(struct shl_transport *t, uint32_t peer);
void shl_tcp_flow_dial(struct shl_tcp_flow *flow);
/* Ask the lower rank to dial. */
void shl_tcp_link_knock(struct shl_tcp_link *link);
/* The connection is no more: queue its frames again, remember what of a chunk was placed, dial. */
void shl_tcp_flow_break(struct shl_tcp_flow *flow, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
void shl_tcp_flow_close(struct shl_tcp_flow *flow);
/* Have epoll watch for exactly these events. */
void shl_tcp_flow_watch(struct shl_tcp_flow *flow, uint32_t events);
/* From how many bytes on epoll reports the flow readable; reading itself does not care. */
void shl_tcp_flow_wake_at(struct shl_tcp_flow *flow, uint32_t bytes);
/* Take the channels that arrived; returns how many. */
unsigned shl_tcp_arrivals(struct shl_transport *t);

/* ---- tcp_stall.c -------------------------------------------------------------------------- */

/* Before a sleep. Cheap when it was called a moment ago. */
void shl_tcp_look_for_stalls(struct shl_transport *t);

/* ---- tcp_retain.c ------------------------------------------------------------------------- */

/* A new frame at the end of the window, which must be open; not yet in `ready`. */
struct shl_tcp_frame *shl_tcp_frame_new(struct shl_tcp_link *link, enum shl_tcp_frame_type type,
                                        const struct shl_xfer *xfer);
bool shl_tcp_ring_fits(const struct shl_tcp_link *link, uint32_t length);
void shl_tcp_ring_take(struct shl_tcp_link *link, struct shl_tcp_frame *frame);
/* The peer acknowledged and gave credit; completes sends. false: the link failed. */
bool shl_tcp_acked(struct shl_tcp_link *link, const struct shl_tcp_header *header);
/* The memory behind a frame's payload goes away: a flow in the middle of it goes on with zeros. */
void shl_tcp_orphan(struct shl_tcp_link *link, struct shl_tcp_frame *frame);
/* A frame of this number arrived and is done with. */
void shl_tcp_arrived(struct shl_tcp_link *link, uint32_t sequence);
/* A message ended with what just arrived: its sender waits for the acknowledgement. */
void shl_tcp_message_ended(struct shl_tcp_link *link);
enum shl_tcp_sequence_kind { SHL_TCP_FRESH, SHL_TCP_DUPLICATE, SHL_TCP_ALIEN };
enum shl_tcp_sequence_kind shl_tcp_sequence_kind(const struct shl_tcp_link *link,
                                                 uint32_t sequence);
/* What a frame took of its credit no longer holds memory here. */
void shl_tcp_blocks_return(struct shl_tcp_link *link, uint32_t blocks);
void shl_tcp_slot_return(struct shl_tcp_link *link);
/* Put every unacknowledged frame of a flow back into `ready`. */
void shl_tcp_requeue(struct shl_tcp_link *link, uint32_t flow);
bool shl_tcp_send_complete(struct shl_tcp_link *link, struct shl_xfer *xfer,
                           enum shoal_status status);

/* ---- tcp_send.c --------------------------------------------------------------------------- */

enum shoal_status shl_tcp_send(struct shl_transport *t, struct shl_xfer *xfer);
/* Queue an ANNOUNCE or ASK for a posted transfer, or note that there was no room. */
void shl_tcp_announce(struct shl_tcp_link *link, struct shl_xfer *xfer, uint8_t flags);
/* Room or credit came back: queue what waited for it. */
void shl_tcp_resume(struct shl_tcp_link *link);

/* ---- tcp_pull.c --------------------------------------------------------------------------- */

bool shl_tcp_tx_wanted(const struct shl_tcp_flow *flow);
/* One call to the kernel at most; returns 1 when bytes left. */
unsigned shl_tcp_tx_step(struct shl_tcp_flow *flow);
/* Set up `tx` to send a frame with payload whose header is given. */
void shl_tcp_tx_payload(struct shl_tcp_flow *flow, struct shl_tcp_frame *frame);
void shl_tcp_header_fill(struct shl_tcp_link *link, const struct shl_tcp_frame *frame,
                         uint8_t *bytes);

/* ---- tcp_parse.c, tcp_chunk.c ------------------------------------------------------------- */

/* One call to the kernel; returns 1 when bytes came. */
unsigned shl_tcp_rx_step(struct shl_tcp_flow *flow);
bool shl_tcp_chunk_begin(struct shl_tcp_flow *flow, const struct shl_tcp_header *header);
/* Where the next payload bytes go, and how many at most. */
size_t shl_tcp_chunk_target(struct shl_tcp_flow *flow, void **target);
/* `bytes` of them have landed there. */
void shl_tcp_chunk_landed(struct shl_tcp_flow *flow, size_t bytes);
void shl_tcp_chunk_feed(struct shl_tcp_flow *flow, const uint8_t *data, size_t bytes);
void shl_tcp_chunk_finish(struct shl_tcp_flow *flow, bool valid);
/* The flow breaks: remember how far the chunk came. */
void shl_tcp_chunk_suspend(struct shl_tcp_flow *flow);

/* ---- tcp_match.c, tcp_kept.c --------------------------------------------------------------- */

enum shoal_status shl_tcp_recv(struct shl_transport *t, struct shl_xfer *xfer);
struct shl_xfer *shl_tcp_find(struct shl_list *buckets, const struct shl_tag *tag);
void shl_tcp_recv_complete(struct shl_tcp_link *link, struct shl_xfer *xfer,
                           enum shoal_status status);
/* Fail a posted receive: its message has another length under the same signature. */
void shl_tcp_length_differs(struct shl_tcp_link *link, struct shl_xfer *xfer, uint64_t bytes);
void shl_tcp_eager_arrived(struct shl_tcp_link *link, const struct shl_tcp_header *header,
                           const uint8_t *payload);
void shl_tcp_announce_arrived(struct shl_tcp_link *link, const struct shl_tcp_header *header);
void shl_tcp_ask_arrived(struct shl_tcp_link *link, const struct shl_tcp_header *header);

void shl_tcp_kept_add(struct shl_tcp_link *link, const struct shl_tcp_header *header,
                      const uint8_t *payload);
struct shl_tcp_kept *shl_tcp_kept_find(struct shl_tcp_link *link, const struct shl_tag *tag);
/* The slot that this PUSH was filling when its flow broke; NULL: none. */
struct shl_tcp_kept *shl_tcp_slot_find(struct shl_tcp_link *link, uint32_t sequence);
/* A slot to fill; NULL: the peer has no credit for one. */
struct shl_tcp_kept *shl_tcp_slot_take(struct shl_tcp_link *link,
                                       const struct shl_tcp_header *header);
/* It is full: a kept message from now on. */
void shl_tcp_slot_keep(struct shl_tcp_link *link, struct shl_tcp_kept *slot);
/* It is not going to be full. */
void shl_tcp_slot_drop(struct shl_tcp_link *link, struct shl_tcp_kept *slot);
/* Hand a kept message to a posted receive of the same signature, which completes. */
void shl_tcp_kept_deliver(struct shl_tcp_link *link, struct shl_tcp_kept *kept,
                          struct shl_xfer *xfer);
/* Copy a kept message out; `target` holds kept->bytes. */
void shl_tcp_kept_copy(const struct shl_tcp_kept *kept, uint8_t *target);
void shl_tcp_kept_free(struct shl_tcp_link *link, struct shl_tcp_kept *kept);
/* false: no room. */
bool shl_tcp_notice_add(struct shl_tcp_link *link, const struct shl_tcp_header *header);
struct shl_tcp_notice *shl_tcp_notice_find(struct shl_tcp_link *link, const struct shl_tag *tag,
                                           enum shl_tcp_frame_type type);
void shl_tcp_notice_free(struct shl_tcp_link *link, struct shl_tcp_notice *notice);

/* ---- tcp_cancel.c ------------------------------------------------------------------------- */

void shl_tcp_cancel(struct shl_transport *t, uint32_t comm, uint64_t seq);
void shl_tcp_review(struct shl_transport *t, uint32_t comm, uint64_t seq);
/* Forget every transfer of a link. */
void shl_tcp_cancel_all(struct shl_tcp_link *link);

/* ---- tcp_poll.c --------------------------------------------------------------------------- */

unsigned shl_tcp_poll(struct shl_transport *t);
bool shl_tcp_arm(struct shl_transport *t, bool sleeping);

/* ---- tcp_attach.c ------------------------------------------------------------------------- */

size_t shl_tcp_describe(struct shl_transport *t, void *blob, size_t capacity);
enum shoal_status shl_tcp_attach(struct shl_transport *t, const void *const *blobs,
                                 const size_t *blob_bytes, uint64_t deadline_ns, bool *reaches);

#endif
