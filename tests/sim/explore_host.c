/*
 * The host of explored cores: sessions that keep order, a register, fences, and what is checked
 * when the register is written and when a view is published.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/explore.h"

#include "support/test.h"

#include <stdlib.h>
#include <string.h>

/* ---- bytes that are the same are stored once --------------------------------------------------
 */

struct blob {
    uint8_t *bytes;
    size_t size;
    uint64_t hash;
};

static struct blob *blobs;
static uint32_t blob_count, blob_capacity;
static uint32_t *blob_table; /* by hash of the bytes; ids */
static uint32_t blob_table_size;

static uint64_t plain_hash(const void *bytes, size_t size)
{
    uint64_t hash = size;
    for (size_t i = 0; i < size; i++)
        hash = explore_mix(hash, ((const uint8_t *)bytes)[i]);
    return hash;
}

static uint64_t meaning(const void *bytes, size_t size)
{
    static struct shl_record record;
    static struct shl_message message;
    struct shl_bytes in = shl_bytes_reader(bytes, size);
    if (shl_record_get(&in, &record) && !shl_bytes_left(&in))
        return explore_record_hash(1, &record);
    if (!shl_message_get(bytes, size, &record, &message) || message.kind != SHL_MESSAGE_RECORD)
        return plain_hash(bytes, size);
    return explore_record_hash(message.from * 4096 + message.version, &record);
}

static void grow_table(void)
{
    blob_table_size = blob_table_size ? 2 * blob_table_size : 1024;
    free(blob_table);
    blob_table = calloc(blob_table_size, sizeof(*blob_table));
    assert_non_null(blob_table);
    for (uint32_t id = 1; id <= blob_count; id++) {
        uint64_t at = plain_hash(blobs[id - 1].bytes, blobs[id - 1].size);
        while (blob_table[at % blob_table_size])
            at++;
        blob_table[at % blob_table_size] = id;
    }
}

uint32_t explore_intern(const void *bytes, size_t size)
{
    if (2 * blob_count >= blob_table_size)
        grow_table();
    uint64_t at = plain_hash(bytes, size);
    for (uint32_t id; (id = blob_table[at % blob_table_size]); at++)
        if (blobs[id - 1].size == size && memcmp(blobs[id - 1].bytes, bytes, size) == 0)
            return id;
    if (blob_count == blob_capacity) {
        blob_capacity = blob_capacity ? 2 * blob_capacity : 1024;
        blobs = realloc(blobs, blob_capacity * sizeof(*blobs));
        assert_non_null(blobs);
    }
    struct blob *blob = &blobs[blob_count++];
    *blob = (struct blob){.bytes = malloc(size), .size = size, .hash = meaning(bytes, size)};
    assert_non_null(blob->bytes);
    memcpy(blob->bytes, bytes, size);
    return blob_table[at % blob_table_size] = blob_count;
}

const void *explore_bytes(uint32_t id, size_t *size)
{
    *size = blobs[id - 1].size;
    return blobs[id - 1].bytes;
}

uint64_t explore_bytes_hash(uint32_t id)
{
    return blobs[id - 1].hash;
}

void explore_intern_clear(void)
{
    for (uint32_t i = 0; i < blob_count; i++)
        free(blobs[i].bytes);
    free(blobs);
    free(blob_table);
    blobs = NULL;
    blob_table = NULL;
    blob_count = blob_capacity = blob_table_size = 0;
}

uint32_t explore_members(const struct shl_members *members)
{
    uint32_t set = 0;
    for (uint32_t i = 0; i < members->count; i++)
        set |= explore_bit((uint32_t)members->at[i].id - 1);
    return set;
}

/* ---- what the cores ask ---------------------------------------------------------------------- */

struct context {
    struct explore *x;
    uint32_t number;
};

static struct context contexts[EXPLORE_NODES];

static void host_send(void *context, uint64_t to, const void *bytes, size_t size)
{
    const struct context *from = context;
    struct explore_state *state = from->x->now;
    uint32_t target = (uint32_t)to - 1, count = 0;
    if (state->cut[from->number][target] || !explore_runs(&state->nodes[target]))
        return;
    uint32_t *channel = state->channel[from->number][target];
    while (count < EXPLORE_QUEUE && channel[count])
        count++;
    uint32_t id = explore_intern(bytes, size);
    /* What is repeated while the first is still on its way changes nothing. */
    if (count == EXPLORE_QUEUE || (count && channel[count - 1] == id))
        return;
    channel[count] = id;
}

static void host_store(void *context, const struct shl_store_request *request)
{
    const struct context *from = context;
    struct explore_request *slots = from->x->now->requests[from->number];
    uint32_t at = 0;
    while (at < EXPLORE_REQUESTS && slots[at].stage != EXPLORE_IDLE)
        at++;
    EXPLORE_CHECK(from->x, at < EXPLORE_REQUESTS, "a core has few requests under way");
    if (at == EXPLORE_REQUESTS)
        return;
    slots[at] = (struct explore_request){
        .stage = EXPLORE_ASKED,
        .swap = request->swap,
        .id = request->id,
        .version = request->version,
        .bytes = request->swap ? explore_intern(request->bytes, request->size) : 0};
}

static void host_fence(void *context, const struct shl_record *prepared)
{
    const struct context *from = context;
    struct explore_node *node = &from->x->now->nodes[from->number];
    EXPLORE_CHECK(from->x, node->epoch == prepared->view_epoch,
                  "it is its own view that is fenced");
    node->fenced_for = node->fence_due = prepared->epoch;
}

static void host_publish(void *context, const struct shl_record *record)
{
    const struct context *from = context;
    struct explore *x = from->x;
    uint64_t epoch = record->view_epoch;
    EXPLORE_CHECK(x, epoch > x->now->nodes[from->number].epoch, "epochs rise");
    EXPLORE_CHECK(x, epoch < EXPLORE_EPOCHS && x->now->committed[epoch],
                  "what is published was committed");
    uint64_t hash = explore_mix(explore_members(&record->view), record->decision.settled);
    hash = explore_mix(hash, record->decision.started);
    EXPLORE_CHECK(x, epoch >= EXPLORE_EPOCHS || x->now->committed[epoch] == hash,
                  "what is published is what was committed");
    explore_op_publish(x, from->number, record);
}

static void host_end(void *context, enum shoal_status status)
{
    const struct context *from = context;
    struct explore_node *node = &from->x->now->nodes[from->number];
    node->ended = true;
    node->status = status;
    for (uint32_t i = 0; i < EXPLORE_NODES; i++) { /* its sessions close */
        memset(from->x->now->channel[i][from->number], 0, sizeof(from->x->now->channel[0][0]));
        if (explore_runs(&from->x->now->nodes[i]) && !from->x->now->cut[from->number][i])
            from->x->now->nodes[i].lost_due |= explore_bit(from->number);
    }
}

static void host_wake(void *context, uint64_t at_ns)
{
    const struct context *from = context;
    from->x->now->nodes[from->number].wake_ns = at_ns;
}

/* ---- the register ---------------------------------------------------------------------------- */

/* Everyone whose report a commit rests on is fenced for it at this moment. */
static void check_fenced(struct explore *x, const struct shl_record *before,
                         const struct shl_record *after)
{
    uint32_t stay = explore_members(&after->view) & explore_members(&before->view);
    for (uint32_t i = 0; i < EXPLORE_NODES; i++) {
        const struct explore_node *node = &x->now->nodes[i];
        if (stay & explore_bit(i) && explore_runs(node))
            EXPLORE_CHECK(x, node->fenced_for >= after->epoch && !node->fence_due,
                          "members of a committed view are fenced");
    }
}

static void check_write(struct explore *x, const struct shl_record *before,
                        const struct shl_record *after)
{
    EXPLORE_CHECK(x, after->epoch < EXPLORE_EPOCHS, "a change takes few proposals");
    if (after->phase == SHL_PHASE_PREPARED) {
        EXPLORE_CHECK(x, after->epoch == before->epoch + 1, "no epoch is left out or repeated");
        EXPLORE_CHECK(x,
                      before->phase != SHL_PHASE_PREPARED ||
                          shl_members_find(&before->next, after->writer) != SHL_MEMBER_NONE,
                      "whom a proposal leaves out does not write");
        return;
    }
    EXPLORE_CHECK(x, after->phase == SHL_PHASE_COMMITTED, "a founded job forms no more");
    EXPLORE_CHECK(x,
                  before->phase == SHL_PHASE_PREPARED && before->epoch == after->epoch &&
                      before->writer == after->writer,
                  "a commit replaces its own proposal");
    check_fenced(x, before, after);
    if (after->epoch >= EXPLORE_EPOCHS)
        return;
    EXPLORE_CHECK(x, !x->now->committed[after->epoch], "one view is committed in an epoch");
    uint64_t hash = explore_mix(explore_members(&after->view), after->decision.settled);
    x->now->committed[after->epoch] = explore_mix(hash, after->decision.started);
}

static void write_record(struct explore *x, uint32_t bytes)
{
    static struct shl_record before, after;
    size_t size;
    const void *old = explore_bytes(x->now->store_bytes, &size);
    struct shl_bytes in = shl_bytes_reader(old, size);
    assert_true(shl_record_get(&in, &before));
    const void *new = explore_bytes(bytes, &size);
    in = shl_bytes_reader(new, size);
    EXPLORE_CHECK(x, shl_record_get(&in, &after), "what is written is a record");
    check_write(x, &before, &after);
    x->now->store_bytes = bytes;
    x->now->store_version++;
}

void explore_store_execute(struct explore *x, uint32_t node, uint32_t slot)
{
    struct explore_request *request = &x->now->requests[node][slot];
    request->stage = EXPLORE_ANSWERED;
    request->result = SHL_STORE_OK;
    if (request->swap && request->version != x->now->store_version)
        request->result = SHL_STORE_CONFLICT;
    else if (request->swap)
        write_record(x, request->bytes);
    request->version = x->now->store_version;
    request->bytes = request->swap && request->result == SHL_STORE_OK ? 0 : x->now->store_bytes;
}

void explore_store_answer(struct explore *x, uint32_t node, uint32_t slot)
{
    struct explore_request *request = &x->now->requests[node][slot];
    struct shl_store_answer answer = {.id = request->id,
                                      .result = request->result,
                                      .incarnation = 1,
                                      .version = request->version};
    if (request->bytes)
        answer.bytes = explore_bytes(request->bytes, &answer.size);
    *request = (struct explore_request){0};
    shl_membership_answer(&x->now->cores[node], x->now->now_ns, &answer);
}

/* ---- the first state: three members of epoch 1 ------------------------------------------------
 */

static void found(struct explore_state *state, bool aborts)
{
    static struct shl_record record;
    static uint8_t wire[SHL_RECORD_BYTES_MAX];
    memset(&record, 0, sizeof(record));
    record.phase = SHL_PHASE_COMMITTED;
    record.mode = aborts ? SHL_STEP_ABORT : SHL_STEP_RETAIN;
    record.epoch = record.view_epoch = record.writer = record.proposal = 1;
    for (uint32_t i = 0; i < EXPLORE_NODES; i++)
        record.view.at[record.view.count++].id = i + 1;
    record.decision.settled = record.decision.started = EXPLORE_OP - 1;
    struct shl_bytes out = shl_bytes_writer(wire, sizeof(wire));
    shl_record_put(&out, &record);
    state->store_version = 1;
    state->store_bytes = explore_intern(wire, out.at);
    state->committed[1] = explore_mix(explore_mix(EXPLORE_ALL, EXPLORE_OP - 1), EXPLORE_OP - 1);
}

static void make_core(struct explore *x, uint32_t number)
{
    contexts[number] = (struct context){x, number};
    struct shl_membership_host host = {&contexts[number], host_send, host_store, host_fence,
                                       host_publish,      host_end,  host_wake};
    const struct shl_membership_times times = {.tick_ns = EXPLORE_MS,
                                               .settle_ns = EXPLORE_MS,
                                               .backoff_ns = 2 * EXPLORE_MS,
                                               .stuck_ns = 10 * EXPLORE_MS,
                                               .store_ns = 5 * EXPLORE_MS,
                                               .poll_ns = 3 * EXPLORE_MS,
                                               .learner_ns = 20 * EXPLORE_MS,
                                               .recovery_ns = 80 * EXPLORE_MS,
                                               .join_ns = 80 * EXPLORE_MS};
    struct shl_membership_options options = {
        .self = {.id = number + 1},
        .mode = x->options.story == EXPLORE_ABORT ? SHL_STEP_ABORT : SHL_STEP_RETAIN,
        .policy = SHL_PARTITION_MAJORITY,
        .world_start = EXPLORE_NODES,
        .world_min = 1,
        .world_max = EXPLORE_NODES,
        .times = times};
    struct shl_membership *core = NULL;
    ASSERT_OK(shl_membership_create(&options, &host, &core));
    x->now->cores[number] = *core;
    shl_membership_destroy(core);
}

void explore_open(struct explore *x, struct explore_state *state)
{
    memset(state, 0, sizeof(*state));
    x->now = state;
    state->now_ns = 1000 * EXPLORE_MS;
    found(state, x->options.story == EXPLORE_ABORT);
    for (uint32_t i = 0; i < EXPLORE_NODES; i++) {
        state->nodes[i] = (struct explore_node){.alive = true, .wake_ns = UINT64_MAX};
        make_core(x, i);
        shl_membership_start(&state->cores[i], state->now_ns);
        explore_store_execute(x, i, 0);
        explore_store_answer(x, i, 0);
        state->nodes[i].veterans = EXPLORE_ALL;
    }
    if (x->options.story == EXPLORE_LEAVE)
        shl_membership_leave(&state->cores[EXPLORE_NODES - 1], state->now_ns);
}
