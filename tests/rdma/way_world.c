/*
 * See way_world.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/way_world.h"

#include "core/sys.h"

#include <string.h>

struct way_kernel kernel = {.gate = PTHREAD_MUTEX_INITIALIZER};
struct world *world;
static const struct ibv_context *contexts[WORLD_RANKS_MAX][RAILS]; /* of all ranks that are open */

/* The rail of a pair; RAILS: of a rank that is still to be open. */
static uint32_t rail_of(const struct ibv_qp *qp, uint32_t *rank)
{
    for (*rank = 0; *rank < WORLD_RANKS_MAX; ++*rank)
        for (uint32_t rail = 0; rail < RAILS; rail++)
            if (contexts[*rank][rail] == qp->context)
                return rail;
    return RAILS;
}

static int connect_in_time(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    uint32_t rank, rail = rail_of(qp, &rank);
    if (attr->qp_state != IBV_QPS_RTR || pthread_equal(pthread_self(), kernel.tester) ||
        rail == RAILS)
        return verbs->modify_qp(qp, attr, mask);
    uint32_t number = kernel.asked[rank]++;
    if (kernel.held >> rail & 1 && number >= kernel.unheld) {
        kernel.begun += rank == 0;
        pthread_mutex_lock(&kernel.gate);
        pthread_mutex_unlock(&kernel.gate);
    }
    return kernel.errors[rail] ? kernel.errors[rail] : verbs->modify_qp(qp, attr, mask);
}

static int post_in_vain(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    uint32_t rank, rail = rail_of(qp, &rank);
    if (kernel.dead >> rail & 1) {
        kernel.written += chain->num_sge > 0;
        break_pair(qp);
    }
    return verbs->post_send(qp, chain, bad);
}

static struct shl_verbs_sys table;

void open_ranks(uint32_t size)
{
    table = *shl_verbs;
    table.modify_qp = connect_in_time;
    table.post_send = post_in_vain;
    shl_verbs = &table;
    kernel.tester = pthread_self();
    kernel.held = kernel.dead = 0;
    kernel.begun = kernel.written = 0;
    kernel.unheld = 0;
    for (uint32_t rank = 0; rank < WORLD_RANKS_MAX; rank++)
        kernel.asked[rank] = 0;
    memset(kernel.errors, 0, sizeof(kernel.errors));
    memset(contexts, 0, sizeof(contexts));
    world = world_open(&adapter, size, 1);
    for (uint32_t rank = 0; rank < size; rank++) {
        world->ranks[rank].t->register_bytes = 64 * KIB;
        for (uint32_t rail = 0; rail < RAILS; rail++)
            contexts[rank][rail] = world->ranks[rank].t->rails[rail].context;
    }
}

void exchange(uint32_t a, uint32_t b, uint64_t seq)
{
    const struct message_plan there = {.from = a, .to = b, .seq = seq, .bytes = 40000};
    const struct message_plan back = {.from = b, .to = a, .seq = seq, .msg = 1, .bytes = 100};
    message_exchange(world, &there);
    message_exchange(world, &back);
}

bool is_connected(void *arg)
{
    uint32_t peer = *(uint32_t *)arg;
    const struct shl_verbs_link *a = link_of(world, 0, peer), *b = link_of(world, peer, 0);
    return a->rail < RAILS && b->rail < RAILS && a->direct.up && b->direct.up;
}

bool has_all_rails(void *arg)
{
    uint32_t peer = *(uint32_t *)arg;
    return is_connected(arg) &&
           shl_verbs_direct_lanes(&link_of(world, 0, peer)->direct) == RAILS * qps;
}
