/*
 * The shape of the mesh, and the headers of frames.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/control_internal.h"
#include "support/random.h"
#include "support/test.h"

#define SIZES 300

static bool contains(const uint32_t *list, uint32_t count, uint32_t rank)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i] == rank)
            return true;
    return false;
}

static void neighbours_are_mutual_and_few(void **state)
{
    (void)state;
    for (uint32_t size = 1; size <= SIZES; size++) {
        uint32_t bound = 0;
        for (uint32_t step = 1; step < size; step *= 2)
            bound += 2;
        for (uint32_t rank = 0; rank < size; rank++) {
            uint32_t mine[SHL_SESSIONS_MAX], theirs[SHL_SESSIONS_MAX];
            uint32_t count = shl_mesh_neighbours(rank, size, mine);
            assert_false(contains(mine, count, rank));
            if (size <= SHL_MESH_FULL_SIZE)
                assert_int_equal(count, size - 1);
            else
                assert_true(count <= bound);
            for (uint32_t i = 0; i < count; i++) {
                assert_true(mine[i] < size);
                assert_false(contains(mine, i, mine[i]));
                uint32_t back = shl_mesh_neighbours(mine[i], size, theirs);
                assert_true(contains(theirs, back, rank));
            }
        }
    }
}

/* Whether all ranks that are not `dead` still reach each other. */
static bool connected_without(uint32_t size, const bool *dead)
{
    bool seen[SIZES] = {false};
    uint32_t queue[SIZES], head = 0, tail = 0, alive = 0, start = 0;
    while (dead[start])
        start++;
    for (uint32_t rank = 0; rank < size; rank++)
        alive += !dead[rank];
    queue[tail++] = start;
    seen[start] = true;
    while (head < tail) {
        uint32_t neighbours[SHL_SESSIONS_MAX];
        uint32_t count = shl_mesh_neighbours(queue[head++], size, neighbours);
        for (uint32_t i = 0; i < count; i++) {
            if (dead[neighbours[i]] || seen[neighbours[i]])
                continue;
            seen[neighbours[i]] = true;
            queue[tail++] = neighbours[i];
        }
    }
    return tail == alive;
}

static void the_mesh_survives_deaths(void **state)
{
    uint64_t seed = shl_test_seed();
    (void)state;
    for (uint32_t size = 9; size <= SIZES; size += 7) {
        uint32_t neighbours[SHL_SESSIONS_MAX];
        uint32_t degree = shl_mesh_neighbours(0, size, neighbours);
        /* One less than the degree, wherever they are; here neighbours of one rank, the worst. */
        bool dead[SIZES] = {false};
        for (uint32_t i = 0; i + 1 < degree; i++)
            dead[neighbours[i]] = true;
        assert_true(connected_without(size, dead));
        for (int attempt = 0; attempt < 20; attempt++) {
            bool random_dead[SIZES] = {false};
            for (uint32_t i = 0; i + 1 < degree; i++)
                random_dead[shl_test_random(&seed) % size] = true;
            assert_true(connected_without(size, random_dead));
        }
    }
}

static void the_largest_world_fits(void **state)
{
    uint32_t neighbours[SHL_SESSIONS_MAX];
    (void)state;
    assert_true(shl_mesh_neighbours(0, UINT32_MAX, neighbours) <= SHL_SESSIONS_MAX);
}

/* ---- frames ------------------------------------------------------------------------------ */

static const struct shl_frame flood = {.bytes = 100,
                                       .kind = SHL_FRAME_FLOOD,
                                       .type = 7,
                                       .origin = 3,
                                       .epoch = 5,
                                       .seq = 9,
                                       .ack = 4,
                                       .flood_seq = 2};

static bool survives(struct shl_frame frame, uint32_t size)
{
    uint8_t wire[SHL_FRAME_BYTES];
    struct shl_frame read;
    shl_frame_encode(&frame, wire);
    return shl_frame_decode(wire, size, &read) && read.bytes == frame.bytes &&
           read.kind == frame.kind && read.type == frame.type && read.origin == frame.origin &&
           read.epoch == frame.epoch && read.seq == frame.seq && read.ack == frame.ack &&
           read.flood_seq == frame.flood_seq;
}

static void good_frames_survive(void **state)
{
    (void)state;
    assert_true(survives(flood, 4));
    assert_true(survives((struct shl_frame){.kind = SHL_FRAME_RESUME, .ack = 3}, 4));
    assert_true(survives((struct shl_frame){.kind = SHL_FRAME_BEAT, .epoch = 1}, 4));
    assert_true(survives((struct shl_frame){.kind = SHL_FRAME_GOODBYE, .seq = 1}, 4));
    struct shl_frame largest = flood;
    largest.bytes = SHL_FRAME_PAYLOAD_MAX;
    assert_true(survives(largest, 4));
}

static void implausible_frames_are_refused(void **state)
{
    struct shl_frame bad[8];
    uint8_t wire[SHL_FRAME_BYTES];
    struct shl_frame read;
    (void)state;
    for (size_t i = 0; i < 8; i++)
        bad[i] = flood;
    bad[0].bytes = SHL_FRAME_PAYLOAD_MAX + 1;
    bad[1].origin = 4;
    bad[2].seq = 0;
    bad[3].flood_seq = 0;
    bad[4].kind = 0;
    bad[5].kind = SHL_FRAME_GOODBYE + 1;
    bad[6].kind = SHL_FRAME_BEAT;    /* with a payload */
    bad[7].kind = SHL_FRAME_GOODBYE; /* too */
    for (size_t i = 0; i < 8; i++)
        if (survives(bad[i], 4))
            fail_msg("bad frame %zu was accepted", i);
    shl_frame_encode(&flood, wire);
    for (size_t at = 0; at < 4; at++) { /* the magic */
        wire[at] ^= 1;
        assert_false(shl_frame_decode(wire, 4, &read));
        wire[at] ^= 1;
    }
    wire[9] = 1; /* reserved */
    assert_false(shl_frame_decode(wire, 4, &read));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_mutual_and_few),
        cmocka_unit_test(the_mesh_survives_deaths),
        cmocka_unit_test(the_largest_world_fits),
        cmocka_unit_test(good_frames_survive),
        cmocka_unit_test(implausible_frames_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
