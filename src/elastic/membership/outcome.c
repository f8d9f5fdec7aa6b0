/*
 * The outcome of interrupted operations, from the reports of the survivors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/outcome.h"

#include <string.h>

bool shl_report_valid(const struct shl_report *report)
{
    if (report->started < report->settled || report->started - report->settled > SHL_OPS_MAX)
        return false;
    if (report->step_last > report->started)
        return false;
    if (report->step_first &&
        (report->step_first > report->started || report->step_first <= report->step_last))
        return false;
    for (uint32_t i = 0; i < shl_report_ops(report); i++)
        if (report->ops[i] & ~SHL_OP_FLAGS)
            return false;
    return true;
}

bool shl_decision_valid(const struct shl_decision *decision, uint32_t members)
{
    if (decision->started < decision->settled ||
        decision->started - decision->settled > SHL_OPS_MAX)
        return false;
    if (decision->redo_from > decision->started)
        return false;
    for (uint32_t i = 0; i < shl_decision_ops(decision); i++) {
        uint8_t outcome = decision->outcomes[i];
        if (outcome < SHL_OUTCOME_DONE || outcome > SHL_OUTCOME_DISPUTED)
            return false;
        if (outcome == SHL_OUTCOME_FORWARD ? decision->sources[i] >= members
                                           : decision->sources[i] != 0)
            return false;
    }
    return true;
}

/* What is settled everybody began, so also who decides, which knows what it began itself. */
static uint64_t settled_at_most(const struct shl_outcome_input *input)
{
    return input->reports[input->decider].started;
}

/* What one survivor has of an operation. Nothing, when it did not begin it, or says what cannot be.
 */
static uint8_t flags_of(const struct shl_report *report, uint64_t op, uint64_t most)
{
    if (report->settled > most)
        return SHL_OP_RETAINED;
    if (op <= report->settled)
        return SHL_OP_HELD;
    return op <= report->started ? report->ops[op - report->settled - 1] : 0;
}

/* What some program was told that the others are to be told, too: an outcome; 0: nothing. */
static uint8_t told_of(const struct shl_outcome_input *input, uint64_t op)
{
    uint8_t told = 0;
    for (uint32_t i = 0; i < input->count; i++)
        told |= flags_of(&input->reports[i], op, settled_at_most(input)) & SHL_OP_TOLD;
    if (told & SHL_OP_DISPUTED)
        return SHL_OUTCOME_DISPUTED;
    return told ? SHL_OUTCOME_EXPIRED : 0;
}

static void decide_op(const struct shl_outcome_input *input, uint64_t op, bool keeps_inputs,
                      struct shl_decision *decision)
{
    uint32_t held = 0, source = SHL_MEMBER_NONE;
    uint64_t most = settled_at_most(input);
    uint8_t told = told_of(input, op);
    bool retained = keeps_inputs;
    for (uint32_t i = 0; i < input->count; i++) {
        uint8_t flags = flags_of(&input->reports[i], op, most);
        held += flags & SHL_OP_HELD ? 1 : 0;
        if (flags & SHL_OP_COPY && flags & SHL_OP_HELD && source == SHL_MEMBER_NONE)
            source = i;
        /* A survivor that has not begun the operation brings its input when it does. */
        if (op <= input->reports[i].started && !(flags & (SHL_OP_RETAINED | SHL_OP_HELD)))
            retained = false;
    }
    uint32_t at = (uint32_t)(op - decision->settled - 1);
    decision->sources[at] = 0;
    if (held == input->count && !told) {
        decision->outcomes[at] = SHL_OUTCOME_DONE;
    } else if (source != SHL_MEMBER_NONE) {
        decision->outcomes[at] = SHL_OUTCOME_FORWARD;
        decision->sources[at] = (uint16_t)source;
    } else if (told) {
        decision->outcomes[at] = told;
    } else {
        /* Held by some without a copy would break the engine's promise; nothing can mend it. */
        decision->outcomes[at] = held || !retained ? SHL_OUTCOME_FAILED : SHL_OUTCOME_REDO;
    }
}

static bool believable(const struct shl_report *report, uint64_t most)
{
    return report->settled <= most && report->step_last <= most;
}

/* First operation of the step that no survivor has seen committed; 0: no survivor has begun one. */
static uint64_t open_step(const struct shl_outcome_input *input)
{
    uint64_t committed = 0, first = 0, most = settled_at_most(input);
    for (uint32_t i = 0; i < input->count; i++) {
        const struct shl_report *report = &input->reports[i];
        if (!believable(report, most))
            continue;
        if (report->step_last > committed)
            committed = report->step_last;
        if (report->step_first > first)
            first = report->step_first;
    }
    return first > committed ? first : 0;
}

static void merge(const struct shl_outcome_input *input, struct shl_decision *decision)
{
    uint64_t most = settled_at_most(input);
    for (uint32_t i = 0; i < input->count; i++) {
        const struct shl_report *report = &input->reports[i];
        if (!believable(report, most))
            continue;
        if (report->settled > decision->settled)
            decision->settled = report->settled;
        if (report->started > decision->started)
            decision->started = report->started;
        if (report->step >= decision->step) {
            decision->step = report->step;
            decision->position = report->position;
        }
    }
    /* Nobody can be further ahead: to settle an operation takes every member. */
    if (decision->started - decision->settled > SHL_OPS_MAX)
        decision->started = decision->settled + SHL_OPS_MAX;
}

/* A wish about a step that somebody has seen committed comes too late. */
static bool gives_up(const struct shl_outcome_input *input, const struct shl_decision *decision)
{
    for (uint32_t i = 0; i < input->count; i++) {
        const struct shl_report *report = &input->reports[i];
        if (report->gives_up && report->step == decision->step &&
            believable(report, settled_at_most(input)))
            return true;
    }
    return false;
}

bool shl_decision_redoes(const struct shl_decision *decision)
{
    if (decision->redo_from)
        return true;
    for (uint32_t i = 0; i < shl_decision_ops(decision); i++)
        if (decision->outcomes[i] == SHL_OUTCOME_REDO)
            return true;
    return false;
}

uint64_t shl_decision_held(const struct shl_decision *decision)
{
    for (uint32_t i = 0; i < shl_decision_ops(decision); i++)
        if (decision->outcomes[i] == SHL_OUTCOME_FORWARD)
            return decision->settled + i;
    return decision->started;
}

void shl_outcome_decide(const struct shl_outcome_input *input, struct shl_decision *decision)
{
    memset(decision, 0, sizeof(*decision));
    if (!input->count)
        return;
    merge(input, decision);
    uint64_t first = open_step(input);
    bool retry = first && (input->mode == SHL_STEP_ABORT || input->admits);
    retry |= gives_up(input, decision);
    bool redo = first && !retry && input->shrinks;
    if (retry)
        decision->retry = decision->step + 1;
    if (redo && first <= decision->settled)
        decision->redo_from = first;
    for (uint64_t op = decision->settled + 1; op <= decision->started; op++) {
        uint32_t at = (uint32_t)(op - decision->settled - 1);
        if (first && op >= first && (retry || (redo && !told_of(input, op)))) {
            decision->outcomes[at] = retry ? SHL_OUTCOME_RETRY : SHL_OUTCOME_REDO;
            continue;
        }
        decide_op(input, op, !input->admits, decision);
    }
}
