/*
 * What a state is known again by: all that its future depends on. Times count from now; numbers
 * that only tell attempts apart do not count.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/explore.h"

#define AGE_MAX 200ull /* ms; beyond every time of the cores */

static uint64_t mix_age(uint64_t hash, const struct explore_state *state, uint64_t at_ns)
{
    uint64_t age = (state->now_ns - at_ns) / EXPLORE_MS;
    return explore_mix(hash, age < AGE_MAX ? age : AGE_MAX);
}

static uint64_t mix_set(uint64_t hash, const struct shl_set *set)
{
    for (uint32_t i = 0; i < SHL_SET_WORDS; i++)
        hash = explore_mix(hash, set->words[i]);
    return hash;
}

static uint64_t mix_members(uint64_t hash, const struct shl_members *members)
{
    hash = explore_mix(hash, members->count);
    for (uint32_t i = 0; i < members->count; i++)
        hash = explore_mix(hash, members->at[i].id * 2 + members->at[i].leaving);
    return hash;
}

static uint64_t mix_report(uint64_t hash, const struct shl_report *report)
{
    hash = explore_mix(hash, report->settled);
    hash = explore_mix(hash, report->started);
    hash = explore_mix(hash, report->step_first);
    return explore_mix(hash, shl_report_ops(report) ? report->ops[0] : 0);
}

uint64_t explore_record_hash(uint64_t hash, const struct shl_record *record)
{
    const struct shl_decision *decision = &record->decision;
    hash = explore_mix(hash, record->phase);
    hash = explore_mix(hash, record->epoch);
    hash = explore_mix(hash, record->view_epoch);
    hash = explore_mix(hash, record->writer);
    hash = explore_mix(hash, record->attempts);
    hash = mix_members(hash, &record->view);
    hash = mix_members(hash, &record->next);
    hash = explore_mix(hash, decision->settled);
    hash = explore_mix(hash, decision->started);
    hash = explore_mix(hash, decision->redo_from);
    hash = explore_mix(hash, decision->retry);
    for (uint32_t i = 0; i < shl_decision_ops(decision); i++)
        hash = explore_mix(hash, decision->outcomes[i] * 256u + decision->sources[i]);
    return hash;
}

static uint64_t mix_register(uint64_t hash, const struct explore_state *state,
                             const struct shl_register *reg)
{
    hash = explore_mix(hash, (reg->request != 0) * 8u + reg->swapping * 4u + reg->must_read * 2u +
                                 reg->silent);
    if (reg->request)
        hash = mix_age(hash, state, reg->asked_ns);
    return mix_age(hash, state, reg->answered_ns);
}

static uint64_t mix_reach(uint64_t hash, const struct explore_state *state,
                          const struct shl_membership *core)
{
    const struct shl_reach *reach = &core->reach;
    for (uint32_t i = 0; i < reach->count; i++) {
        hash = explore_mix(hash, reach->numbers[i]);
        hash = mix_set(hash, &reach->rows[i]);
    }
    hash = explore_mix(hash, core->row_number * 2 + core->row_was_bad);
    for (uint32_t i = 0; core->row_was_bad && i < reach->count; i++)
        hash = core->told_ns[i] ? mix_age(hash, state, core->told_ns[i]) : explore_mix(hash, 0);
    for (uint32_t i = 0; i < core->missing_count; i++)
        hash = explore_mix(hash, core->missing[i]);
    return mix_set(hash, &core->evicted);
}

static uint64_t mix_core(uint64_t hash, const struct explore_state *state,
                         const struct shl_membership *core)
{
    hash = explore_mix(hash, core->state * 8u + core->quiesced * 4u + core->leave_wanted);
    hash = explore_mix(hash, core->version);
    hash = explore_mix(hash, core->published);
    hash = explore_mix(hash, core->fenced);
    hash = mix_register(hash, state, &core->reg);
    hash = explore_record_hash(hash, &core->record);
    hash = mix_age(hash, state, core->adopted_ns);
    hash = mix_age(hash, state, core->cause_ns);
    hash = core->trouble_ns ? mix_age(hash, state, core->trouble_ns) : explore_mix(hash, 0);
    hash = mix_reach(hash, state, core);
    hash = mix_set(hash, &core->leaving);
    if (core->fenced)
        hash = mix_report(hash, &core->report);
    for (uint32_t i = 0; i < core->record.next.count; i++)
        hash = shl_set_has(&core->acks, i) ? mix_report(hash, &core->reports[i])
                                           : explore_mix(hash, 1);
    return core->reg.swapping && core->reg.request ? explore_record_hash(hash, &core->proposed)
                                                   : hash;
}

static uint64_t mix_node(uint64_t hash, const struct explore_state *state,
                         const struct explore_node *node)
{
    bool wakes = explore_runs(node) && node->wake_ns != UINT64_MAX;
    uint64_t wake = wakes ? 1 + (node->wake_ns - state->now_ns) : 0;
    hash = explore_mix(hash, node->alive * 2u + node->ended);
    hash = explore_mix(hash, (uint64_t)(int64_t)node->status);
    hash = explore_mix(hash, node->epoch);
    hash = explore_mix(hash, node->fenced_for);
    hash = explore_mix(hash, node->fence_due);
    hash = explore_mix(hash, wake);
    hash = explore_mix(hash, node->members * 64u + node->veterans);
    hash = explore_mix(hash, node->lost_due * 64u + node->tick_due * 32u + node->boundary_due);
    hash = explore_mix(hash, node->begun + node->held * 2u + node->settled * 4u +
                                 node->returned * 8u + node->given_up * 16u + node->decided * 32u);
    hash = explore_mix(hash, node->contributed);
    hash = explore_mix(hash, node->told_held);
    hash = explore_mix(hash, node->forwarded * 64u + node->forwarded_result);
    return explore_mix(hash, node->held ? node->result : 0);
}

static uint64_t mix_network(uint64_t hash, const struct explore_state *state)
{
    for (uint32_t i = 0; i < EXPLORE_NODES; i++) {
        for (uint32_t j = 0; j < EXPLORE_NODES; j++) {
            hash = explore_mix(hash, state->cut[i][j]);
            for (uint32_t k = 0; k < EXPLORE_QUEUE && state->channel[i][j][k]; k++)
                hash = explore_mix(hash, explore_bytes_hash(state->channel[i][j][k]));
        }
        for (uint32_t k = 0; k < EXPLORE_REQUESTS; k++) {
            const struct explore_request *request = &state->requests[i][k];
            hash = explore_mix(hash, request->stage * 2u + request->swap);
            if (request->stage == EXPLORE_IDLE)
                continue;
            hash = explore_mix(hash, request->result);
            hash = explore_mix(hash, request->version);
            hash = explore_mix(hash, request->bytes ? explore_bytes_hash(request->bytes) : 0);
            hash = explore_mix(hash, request->id == state->cores[i].reg.request);
        }
    }
    return hash;
}

uint64_t explore_hash(const struct explore_state *state)
{
    uint64_t hash = explore_mix(state->faults, state->crashed);
    for (uint32_t i = 0; i < EXPLORE_NODES; i++) {
        hash = mix_node(hash, state, &state->nodes[i]);
        if (explore_runs(&state->nodes[i]))
            hash = mix_core(hash, state, &state->cores[i]);
    }
    hash = mix_network(hash, state);
    hash = explore_mix(hash, state->store_version);
    hash = explore_mix(hash, state->store_bytes ? explore_bytes_hash(state->store_bytes) : 0);
    return hash ? hash : 1;
}
