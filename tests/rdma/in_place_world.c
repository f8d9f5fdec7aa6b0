/*
 * Two ranks over verbs whose state is looked into, messages between given buffers, and hooks on the
 * table of verbs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rdma/in_place_world.h"

#include "support/verbs_soft.h"

#include <errno.h>
#include <unistd.h>

const struct shl_verbs_sys *verbs;
struct shl_memory *memories[WORLD_RANKS_MAX];
struct seen seen;
bool real, ports_can_flap;
struct shl_config configs[WORLD_RANKS_MAX];
void (*adjust)(void);
void (*adjust_world)(struct world *world);
uint32_t qps = 1;

static enum shoal_status prepare(struct world *world)
{
    static const char *const settings[] = {NULL};
    SHL_TRY(control_world_prepare(world, &shl_transport_verbs, settings));
    for (uint32_t i = 0; i < world->size; i++) {
        SHL_TRY(shl_memory_create(&memories[i]));
        world->ranks[i].env.memory = memories[i];
        configs[i] = *world->ranks[i].env.config; /* its texts belong to the world */
        configs[i].ib_qps = qps;
        world->ranks[i].env.config = &configs[i];
    }
    if (adjust)
        adjust();
    if (adjust_world)
        adjust_world(world);
    return SHOAL_OK;
}

static void cleanup(struct world *world)
{
    for (uint32_t i = 0; i < world->size; i++)
        shl_memory_destroy(memories[i]);
    CHECK(world, real || verbs_soft_objects() == 0);
    control_world_cleanup(world);
}

const struct conformance_adapter adapter = {
    .name = "verbs in place",
    .seeds = 1,
    .attach_blocks = true,
    .no_sweep = true,
    .prepare = prepare,
    .meet = control_world_meet,
    .idle = control_world_idle,
    .cleanup = cleanup,
};

/* ---- what the transport asks of verbs ------------------------------------------------------ */

static struct ibv_mr *note_register(struct ibv_pd *pd, void *memory, size_t bytes, int access)
{
    errno = ENOMEM;
    if (pd == seen.refused)
        return NULL;
    seen.registered++;
    return verbs->reg_mr(pd, memory, bytes, access);
}

static struct ibv_mr *note_optional(struct ibv_pd *pd, void *memory, size_t bytes, uint64_t iova,
                                    unsigned access)
{
    errno = seen.no_relaxed ? EOPNOTSUPP : ENOMEM;
    if (seen.no_relaxed || pd == seen.refused)
        return NULL;
    seen.registered++;
    seen.relaxed += (access & IBV_ACCESS_RELAXED_ORDERING) != 0;
    return verbs->reg_mr_iova2(pd, memory, bytes, iova, access);
}

static struct ibv_mr *note_dmabuf(struct ibv_pd *pd, uint64_t offset, size_t bytes, uint64_t iova,
                                  int fd, int access)
{
    errno = EOPNOTSUPP;
    if (seen.no_dmabuf || pd == seen.refused)
        return NULL;
    struct ibv_mr *mr = verbs->reg_dmabuf_mr(pd, offset, bytes, iova, fd, access);
    seen.dmabuf_offset = offset;
    seen.dmabuf_error = mr ? 0 : errno;
    seen.dmabufs += mr != NULL;
    seen.registered += mr != NULL;
    return mr;
}

static int note_deregister(struct ibv_mr *mr)
{
    seen.deregistered++;
    return verbs->dereg_mr(mr);
}

static int hold_or_post(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    if (qp != seen.held || chain->num_sge == 0) /* what only asks for a completion */
        return verbs->post_send(qp, chain, bad);
    for (; chain; chain = chain->next) {
        assert_true(seen.late_count < PIECES_MAX);
        unsigned at = seen.late_count++;
        seen.late[at] = *chain;
        seen.late_pieces[at] = *chain->sg_list;
        seen.late[at].sg_list = &seen.late_pieces[at];
        seen.late[at].next = NULL;
    }
    return 0;
}

static struct shl_verbs_sys hooked;

int set_up(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    adjust = NULL;
    adjust_world = NULL;
    hooked = *verbs;
    hooked.reg_mr = note_register;
    hooked.reg_mr_iova2 = note_optional;
    hooked.reg_dmabuf_mr = note_dmabuf;
    hooked.dereg_mr = note_deregister;
    hooked.post_send = hold_or_post;
    shl_verbs = &hooked;
    return 0;
}

struct shl_verbs_link *link_of(struct world *world, uint32_t rank, uint32_t peer)
{
    return world->ranks[rank].t->links[peer];
}

/* ---- messages between given buffers -------------------------------------------------------- */

uint8_t byte_of(const struct parcel *parcel, uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) + parcel->message.send.tag.msg * 13 + 1);
}

void parcel_post(struct world *world, uint32_t msg, struct parcel *parcel)
{
    struct message_plan plan = {.from = 0, .to = 1, .seq = 1, .msg = msg, .bytes = parcel->bytes};
    message_make(world, &plan, &parcel->message);
    if (parcel->from)
        parcel->message.send.data = parcel->from;
    if (parcel->to)
        parcel->message.recv.data = parcel->to;
    for (uint64_t i = 0; i < parcel->bytes; i++)
        ((uint8_t *)parcel->message.send.data)[i] = byte_of(parcel, i);
    if (parcel->bytes > 0) /* an empty message has no memory */
        memset(parcel->message.recv.data, 0, parcel->bytes);
    message_post_recv(&parcel->message);
    message_post_send(&parcel->message);
}

void parcel_check(struct world *world, struct parcel *parcel)
{
    const struct message *message = &parcel->message;
    const uint8_t *got = message->recv.data;
    CHECK(world, message->send_done == 1 && message->send.status == SHOAL_OK);
    CHECK(world, message->recv_done == 1 && message->recv.status == SHOAL_OK);
    for (uint64_t i = 0; i < parcel->bytes; i++)
        CHECK(world, got[i] == byte_of(parcel, i));
    message_free(&parcel->message);
}

void parcel_move(struct world *world, uint32_t msg, struct parcel *parcel)
{
    parcel_post(world, msg, parcel);
    world_run(world, message_done, &parcel->message);
    parcel_check(world, parcel);
}

/* ---- states and faults --------------------------------------------------------------------- */

/* Both ends have a pair of that life. */
bool has_begun(void *arg)
{
    const struct life *life = arg;
    const struct shl_verbs_link *a = link_of(life->world, 0, 1), *b = link_of(life->world, 1, 0);
    return a->direct.life == life->count && a->direct.up && b->direct.life == life->count &&
           b->direct.up;
}

bool link_is_lost(void *arg)
{
    const struct shl_verbs_link *link = arg;
    return link->state == SHL_VERBS_LOST;
}

void break_pair(struct ibv_qp *qp)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    assert_int_equal(verbs->modify_qp(qp, &attr, IBV_QP_STATE), 0);
}

void hold_retries(struct world *world)
{
    for (uint32_t rank = 0; rank < 2; rank++) {
        struct shl_verbs_move *move = &link_of(world, rank, 1 - rank)->move;
        move->retry_ns = UINT64_MAX / 2;
        move->pause_ns = UINT64_MAX / 2; /* nor at once */
    }
}

uint32_t first_rail(const struct shl_verbs_link *link)
{
    uint32_t rail = 0;
    while (!link->direct.lanes[rail].qp)
        rail++;
    return rail;
}

bool nobody_is_lost(const struct world *world)
{
    return world->ranks[0].lost_calls[1] == 0 && world->ranks[1].lost_calls[0] == 0;
}

void begin(void)
{
    const char *wanted = getenv("SHOAL_TEST_QPS"), *connect = getenv("SHOAL_IB_CONNECT");
    real = getenv("SHOAL_TEST_GUEST") != NULL;
    ports_can_flap = real && !(connect && strcmp(connect, "rdma_cm") == 0) &&
                     access("/sys/class/net/v0", F_OK) == 0;
    qps = wanted ? (uint32_t)atoi(wanted) : 1;
    if (!real)
        verbs_soft_install(RAILS);
    assert_int_equal(shl_verbs_load(), SHOAL_OK);
    verbs = shl_verbs;
}
