/*
 * Cancel in the middle of a message, by either side and in every way a message can travel; and a
 * peer that is killed there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "transport/shm/shm.h"
#include "unit/transport/shm_world.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define BYTES (2u << 20)
#define COPY_STAGED 1
#define COPY_CMA 2

static const struct shl_transport_ops *const ops = &shl_transport_shm;

struct way {
    const char *name;
    uint32_t copy;
    bool heap; /* the sender's bytes lie in its heap */
};

static const struct way ways[] = {
    {"in place", 0, true}, {"process_vm_readv", COPY_CMA, false}, {"cells", COPY_STAGED, false}};

struct fixture {
    struct shm_world world;
    struct shm_rank *ranks;
    uint8_t *from, *to;
    struct shl_xfer send, recv;
    unsigned done;
    bool heap;
};

static void count_done(struct shl_xfer *xfer)
{
    struct fixture *f = xfer->owner;
    f->done++;
}

static void open_fixture(struct fixture *f, const struct way *way)
{
    memset(f, 0, sizeof(*f));
    shm_world_init(&f->world, 2);
    f->world.copy = way->copy;
    f->heap = way->heap;
    f->ranks = shm_world_open_here(&f->world);
    if (way->heap)
        assert_int_equal(shl_heap_alloc(f->ranks[0].heap, BYTES, (void **)&f->from), SHOAL_OK);
    else
        f->from = malloc(BYTES);
    f->to = malloc(BYTES);
    assert_non_null(f->from);
    assert_non_null(f->to);
}

static void close_fixture(struct fixture *f)
{
    if (f->heap)
        shl_heap_free(f->ranks[0].heap, f->from);
    else
        free(f->from);
    free(f->to);
    shm_world_close_here(&f->world, f->ranks);
}

static void poll_both(struct fixture *f, unsigned times)
{
    while (times--) {
        ops->poll(f->ranks[0].t);
        ops->poll(f->ranks[1].t);
    }
}

static void post_both(struct fixture *f, uint64_t seq)
{
    memset(f->from, 0x11, BYTES);
    memset(f->to, 0x22, BYTES);
    f->done = 0;
    shm_xfer_init(&f->send, 1, seq, 0, f->from, BYTES);
    shm_xfer_init(&f->recv, 0, seq, 0, f->to, BYTES);
    f->send.owner = f->recv.owner = f;
    f->send.done = f->recv.done = count_done;
    assert_int_equal(ops->send(f->ranks[0].t, &f->send), SHOAL_OK);
    assert_int_equal(ops->recv(f->ranks[1].t, &f->recv), SHOAL_OK);
}

static bool all_are(const uint8_t *bytes, uint8_t value)
{
    for (size_t i = 0; i < BYTES; i++) {
        if (bytes[i] != value)
            return false;
    }
    return true;
}

static void run_until_done(struct fixture *f)
{
    for (unsigned i = 0; i < 100000 && f->done < 2; i++)
        poll_both(f, 1);
    assert_int_equal(f->done, 2);
    assert_true(all_are(f->to, 0x11));
}

/* Cancels after every number of polls up to the whole message, by rank `who` first. */
static void cancel_everywhere(struct fixture *f, unsigned who)
{
    uint64_t seq = 1;
    for (unsigned polls = 0; polls < 24; polls++, seq += 2) {
        post_both(f, seq);
        poll_both(f, polls);
        bool complete = f->done == 2;
        ops->cancel(f->ranks[who].t, 7, seq);
        unsigned done = f->done;
        if (who == 1) {
            /* The buffer is the caller's again: nobody writes into it. */
            memset(f->to, 0x33, BYTES);
            poll_both(f, 40);
            assert_true(all_are(f->to, 0x33));
        } else {
            /* What is read now is garbage, so the receive must not complete. */
            bool received = f->recv.status == SHOAL_OK;
            bool sent = f->send.status == SHOAL_OK;
            memset(f->from, 0x44, BYTES);
            poll_both(f, 40);
            assert_true(received || sent || f->recv.status == SHOAL_IN_PROGRESS);
            if (f->recv.status == SHOAL_OK)
                assert_true(all_are(f->to, 0x11));
        }
        f->ranks[0].ended_seq = f->ranks[1].ended_seq = seq + 1;
        ops->cancel(f->ranks[1 - who].t, 7, seq);
        poll_both(f, 40);
        assert_true(complete || f->done <= done + 1);
        post_both(f, seq + 1);
        run_until_done(f);
    }
    assert_int_equal(f->ranks[0].lost + f->ranks[1].lost, 0);
}

static void for_each_way(unsigned who)
{
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct fixture f;
        open_fixture(&f, &ways[i]);
        if (ways[i].copy != COPY_CMA || f.ranks[0].t->all_pull)
            cancel_everywhere(&f, who);
        close_fixture(&f);
    }
}

static void test_receiver_cancels(void **s)
{
    (void)s;
    for_each_way(1);
}

static void test_sender_cancels(void **s)
{
    (void)s;
    for_each_way(0);
}

/* More cancelled messages than there are offers, credits or cells: nothing leaks. */
static void test_resources_come_back(void **s)
{
    (void)s;
    struct fixture f;
    open_fixture(&f, &ways[2]);
    for (uint64_t seq = 1; seq < 500; seq++) {
        unsigned who = (unsigned)(seq % 2);
        post_both(&f, seq);
        poll_both(&f, (unsigned)(seq % 5));
        f.ranks[0].ended_seq = f.ranks[1].ended_seq = seq + 1;
        ops->cancel(f.ranks[who].t, 7, seq);
        poll_both(&f, (unsigned)(seq % 3));
        ops->cancel(f.ranks[1 - who].t, 7, seq);
    }
    poll_both(&f, 10);
    struct shl_shm_peer *peer = &f.ranks[0].t->peers[1];
    assert_int_equal(peer->offers_busy, 0);
    assert_int_equal(f.ranks[1].t->peers[0].offers_known, 0);
    assert_int_equal(f.ranks[1].t->peers[0].kept_mask, 0);
    post_both(&f, 1000);
    run_until_done(&f);
    close_fixture(&f);
}

/* Early messages of an operation that is cancelled, or that nobody wants, are given up. */
static void test_early_messages_go(void **s)
{
    (void)s;
    struct fixture f;
    static struct shl_xfer sends[60];
    uint64_t value = 5;
    open_fixture(&f, &ways[2]);
    for (uint64_t seq = 1; seq < 30; seq++) {
        for (unsigned i = 0; i < 60; i++) {
            shm_xfer_init(&sends[i], 1, seq, i, i % 2 ? (void *)f.from : (void *)&value,
                          i % 2 ? BYTES : sizeof(value));
            assert_int_equal(ops->send(f.ranks[0].t, &sends[i]), SHOAL_OK);
        }
        poll_both(&f, 4);
        if (seq % 2)
            ops->cancel(f.ranks[1].t, 7, seq);
        f.ranks[0].ended_seq = f.ranks[1].ended_seq = seq + 1;
        ops->cancel(f.ranks[0].t, 7, seq);
        poll_both(&f, 4);
    }
    assert_true(f.ranks[1].seen > 0);
    post_both(&f, 1000);
    run_until_done(&f);
    close_fixture(&f);
}

/* ---- a rank dies in the middle ------------------------------------------------------------------
 */

#define VICTIM 1

static void wait_done(struct shm_rank *self, const struct shl_xfer *xfer)
{
    uint64_t give_up_ns = shl_now_ns() + 30ull * 1000000000u;
    while (xfer->status == SHOAL_IN_PROGRESS) {
        if (!ops->poll(self->t))
            shl_time->yield();
        MUST(shl_now_ns() < give_up_ns);
    }
}

static void exchange(struct shm_rank *self, uint32_t peer, uint64_t seq)
{
    static uint8_t from[100000], to[100000];
    struct shl_xfer send, recv;
    memset(from, (int)(seq + self->env.rank), sizeof(from));
    shm_xfer_init(&send, peer, seq, 0, from, sizeof(from));
    shm_xfer_init(&recv, peer, seq, 0, to, sizeof(to));
    MUST(ops->send(self->t, &send) == SHOAL_OK && ops->recv(self->t, &recv) == SHOAL_OK);
    wait_done(self, &recv);
    wait_done(self, &send);
    MUST(to[0] == (uint8_t)(seq + peer) && to[sizeof(to) - 1] == to[0]);
}

static void kill_in_the_middle(struct shm_rank *self, uint8_t *buffer, size_t bytes)
{
    struct shl_xfer recv, send;
    shm_xfer_init(&recv, VICTIM, 1, 0, buffer, bytes);
    shm_xfer_init(&send, VICTIM, 1, 0, buffer + bytes, bytes);
    MUST(ops->recv(self->t, &recv) == SHOAL_OK && ops->send(self->t, &send) == SHOAL_OK);
    while (recv.moved_bytes < bytes / 4)
        ops->poll(self->t);
    MUST(kill(self->t->peers[VICTIM].pid, SIGKILL) == 0);
    for (unsigned i = 0; i < 1000; i++)
        ops->poll(self->t); /* whatever it left behind */
    MUST(recv.status == SHOAL_IN_PROGRESS);
    char text[256];
    ops->drop_peer(self->t, VICTIM);
    ops->explain(self->t, VICTIM, text, sizeof(text));
    MUST(strstr(text, "not reached") != NULL);
    ops->cancel(self->t, 7, 1);
    memset(buffer, 0x5a, bytes);
}

static int survive(struct shm_world *world, uint32_t rank, void *arg)
{
    struct shm_rank self;
    const size_t bytes = 64u << 20;
    (void)arg;
    MUST(shm_rank_open(world, &self, rank) == SHOAL_OK);
    uint8_t *buffer = calloc(2, bytes);
    MUST(buffer != NULL);
    if (rank == VICTIM) {
        struct shl_xfer send, recv;
        shm_xfer_init(&send, 0, 1, 0, buffer, bytes);
        shm_xfer_init(&recv, 0, 1, 0, buffer + bytes, bytes);
        MUST(ops->send(self.t, &send) == SHOAL_OK && ops->recv(self.t, &recv) == SHOAL_OK);
        for (;;)
            ops->poll(self.t);
    }
    if (rank == 0)
        kill_in_the_middle(&self, buffer, bytes);
    for (uint64_t seq = 10; seq < 60; seq++)
        exchange(&self, 2 - rank, seq);
    for (size_t i = 0; rank == 0 && i < bytes; i++)
        MUST(buffer[i] == 0x5a);
    MUST(self.lost == 0); /* that is control's to say */
    shm_rank_close(&self);
    free(buffer);
    return 0;
}

static void test_killed_peer(void **s)
{
    (void)s;
    for (uint32_t copy = 0; copy < 2; copy++) {
        struct shm_world world;
        shm_world_init(&world, 3);
        world.copy = copy;
        unsigned wrong = shm_world_fork(&world, VICTIM, survive, NULL);
        shm_world_close(&world);
        assert_int_equal(wrong, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receiver_cancels),    cmocka_unit_test(test_sender_cancels),
        cmocka_unit_test(test_resources_come_back), cmocka_unit_test(test_early_messages_go),
        cmocka_unit_test(test_killed_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
