/*
 * What is done beside an operation is done before anything is written into the operation's buffers:
 * elastic worlds keep an input then that the result will overwrite.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/comm.h"
#include "multiproc/ranks.h"
#include "support/test.h"

#include <time.h>

#define COUNT (256u << 10)
#define MS 1000000ull
#define SECOND (1000 * MS)

struct witness {
    const int32_t *buffer;
    int32_t expected;
    bool slow; /* the others have all the time to write, if anything lets them */
    uint32_t times, written;
};

static void look(void *arg)
{
    struct witness *witness = arg;
    witness->times++;
    for (int i = 0; i < (witness->slow ? 50 : 1); i++) {
        for (uint32_t k = 0; k < COUNT; k++)
            witness->written += ((volatile const int32_t *)witness->buffer)[k] != witness->expected;
        if (witness->slow)
            nanosleep(&(struct timespec){.tv_nsec = MS}, NULL);
    }
}

static void ignore(void *arg)
{
    (void)arg;
}

static void sum_in_place(struct rank *self)
{
    void *memory = NULL;
    int status = shoal_mem_alloc(self->context, COUNT * sizeof(int32_t), &memory);
    int32_t *buffer = memory;
    struct witness witness = {
        .buffer = buffer, .expected = (int32_t)self->rank + 1, .slow = self->rank == 1};
    const struct shl_beside beside = {&witness, look, ignore};
    for (int round = 0; status == SHOAL_OK && round < 3; round++) {
        for (uint32_t k = 0; k < COUNT; k++)
            buffer[k] = witness.expected;
        struct shoal_call call = {.struct_size = sizeof(call),
                                  .collective = SHOAL_ALLREDUCE,
                                  .dtype = SHOAL_I32,
                                  .op = SHOAL_SUM,
                                  .count = COUNT,
                                  .send = buffer,
                                  .recv = buffer};
        status = shl_request_run_beside(self->comm, &call, &beside, 30 * SECOND);
        for (uint32_t k = 0; status == SHOAL_OK && k < COUNT; k++)
            if (buffer[k] != 6)
                status = SHOAL_ERR_INTERNAL;
    }
    if (memory)
        shoal_mem_free(self->context, memory);
    self->report->number = witness.written;
    self->report->stage = (int)witness.times;
    ranks_tell(self, status);
}

static void nothing_is_written_before(void **state)
{
    (void)state;
    const char *const *transports[] = {(const char *const[]){"SHOAL_TRANSPORT=shm", NULL},
                                       (const char *const[]){"SHOAL_TRANSPORT=tcp", NULL}};
    for (int i = 0; i < 2; i++) {
        struct ranks_job job = {.size = 3, .settings = transports[i], .body = sum_in_place};
        struct rank_report *reports = ranks_run(&job);
        for (uint32_t r = 0; r < job.size; r++) {
            if (reports[r].status != SHOAL_OK)
                fail_msg("rank %u: %s", r, reports[r].text);
            assert_int_equal(reports[r].number, 0);
            assert_int_equal(reports[r].stage, 3);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_written_before)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
