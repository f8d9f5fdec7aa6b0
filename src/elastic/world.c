/*
 * Joining a world. Path: api/comm.c, here, control and rendezvous, then form.c.
 *
 * Order: listen, open transports, publish both at the rendezvous, start control, attach transports,
 * form the communicator, measure. Everything before control starts can still fail on one rank
 * alone; from then on peers are told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/world.h"

#include "control/handshake.h"
#include "core/bytes.h"
#include "core/log.h"
#include "core/sys.h"
#include "elastic/secret.h"
#include "topology/topology.h"
#include "transport/hook/hook.h"

#include <string.h>

/* By bit of SHOAL_TRANSPORT; peers take the first in `preference` that reaches them. */
static const struct shl_transport_ops *const all_transports[] = {
    &shl_transport_shm, &shl_transport_tcp, &shl_transport_verbs};
static const uint8_t preference[] = {0, 2, 1};
#define WORLD_COMM 0 /* the id of the communicator of all ranks */
#define TRANSPORTS (sizeof(all_transports) / sizeof(all_transports[0]))

/* ---- callbacks of control ------------------------------------------------------------------ */

static void on_message(void *arg, uint32_t origin, uint16_t type, const void *payload, size_t bytes)
{
    struct shl_world *world = arg;
    shl_engine_mail(world->engine, origin, type, payload, bytes);
}

static void on_lost(void *arg, uint32_t rank, enum shoal_status status, const char *cause)
{
    struct shl_world *world = arg;
    shl_engine_lost(world->engine, rank, status, cause);
}

static bool is_local(const struct shl_world *world, uint32_t rank)
{
    return strcmp(world->addresses[rank].host_id, world->addresses[world->options.rank].host_id) ==
           0;
}

static const char *remark(void *arg, uint32_t rank)
{
    const struct shl_world *world = arg;
    uint64_t known = world->oom_kills; /* stays so, for whoever is lost with this rank */
    return is_local(world, rank) ? shl_topology_oom_remark(&known) : NULL;
}

static enum shoal_status flood(void *arg, uint16_t type, const void *payload, size_t bytes)
{
    struct shl_world *world = arg;
    return shl_control_flood(world->control, type, payload, bytes);
}

/* ---- the blob that ranks publish ----------------------------------------------------------- */

static size_t write_blob(struct shl_world *world, void *data, size_t capacity)
{
    struct shl_engine *engine = world->engine;
    struct shl_bytes out = shl_bytes_writer(data, capacity);
    uint8_t description[2048];
    shl_bytes_put_u64(&out, shl_config_digest(world->options.config));
    shl_control_address_put(&out, shl_control_own_address(world->control));
    shl_bytes_put_u8(&out, (uint8_t)engine->transport_count);
    for (uint32_t i = 0; i < engine->transport_count; i++) {
        struct shl_engine_transport *slot = &engine->transports[i];
        size_t bytes = slot->ops->describe(slot->t, description, sizeof(description));
        shl_bytes_put_u16(&out, (uint16_t)bytes);
        shl_bytes_put(&out, description, bytes);
    }
    SHL_ASSERT(!out.failed);
    return out.at;
}

struct descriptions {
    const void *blobs[SHL_ENGINE_TRANSPORTS];
    size_t bytes[SHL_ENGINE_TRANSPORTS];
};

static enum shoal_status read_blob(struct shl_world *world, uint32_t rank, const void *data,
                                   size_t bytes, struct descriptions *descriptions)
{
    struct shl_bytes in = shl_bytes_reader(data, bytes);
    uint64_t digest = shl_bytes_get_u64(&in);
    bool readable = shl_control_address_get(&in, &world->addresses[rank]);
    uint8_t count = shl_bytes_get_u8(&in);
    if (readable && digest != shl_config_digest(world->options.config))
        return shl_fail(SHOAL_ERR_CONFIG,
                        "rank %u has other settings than rank %u among those that must agree; "
                        "compare the output of `shoal info` on both",
                        rank, world->options.rank);
    for (uint32_t i = 0; i < count && i < SHL_ENGINE_TRANSPORTS; i++) {
        descriptions->bytes[i] = shl_bytes_get_u16(&in);
        descriptions->blobs[i] = shl_bytes_take(&in, descriptions->bytes[i]);
    }
    if (!readable || in.failed || count != world->engine->transport_count)
        return shl_fail(SHOAL_ERR_VERSION,
                        "rank %u published %zu bytes that cannot be read; run one version of the "
                        "library on all ranks",
                        rank, bytes);
    return SHOAL_OK;
}

/* ---- set-up -------------------------------------------------------------------------------- */

static enum shoal_status open_control(struct shl_world *world, const struct shl_secret *secret)
{
    struct shl_control_options options = {.config = world->options.config,
                                          .job = world->options.job,
                                          .secret = secret->bytes ? secret->data : NULL,
                                          .secret_bytes = secret->bytes,
                                          .rank = world->options.rank,
                                          .size = world->options.size,
                                          .arg = world,
                                          .on_message = on_message,
                                          .on_lost = on_lost,
                                          .remark = remark};
    world->oom_kills = shl_topology_oom_kills("");
    return shl_control_create(&options, &world->control);
}

/* With test faults around it, when there are any. */
static enum shoal_status open_transport(struct shl_world *world,
                                        const struct shl_transport_ops *plain)
{
    const struct shl_transport_ops *ops;
    SHL_TRY(shl_hook_fault_wrap_text(plain, world->options.config->test_fault, &ops));
    return shl_engine_open(world->engine, ops);
}

static enum shoal_status open_engine(struct shl_world *world)
{
    const struct shl_config *config = world->options.config;
    struct shl_engine_options options = {.config = config,
                                         .heap = world->options.heap,
                                         .memory = world->options.memory,
                                         .control = world->control,
                                         .bus = {world, flood},
                                         .rank = world->options.rank,
                                         .size = world->options.size,
                                         .local_ranks = 1,
                                         .cores = shl_topology()->usable_cpus};
    SHL_TRY(shl_engine_create(&options, &world->engine));
    for (size_t i = 0; i < TRANSPORTS && world->options.size > 1; i++)
        if (config->transport & 1u << preference[i])
            SHL_TRY(open_transport(world, all_transports[preference[i]]));
    return SHOAL_OK;
}

/* Rank 0 serves the rendezvous if the address is its own and nobody else does. */
static enum shoal_status meet(struct shl_world *world, const struct shl_secret *secret,
                              uint64_t deadline_ns, struct shl_rendezvous_result *result)
{
    const struct shl_world_options *options = &world->options;
    struct shl_key key;
    uint8_t *blob = shl_mem->alloc(SHL_RENDEZVOUS_BLOB_MAX);
    if (!blob)
        return shl_fail_errno("cannot allocate the rendezvous message");
    enum shoal_status status =
        shl_key_derive(secret->bytes ? secret->data : NULL, secret->bytes, options->job, &key);
    if (status == SHOAL_OK && options->rank == 0) {
        status = shl_rendezvous_serve(options->config, options->rendezvous, options->job, &key,
                                      &world->server);
        /* Another may serve it; but without a secret this rank is of no use beyond its host. */
        if (status < 0 && status != SHOAL_ERR_CONFIG) {
            shl_log(SHL_LOG_DEBUG, "rank 0 does not serve the rendezvous itself: %s",
                    shl_error_text());
            status = SHOAL_OK;
        }
    }
    if (status == SHOAL_OK) {
        size_t bytes = write_blob(world, blob, SHL_RENDEZVOUS_BLOB_MAX);
        status =
            shl_rendezvous_join(options->config, options->rendezvous, options->job, &key,
                                options->rank, options->size, blob, bytes, deadline_ns, result);
    }
    shl_mem->free(blob);
    return status;
}

/* The members of a view know each other already. */
static enum shoal_status exchange(struct shl_world *world, uint64_t deadline_ns,
                                  struct shl_rendezvous_result *result)
{
    const struct shl_world_options *options = &world->options;
    uint8_t *blob = shl_mem->alloc(SHL_RENDEZVOUS_BLOB_MAX);
    if (!blob)
        return shl_fail_errno("cannot allocate the description of this member");
    size_t bytes = write_blob(world, blob, SHL_RENDEZVOUS_BLOB_MAX);
    enum shoal_status status = options->exchange(options->arg, blob, bytes, deadline_ns, result);
    shl_mem->free(blob);
    return status;
}

static void count_local(struct shl_world *world)
{
    uint32_t local = 0;
    for (uint32_t i = 0; i < world->options.size; i++)
        local += is_local(world, i);
    world->engine->oversubscribed = local > shl_topology()->usable_cpus;
}

static enum shoal_status attach(struct shl_world *world, const struct shl_rendezvous_result *met,
                                const struct descriptions *descriptions, uint64_t deadline_ns)
{
    uint32_t size = world->options.size;
    const void **blobs = shl_mem->alloc(size * sizeof(*blobs));
    size_t *bytes = shl_mem->alloc(size * sizeof(*bytes));
    enum shoal_status status = SHOAL_OK;
    if (!blobs || !bytes)
        status = shl_fail_errno("cannot allocate the descriptions of %u ranks", size);
    for (uint32_t t = 0; t < world->engine->transport_count && status == SHOAL_OK; t++) {
        for (uint32_t i = 0; i < size; i++) {
            blobs[i] = descriptions[i].blobs[t];
            bytes[i] = descriptions[i].bytes[t];
        }
        status = shl_engine_attach(world->engine, met->epoch, met->incarnation, t, blobs, bytes,
                                   deadline_ns);
    }
    shl_mem->free(bytes);
    shl_mem->free(blobs);
    return status;
}

static enum shoal_status connect_all(struct shl_world *world, const struct shl_secret *secret,
                                     uint64_t deadline_ns)
{
    uint32_t size = world->options.size;
    struct shl_rendezvous_result met = {0};
    world->addresses = shl_mem->alloc(size * sizeof(*world->addresses));
    struct descriptions *descriptions = shl_mem->alloc(size * sizeof(*descriptions));
    enum shoal_status status = SHOAL_OK;
    if (!world->addresses || !descriptions)
        status = shl_fail_errno("cannot allocate the addresses of %u ranks", size);
    if (status == SHOAL_OK)
        status = world->options.exchange ? exchange(world, deadline_ns, &met)
                                         : meet(world, secret, deadline_ns, &met);
    for (uint32_t i = 0; i < size && status == SHOAL_OK; i++)
        status = read_blob(world, i, met.blobs[i], met.blob_bytes[i], &descriptions[i]);
    if (status == SHOAL_OK) {
        count_local(world);
        status = shl_control_start(world->control, world->addresses, met.epoch, met.incarnation,
                                   deadline_ns);
    }
    if (status == SHOAL_OK)
        status = attach(world, &met, descriptions, deadline_ns);
    shl_rendezvous_result_free(&met);
    shl_mem->free(descriptions);
    return status;
}

static void take_down(struct shl_world *world)
{
    if (world->control)
        shl_control_stop(world->control);
    shl_engine_destroy(world->engine);
    if (world->control)
        shl_control_destroy(world->control);
    if (world->server)
        shl_rendezvous_stop(world->server);
    shl_mem->free(world->addresses);
    shl_mem->free(world);
}

static enum shoal_status form_all(struct shl_world *world, struct shoal_comm **comm)
{
    uint32_t size = world->options.size;
    uint32_t *members = shl_mem->alloc(size * sizeof(*members));
    if (!members)
        return shl_fail_errno("cannot allocate a communicator of %u ranks", size);
    for (uint32_t i = 0; i < size; i++)
        members[i] = i;
    struct shl_comm_options options = {.id = WORLD_COMM,
                                       .members = members,
                                       .size = size,
                                       .rank = world->options.rank,
                                       .op_timeout_ms = world->options.op_timeout_ms};
    enum shoal_status status = shl_world_form(world, &options, comm);
    shl_mem->free(members);
    return status;
}

enum shoal_status shl_world_join(const struct shl_world_options *options, struct shoal_comm **comm)
{
    uint64_t deadline_ns = shl_now_ns() + options->init_timeout_ms * 1000000;
    struct shl_secret secret;
    SHL_TRY(shl_secret_load(options->config, &secret));
    struct shl_world *world = shl_mem->alloc(sizeof(*world));
    if (!world) {
        shl_secret_wipe(&secret);
        return shl_fail_errno("cannot allocate a world");
    }
    world->options = *options;
    atomic_store(&world->references, 1);
    struct shoal_comm *formed = NULL;
    enum shoal_status status = SHOAL_OK;
    if (options->size > 1)
        status = open_control(world, &secret);
    if (status == SHOAL_OK)
        status = open_engine(world);
    if (status == SHOAL_OK && options->exists)
        options->exists(options->arg, world);
    if (status == SHOAL_OK && options->size > 1)
        status = connect_all(world, &secret, deadline_ns);
    shl_secret_wipe(&secret);
    if (status == SHOAL_OK)
        status = shl_engine_start(world->engine);
    if (status == SHOAL_OK)
        status = form_all(world, &formed);
    if (status != SHOAL_OK) {
        if (world->engine && options->size > 1)
            shl_world_say_absent(world, WORLD_COMM, options->rank);
        if (options->exists)
            options->exists(options->arg, NULL);
        take_down(world);
        return status;
    }
    status = shl_world_measure(formed);
    atomic_fetch_sub(&world->references, 1); /* The communicator's remains. */
    if (status == SHOAL_OK) {
        *comm = formed;
        return SHOAL_OK;
    }
    if (options->exists)
        options->exists(options->arg, NULL);
    shl_world_leave(formed);
    return status;
}

void shl_world_cut(struct shl_world *world, const char *text)
{
    if (world->control)
        shl_control_cut(world->control);
    shl_engine_cut(world->engine, text);
}

void shl_world_leave(struct shoal_comm *comm)
{
    struct shl_world *world = comm->world;
    shl_token_take(world->engine);
    shl_comm_leave(comm);
    shl_comm_free(comm);
    shl_token_give(world->engine);
    if (atomic_fetch_sub(&world->references, 1) == 1)
        take_down(world);
}
