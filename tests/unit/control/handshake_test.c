/*
 * The handshake under every lie that a peer can tell.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/handshake.h"

#include "control/control.h"
#include "support/fault.h"
#include "support/test.h"

#include <stdio.h>

static struct shl_key key, other_key;

static const struct shl_hello base = {.kind = SHL_CHANNEL_SESSION,
                                      .index = 3,
                                      .rank = 1,
                                      .target_rank = 2,
                                      .incarnation = 77,
                                      .epoch = 5,
                                      .job = {1, 2, 3}};

/* What an acceptor of that world expects. */
static struct shl_hello expected(void)
{
    struct shl_hello expect = base;
    expect.rank = base.target_rank;
    return expect;
}

/* A whole dialogue, as recorded on the wire. */
struct dialogue {
    uint8_t hello[SHL_HELLO_BYTES];
    uint8_t acceptor_proof[SHL_PROOF_ACCEPTOR_BYTES];
    uint8_t dialler_proof[SHL_PROOF_DIALLER_BYTES];
};

struct pair {
    struct shl_handshake dialler, acceptor;
};

static void begin(struct pair *pair, const struct shl_key *dial_key,
                  const struct shl_key *accept_key, const struct shl_hello *hello,
                  const struct shl_hello *expect)
{
    ASSERT_OK(shl_handshake_dial(&pair->dialler, dial_key, hello));
    ASSERT_OK(shl_handshake_accept(&pair->acceptor, accept_key, expect));
}

/* Give all that `from` has to say to `to`. */
static enum shl_handshake_result move(struct shl_handshake *from, struct shl_handshake *to)
{
    size_t used;
    enum shl_handshake_result result = shl_handshake_feed(to, from->out, from->out_bytes, &used);
    assert_int_equal(used, from->out_bytes);
    from->out_bytes = 0;
    return result;
}

static void record(struct dialogue *dialogue)
{
    struct pair pair;
    struct shl_hello expect = expected();
    begin(&pair, &key, &key, &base, &expect);
    assert_int_equal(pair.dialler.out_bytes, SHL_HELLO_BYTES);
    memcpy(dialogue->hello, pair.dialler.out, SHL_HELLO_BYTES);
    assert_int_equal(move(&pair.dialler, &pair.acceptor), SHL_HANDSHAKE_MORE);
    assert_int_equal(pair.acceptor.out_bytes, SHL_PROOF_ACCEPTOR_BYTES);
    memcpy(dialogue->acceptor_proof, pair.acceptor.out, SHL_PROOF_ACCEPTOR_BYTES);
    assert_int_equal(move(&pair.acceptor, &pair.dialler), SHL_HANDSHAKE_DONE);
    assert_int_equal(pair.dialler.out_bytes, SHL_PROOF_DIALLER_BYTES);
    memcpy(dialogue->dialler_proof, pair.dialler.out, SHL_PROOF_DIALLER_BYTES);
    assert_int_equal(move(&pair.dialler, &pair.acceptor), SHL_HANDSHAKE_DONE);
}

static int set_up(void **state)
{
    (void)state;
    ASSERT_OK(shl_key_derive("0123456789abcdef", 16, "job", &key));
    ASSERT_OK(shl_key_derive("0123456789abcdeF", 16, "job", &other_key));
    return 0;
}

static void both_sides_learn_the_same(void **state)
{
    struct pair pair;
    struct shl_hello expect = expected();
    (void)state;
    begin(&pair, &key, &key, &base, &expect);
    move(&pair.dialler, &pair.acceptor);
    assert_int_equal(move(&pair.acceptor, &pair.dialler), SHL_HANDSHAKE_DONE);
    assert_int_equal(move(&pair.dialler, &pair.acceptor), SHL_HANDSHAKE_DONE);
    assert_int_equal(pair.acceptor.hello.rank, base.rank);
    assert_int_equal(pair.acceptor.hello.index, base.index);
    assert_int_equal(pair.acceptor.hello.kind, base.kind);
    assert_int_equal(pair.acceptor.hello.epoch, base.epoch);
    assert_int_equal(pair.dialler.acceptor_rank, base.target_rank);
    assert_int_equal(pair.acceptor.out_bytes + pair.dialler.out_bytes, 0);
}

static void bytes_may_come_one_by_one(void **state)
{
    struct pair pair;
    struct shl_hello expect = expected();
    (void)state;
    begin(&pair, &key, &key, &base, &expect);
    struct shl_handshake *from = &pair.dialler, *to = &pair.acceptor;
    enum shl_handshake_result result = SHL_HANDSHAKE_MORE;
    for (int message = 0; message < 3; message++) {
        for (size_t i = 0; i < from->out_bytes; i++) {
            size_t used;
            result = shl_handshake_feed(to, from->out + i, 1, &used);
            assert_int_equal(used, 1);
            if (i + 1 < from->out_bytes)
                assert_int_equal(result, SHL_HANDSHAKE_MORE);
        }
        from->out_bytes = 0;
        struct shl_handshake *swap = from;
        from = to;
        to = swap;
    }
    assert_int_equal(result, SHL_HANDSHAKE_DONE);
}

static void what_follows_is_left_alone(void **state)
{
    struct pair pair;
    struct shl_hello expect = expected();
    uint8_t data[SHL_HELLO_BYTES + 10];
    size_t used;
    (void)state;
    begin(&pair, &key, &key, &base, &expect);
    memcpy(data, pair.dialler.out, SHL_HELLO_BYTES);
    assert_int_equal(shl_handshake_feed(&pair.acceptor, data, sizeof(data), &used),
                     SHL_HANDSHAKE_MORE);
    assert_int_equal(used, SHL_HELLO_BYTES);
    move(&pair.acceptor, &pair.dialler);
    memcpy(data, pair.dialler.out, SHL_PROOF_DIALLER_BYTES);
    assert_int_equal(shl_handshake_feed(&pair.acceptor, data, sizeof(data), &used),
                     SHL_HANDSHAKE_DONE);
    assert_int_equal(used, SHL_PROOF_DIALLER_BYTES);
    assert_int_equal(shl_handshake_feed(&pair.acceptor, data, sizeof(data), &used),
                     SHL_HANDSHAKE_DONE);
    assert_int_equal(used, 0);
}

static void a_wrong_secret_is_refused_by_both(void **state)
{
    struct pair pair;
    struct shl_hello expect = expected();
    (void)state;
    begin(&pair, &other_key, &key, &base, &expect);
    assert_int_equal(move(&pair.dialler, &pair.acceptor), SHL_HANDSHAKE_MORE);
    assert_int_equal(move(&pair.acceptor, &pair.dialler), SHL_HANDSHAKE_REFUSED);
    assert_int_equal(pair.dialler.status, SHOAL_ERR_AUTH);
    assert_non_null(strstr(pair.dialler.cause, "secret"));
    assert_int_equal(pair.dialler.out_bytes, 0);
    /* A dialler that does not care is refused in turn. */
    uint8_t invented[SHL_PROOF_DIALLER_BYTES] = {0};
    size_t used;
    assert_int_equal(shl_handshake_feed(&pair.acceptor, invented, sizeof(invented), &used),
                     SHL_HANDSHAKE_REFUSED);
    assert_int_equal(pair.acceptor.status, SHOAL_ERR_AUTH);
    assert_int_equal(pair.acceptor.out_bytes, 0);
    assert_int_equal(shl_handshake_feed(&pair.acceptor, invented, 1, &used), SHL_HANDSHAKE_REFUSED);
}

static void keys_depend_on_secret_and_job(void **state)
{
    struct shl_key a, b, none, none_again;
    (void)state;
    ASSERT_OK(shl_key_derive("0123456789abcdef", 16, "another job", &a));
    ASSERT_OK(shl_key_derive("0123456789abcde", 15, "job", &b));
    ASSERT_OK(shl_key_derive(NULL, 0, "job", &none));
    ASSERT_OK(shl_key_derive(NULL, 0, "job", &none_again));
    assert_memory_not_equal(a.bytes, key.bytes, 32);
    assert_memory_not_equal(b.bytes, key.bytes, 32);
    assert_memory_not_equal(none.bytes, key.bytes, 32);
    assert_memory_equal(none.bytes, none_again.bytes, 32);
    assert_true(key.secret);
    assert_false(none.secret);
}

/* ---- every bit --------------------------------------------------------------------------- */

static void every_flipped_bit_of_a_hello_is_refused(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < SHL_HELLO_BYTES * 8; bit++) {
        struct pair pair;
        struct shl_hello expect = {.rank = base.target_rank, .job = {1, 2, 3}};
        begin(&pair, &key, &key, &base, &expect); /* accepts any kind, epoch and incarnation */
        pair.dialler.out[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum shl_handshake_result result = move(&pair.dialler, &pair.acceptor);
        if (pair.acceptor.out_bytes)
            assert_int_equal(move(&pair.acceptor, &pair.dialler), SHL_HANDSHAKE_REFUSED);
        if (result == SHL_HANDSHAKE_MORE) {
            /* Nobody could answer this; the acceptor is not done whatever comes. */
            uint8_t proof[SHL_PROOF_DIALLER_BYTES] = {0};
            size_t used;
            result = shl_handshake_feed(&pair.acceptor, proof, sizeof(proof), &used);
        }
        if (result != SHL_HANDSHAKE_REFUSED)
            fail_msg("bit %zu of the hello does not matter", bit);
    }
}

static void every_flipped_bit_of_a_proof_is_refused(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < SHL_PROOF_ACCEPTOR_BYTES * 8; bit++) {
        struct pair pair;
        struct shl_hello expect = expected();
        begin(&pair, &key, &key, &base, &expect);
        move(&pair.dialler, &pair.acceptor);
        pair.acceptor.out[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (move(&pair.acceptor, &pair.dialler) != SHL_HANDSHAKE_REFUSED)
            fail_msg("bit %zu of the acceptor's proof does not matter", bit);
        assert_int_equal(pair.dialler.out_bytes, 0);
    }
    for (size_t bit = 0; bit < SHL_PROOF_DIALLER_BYTES * 8; bit++) {
        struct pair pair;
        struct shl_hello expect = expected();
        begin(&pair, &key, &key, &base, &expect);
        move(&pair.dialler, &pair.acceptor);
        move(&pair.acceptor, &pair.dialler);
        pair.dialler.out[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (move(&pair.dialler, &pair.acceptor) != SHL_HANDSHAKE_REFUSED)
            fail_msg("bit %zu of the dialler's proof does not matter", bit);
    }
}

static void no_truncation_completes(void **state)
{
    struct dialogue dialogue;
    size_t used;
    (void)state;
    record(&dialogue);
    for (size_t bytes = 0; bytes < SHL_HELLO_BYTES; bytes++) {
        struct pair pair;
        struct shl_hello expect = expected();
        begin(&pair, &key, &key, &base, &expect);
        assert_int_equal(shl_handshake_feed(&pair.acceptor, dialogue.hello, bytes, &used),
                         SHL_HANDSHAKE_MORE);
        assert_int_equal(pair.acceptor.out_bytes, 0);
    }
    for (size_t bytes = 0; bytes < SHL_PROOF_DIALLER_BYTES; bytes++) {
        struct pair pair;
        struct shl_hello expect = expected();
        begin(&pair, &key, &key, &base, &expect);
        move(&pair.dialler, &pair.acceptor);
        pair.acceptor.out_bytes = 0;
        assert_int_equal(shl_handshake_feed(&pair.acceptor, dialogue.dialler_proof, bytes, &used),
                         SHL_HANDSHAKE_MORE);
    }
}

/* ---- old and own messages ---------------------------------------------------------------- */

static void a_replayed_dialogue_is_refused(void **state)
{
    struct dialogue dialogue;
    struct shl_hello expect = expected();
    struct shl_handshake acceptor, dialler;
    size_t used;
    (void)state;
    record(&dialogue);
    ASSERT_OK(shl_handshake_accept(&acceptor, &key, &expect));
    assert_int_equal(shl_handshake_feed(&acceptor, dialogue.hello, SHL_HELLO_BYTES, &used),
                     SHL_HANDSHAKE_MORE);
    assert_memory_not_equal(acceptor.out, dialogue.acceptor_proof, SHL_PROOF_ACCEPTOR_BYTES);
    assert_int_equal(
        shl_handshake_feed(&acceptor, dialogue.dialler_proof, SHL_PROOF_DIALLER_BYTES, &used),
        SHL_HANDSHAKE_REFUSED);
    ASSERT_OK(shl_handshake_dial(&dialler, &key, &base));
    assert_int_equal(
        shl_handshake_feed(&dialler, dialogue.acceptor_proof, SHL_PROOF_ACCEPTOR_BYTES, &used),
        SHL_HANDSHAKE_REFUSED);
}

static void own_messages_sent_back_are_refused(void **state)
{
    struct shl_hello expect = expected();
    struct pair pair;
    size_t used;
    (void)state;
    /* To the dialler its hello, cut to the size of an answer. */
    begin(&pair, &key, &key, &base, &expect);
    assert_int_equal(
        shl_handshake_feed(&pair.dialler, pair.dialler.out, SHL_PROOF_ACCEPTOR_BYTES, &used),
        SHL_HANDSHAKE_REFUSED);
    /* To the acceptor the MAC out of its own proof. */
    begin(&pair, &key, &key, &base, &expect);
    move(&pair.dialler, &pair.acceptor);
    assert_int_equal(
        shl_handshake_feed(&pair.acceptor,
                           pair.acceptor.out + SHL_PROOF_ACCEPTOR_BYTES - SHL_PROOF_DIALLER_BYTES,
                           SHL_PROOF_DIALLER_BYTES, &used),
        SHL_HANDSHAKE_REFUSED);
}

/* An attacker who knows no secret connects to two honest ranks, and passes on what they say. */
static void a_dialogue_cannot_be_turned_to_another_rank(void **state)
{
    struct shl_hello third = {.rank = 3, .job = {1, 2, 3}};
    struct shl_handshake dialler, acceptor;
    (void)state;
    ASSERT_OK(shl_handshake_dial(&dialler, &key, &base)); /* means rank 2 */
    ASSERT_OK(shl_handshake_accept(&acceptor, &key, &third));
    assert_int_equal(move(&dialler, &acceptor), SHL_HANDSHAKE_REFUSED);
    assert_int_equal(acceptor.out_bytes, 0);
}

/* ---- honest ranks of other worlds -------------------------------------------------------- */

static void assert_refused(struct shl_hello hello, struct shl_hello expect, const char *part)
{
    struct pair pair;
    begin(&pair, &key, &key, &hello, &expect);
    assert_int_equal(move(&pair.dialler, &pair.acceptor), SHL_HANDSHAKE_REFUSED);
    assert_int_equal(pair.acceptor.out_bytes, 0); /* a wrong peer gets no answer */
    assert_int_equal(pair.acceptor.status, SHOAL_ERR_AUTH);
    if (!strstr(pair.acceptor.cause, part))
        fail_msg("\"%s\" is not in \"%s\"", part, pair.acceptor.cause);
}

static void other_job_rank_epoch_or_kind_is_refused(void **state)
{
    struct shl_hello hello;
    (void)state;
    hello = base;
    hello.job[15] = 9;
    assert_refused(hello, expected(), "another job");
    hello = base;
    hello.target_rank = 3;
    assert_refused(hello, expected(), "means rank 3, this is rank 2");
    hello = base;
    hello.incarnation = 78;
    assert_refused(hello, expected(), "incarnation");
    hello = base;
    hello.epoch = 4;
    assert_refused(hello, expected(), "epoch 4, here is 5");
    hello = base;
    hello.kind = SHL_CHANNEL_TCP_DATA;
    assert_refused(hello, expected(), "kind 3, here is 2");
}

static void what_is_not_expected_yet_is_accepted(void **state)
{
    struct pair pair;
    struct shl_hello expect = {.rank = 2, .job = {1, 2, 3}};
    (void)state;
    begin(&pair, &key, &key, &base, &expect);
    move(&pair.dialler, &pair.acceptor);
    assert_int_equal(move(&pair.acceptor, &pair.dialler), SHL_HANDSHAKE_DONE);
    assert_int_equal(move(&pair.dialler, &pair.acceptor), SHL_HANDSHAKE_DONE);
}

/* A library of another version: the same layout, with its number and its own MACs. Its hello is
 * made by hand, so only the acceptor's half can be shown. */
static void another_version_is_refused_and_told(void **state)
{
    struct pair pair;
    struct shl_hello expect = expected();
    (void)state;
    begin(&pair, &key, &key, &base, &expect);
    pair.dialler.out[4] = 1; /* the version follows the magic */
    assert_int_equal(move(&pair.dialler, &pair.acceptor), SHL_HANDSHAKE_REFUSED);
    assert_int_equal(pair.acceptor.status, SHOAL_ERR_VERSION);
    char told[32];
    snprintf(told, sizeof(told), "version 1, this is %u", (unsigned)SHL_PROTOCOL_VERSION);
    assert_non_null(strstr(pair.acceptor.cause, told));
    assert_int_equal(pair.acceptor.out_bytes, SHL_PROOF_ACCEPTOR_BYTES);
}

static void garbage_gets_no_answer(void **state)
{
    uint8_t garbage[SHL_HELLO_BYTES];
    struct shl_hello expect = expected();
    struct shl_handshake acceptor;
    size_t used;
    (void)state;
    for (int i = 0; i < 256; i++) {
        memset(garbage, i, sizeof(garbage));
        ASSERT_OK(shl_handshake_accept(&acceptor, &key, &expect));
        assert_int_equal(shl_handshake_feed(&acceptor, garbage, sizeof(garbage), &used),
                         SHL_HANDSHAKE_REFUSED);
        assert_int_equal(acceptor.out_bytes, 0);
    }
}

static enum shoal_status dial_once(void *arg)
{
    struct shl_handshake hs;
    (void)arg;
    return shl_handshake_dial(&hs, &key, &base);
}

static void without_random_bytes_nothing_is_sent(void **state)
{
    (void)state;
    assert_int_equal(shl_fault_sweep(SHL_FAULT_ALL, dial_once, NULL, 10), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_learn_the_same),
        cmocka_unit_test(bytes_may_come_one_by_one),
        cmocka_unit_test(what_follows_is_left_alone),
        cmocka_unit_test(a_wrong_secret_is_refused_by_both),
        cmocka_unit_test(keys_depend_on_secret_and_job),
        cmocka_unit_test(every_flipped_bit_of_a_hello_is_refused),
        cmocka_unit_test(every_flipped_bit_of_a_proof_is_refused),
        cmocka_unit_test(no_truncation_completes),
        cmocka_unit_test(a_replayed_dialogue_is_refused),
        cmocka_unit_test(own_messages_sent_back_are_refused),
        cmocka_unit_test(a_dialogue_cannot_be_turned_to_another_rank),
        cmocka_unit_test(other_job_rank_epoch_or_kind_is_refused),
        cmocka_unit_test(what_is_not_expected_yet_is_accepted),
        cmocka_unit_test(another_version_is_refused_and_told),
        cmocka_unit_test(garbage_gets_no_answer),
        cmocka_unit_test(without_random_bytes_nothing_is_sent),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
