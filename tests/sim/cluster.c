/*
 * Clusters of virtual ranks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/cluster.h"

#include "core/log.h"

#define EPOCH 1
#define OP_TIMEOUT_MS 2000
#define BLOB_BYTES 64
#define SILENT_STEP_NS (5 * MILLI)
#define LOOK_EVERY_NS MILLI

/* In front of each mail on the network. */
struct mail_header {
    uint32_t origin, number;
    uint32_t type, bytes;
};

void cluster_fail(const struct cluster *cluster, const char *what, const char *file, int line)
{
    print_error("seed %llu, %u ranks, %llu us: %s\n", (unsigned long long)cluster->seed,
                cluster->size, (unsigned long long)(cluster_now_ns(cluster) / MICRO), what);
    _fail(file, line);
}

uint64_t cluster_now_ns(const struct cluster *cluster)
{
    return shl_sim_network_now_ns(cluster->network);
}

uint64_t cluster_random(struct cluster *cluster, uint64_t bound)
{
    cluster->random_state = cluster->random_state * 6364136223846793005u + 1442695040888963407u;
    return (cluster->random_state >> 33) % bound;
}

/* ---- mail ----------------------------------------------------------------------------------- */

static enum shoal_status flood(void *arg, uint16_t type, const void *payload, size_t bytes)
{
    struct member *from = arg;
    struct cluster *cluster = from->cluster;
    struct mail_header header = {from->rank, from->mails++, type, (uint32_t)bytes};
    CHECK(cluster, header.number < CLUSTER_MAIL_MAX);
    for (uint32_t i = 0; i < cluster->size; i++) {
        if (i != from->rank)
            SHL_TRY(shl_sim_port_send(from->port, i, shl_sim_port_id(cluster->members[i].port),
                                      &header, sizeof(header), payload, bytes));
    }
    shl_engine_mail(from->engine, from->rank, type, payload, bytes);
    return SHOAL_OK;
}

/* True the first time that a mail comes. */
static bool hear(struct member *member, const struct mail_header *header)
{
    uint8_t *byte = &member->heard[header->origin][header->number / 8];
    uint8_t bit = (uint8_t)(1u << header->number % 8);
    bool first = !(*byte & bit);
    *byte |= bit;
    return first;
}

static unsigned read_mail(struct member *member)
{
    unsigned count = 0;
    struct shl_sim_packet *packet;
    while ((packet = shl_sim_port_receive(member->port)) != NULL) {
        struct mail_header header;
        count++;
        if (packet->kind == SHL_SIM_DATA) { /* a reset is told by the transport */
            memcpy(&header, packet->data, sizeof(header));
            if (hear(member, &header))
                shl_engine_mail(member->engine, header.origin, (uint16_t)header.type,
                                packet->data + sizeof(header), header.bytes);
        }
        shl_sim_packet_release(member->cluster->network, packet);
    }
    return count;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static enum shoal_status load_config(struct cluster *cluster, const struct cluster_options *options)
{
    char setting[256];
    const char *settings[] = {setting};
    char *no_environment[] = {NULL};
    snprintf(setting, sizeof(setting), "SHOAL_ALGORITHM=%s",
             options->algorithm == NULL ? "" : options->algorithm);
    struct shl_config_options from = {
        .settings = settings, .setting_count = 1, .environment = no_environment};
    return shl_config_load(&from, &cluster->config);
}

static enum shoal_status make_network(struct cluster *cluster,
                                      const struct cluster_options *options)
{
    struct shl_sim_options network = {
        .seed = options->seed,
        .nodes = options->size,
        .link = {.delay_min_ns = 5 * MICRO, .delay_max_ns = 8 * MICRO},
        .retransmit_ns = 2 * MILLI,
        .bytes_per_second = options->bytes_per_second,
    };
    if (options->bad_network) {
        network.link.delay_max_ns = 300 * MICRO;
        network.link.loss_ppm = 20000;
        network.link.duplicate_ppm = 20000;
    }
    SHL_TRY(shl_sim_network_create(&network, &cluster->network));
    shl_sim_transport_place(cluster->network, SHL_SIM_NODE_OF_RANK);
    shl_sim_clock_install(cluster->network);
    return SHOAL_OK;
}

static enum shoal_status open_member(struct cluster *cluster, uint32_t rank)
{
    struct member *member = &cluster->members[rank];
    member->cluster = cluster;
    member->rank = rank;
    struct shl_engine_options options = {
        .config = &cluster->config,
        .bus = {member, flood},
        .rank = rank,
        .size = cluster->size,
        .local_ranks = 1,
        .cores = 1,
        .threadless = true,
    };
    SHL_TRY(shl_sim_port_open(cluster->network, rank, &member->port));
    SHL_TRY(shl_engine_create(&options, &member->engine));
    return cluster->size > 1 ? shl_engine_open(member->engine, &shl_transport_sim) : SHOAL_OK;
}

static enum shoal_status attach_members(struct cluster *cluster)
{
    uint8_t blobs[CLUSTER_RANKS_MAX][BLOB_BYTES];
    const void *blob_of[CLUSTER_RANKS_MAX];
    size_t bytes[CLUSTER_RANKS_MAX];
    for (uint32_t i = 0; i < cluster->size; i++) {
        struct shl_engine_transport *slot = &cluster->members[i].engine->transports[0];
        blob_of[i] = blobs[i];
        bytes[i] = slot->ops->describe(slot->t, blobs[i], BLOB_BYTES);
    }
    for (uint32_t i = 0; i < cluster->size; i++)
        SHL_TRY(shl_engine_attach(cluster->members[i].engine, EPOCH, cluster->seed, 0, blob_of,
                                  bytes, UINT64_MAX));
    return SHOAL_OK;
}

static enum shoal_status form(struct cluster *cluster, const uint32_t *host_of)
{
    uint32_t members[CLUSTER_RANKS_MAX];
    enum shoal_status status = SHOAL_OK;
    for (uint32_t i = 0; i < cluster->size; i++)
        members[i] = i;
    for (uint32_t i = 0; i < cluster->size && status == SHOAL_OK; i++) {
        struct member *member = &cluster->members[i];
        struct shl_comm_options options = {.id = 1,
                                           .members = members,
                                           .size = cluster->size,
                                           .rank = i,
                                           .op_timeout_ms = OP_TIMEOUT_MS};
        shl_token_take(member->engine);
        status = shl_comm_create(member->engine, &options, &member->comm);
        if (status == SHOAL_OK && host_of != NULL)
            shl_comm_set_hosts(member->comm, host_of);
        shl_token_give(member->engine);
    }
    return status;
}

static enum shoal_status build(struct cluster *cluster, const struct cluster_options *options)
{
    SHL_TRY(load_config(cluster, options));
    SHL_TRY(make_network(cluster, options));
    for (uint32_t i = 0; i < cluster->size; i++)
        SHL_TRY(open_member(cluster, i));
    if (cluster->size > 1)
        SHL_TRY(attach_members(cluster));
    for (uint32_t i = 0; i < cluster->size; i++)
        SHL_TRY(shl_engine_start(cluster->members[i].engine));
    return form(cluster, options->host_of);
}

enum shoal_status cluster_create(const struct cluster_options *options, struct cluster **cluster)
{
    assert_in_range(options->size, 1, CLUSTER_RANKS_MAX);
    struct cluster *made = calloc(1, sizeof(*made));
    assert_non_null(made);
    made->seed = made->random_state = options->seed;
    made->size = options->size;
    shl_log_configure(SHL_LOG_OFF, NULL); /* losses and long waits are what tests are about */
    enum shoal_status status = build(made, options);
    if (status < 0)
        cluster_close(made);
    else
        *cluster = made;
    return status;
}

struct cluster *cluster_open(const struct cluster_options *options)
{
    struct cluster *cluster = NULL;
    if (cluster_create(options, &cluster) != SHOAL_OK)
        fail_msg("a cluster of %u ranks: %s", options->size, shl_error_text());
    return cluster;
}

static void close_member(struct member *member)
{
    if (member->comm != NULL) {
        shl_token_take(member->engine);
        shl_comm_free(member->comm);
        shl_token_give(member->engine);
    }
    shl_engine_destroy(member->engine);
    shl_sim_port_close(member->port);
}

void cluster_close(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->size; i++)
        close_member(&cluster->members[i]);
    if (cluster->network != NULL)
        shl_sim_clock_remove();
    shl_sim_transport_place(NULL, SHL_SIM_NODE_OF_RANK);
    shl_sim_network_destroy(cluster->network);
    shl_config_free(&cluster->config);
    free(cluster);
}

/* ---- running -------------------------------------------------------------------------------- */

static unsigned poll_member(struct member *member)
{
    if (member->crashed)
        return 0;
    unsigned happened = read_mail(member);
    shl_token_take(member->engine);
    happened += shl_engine_poll(member->engine);
    shl_token_give(member->engine);
    return happened;
}

/* What control finds out by silence. */
static void notice_partitions(struct cluster *cluster)
{
    uint64_t dead_ns = cluster->config.dead_after_ms * MILLI;
    for (uint32_t i = 0; i < cluster->size; i++) {
        struct member *member = &cluster->members[i];
        for (uint32_t peer = 0; peer < cluster->size && !member->crashed; peer++) {
            uint64_t cut_ns = cluster->cut_ns[i][peer];
            if (cut_ns == 0 || member->told_lost[peer] ||
                cluster_now_ns(cluster) < cut_ns + dead_ns)
                continue;
            member->told_lost[peer] = true;
            shl_engine_lost(member->engine, peer, SHOAL_ERR_PEER, "silent for too long");
        }
    }
}

static void look_after(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->size; i++) {
        struct member *member = &cluster->members[i];
        if (member->crashed)
            continue;
        shl_token_take(member->engine);
        shl_engine_look_after(member->engine, cluster_now_ns(cluster));
        shl_token_give(member->engine);
    }
}

void cluster_turn(struct cluster *cluster, uint64_t limit_ns)
{
    unsigned happened = 0;
    for (uint32_t i = 0; i < cluster->size; i++)
        happened += poll_member(&cluster->members[i]);
    if (happened > 0)
        return;
    /* Through silence time goes in steps, so that deadlines are noticed when they pass. */
    uint64_t next_ns = shl_sim_network_next_ns(cluster->network);
    uint64_t step_ns = cluster_now_ns(cluster) + SILENT_STEP_NS;
    if (next_ns > step_ns)
        next_ns = step_ns;
    shl_sim_network_advance_to(cluster->network, next_ns < limit_ns ? next_ns : limit_ns);
    if (cluster_now_ns(cluster) - cluster->looked_ns < LOOK_EVERY_NS)
        return;
    cluster->looked_ns = cluster_now_ns(cluster);
    if (cluster->partitioned)
        notice_partitions(cluster);
    look_after(cluster);
}

void cluster_crash(struct cluster *cluster, uint32_t rank)
{
    cluster->members[rank].crashed = true;
    shl_sim_network_crash(cluster->network, rank);
}

void cluster_partition(struct cluster *cluster, uint64_t side)
{
    cluster->partitioned = true;
    for (uint32_t i = 0; i < cluster->size; i++) {
        for (uint32_t j = 0; j < cluster->size; j++) {
            if ((side >> i & 1) == (side >> j & 1))
                continue;
            shl_sim_network_cut(cluster->network, i, j, true);
            cluster->cut_ns[i][j] = cluster_now_ns(cluster) + 1;
        }
    }
}
