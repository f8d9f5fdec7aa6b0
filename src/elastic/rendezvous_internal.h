/*
 * Inside of the rendezvous: messages, and how its files call each other.
 *
 *   rendezvous_wire.c     messages               rendezvous_round.c   who has come, and the outcome
 *   rendezvous_server.c   its life               rendezvous_member.c  one client's connection
 *   rendezvous_client.c   joining
 *
 * Server state belongs to the server's thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_RENDEZVOUS_INTERNAL_H
#define SHL_ELASTIC_RENDEZVOUS_INTERNAL_H

#include "core/bytes.h"
#include "elastic/rendezvous.h"
#include "elastic/server.h"

#define SHL_RENDEZVOUS_SIZE_MAX 65536
#define SHL_RENDEZVOUS_HEADER_BYTES 8 /* u32 magic, u32 bytes that follow */
#define SHL_RENDEZVOUS_JOIN_BYTES 44  /* of a join before its blob */
#define SHL_RENDEZVOUS_INSTANCE_BYTES 16
#define SHL_RENDEZVOUS_TEXT_MAX 1000

/* A client asks: instance, rank, size, digest, patience_ms, blob. */
struct shl_rendezvous_join {
    uint8_t instance[SHL_RENDEZVOUS_INSTANCE_BYTES]; /* random: tells a retry from a double */
    uint32_t rank, size;
    uint64_t digest; /* of the settings that must agree */
    uint32_t patience_ms;
    const void *blob;
    uint32_t blob_bytes;
};

void shl_rendezvous_put_header(uint8_t header[SHL_RENDEZVOUS_HEADER_BYTES], uint32_t bytes);
/* False: not ours, or more than max bytes are announced. */
bool shl_rendezvous_get_header(const uint8_t header[SHL_RENDEZVOUS_HEADER_BYTES], uint32_t max,
                               uint32_t *bytes);
/* Header, join and blob; `wire` has room for all. Returns the size. */
size_t shl_rendezvous_put_join(uint8_t *wire, size_t capacity,
                               const struct shl_rendezvous_join *join);
/* Points into body. False: malformed. */
bool shl_rendezvous_get_join(const uint8_t *body, size_t bytes, struct shl_rendezvous_join *join);

/* What the server answers; shared by all who get the same, header included. */
struct shl_rendezvous_reply {
    uint32_t references;
    size_t bytes;
    uint8_t data[];
};

void shl_rendezvous_reply_release(struct shl_rendezvous_reply *reply);
/* NULL when memory ran out. */
struct shl_rendezvous_reply *shl_rendezvous_reply_error(enum shoal_status status, const char *text);

/* Parse a reply's body. An error reply becomes the status and the detail it carries. */
enum shoal_status shl_rendezvous_get_reply(const uint8_t *body, size_t bytes,
                                           struct shl_rendezvous_result *result);

struct shl_rendezvous_server;

/* One authenticated client. */
struct shl_rendezvous_member {
    struct shl_list link;
    struct shl_rendezvous_server *server;
    struct shl_watch watch;
    struct shl_timer timer; /* its patience; then how long it may take to read the reply */
    uint8_t header[SHL_RENDEZVOUS_HEADER_BYTES];
    uint8_t *body;
    size_t at, body_bytes;
    bool joined; /* its join is whole; waits for the reply */
    uint64_t joined_ns;
    struct shl_rendezvous_join join; /* the blob points into body */
    struct shl_rendezvous_reply *reply;
    size_t sent;
};

/* The round being gathered, and the last one that was complete. */
struct shl_rendezvous_round {
    struct shl_rendezvous_member **members; /* by rank; NULL: not here */
    uint8_t *left;                          /* by rank: came, and left again */
    uint32_t size;                          /* 0: nobody came yet */
    uint32_t arrived;
    char trouble[SHL_RENDEZVOUS_TEXT_MAX]; /* why an earlier round failed; "" */
    uint64_t epoch;                        /* of the last complete round */
    struct shl_rendezvous_reply *last;     /* its reply, for clients whose connection broke */
    uint8_t (*last_instances)[SHL_RENDEZVOUS_INSTANCE_BYTES];
    uint32_t last_size;
};

struct shl_rendezvous_server {
    struct shl_server base;
    struct shl_list members;
    struct shl_rendezvous_round round;
};

/* rendezvous_member.c */
void shl_rendezvous_member_accept(struct shl_rendezvous_server *server, int fd);
void shl_rendezvous_member_close(struct shl_rendezvous_member *member);
/* Takes a reference; closes the member once it has read everything. NULL (no memory): at once. */
void shl_rendezvous_member_answer(struct shl_rendezvous_member *member,
                                  struct shl_rendezvous_reply *reply);
/* Send what fits of its reply now. False: closed. */
bool shl_rendezvous_member_write(struct shl_rendezvous_member *member);

/* rendezvous_round.c: a join is whole; a member that waits went away, or ran out of patience. */
void shl_rendezvous_round_arrive(struct shl_rendezvous_member *member);
void shl_rendezvous_round_depart(struct shl_rendezvous_member *member);
void shl_rendezvous_round_expire(struct shl_rendezvous_member *member);
/* The server stops: tell those who wait who is missing, while it can still be said. */
void shl_rendezvous_round_dismiss(struct shl_rendezvous_server *server);
void shl_rendezvous_round_free(struct shl_rendezvous_round *round);

#endif
