/*
 * Worlds of the shared-memory transport: see shm_world.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit/transport/shm_world.h"

#include "core/sys.h"
#include "transport/shm/shm_party.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ATTACH_MS 20000
#define BLOB_BYTES 256

static struct shm_world *the_world;

/* ---- channels --------------------------------------------------------------------------- */

/* The link of a channel is the place of its descriptor. */
static enum shoal_status request(const struct shl_transport_env *env, uint32_t peer,
                                 uint64_t deadline_ns, void **link)
{
    (void)deadline_ns;
    *link =
        env->rank == the_world->hub ? &the_world->pairs[peer][0] : &the_world->pairs[env->rank][1];
    return SHOAL_OK;
}

static enum shoal_status await(void *link, int *fd)
{
    int *place = link;
    if (*place < 0)
        return shl_fail(SHOAL_ERR_PEER, "that rank does not come");
    *fd = *place;
    *place = -1;
    return SHOAL_OK;
}

static const struct shl_shm_links pair_links = {.request = request, .await = await};

static void make_pairs(struct shm_world *world)
{
    for (uint32_t i = 0; i < world->size; i++)
        assert_int_equal(
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, world->pairs[i]), 0);
}

static void close_pairs(struct shm_world *world)
{
    for (uint32_t i = 0; i < SHM_WORLD_MAX; i++) {
        for (int side = 0; side < 2; side++) {
            if (world->pairs[i][side] >= 0)
                close(world->pairs[i][side]);
            world->pairs[i][side] = -1;
        }
    }
}

void shm_world_init(struct shm_world *world, uint32_t size)
{
    memset(world, 0, sizeof(*world));
    memset(world->pairs, -1, sizeof(world->pairs));
    world->size = size;
    world->attach_ms = ATTACH_MS;
    make_pairs(world);
    the_world = world;
    shl_shm_links = &pair_links;
}

void shm_world_close(struct shm_world *world)
{
    close_pairs(world);
    shl_shm_links = &shl_shm_links_control;
}

/* ---- one rank --------------------------------------------------------------------------- */

static bool wanted(void *arg, const struct shl_tag *tag)
{
    const struct shm_rank *self = arg;
    return tag->seq >= self->ended_seq;
}

static void seen(void *arg, uint32_t peer, const struct shl_tag *tag,
                 const struct shl_signature *signature)
{
    struct shm_rank *self = arg;
    (void)peer;
    self->seen++;
    self->seen_tag = *tag;
    self->seen_signature = *signature;
}

static void lost(void *arg, uint32_t peer, enum shoal_status status, const char *cause)
{
    struct shm_rank *self = arg;
    (void)status;
    self->lost++;
    self->lost_peer = peer;
    snprintf(self->lost_cause, sizeof(self->lost_cause), "%s", cause);
}

enum shoal_status shm_rank_prepare(struct shm_world *world, struct shm_rank *self, uint32_t rank)
{
    memset(self, 0, sizeof(*self));
    self->config.shm_copy = world->copy;
    self->config.nt_bytes = world->nt_bytes;
    SHL_TRY(shl_heap_create(&self->heap));
    self->env = (struct shl_transport_env){
        .arg = self,
        .config = &self->config,
        .rank = rank,
        .size = world->size,
        .epoch = 1,
        .incarnation = 77,
        .heap = self->heap,
        .wanted = wanted,
        .seen = seen,
        .lost = lost,
    };
    return shl_transport_shm.open(&self->env, &self->t);
}

enum shoal_status shm_rank_attach(struct shm_world *world, struct shm_rank *self)
{
    /* All ranks are on this host, so they describe themselves alike. */
    static _Thread_local uint8_t blob[BLOB_BYTES];
    const void *blobs[SHM_WORLD_MAX];
    size_t blob_bytes[SHM_WORLD_MAX];
    size_t bytes = shl_transport_shm.describe(self->t, blob, sizeof(blob));
    for (uint32_t i = 0; i < world->size; i++) {
        blobs[i] = blob;
        blob_bytes[i] = bytes;
    }
    uint64_t deadline_ns = shl_now_ns() + world->attach_ms * 1000000u;
    return shl_transport_shm.attach(self->t, blobs, blob_bytes, deadline_ns, self->reaches);
}

enum shoal_status shm_rank_open(struct shm_world *world, struct shm_rank *self, uint32_t rank)
{
    SHL_TRY(shm_rank_prepare(world, self, rank));
    return shm_rank_attach(world, self);
}

void shm_rank_close(struct shm_rank *self)
{
    shl_transport_shm.close(self->t);
    shl_heap_destroy(self->heap);
    self->t = NULL;
    self->heap = NULL;
}

/* ---- all in this process ---------------------------------------------------------------- */

struct opener {
    pthread_t thread;
    struct shm_world *world;
    struct shm_rank *self;
    uint32_t rank;
    enum shoal_status status;
};

static void *open_rank(void *arg)
{
    struct opener *opener = arg;
    opener->status = shm_rank_open(opener->world, opener->self, opener->rank);
    return NULL;
}

struct shm_rank *shm_world_open_here(struct shm_world *world)
{
    struct opener openers[SHM_WORLD_MAX];
    struct shm_rank *ranks = calloc(world->size, sizeof(*ranks));
    assert_non_null(ranks);
    for (uint32_t i = 0; i < world->size; i++) {
        openers[i] = (struct opener){.world = world, .self = &ranks[i], .rank = i};
        assert_int_equal(pthread_create(&openers[i].thread, NULL, open_rank, &openers[i]), 0);
    }
    for (uint32_t i = 0; i < world->size; i++)
        pthread_join(openers[i].thread, NULL);
    for (uint32_t i = 0; i < world->size; i++) {
        assert_int_equal(openers[i].status, SHOAL_OK);
        for (uint32_t j = 0; j < world->size; j++)
            assert_int_equal(ranks[i].reaches[j], i != j);
    }
    return ranks;
}

void shm_world_close_here(struct shm_world *world, struct shm_rank *ranks)
{
    for (uint32_t i = 0; i < world->size; i++)
        shm_rank_close(&ranks[i]);
    free(ranks);
    shm_world_close(world);
}

/* ---- one process a rank ----------------------------------------------------------------- */

/* Keeps only its own ends of the channels, so that a death closes them. */
static void run_child(struct shm_world *world, uint32_t rank, shm_body body, void *arg)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (uint32_t i = 0; i < world->size; i++) {
        if (rank != world->hub) {
            close(world->pairs[i][0]);
            world->pairs[i][0] = -1;
        }
        if (rank != i) {
            close(world->pairs[i][1]);
            world->pairs[i][1] = -1;
        }
    }
    _exit(body(world, rank, arg));
}

unsigned shm_world_fork(struct shm_world *world, uint32_t killed, shm_body body, void *arg)
{
    pid_t pids[SHM_WORLD_MAX];
    fflush(NULL);
    for (uint32_t i = 0; i < world->size; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            run_child(world, i, body, arg);
    }
    close_pairs(world);
    unsigned wrong = 0;
    for (uint32_t i = 0; i < world->size; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        bool right = i == killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                 : WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (!right)
            fprintf(stderr, "rank %u of %u ended with wait status 0x%x\n", i, world->size,
                    (unsigned)status);
        wrong += !right;
    }
    return wrong;
}

static void nothing(struct shl_xfer *xfer)
{
    (void)xfer;
}

void shm_xfer_init(struct shl_xfer *xfer, uint32_t peer, uint64_t seq, uint32_t msg, void *data,
                   uint64_t bytes)
{
    memset(xfer, 0, sizeof(*xfer));
    xfer->peer = peer;
    xfer->tag = (struct shl_tag){.seq = seq, .comm = 7, .msg = msg};
    xfer->signature = (struct shl_signature){.count = bytes, .call = 0x801};
    xfer->data = data;
    xfer->bytes = bytes;
    xfer->elem_bytes = 1;
    xfer->done = nothing;
}
