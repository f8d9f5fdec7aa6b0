/*
 * Inside of control: the state of the control thread, and how its files call each other.
 *
 *   control.c    life, and the calls of other threads       publish.c    listening, own address
 *   session.c    numbered frames to one peer                session_io.c their bytes
 *   reconnect.c  connections of a session                   mesh.c       neighbours and floods
 *   verdict.c    a rank is lost                             heartbeat.c  beats, progress, silence
 *   channel.c    connections for transports              starved.c    silent for want of CPU
 *
 * Everything in struct shl_control below `thread` belongs to the control thread while it runs,
 * except what is guarded by `lock` or atomic.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_INTERNAL_H
#define SHL_CONTROL_INTERNAL_H

#include "control/control.h"
#include "control/dial.h"
#include "control/frame.h"
#include "control/handshake.h"
#include "control/listener.h"
#include "control/loop.h"

#include <pthread.h>
#include <stdatomic.h>

#define SHL_MS 1000000ull
#define SHL_SESSIONS_MAX 66  /* two for each power of two below 2^32 */
#define SHL_MESH_FULL_SIZE 8 /* up to this size every rank keeps sessions with every other */
#define SHL_BACKLOG_BYTES (64u << 20) /* of undelivered floods; more is SHOAL_ERR_BUSY */

enum shl_session_state {
    SHL_SESSION_OPENING, /* never been up */
    SHL_SESSION_LIVE,    /* has been up; connected or about to be again */
    SHL_SESSION_LEFT,    /* the peer said goodbye, or acknowledged ours */
    SHL_SESSION_LOST
};

struct shl_session {
    struct shl_control *control;
    uint32_t peer;
    uint32_t slot; /* index of this session, and of its link in each packet */
    bool dials;    /* this side opens the connections */
    enum shl_session_state state;
    int fd; /* -1: not connected */
    struct shl_watch watch;
    struct shl_dial_target target;
    struct shl_dialler dialler; /* the accepting side's asks whether the peer still listens */
    struct shl_timer retry;     /* until it asks again */
    uint32_t retry_ms;
    uint64_t heard_ns;   /* last sign of life */
    uint64_t refused_ns; /* another connection was refused first, since it was heard last */
    bool is_spared;      /* silent beyond the limit, but starved of CPU: logged once */
    char broke[160];     /* why the last connection ended */

    struct shl_list queue;               /* sent but not acknowledged, then unsent */
    struct shl_packet_link *next_unsent; /* NULL: none */
    uint64_t last_queued;                /* seq */
    uint64_t received;                   /* highest seq, all below it too */
    uint64_t acked_to_peer;              /* what we last told the peer we received */
    bool resumed;                        /* the peer has said what it lacks */
    bool owes_resume, owes_beat;
    bool said_goodbye;

    uint8_t tx_header[SHL_FRAME_BYTES];
    struct shl_packet *tx_packet; /* payload of the frame being sent; NULL: none */
    size_t tx_at, tx_bytes;       /* of header and payload; equal: no frame is being sent */
    uint8_t rx_header[SHL_FRAME_BYTES];
    struct shl_frame rx_frame;
    struct shl_packet *rx_packet;
    size_t rx_at; /* of header and payload */
};

/* How to reach one rank. */
struct shl_peer {
    struct shl_dial_target tcp;
    struct shl_sockaddr socket; /* its Unix socket */
    bool is_local;              /* same host and network namespace as this rank */
    bool has_socket;            /* then `socket` can be dialled */
};

struct shl_control {
    struct shl_control_options options;
    char *job;
    struct shl_key key;
    uint8_t job_hash[16];
    struct shl_control_address own;
    bool loopback_only;
    uint64_t epoch, incarnation;
    struct shl_loop loop;
    struct shl_listener listener;
    pthread_t thread;
    bool running; /* start was called and stop was not */

    /* Guarded by lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* started or failed */
    struct shl_list inbox;  /* packets to flood */
    struct shl_list asked;  /* channels to open */
    bool accepting;         /* the thread takes commands */
    bool stop_requested;
    bool is_cut;               /* stop without waiting for goodbyes */
    bool start_expired;        /* shl_control_start has run out of time */
    enum shoal_status started; /* SHOAL_IN_PROGRESS until start is decided */
    char failure_text[512];

    _Atomic uint64_t backlog_bytes;
    _Atomic uint8_t *lost; /* by rank */

    struct shl_peer *peers; /* by rank */
    uint64_t *delivered;    /* by origin: flood_seq of the last one */
    struct shl_session *sessions;
    uint32_t session_count;
    uint32_t *session_of; /* by rank; UINT32_MAX: none */
    struct shl_packet *goodbye;
    uint64_t flooded; /* own flood_seq */
    bool evicted;     /* the others have given this rank up */
    bool stopping;
    struct shl_timer linger_timer; /* how long goodbyes may take */
    struct shl_timer beat_timer;
    uint64_t beat_due_ns;
    bool beat_half;           /* the timer fires twice a beat */
    struct shl_list channels; /* asked for and not ready */
    struct shl_list parked;   /* ready and not asked for */
    uint32_t parked_count;
};

static inline bool shl_session_open(const struct shl_session *session)
{
    return session->state == SHL_SESSION_OPENING || session->state == SHL_SESSION_LIVE;
}

/* publish.c */
enum shoal_status shl_control_publish(struct shl_control *control);

/* peers.c: fill control->peers from everyone's addresses; looks names up. */
enum shoal_status shl_control_find_peers(struct shl_control *control,
                                         const struct shl_control_address *addresses,
                                         uint64_t deadline_ns);

/* mesh.c */
uint32_t shl_mesh_neighbours(uint32_t rank, uint32_t size, uint32_t out[SHL_SESSIONS_MAX]);
struct shl_packet *shl_packet_create(struct shl_control *control, uint32_t bytes);
void shl_packet_release(struct shl_control *control, struct shl_packet *packet);
/* Number, send everywhere and deliver here; takes the caller's reference. */
void shl_mesh_originate(struct shl_control *control, struct shl_packet *packet);
/* A flood came over `from`. False: it cannot be, so the connection is to be broken. */
bool shl_mesh_receive(struct shl_session *from, struct shl_packet *packet);

/* session.c */
void shl_session_init(struct shl_session *session, struct shl_control *control, uint32_t peer,
                      uint32_t slot);
void shl_session_fini(struct shl_session *session);
void shl_session_queue(struct shl_session *session, struct shl_packet *packet);
/* A whole frame came; packet is its payload (NULL: none), consumed. False: break the connection. */
bool shl_session_on_frame(struct shl_session *session, const struct shl_frame *frame,
                          struct shl_packet *packet);
/* The peer is gone for good, or we are: drop the connection and all that waits. */
void shl_session_end(struct shl_session *session, enum shl_session_state state);
void shl_session_say_goodbye(struct shl_session *session);

/* session_io.c */
void shl_session_attach(struct shl_session *session, int fd);
void shl_session_detach(struct shl_session *session, const char *why);
void shl_session_flush(struct shl_session *session);
void shl_session_read(struct shl_session *session);

/* reconnect.c */
void shl_session_connect_init(struct shl_session *session);
void shl_session_connect(struct shl_session *session);
void shl_session_broke(struct shl_session *session); /* just detached: get it back */
/* The connection stalls: get another one. */
void shl_session_refresh(struct shl_session *session);
enum shl_welcome shl_session_admit(struct shl_control *control, const struct shl_hello *hello);
void shl_session_accepted(struct shl_control *control, int fd, const struct shl_hello *hello);

/* verdict.c */
void shl_verdict_pass(struct shl_control *control, uint32_t rank, enum shoal_status status,
                      const char *cause);
/* False: malformed. Applies it here; forwarding is the mesh's. */
bool shl_verdict_apply(struct shl_control *control, const struct shl_packet *packet);
void shl_verdict_evicted(struct shl_control *control, const char *cause);

/* starved.c */
/* shl_session_peer_is_starved - it is on this host and wants to run. */
bool shl_session_peer_is_starved(const struct shl_session *session);

/* heartbeat.c */
void shl_heartbeat_start(struct shl_control *control);

/* channel.c */
struct shl_channel;
enum shl_welcome shl_channel_admit(struct shl_control *control, const struct shl_hello *hello,
                                   bool local);
void shl_channel_accepted(struct shl_control *control, int fd, const struct shl_hello *hello);
/* Fail what waits for a rank (SHL_RANK_ANY: for anyone). */
void shl_channel_fail(struct shl_control *control, uint32_t rank, const char *cause);
/* Take all channels off the list that other threads put them on. */
void shl_channel_take_asked(struct shl_control *control);

/* control.c: tell shl_control_start how it went; the first report counts. */
void shl_control_report(struct shl_control *control, enum shoal_status status, const char *cause);
void shl_control_check_up(struct shl_control *control);

#endif
