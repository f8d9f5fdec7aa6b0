/*
 * Every operation of a world in steps whose members are killed: one outcome on all survivors, right
 * values, and each step counted once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"

#include "support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START 4
#define BLOCK 300 /* elements of a member */

static const char *const shm[] = {"SHOAL_TRANSPORT=shm", NULL};
static const char *const tcp[] = {"SHOAL_TRANSPORT=tcp", NULL};

struct buffers {
    int64_t blocks[MEMBERS_MAX * BLOCK], gathered[MEMBERS_MAX * BLOCK], block[BLOCK];
    int64_t mine[2], sum[2], sent[2], reduced[2];
};

static struct buffers at; /* of this process; too large for a stack */

/* ---- steps of all operations ------------------------------------------------------------------
 */

static int call_all(struct member *self, const struct shoal_step *step, bool in_place)
{
    struct shoal_world *world = self->world;
    uint32_t root = (uint32_t)step->step % step->size;
    int64_t *own = in_place ? &at.blocks[step->rank * BLOCK] : at.block;
    int status = shoal_world_reduce_scatter(world, at.blocks, own, BLOCK, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_world_allgather(world, own, at.gathered, BLOCK, SHOAL_I64);
    if (status == SHOAL_OK)
        status = shoal_world_broadcast(world, at.mine, at.sent, 2, SHOAL_I64, root);
    if (status == SHOAL_OK)
        status = shoal_world_reduce(world, at.mine, at.reduced, 2, SHOAL_I64, SHOAL_SUM, root);
    if (status == SHOAL_OK)
        status = shoal_world_barrier(world);
    if (status == SHOAL_OK)
        status = shoal_world_allreduce(world, at.mine, at.sum, 2, SHOAL_I64, SHOAL_SUM);
    if (status == SHOAL_OK)
        status = shoal_step_commit(world, 1);
    return status;
}

static bool is_right(const struct shoal_step *step)
{
    int64_t mask = at.sum[1];
    for (uint32_t i = 0; i < step->size * BLOCK; i++)
        if (at.gathered[i] != mask * (1 + i))
            return false;
    bool root = step->step % step->size == step->rank;
    return __builtin_popcountll((uint64_t)mask) == (int)step->size && (at.sent[1] & mask) &&
           (!root || (at.reduced[0] == at.sum[0] && at.reduced[1] == mask));
}

static int one_step(struct member *self, bool *stop)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int status = shoal_step_begin(self->world, &step);
    if (status != SHOAL_OK)
        return status;
    at.mine[0] = self->shared->stop;
    at.mine[1] = (int64_t)(1ull << self->slot);
    for (uint32_t i = 0; i < step.size * BLOCK; i++)
        at.blocks[i] = at.mine[1] * (1 + i);
    status = call_all(self, &step, step.step % 2);
    if (status != SHOAL_OK)
        return status;
    *stop = at.sum[0] > 0;
    members_note(self, step.step + 1, step.position, at.sum[1]);
    return is_right(&step) ? SHOAL_OK : SHOAL_ERR_INTERNAL;
}

static void steps_of_all(struct member *self)
{
    bool stop = false;
    int status = SHOAL_OK;
    while (status == SHOAL_OK && !stop) {
        status = one_step(self, &stop);
        if (status == SHOAL_ERR_STEP_RETRY) {
            self->report->retries++;
            status = SHOAL_OK;
        }
    }
    members_end_with(self, status);
}

/* Two of four are killed, at any point of a step; another one joins. */
static void steps_survive(enum shoal_step_mode mode, const char *const *settings)
{
    struct members_job job = {
        .start = START, .min = 1, .mode = mode, .settings = settings, .body = steps_of_all};
    const uint32_t left[] = {0, 2, 4};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < START; i++)
        members_await(&members, i, 20);
    members_kill(&members, 3, SIGKILL);
    members_await(&members, 0, 20);
    members_kill(&members, 1, SIGKILL);
    members_start(&members, 4);
    for (uint32_t i = 0; i < 3; i++)
        members_await(&members, left[i], 20);
    members.shared->stop = 1;
    members_close(&members);
    members_check_ended(&members, left, 3);
    assert_true(members_check_history(&members, left, 3) >= 60);
    for (uint32_t i = 0; i < 2; i++) {
        const struct member_report *report = &members.shared->reports[left[i]];
        for (uint32_t n = 0; n < report->count; n++)
            assert_int_equal(report->saw[n].seq, n + 1); /* each once, none left out */
    }
}

static void all_operations_in_retained_steps(void **state)
{
    (void)state;
    steps_survive(SHOAL_STEP_RETAIN, shm);
    steps_survive(SHOAL_STEP_RETAIN, tcp);
}

static void all_operations_in_aborting_steps(void **state)
{
    (void)state;
    steps_survive(SHOAL_STEP_ABORT, shm);
    steps_survive(SHOAL_STEP_ABORT, tcp);
}

/* ---- operations in flight ---------------------------------------------------------------------
 */

#define FLIGHT 7         /* started before any is waited for */
#define LARGE 40000      /* elements: beyond what is kept instead of a completion round */
#define SENDS 2          /* of these are sent from a buffer of their own */
#define OWN (FLIGHT - 2) /* a reduction of the program's; the last one is a weighted mean */

struct flight {
    struct shoal_world_request *requests[FLIGHT];
    int64_t *send, *recv[FLIGHT];
    double weighed[2], mean[2];
    uint32_t op;    /* the program's own */
    uint64_t tried; /* the last step that was begun */
};

static void combine(const void *a, const void *b, void *out, size_t count, enum shoal_dtype dtype,
                    void *user)
{
    const int64_t *x = a, *y = b;
    int64_t *z = out;
    (void)dtype;
    (void)user;
    for (size_t i = 0; i < count; i++)
        z[i] = x[i] | y[i];
}

/* Not by way of sums: values of who is there twice would not show in it. */
static uint32_t make_op(struct shoal_world *world)
{
    struct shoal_op_options options = {
        .struct_size = sizeof(options), .function = combine, .commutes = 1};
    uint32_t op = 0;
    ASSERT_OK(shoal_world_op_create(world, &options, &op));
    return op;
}

static size_t elements_of(uint32_t i)
{
    return i % 2 ? LARGE : 2 + i;
}

static int start_one(struct member *self, struct flight *flight, uint32_t i)
{
    struct shoal_call call = {.struct_size = sizeof(call),
                              .collective = SHOAL_ALLREDUCE,
                              .dtype = SHOAL_I64,
                              .op = i == OWN ? flight->op : SHOAL_SUM,
                              .count = elements_of(i),
                              .send = i < SENDS ? flight->send : flight->recv[i],
                              .recv = flight->recv[i]};
    if (i < FLIGHT - 1)
        return shoal_world_start(self->world, &call, &flight->requests[i]);
    return shoal_world_start_mean(self->world, flight->weighed, flight->mean, 2, SHOAL_F64,
                                  1 + self->slot, &flight->requests[i]);
}

static int start_all(struct member *self, struct flight *flight)
{
    int64_t mine = (int64_t)(1ull << self->slot);
    int status = SHOAL_OK;
    memset(flight->requests, 0, sizeof(flight->requests));
    for (uint32_t i = 0; i < FLIGHT; i++)
        for (size_t n = 0; n < LARGE; n++)
            flight->recv[i][n] = flight->send[n] = n ? mine : self->shared->stop;
    flight->weighed[0] = flight->weighed[1] = 5;
    for (uint32_t i = 0; i < FLIGHT && status == SHOAL_OK; i++)
        status = start_one(self, flight, i);
    return status;
}

/* Those that came through: sums of the same members, as the operations say that they are. */
static bool all_right(const struct flight *flight)
{
    int64_t mask = flight->recv[0][1];
    for (uint32_t i = 0; i < FLIGHT - 1; i++)
        for (size_t n = 1; n < elements_of(i); n++)
            if (flight->recv[i][n] != mask)
                return false;
    return flight->mean[0] == 5 && flight->mean[1] == 5;
}

/* `backwards`: the last one first, which carries out all before it. The first error is returned. */
static int end_all(struct flight *flight, bool backwards)
{
    int first = SHOAL_OK;
    for (uint32_t i = 0; i < FLIGHT; i++) {
        struct shoal_world_request *request = flight->requests[backwards ? FLIGHT - 1 - i : i];
        int status = request ? shoal_world_request_wait(request, UINT32_MAX) : SHOAL_OK;
        if (status == SHOAL_IN_PROGRESS)
            status = SHOAL_ERR_INTERNAL;
        first = first ? first : status;
    }
    for (uint32_t i = 0; i < FLIGHT; i++)
        shoal_world_request_destroy(flight->requests[i]);
    return first;
}

static int flight_step(struct member *self, struct flight *flight, bool *stop)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int status = shoal_step_begin(self->world, &step), committed = SHOAL_OK;
    if (status != SHOAL_OK)
        return status;
    status = start_all(self, flight);
    bool waits = step.step % 3 != 0; /* or leaves it to the commit */
    if (status == SHOAL_OK && waits)
        status = end_all(flight, step.step % 2);
    if (status == SHOAL_OK)
        committed = shoal_step_commit(self->world, 1);
    if (!waits && status == SHOAL_OK)
        status = end_all(flight, step.step % 2);
    if (status != SHOAL_OK || committed != SHOAL_OK)
        return committed ? committed : status;
    *stop = flight->recv[0][0] > 0;
    members_note(self, step.step + 1, step.position, flight->recv[0][1]);
    return all_right(flight) ? SHOAL_OK : SHOAL_ERR_INTERNAL;
}

/* Between steps each operation is of those who are there. */
static int flight_alone(struct member *self, struct flight *flight, bool *stop)
{
    struct shoal_op_info info = {.struct_size = sizeof(info)};
    int status = start_all(self, flight);
    for (uint32_t i = 0; i < FLIGHT && status == SHOAL_OK; i++) {
        status = shoal_world_request_wait(flight->requests[i], UINT32_MAX);
        if (status == SHOAL_OK)
            status = shoal_world_last(self->world, &info);
        int64_t mask = flight->recv[i][1];
        for (size_t n = 1; n < elements_of(i) && i < FLIGHT - 1; n++)
            if (flight->recv[i][n] != mask)
                return SHOAL_ERR_INTERNAL;
        if (status == SHOAL_OK && i < FLIGHT - 1)
            members_note(self, info.seq, info.epoch, mask);
    }
    *stop = flight->recv[FLIGHT - 2][0] > 0;
    int ended = end_all(flight, false);
    return status ? status : ended;
}

static void fly(struct member *self, int (*once)(struct member *, struct flight *, bool *))
{
    struct flight flight = {.op = make_op(self->world), .send = calloc(LARGE, sizeof(int64_t))};
    bool stop = false;
    int status = SHOAL_OK;
    for (uint32_t i = 0; i < FLIGHT; i++)
        flight.recv[i] = calloc(LARGE, sizeof(int64_t));
    while (status == SHOAL_OK && !stop) {
        status = once(self, &flight, &stop);
        if (status == SHOAL_ERR_STEP_RETRY) {
            self->report->retries++;
            status = SHOAL_OK;
        }
    }
    members_end_with(self, status);
    for (uint32_t i = 0; i < FLIGHT; i++)
        free(flight.recv[i]);
    free(flight.send);
}

static void fly_in_steps(struct member *self)
{
    fly(self, flight_step);
}

static void fly_between_steps(struct member *self)
{
    fly(self, flight_alone);
}

static void flights_survive(const struct members_job *how, bool joins)
{
    struct members_job job = *how;
    const uint32_t left[] = {0, 2, 4};
    uint32_t count = joins ? 3 : 2;
    struct members members;
    job.start = START;
    job.min = 1;
    members_open(&members, &job);
    for (uint32_t i = 0; i < START; i++)
        members_await(&members, i, 10);
    members_kill(&members, 3, SIGKILL);
    members_await(&members, 0, 10);
    if (joins)
        members_start(&members, 4);
    members_kill(&members, 1, SIGKILL);
    members_finish(&members, left, count, 10);
}

static void operations_in_flight_in_steps(void **state)
{
    (void)state;
    flights_survive(&(struct members_job){.settings = shm, .body = fly_in_steps}, true);
    flights_survive(&(struct members_job){.settings = tcp, .body = fly_in_steps}, true);
    flights_survive(
        &(struct members_job){.settings = shm, .mode = SHOAL_STEP_ABORT, .body = fly_in_steps},
        true);
}

static void operations_in_flight_between_steps(void **state)
{
    (void)state;
    flights_survive(&(struct members_job){.settings = shm, .body = fly_between_steps}, false);
    flights_survive(&(struct members_job){.settings = tcp, .body = fly_between_steps}, false);
}

/* One gives every second step up, once, while an operation that it started waits for another one,
 * which computes until it hears of it, or for a while if it began after that. */
static int half_a_step(struct member *self, struct flight *flight, bool *stop)
{
    struct shoal_step step = {.struct_size = sizeof(step)};
    int status = shoal_step_begin(self->world, &step), given_up = SHOAL_OK;
    bool tries = step.step % 2 && flight->tried != step.step;
    double end_s = members_now_s() + 0.3;
    if (status != SHOAL_OK)
        return status;
    flight->tried = step.step;
    while (tries && step.rank && shoal_world_epoch(self->world) == step.epoch &&
           members_now_s() < end_s)
        usleep(200);
    status = start_all(self, flight);
    if (tries && step.rank == 0)
        given_up = shoal_step_abort(self->world);
    int ended = end_all(flight, false);
    status = given_up ? given_up : status ? status : ended;
    if (status == SHOAL_OK)
        status = shoal_step_commit(self->world, 1);
    if (status != SHOAL_OK)
        return status;
    *stop = flight->recv[0][0] > 0;
    members_note(self, step.step + 1, step.position, flight->recv[0][1]);
    return all_right(flight) ? SHOAL_OK : SHOAL_ERR_INTERNAL;
}

static void give_up_in_flight(struct member *self)
{
    fly(self, half_a_step);
}

static void a_step_is_given_up_with_operations_in_flight(void **state)
{
    (void)state;
    struct members_job job = {.start = 2, .min = 1, .settings = tcp, .body = give_up_in_flight};
    const uint32_t all[] = {0, 1};
    struct members members;
    members_open(&members, &job);
    for (uint32_t i = 0; i < 2; i++)
        members_await(&members, i, 5);
    members.shared->stop = 1;
    members_close(&members);
    members_check_ended(&members, all, 2);
    assert_true(members_check_history(&members, all, 2) >= 5);
    assert_true(members.shared->reports[0].retries + members.shared->reports[1].retries >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_operations_in_retained_steps),
        cmocka_unit_test(all_operations_in_aborting_steps),
        cmocka_unit_test(operations_in_flight_in_steps),
        cmocka_unit_test(operations_in_flight_between_steps),
        cmocka_unit_test(a_step_is_given_up_with_operations_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
