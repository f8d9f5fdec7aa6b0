/*
 * Control: everything between ranks that is not payload. One per world.
 *
 * It owns the listener, the authentication of every connection, authenticated sessions to a few
 * peers that survive a reconnect, the heartbeats, and one thread that serves them all and depends
 * neither on requests nor on Python's interpreter lock.
 *
 * The mesh. Rank r keeps sessions with r +- 2^i (mod size), i = 0, 1, ...: all ranks when there
 * are few, 2 log2(size) otherwise. A flood is forwarded along the mesh and delivered exactly once
 * on every reachable rank, the sender included, in the control thread. It is for rare events:
 * failures, mismatches, questions.
 *
 * Sessions. Frames carry epoch and sequence and are kept until acknowledged; after a broken
 * connection the dialling side reconnects with back-off and both resend what the other lacks.
 * A session that stays broken, or silent, for SHOAL_DEAD_AFTER_MS is lost; so is one whose peer
 * process is known dead (its host refuses the connection and its listener is gone, or EOF followed
 * by a refused reconnect): then at once.
 *
 * Channels. Transports ask for connections to a peer by kind and index; the lower rank dials, the
 * higher accepts (TCP_KNOCK: the other way around), and both get the connected, authenticated,
 * non-blocking file descriptor.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_CONTROL_H
#define SHL_CONTROL_CONTROL_H

#include "core/bytes.h"
#include "core/config.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHL_CONTROL_PAYLOAD_MAX 65536

enum shl_channel_kind {
    SHL_CHANNEL_RENDEZVOUS = 1,
    SHL_CHANNEL_SESSION = 2,
    SHL_CHANNEL_TCP_DATA = 3,  /* index: flow */
    SHL_CHANNEL_FD_PASS = 4,   /* over a Unix socket; index: the transport's */
    SHL_CHANNEL_TCP_KNOCK = 5, /* the higher rank dials: asks the lower one for TCP_DATA */
    SHL_CHANNEL_VERBS = 6,     /* sets a queue pair up, and tells when its peer ends */
    SHL_CHANNEL_STORE = 7,     /* a client of the coordinator, elastic/store/coordinator.h */
    SHL_CHANNEL_MEMBER = 8     /* between members of an elastic world, elastic/node/node.h */
};

#define SHL_CONTROL_ADDRESSES 8
#define SHL_CONTROL_ADDRESS_TEXT 264   /* a host name of 253 bytes and a port */
#define SHL_CONTROL_ADDRESS_BYTES 2600 /* an address on the wire is never larger */

/* What a rank publishes at the rendezvous so that others can reach it. */
struct shl_control_address {
    /* "addr:port" / "[addr]:port", best first; host names are resolved by the reader. */
    char text[SHL_CONTROL_ADDRESSES][SHL_CONTROL_ADDRESS_TEXT];
    uint32_t count;
    char unix_name[108]; /* abstract socket name without the leading zero */
    char host_id[192];   /* boot id, network namespace and UTS name: equal means "try local" */
    uint64_t pid;
};

/* The form for blobs: put writes at most SHL_CONTROL_ADDRESS_BYTES; get fails on what put did not
 * write, and *address is only filled on success. */
void shl_control_address_put(struct shl_bytes *out, const struct shl_control_address *address);
bool shl_control_address_get(struct shl_bytes *in, struct shl_control_address *address);

struct shl_control_options {
    const struct shl_config *config;
    const char *job;
    const uint8_t *secret; /* NULL: none; then only loopback is listened on unless insecure */
    size_t secret_bytes;
    uint32_t rank, size;

    /* All callbacks come from the control thread and must not block. */
    void *arg;
    void (*on_message)(void *arg, uint32_t origin, uint16_t type, const void *payload,
                       size_t bytes);
    /* A rank is lost: told once, on every rank that can be reached, with the cause. When the others
     * have given up on this rank, `rank` is its own. A rank that said goodbye is not lost. */
    void (*on_lost)(void *arg, uint32_t rank, enum shoal_status status, const char *cause);
    /* What is known here of why a peer is lost, in front of the cause that all are told; or NULL.
     * The function may be NULL, too. */
    const char *(*remark)(void *arg, uint32_t rank);
};

struct shl_control;

/* shl_control_create - open the listener and compute this rank's address. No thread yet. */
enum shoal_status shl_control_create(const struct shl_control_options *options,
                                     struct shl_control **control);
const struct shl_control_address *shl_control_own_address(const struct shl_control *control);

/*
 * shl_control_start - all addresses are known (index: rank): start the thread, open the sessions
 * of the mesh, return when all are up. SHOAL_ERR_ABSENT names the ranks that could not be reached.
 */
enum shoal_status shl_control_start(struct shl_control *control,
                                    const struct shl_control_address *addresses, uint64_t epoch,
                                    uint64_t incarnation, uint64_t deadline_ns);

/* shl_control_mac - HMAC-SHA-256 under the key of this job, which is derived from its secret and
 * name, for proofs that do not travel over channels. Threads: any. */
enum shoal_status shl_control_mac(const struct shl_control *control, const void *data, size_t bytes,
                                  uint8_t mac[32]);

/* shl_control_stop - say goodbye to peers (so that they do not take it for a crash), stop the
 * thread. After it no callback comes. Then destroy. */
void shl_control_stop(struct shl_control *control);
void shl_control_destroy(struct shl_control *control);
/* shl_control_cut - stop soon and wait for nobody's goodbye: what waits for a start or a channel
 * fails. For a world that is replaced. Then stop and destroy. Threads: any. */
void shl_control_cut(struct shl_control *control);

/* shl_control_flood - to every rank, this one included. Copies the payload. Threads: any. */
enum shoal_status shl_control_flood(struct shl_control *control, uint16_t type, const void *payload,
                                    size_t bytes);

/*
 * shl_control_dial - ask for a channel to `peer`. Both sides call it with the same kind and index;
 * `ready` is called in the control thread, once, with the connected descriptor, which then belongs
 * to the callee, or with fd -1 and the cause. A descriptor that arrives before this side asked is
 * kept. After a channel broke, calling it again on both sides makes a new one (the index may be
 * reused). Threads: any.
 */
typedef void (*shl_channel_fn)(void *arg, uint32_t peer, uint32_t index, int fd, const char *cause);
enum shoal_status shl_control_dial(struct shl_control *control, uint32_t peer,
                                   enum shl_channel_kind kind, uint32_t index, uint64_t deadline_ns,
                                   shl_channel_fn ready, void *arg);

/* shl_control_send_fds, _recv_fds - over an FD_PASS channel: up to 64 descriptors with up to 4096
 * bytes. Blocking until deadline. Checks that the peer has our uid. */
enum shoal_status shl_control_send_fds(int channel_fd, const int *fds, uint32_t count,
                                       const void *data, size_t bytes, uint64_t deadline_ns);
enum shoal_status shl_control_recv_fds(int channel_fd, int *fds, uint32_t capacity, uint32_t *count,
                                       void *data, size_t data_capacity, size_t *bytes,
                                       uint64_t deadline_ns);

#endif
