/*
 * A peer that has proved who it is and then sends what no peer of ours sends: each illegal frame
 * gives the peer up with a cause that names it, and touches no memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/random.h"
#include "support/test.h"
#include "unit/transport/tcp_world.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const settings[] = {"SHOAL_TCP_FLOWS=1", "SHOAL_LOG_LEVEL=error", NULL};
static const struct tcp_setup setup = {.settings = settings};

#define POSTED_BYTES 200000

/* Rank 1 is the victim; the test speaks for rank 0. Message 5 of operation 1 is posted. */
struct attack {
    struct world *world;
    int fd;
    struct message posted;
};

static void on_ready(void *arg, uint32_t peer, uint32_t index, int fd, const char *cause)
{
    (void)peer, (void)index, (void)cause;
    *(int *)arg = fd;
}

static void attack_begin(struct attack *attack)
{
    struct message_plan plan = {
        .from = 0, .to = 1, .seq = 1, .msg = 5, .bytes = POSTED_BYTES, .elem_bytes = 4};
    attack->world = tcp_world_open(&setup, 2, 1);
    attack->fd = -1;
    ASSERT_OK(shl_tcp_channels->dial(tcp_net_control(tcp_world_net(attack->world), 0), 1,
                                     SHL_CHANNEL_TCP_DATA, 0, UINT64_MAX, on_ready, &attack->fd));
    assert_true(attack->fd >= 0);
    message_make(attack->world, &plan, &attack->posted);
    message_post_recv(&attack->posted);
    attack->world->ranks[0].crashed = true; /* its transport is not used */
}

static void attack_end(struct attack *attack)
{
    assert_int_equal(attack->posted.recv_done, 0);
    assert_true(message_untouched(&attack->posted));
    close(attack->fd);
    world_close(attack->world);
    message_free(&attack->posted);
}

static void put(struct attack *attack, const void *bytes, size_t count)
{
    const uint8_t *from = bytes;
    while (count) {
        ssize_t sent = send(attack->fd, from, count, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            return; /* it has hung up already */
        from += sent > 0 ? sent : 0;
        count -= sent > 0 ? (size_t)sent : 0;
        world_poll(attack->world);
    }
}

static struct shl_tcp_header legal(enum shl_tcp_frame_type type)
{
    struct shl_tcp_header header = {.type = (uint8_t)type,
                                    .epoch = 1,
                                    .blocks = SHL_TCP_KEPT_BLOCKS,
                                    .slots = SHL_TCP_KEPT_SLOTS};
    if (type != SHL_TCP_ACK && type != SHL_TCP_BYE) {
        header.tag = (struct shl_tag){.seq = 1, .comm = MESSAGE_COMM, .msg = 5};
        header.signature = (struct shl_signature){.count = POSTED_BYTES, .call = 0x0102};
    }
    if (type == SHL_TCP_ANNOUNCE)
        header.elem_bytes = 4;
    return header;
}

static void put_header(struct attack *attack, const struct shl_tcp_header *header)
{
    uint8_t bytes[SHL_TCP_HEADER_BYTES];
    shl_tcp_header_encode(header, bytes);
    put(attack, bytes, sizeof(bytes));
}

static bool victim_has_lost(void *arg)
{
    const struct attack *attack = arg;
    return attack->world->ranks[1].lost_calls[0] > 0;
}

static void expect_cause(struct attack *attack, const char *part)
{
    world_run(attack->world, victim_has_lost, attack);
    const char *cause = tcp_world_link(attack->world, 1, 0)->cause;
    if (!strstr(cause, part) || !strstr(cause, "rank 0"))
        fail_msg("the cause \"%s\" does not contain \"%s\"", cause, part);
    assert_int_equal(attack->world->ranks[1].lost[0], SHOAL_ERR_PEER);
    assert_int_equal(attack->world->ranks[1].lost_calls[0], 1);
    attack_end(attack);
}

/* ---- single headers ----------------------------------------------------------------------- */

static void header_is_refused(const struct shl_tcp_header *header, const char *cause)
{
    struct attack attack;
    attack_begin(&attack);
    put_header(&attack, header);
    expect_cause(&attack, cause);
}

#define REFUSED(type, change, cause)                                                               \
    do {                                                                                           \
        struct shl_tcp_header header = legal(type);                                                \
        change;                                                                                    \
        header_is_refused(&header, cause);                                                         \
    } while (0)

static void illegal_fields(void **unused)
{
    (void)unused;
    REFUSED(SHL_TCP_ACK, header.type = 0, "unknown type 0");
    REFUSED(SHL_TCP_ACK, header.type = 77, "unknown type 77");
    REFUSED(SHL_TCP_EAGER, header.epoch = 2, "a EAGER frame of epoch 2 in epoch 1");
    REFUSED(SHL_TCP_EAGER, header.flags = 0x80, "illegal flags");
    REFUSED(SHL_TCP_EAGER, header.flags = SHL_TCP_PUSH, "illegal flags");
    REFUSED(SHL_TCP_EAGER, header.length = SHL_TCP_EAGER_BYTES + 1, "illegal length");
    REFUSED(SHL_TCP_EAGER, header.length = UINT32_MAX, "illegal length");
    REFUSED(SHL_TCP_EAGER, header.offset = 4, "illegal offset");
    REFUSED(SHL_TCP_EAGER, header.elem_bytes = 4, "illegal element size");
    REFUSED(SHL_TCP_ANNOUNCE, header.elem_bytes = 0, "illegal element size");
    REFUSED(SHL_TCP_ANNOUNCE, header.elem_bytes = 17, "illegal element size");
    REFUSED(SHL_TCP_ANNOUNCE, header.length = 1, "illegal length");
    REFUSED(SHL_TCP_CHUNK, header.length = SHL_TCP_CHUNK_BYTES_MAX + 1, "illegal length");
    REFUSED(SHL_TCP_CHUNK, (header.flags = SHL_TCP_VOID, header.length = 1), "illegal length");
    REFUSED(SHL_TCP_CHUNK, (header.flags = SHL_TCP_PUSH, header.length = 65537), "illegal length");
    REFUSED(SHL_TCP_CHUNK, (header.flags = SHL_TCP_PUSH, header.offset = 4), "illegal offset");
    REFUSED(SHL_TCP_ACK, header.sequence = 1, "illegal sequence");
    REFUSED(SHL_TCP_BYE, header.tag.msg = 1, "illegal tag");
    REFUSED(SHL_TCP_ACK, header.signature.call = 1, "illegal tag or signature");
}

static void illegal_reserved_byte(void **unused)
{
    struct attack attack;
    struct shl_tcp_header header = legal(SHL_TCP_ASK);
    uint8_t bytes[SHL_TCP_HEADER_BYTES];
    (void)unused;
    attack_begin(&attack);
    shl_tcp_header_encode(&header, bytes);
    bytes[3] = 1;
    put(&attack, bytes, sizeof(bytes));
    expect_cause(&attack, "illegal reserved byte");
}

static void impossible_numbers(void **unused)
{
    (void)unused;
    REFUSED(SHL_TCP_EAGER, header.sequence = SHL_TCP_WINDOW, "beyond the window");
    REFUSED(SHL_TCP_EAGER, header.sequence = 0x7fffffff, "beyond the window");
    REFUSED(SHL_TCP_ACK, header.ack = 2, "acknowledged frame 2");
    REFUSED(SHL_TCP_ACK, header.ack = 0x7fffffff, "acknowledged frame");
    REFUSED(SHL_TCP_ACK, header.blocks = SHL_TCP_KEPT_BLOCKS + 1, "gave credit for 257 blocks");
    REFUSED(SHL_TCP_ACK, header.slots = SHL_TCP_KEPT_SLOTS + 1, "gave credit for 9 slots");
}

static void chunks_out_of_place(void **unused)
{
    (void)unused;
    REFUSED(SHL_TCP_CHUNK, (header.tag.msg = 6, header.length = 8), "was not announced");
    REFUSED(SHL_TCP_CHUNK, header.length = POSTED_BYTES + 4, "with 200004 bytes at 0");
    REFUSED(SHL_TCP_CHUNK, (header.offset = POSTED_BYTES, header.length = 4), "at 200000");
    REFUSED(SHL_TCP_CHUNK, (header.offset = UINT64_MAX - 3, header.length = 8), "for a message of");
    REFUSED(SHL_TCP_CHUNK, (header.offset = 2, header.length = 4), "in elements of 4");
    REFUSED(SHL_TCP_CHUNK, header.length = 6, "in elements of 4");
}

/* ---- several frames ----------------------------------------------------------------------- */

static void bad_trailer(void **unused)
{
    struct attack attack;
    struct shl_tcp_header header = legal(SHL_TCP_CHUNK);
    const uint8_t trailer[SHL_TCP_TRAILER_BYTES] = {1, 2, 3};
    (void)unused;
    attack_begin(&attack);
    header.tag.seq = 9; /* discarded, yet its framing is checked */
    world_unwant(attack.world, 1, MESSAGE_COMM, 9);
    put_header(&attack, &header);
    put(&attack, trailer, sizeof(trailer));
    expect_cause(&attack, "without a legal trailer");
}

static void too_many_small_messages(void **unused)
{
    struct attack attack;
    struct shl_tcp_header header = legal(SHL_TCP_EAGER);
    (void)unused;
    attack_begin(&attack);
    for (uint32_t i = 0; i <= SHL_TCP_KEPT_BLOCKS; i++) {
        header.sequence = i;
        header.tag.msg = 100 + i;
        put_header(&attack, &header);
    }
    expect_cause(&attack, "beyond its credit of 256 blocks");
}

static void too_many_pushed_messages(void **unused)
{
    struct attack attack;
    struct shl_tcp_header header = legal(SHL_TCP_CHUNK);
    uint8_t trailer[SHL_TCP_TRAILER_BYTES];
    (void)unused;
    attack_begin(&attack);
    shl_tcp_trailer_encode(SHL_TCP_TRAILER_VALID, trailer);
    header.flags = SHL_TCP_PUSH;
    for (uint32_t i = 0; i <= SHL_TCP_KEPT_SLOTS; i++) {
        header.sequence = i;
        header.tag.msg = 100 + i;
        put_header(&attack, &header);
        put(&attack, trailer, sizeof(trailer));
    }
    expect_cause(&attack, "beyond its credit of 8 messages");
}

static void same_message_twice(void **unused)
{
    (void)unused;
    for (int pushed = 0; pushed < 2; pushed++) {
        struct attack attack;
        struct shl_tcp_header header = legal(SHL_TCP_EAGER);
        attack_begin(&attack);
        header.tag.msg = 50;
        put_header(&attack, &header);
        header = legal(pushed ? SHL_TCP_CHUNK : SHL_TCP_EAGER);
        header.flags = pushed ? SHL_TCP_PUSH : 0;
        header.tag.msg = 50;
        header.sequence = 1;
        put_header(&attack, &header);
        expect_cause(&attack, "message 50 of operation 1 twice");
    }
}

static void more_questions_than_can_be_kept(void **unused)
{
    struct attack attack;
    (void)unused;
    attack_begin(&attack);
    for (uint32_t i = 0; i < 3 * SHL_TCP_NOTICES_MAX; i++) {
        struct shl_tcp_header header = legal(i % 2 ? SHL_TCP_ASK : SHL_TCP_ANNOUNCE);
        header.sequence = i;
        header.tag.msg = 1000 + i;
        header.offset = 1 << 20;
        put_header(&attack, &header);
    }
    while (tcp_world_link(attack.world, 1, 0)->rx_next < 3 * SHL_TCP_NOTICES_MAX)
        world_poll(attack.world);
    struct shl_tcp_link *link = tcp_world_link(attack.world, 1, 0);
    assert_int_equal(link->notice_count, SHL_TCP_NOTICES_MAX);
    assert_true(link->asks_lost && link->announces_lost);
    assert_int_equal(attack.world->ranks[1].lost_calls[0], 0);
    attack_end(&attack);
}

/* ---- chance ------------------------------------------------------------------------------- */

/* Any bytes, and legal frames with one bit wrong: the victim may only give the peer up. */
static void random_frames(void **unused)
{
    uint64_t seed = shl_test_seed();
    (void)unused;
    for (uint32_t run = 0; run < 300; run++) {
        struct attack attack;
        uint8_t bytes[SHL_TCP_HEADER_BYTES + 4096];
        attack_begin(&attack);
        for (uint32_t sequence = 0; sequence < 20 && !victim_has_lost(&attack); sequence++) {
            uint64_t chance = shl_test_random(&seed);
            struct shl_tcp_header header = legal(1 + chance % 6);
            header.sequence = header.type == SHL_TCP_ACK ? 0 : sequence;
            if (header.type == SHL_TCP_EAGER || header.type == SHL_TCP_CHUNK)
                header.length = chance >> 8 & 0xfff;
            shl_tcp_header_encode(&header, bytes);
            for (size_t i = SHL_TCP_HEADER_BYTES; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t)shl_test_random(&seed);
            if (chance >> 20 & 1)
                bytes[chance >> 24 & 63] ^= (uint8_t)(1 << (chance >> 32 & 7));
            put(&attack, bytes, SHL_TCP_HEADER_BYTES + header.length);
        }
        for (int polls = 0; polls < 50; polls++)
            world_poll(attack.world);
        assert_true(attack.world->ranks[1].lost_calls[0] <= 1);
        attack.posted.recv_done = 0; /* bytes for it may have been legal */
        close(attack.fd);
        world_close(attack.world);
        message_free(&attack.posted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(illegal_fields),
        cmocka_unit_test(illegal_reserved_byte),
        cmocka_unit_test(impossible_numbers),
        cmocka_unit_test(chunks_out_of_place),
        cmocka_unit_test(bad_trailer),
        cmocka_unit_test(too_many_small_messages),
        cmocka_unit_test(too_many_pushed_messages),
        cmocka_unit_test(same_message_twice),
        cmocka_unit_test(more_questions_than_can_be_kept),
        cmocka_unit_test(random_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
