/*
 * Conformance: signatures are compared, what nobody posted is reported, what nobody wants is
 * dropped.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/message.h"
#include "conformance/suite.h"

/* Sizes on both sides of the eager limit, for what must hold for both ways of moving. */
static uint64_t size_of(const struct world *world, unsigned which)
{
    return which == 0 ? 0 : which == 1 ? world->ops->eager_bytes : 40 * world->ops->eager_bytes;
}

static void make_mismatch(struct world *world, uint64_t seq, uint64_t bytes, bool sinks,
                          struct message *message)
{
    struct message_plan plan = {.from = 0, .to = 1, .seq = seq, .bytes = bytes, .sinks = sinks};
    message_make(world, &plan, message);
    message->recv.signature.call ^= 0x30000; /* another op */
}

static bool reported(void *arg)
{
    const struct message *message = arg;
    const struct world *world = message->world;
    return world_saw(world, 1, 0, &message->send.tag, &message->send.signature) ||
           world_saw(world, 0, 1, &message->recv.tag, &message->recv.signature);
}

static void cancel_both(struct message *message)
{
    struct world *world = message->world;
    const struct shl_tag *tag = &message->send.tag;
    world_unwant(world, 0, tag->comm, tag->seq);
    world_unwant(world, 1, tag->comm, tag->seq);
    world->ops->cancel(world->ranks[0].t, tag->comm, tag->seq);
    world->ops->cancel(world->ranks[1].t, tag->comm, tag->seq);
}

static void forget_seen(struct world *world)
{
    for (uint32_t i = 0; i < world->size; i++)
        world->ranks[i].seen_count = 0;
}

/* `which_first`: 0 send, 1 receive, 2 both at once. */
static void mismatch(struct world *world, uint64_t seq, uint64_t bytes, unsigned which_first)
{
    struct message message;
    make_mismatch(world, seq, bytes, seq % 2, &message);
    if (which_first == 0)
        message_post_send(&message);
    if (which_first == 1)
        message_post_recv(&message);
    if (which_first < 2)
        world_settle(world);
    forget_seen(world); /* what was unexpected is told again, with the posted one at hand */
    if (which_first == 0) {
        message_post_recv(&message);
    } else {
        message_post_send(&message);
        if (which_first == 2)
            message_post_recv(&message);
    }
    world_run(world, reported, &message);
    world_settle(world);
    CHECK(world, message.recv_done == 0 && message_untouched(&message));
    CHECK(world, bytes <= world->ops->eager_bytes || message.send_done == 0);
    cancel_both(&message);
    world_settle(world);
    CHECK(world, message.recv_done == 0 && message_untouched(&message));
    message_free(&message);
}

static void mismatch_is_seen(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    uint64_t seq = 1;
    for (unsigned which = 0; which < 3; which++) {
        for (unsigned first = 0; first < 3; first++) {
            mismatch(world, seq++, size_of(world, which), first);
            /* The link is as good as before. */
            struct message_plan plan = {
                .from = 0, .to = 1, .seq = seq++, .bytes = size_of(world, 2)};
            message_exchange(world, &plan);
        }
    }
    world_close(world);
}

static bool message_reported_at_receiver(void *arg)
{
    const struct message *message = arg;
    return world_saw(message->world, 1, 0, &message->send.tag, &message->send.signature);
}

static bool announcement_reported_at_sender(void *arg)
{
    const struct message *message = arg;
    return world_saw(message->world, 0, 1, &message->recv.tag, &message->recv.signature);
}

static void unposted_is_seen(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    struct message message;
    struct message_plan plan = {
        .from = 0, .to = 1, .seq = 1, .msg = 3, .bytes = world->ops->eager_bytes};
    message_make(world, &plan, &message);
    message_post_send(&message);
    world_run(world, message_reported_at_receiver, &message);
    message_post_recv(&message);
    world_run(world, message_done, &message);
    message_verify(&message);
    message_free(&message);

    plan.seq = 2;
    plan.bytes = 2 * world->ops->eager_bytes + 1;
    message_make(world, &plan, &message);
    message_post_recv(&message);
    world_run(world, announcement_reported_at_sender, &message);
    message_post_send(&message);
    world_run(world, message_done, &message);
    message_verify(&message);
    message_free(&message);
    world_close(world);
}

static bool receiver_was_asked(void *arg)
{
    return ((const struct world *)arg)->ranks[1].asked > 0;
}

static void unwanted_is_dropped(const struct conformance_adapter *adapter, uint64_t seed)
{
    for (unsigned which = 0; which < 2; which++) {
        struct world *world = world_open(adapter, 2, seed);
        world_unwant(world, 1, MESSAGE_COMM, 1);
        struct message message;
        struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = size_of(world, which)};
        message_make(world, &plan, &message);
        message_post_send(&message);
        world_run(world, receiver_was_asked, world);
        world_settle(world);
        CHECK(world, world->ranks[1].seen_count == 0);
        world->ops->review(world->ranks[1].t, MESSAGE_COMM, 1);
        CHECK(world, world->ranks[1].seen_count == 0);
        /* It is gone: even when somebody posts for it, nothing comes. */
        world->ranks[1].unwanted_count = 0;
        message_post_recv(&message);
        world_settle(world);
        CHECK(world, message.recv_done == 0 && message_untouched(&message));
        cancel_both(&message);
        message_free(&message);
        plan.seq = 2;
        message_exchange(world, &plan);
        world_close(world);
    }
}

static bool sender_was_asked(void *arg)
{
    return ((const struct world *)arg)->ranks[0].asked > 0;
}

static void unwanted_announcement_is_dropped(const struct conformance_adapter *adapter,
                                             uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    world_unwant(world, 0, MESSAGE_COMM, 1);
    struct message message;
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .bytes = size_of(world, 2)};
    message_make(world, &plan, &message);
    message_post_recv(&message);
    world_run(world, sender_was_asked, world);
    world_settle(world);
    CHECK(world, world->ranks[0].seen_count == 0);
    world->ops->review(world->ranks[0].t, MESSAGE_COMM, 1);
    CHECK(world, world->ranks[0].seen_count == 0);
    cancel_both(&message);
    message_free(&message);
    plan.seq = 2;
    message_exchange(world, &plan);
    world_close(world);
}

struct kept {
    struct world *world;
    struct message messages[6];
};

static bool all_kept(void *arg)
{
    const struct kept *kept = arg;
    return kept->world->ranks[1].seen_count >= 4 && kept->world->ranks[0].seen_count >= 2;
}

/* Messages 0..3 wait as eager ones at rank 1, 4 and 5 as announcements at rank 0; odd ones belong
 * to operation 2, even ones to operation 1. */
static void make_kept(struct world *world, struct kept *kept)
{
    kept->world = world;
    for (uint32_t i = 0; i < 6; i++) {
        struct message_plan plan = {.from = 0,
                                    .to = 1,
                                    .seq = 1 + i % 2,
                                    .msg = i,
                                    .bytes = i < 4 ? 8 * i : size_of(world, 2)};
        message_make(world, &plan, &kept->messages[i]);
        if (i < 4)
            message_post_send(&kept->messages[i]);
        else
            message_post_recv(&kept->messages[i]);
    }
    world_run(world, all_kept, kept);
}

static void review_tells_what_is_kept(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    static struct kept kept;
    make_kept(world, &kept);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        forget_seen(world);
        world->ops->review(world->ranks[0].t, MESSAGE_COMM, seq);
        world->ops->review(world->ranks[1].t, MESSAGE_COMM, seq);
        for (uint32_t i = 0; i < 6; i++) {
            const struct message *message = &kept.messages[i];
            const struct shl_xfer *xfer = i < 4 ? &message->send : &message->recv;
            bool told =
                world_saw(world, i < 4 ? 1 : 0, i < 4 ? 0 : 1, &xfer->tag, &xfer->signature);
            CHECK(world, told == (xfer->tag.seq == seq));
        }
    }
    forget_seen(world);
    world->ops->review(world->ranks[1].t, MESSAGE_COMM + 1, 1);
    CHECK(world, world->ranks[1].seen_count == 0);

    struct message_set set = {kept.messages, 6};
    for (uint32_t i = 0; i < 6; i++) {
        if (i < 4)
            message_post_recv(&kept.messages[i]);
        else
            message_post_send(&kept.messages[i]);
    }
    world_run(world, message_set_done, &set);
    forget_seen(world);
    world->ops->review(world->ranks[0].t, MESSAGE_COMM, 1);
    world->ops->review(world->ranks[1].t, MESSAGE_COMM, 2);
    CHECK(world, world->ranks[0].seen_count == 0 && world->ranks[1].seen_count == 0);
    for (uint32_t i = 0; i < 6; i++) {
        message_verify(&kept.messages[i]);
        message_free(&kept.messages[i]);
    }
    world_close(world);
}

static void cancel_forgets_what_is_kept(const struct conformance_adapter *adapter, uint64_t seed)
{
    struct world *world = world_open(adapter, 2, seed);
    static struct kept kept;
    make_kept(world, &kept);
    for (uint32_t i = 0; i < 2; i++)
        world->ops->cancel(world->ranks[i].t, MESSAGE_COMM, 1);
    forget_seen(world);
    for (uint32_t i = 0; i < 2; i++)
        world->ops->review(world->ranks[i].t, MESSAGE_COMM, 1);
    CHECK(world, world->ranks[0].seen_count == 0 && world->ranks[1].seen_count == 0);
    world->ops->review(world->ranks[0].t, MESSAGE_COMM, 2);
    world->ops->review(world->ranks[1].t, MESSAGE_COMM, 2);
    CHECK(world, world->ranks[0].seen_count == 1 && world->ranks[1].seen_count == 2);
    for (uint32_t i = 0; i < 6; i++)
        CHECK(world, kept.messages[i].recv_done == 0);
    world_close(world);
    for (uint32_t i = 0; i < 6; i++)
        message_free(&kept.messages[i]);
}

/* Only a broken or hostile peer sends another length under the same signature. */
static void wrong_length_is_no_success(const struct conformance_adapter *adapter, uint64_t seed)
{
    for (unsigned which = 0; which < 4; which++) {
        struct world *world = world_open(adapter, 2, seed);
        uint64_t eager = world->ops->eager_bytes;
        struct message message;
        struct message_plan plan = {.from = 0,
                                    .to = 1,
                                    .seq = 1,
                                    .sinks = which % 2,
                                    .bytes = which < 2 ? eager / 2 : 20 * eager};
        message_make(world, &plan, &message);
        message.send.bytes = which < 2 ? eager / 2 - 8 : 20 * eager - 8;
        message_post_recv(&message);
        message_post_send(&message);
        world_settle(world);
        CHECK(world, message.recv_done == 0 || message.recv.status < 0);
        message.send.bytes = plan.bytes; /* guards are where they were */
        message_free(&message);
        world_close(world);

        world = world_open(adapter, 2, seed);
        message_make(world, &plan, &message);
        message.recv.bytes = which < 2 ? eager / 2 - 64 : 20 * eager - 64;
        message_post_recv(&message);
        message_post_send(&message);
        world_settle(world);
        CHECK(world, message.recv_done == 0 || message.recv.status < 0);
        const uint8_t *end = message.recv_store + 64 + message.recv.bytes;
        for (size_t i = 0; i < 64; i++)
            CHECK(world, end[i] == 0x11); /* nothing beyond what was posted */
        message_free(&message);
        world_close(world);
    }
}

const struct conformance_test conformance_signature_tests[] = {
    {"mismatch is seen", mismatch_is_seen},
    {"unposted is seen", unposted_is_seen},
    {"unwanted is dropped", unwanted_is_dropped},
    {"unwanted announcement is dropped", unwanted_announcement_is_dropped},
    {"review tells what is kept", review_tells_what_is_kept},
    {"cancel forgets what is kept", cancel_forgets_what_is_kept},
    {"wrong length is no success", wrong_length_is_no_success},
    {NULL, NULL},
};
