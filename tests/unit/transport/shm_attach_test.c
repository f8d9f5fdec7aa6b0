/*
 * How ranks meet: who is tried, what is proved, and that both sides of a pair always come to the
 * same answer, whatever fails on one of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "support/leaks.h"
#include "transport/shm/shm.h"
#include "transport/shm/shm_party.h"
#include "unit/transport/shm_world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct shl_transport_ops *const ops = &shl_transport_shm;

/* What each rank of a forked world found, written by it, read by the test. */
struct findings {
    bool reaches[SHM_WORLD_MAX][SHM_WORLD_MAX];
    bool all_pull[SHM_WORLD_MAX];
    uint64_t took_ns[SHM_WORLD_MAX];
};

struct scenario {
    struct findings *found;
    uint32_t odd;      /* the rank that something happens to */
    unsigned fail_map; /* its k-th mmap fails */
    bool fail_pull;    /* it may not read others' memory */
    bool absent;       /* it never comes */
    bool elsewhere;    /* it is on another host */
};

/* ---- faults in one rank -------------------------------------------------------------------------
 */

static struct shl_sys_mem faulty;
static unsigned maps_until_fault;

static void *failing_map(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    if (maps_until_fault && --maps_until_fault == 0) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return shl_mem_kernel.map(at, bytes, prot, flags, fd, offset);
}

static ssize_t failing_pull(pid_t pid, const struct iovec *local, unsigned long locals,
                            const struct iovec *remote, unsigned long remotes, unsigned long flags)
{
    (void)pid, (void)local, (void)locals, (void)remote, (void)remotes, (void)flags;
    errno = EPERM;
    return -1;
}

static void install(const struct scenario *scenario)
{
    faulty = shl_mem_kernel;
    faulty.map = failing_map;
    if (scenario->fail_pull)
        faulty.vm_readv = failing_pull;
    maps_until_fault = scenario->fail_map;
    shl_mem = &faulty;
}

/* ---- worlds -------------------------------------------------------------------------------------
 */

static enum shoal_status attach(struct shm_world *world, struct shm_rank *self,
                                const struct scenario *scenario)
{
    static uint8_t here[256], there[256];
    const void *blobs[SHM_WORLD_MAX];
    size_t blob_bytes[SHM_WORLD_MAX];
    size_t bytes = ops->describe(self->t, here, sizeof(here));
    MUST(bytes > 3 && ops->describe(self->t, there, 3) == 0);
    memcpy(there, here, bytes);
    there[bytes - 1] ^= 1;
    for (uint32_t i = 0; i < world->size; i++) {
        bool elsewhere = scenario->elsewhere && i == scenario->odd;
        blobs[i] =
            elsewhere != (scenario->elsewhere && self->env.rank == scenario->odd) ? there : here;
        blob_bytes[i] = bytes;
    }
    return ops->attach(self->t, blobs, blob_bytes, shl_now_ns() + world->attach_ms * 1000000u,
                       self->reaches);
}

static int attach_rank(struct shm_world *world, uint32_t rank, void *arg)
{
    const struct scenario *scenario = arg;
    struct shm_rank self;
    if (scenario->absent && rank == scenario->odd)
        return 0;
    uint32_t fds = shl_test_open_fds();
    MUST(shm_rank_prepare(world, &self, rank) == SHOAL_OK);
    if (rank == scenario->odd)
        install(scenario);
    uint64_t start_ns = shl_now_ns();
    MUST(attach(world, &self, scenario) == SHOAL_OK);
    struct findings *found = scenario->found;
    found->took_ns[rank] = shl_now_ns() - start_ns;
    memcpy(found->reaches[rank], self.reaches, sizeof(self.reaches));
    found->all_pull[rank] = self.t->all_pull;
    shl_mem = &shl_mem_kernel;
    for (uint32_t i = 0; i < world->size; i++) {
        char text[256];
        ops->explain(self.t, i, text, sizeof(text));
        MUST(i == rank || strstr(text, "shm: ") == text);
    }
    shm_rank_close(&self);
    MUST(shl_test_open_fds() <= fds); /* the channels were the transport's to close */
    return 0;
}

static struct findings *run(uint32_t size, struct scenario scenario, uint64_t attach_ms)
{
    struct shm_world world;
    scenario.found = mmap(NULL, sizeof(*scenario.found), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(scenario.found, MAP_FAILED);
    shm_world_init(&world, size);
    world.hub = scenario.elsewhere && scenario.odd == 0;
    world.attach_ms = attach_ms;
    unsigned wrong = shm_world_fork(&world, UINT32_MAX, attach_rank, &scenario);
    shm_world_close(&world);
    assert_int_equal(wrong, 0);
    for (uint32_t i = 0; i < size; i++) {
        for (uint32_t j = 0; j < size; j++)
            assert_int_equal(scenario.found->reaches[i][j], scenario.found->reaches[j][i]);
    }
    return scenario.found;
}

static unsigned pairs_of(const struct findings *found, uint32_t size)
{
    unsigned pairs = 0;
    for (uint32_t i = 0; i < size; i++) {
        for (uint32_t j = 0; j < i; j++)
            pairs += found->reaches[i][j];
    }
    return pairs;
}

static void done_with(struct findings *found)
{
    munmap(found, sizeof(*found));
}

static void test_many_ranks(void **s)
{
    (void)s;
    /* More than fit one message of descriptors. */
    struct findings *found = run(70, (struct scenario){.odd = UINT32_MAX}, 50000);
    assert_int_equal(pairs_of(found, 70), 70 * 69 / 2);
    uint64_t longest_ns = 0;
    for (uint32_t i = 0; i < 70; i++)
        longest_ns = found->took_ns[i] > longest_ns ? found->took_ns[i] : longest_ns;
    printf("70 ranks met within %llu ms\n", (unsigned long long)(longest_ns / 1000000));
    done_with(found);
}

static void test_another_host(void **s)
{
    (void)s;
    for (uint32_t odd = 0; odd < 3; odd++) {
        struct findings *found = run(4, (struct scenario){.odd = odd, .elsewhere = true}, 20000);
        assert_int_equal(pairs_of(found, 4), 3);
        done_with(found);
    }
}

static void test_absent_rank(void **s)
{
    (void)s;
    /* It ended, so its end of the channel is closed: nobody waits for the deadline. */
    struct findings *found = run(4, (struct scenario){.odd = 2, .absent = true}, 40000);
    assert_int_equal(pairs_of(found, 4), 3);
    assert_true(found->took_ns[0] < 20000000000u);
    done_with(found);
    found = run(4, (struct scenario){.odd = 0, .absent = true}, 40000);
    assert_int_equal(pairs_of(found, 4), 0);
    done_with(found);
}

static void test_every_mapping_fails_once(void **s)
{
    (void)s;
    for (uint32_t odd = 0; odd < 3; odd++) {
        bool fired = true;
        for (unsigned k = 1; fired && k < 50; k++) {
            struct findings *found = run(4, (struct scenario){.odd = odd, .fail_map = k}, 20000);
            unsigned pairs = pairs_of(found, 4);
            /* Its own memory: it is alone. A peer's: that pair is not connected. */
            assert_true(pairs == 3 || pairs == 5 || pairs == 6);
            fired = pairs < 6;
            assert_true(k > 1 || fired);
            done_with(found);
        }
        assert_false(fired);
    }
}

static void test_pulls_are_agreed(void **s)
{
    (void)s;
    struct findings *found = run(3, (struct scenario){.odd = 1, .fail_pull = true}, 20000);
    assert_int_equal(pairs_of(found, 3), 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_false(found->all_pull[i]);
    done_with(found);
}

/* ---- a rank that passes what it should not ------------------------------------------------------
 */

enum trick {
    PIPE_AS_BELL,
    BLOCKING_BELL,
    UNSEALED_AREA,
    SMALL_AREA,
    DEVICE_AS_HEAP,
    WRONG_NONCE,
    GARBAGE_REPORT,
    TRICKS
};

static int sealed_memfd(off_t bytes, bool seal)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    MUST(fd >= 0 && ftruncate(fd, bytes) == 0);
    MUST(!seal || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    return fd;
}

static int make_bell(enum trick trick)
{
    int pipes[2];
    if (trick == PIPE_AS_BELL) {
        MUST(pipe2(pipes, O_NONBLOCK | O_CLOEXEC) == 0);
        close(pipes[0]);
        return pipes[1];
    }
    return eventfd(0, trick == BLOCKING_BELL ? EFD_CLOEXEC : EFD_CLOEXEC | EFD_NONBLOCK);
}

static int make_heap(enum trick trick)
{
    return trick == DEVICE_AS_HEAP ? open("/dev/zero", O_RDWR | O_CLOEXEC)
                                   : sealed_memfd(1 << 20, true);
}

/* Speaks the party's protocol by itself. */
static int play_trick(struct shm_world *world, enum trick trick)
{
    struct shl_transport_env env = {.rank = 1, .size = world->size};
    uint32_t ranks[] = {0, 1, 2};
    struct shl_shm_party *party;
    uint64_t deadline_ns = shl_now_ns() + 10ull * 1000000000u;
    off_t area_bytes = trick == SMALL_AREA ? 4096 : (off_t)shl_shm_area_bytes(3);
    int fds[SHL_SHM_FDS] = {[SHL_SHM_FD_HEAP] = make_heap(trick),
                            [SHL_SHM_FD_AREA] = sealed_memfd(area_bytes, trick != UNSEALED_AREA),
                            [SHL_SHM_FD_BELL] = make_bell(trick)};
    struct shl_shm_card card = {.present = true, .pid = 1, .nonce = 77};
    struct shl_shm_header header = {.magic = SHL_SHM_MAGIC,
                                    .nonce = trick == WRONG_NONCE ? 76 : 77};
    MUST(pwrite(fds[SHL_SHM_FD_AREA], &header, sizeof(header), 0) > 0);
    MUST(shl_shm_party_create(&env, ranks, 3, 1, deadline_ns, &party) == SHOAL_OK);
    MUST(shl_shm_party_gather(party, &card, fds, deadline_ns) == SHOAL_OK);
    uint8_t all = 7, verdict = 0xff;
    bool all_pull = true;
    if (trick == GARBAGE_REPORT)
        party->count = 4000; /* a report of another size */
    enum shoal_status status =
        trick == GARBAGE_REPORT
            ? SHOAL_OK
            : shl_shm_party_agree(party, &all, &all, deadline_ns, &verdict, &all_pull);
    MUST(trick == GARBAGE_REPORT || (status == SHOAL_OK && verdict == 0));
    party->count = 3;
    shl_shm_party_destroy(party);
    return 0;
}

struct tricky {
    enum trick trick;
    struct findings *found;
};

static int tricky_rank(struct shm_world *world, uint32_t rank, void *arg)
{
    struct tricky *tricky = arg;
    if (rank == 1)
        return play_trick(world, tricky->trick);
    struct shm_rank self;
    MUST(shm_rank_open(world, &self, rank) == SHOAL_OK);
    memcpy(tricky->found->reaches[rank], self.reaches, sizeof(self.reaches));
    shm_rank_close(&self);
    return 0;
}

static void test_tricks(void **s)
{
    (void)s;
    for (enum trick trick = 0; trick < TRICKS; trick++) {
        struct shm_world world;
        struct tricky tricky = {.trick = trick};
        tricky.found = mmap(NULL, sizeof(*tricky.found), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(tricky.found, MAP_FAILED);
        shm_world_init(&world, 3);
        assert_int_equal(shm_world_fork(&world, UINT32_MAX, tricky_rank, &tricky), 0);
        shm_world_close(&world);
        assert_true(tricky.found->reaches[0][2] && tricky.found->reaches[2][0]);
        assert_false(tricky.found->reaches[0][1] || tricky.found->reaches[2][1]);
        done_with(tricky.found);
    }
}

static void test_alone_and_twice(void **s)
{
    (void)s;
    struct shm_world world;
    struct shm_rank self;
    shm_world_init(&world, 1);
    assert_int_equal(shm_rank_open(&world, &self, 0), SHOAL_OK);
    assert_false(self.reaches[0]);
    assert_int_equal(ops->poll(self.t), 0);
    assert_true(ops->arm(self.t, true));
    assert_true(ops->arm(self.t, false));
    ops->cancel(self.t, 7, 1);
    uint64_t name;
    assert_int_equal(shl_group_reserve(self.t, &name), SHOAL_ERR_UNSUPPORTED);
    assert_int_equal(shm_rank_attach(&world, &self), SHOAL_ERR_BUSY);
    shm_rank_close(&self);
    shm_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_ranks),       cmocka_unit_test(test_another_host),
        cmocka_unit_test(test_absent_rank),      cmocka_unit_test(test_every_mapping_fails_once),
        cmocka_unit_test(test_pulls_are_agreed), cmocka_unit_test(test_tricks),
        cmocka_unit_test(test_alone_and_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
