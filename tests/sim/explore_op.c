/*
 * The one operation of an explored world: what an engine promises to the core, reduced to when a
 * member has begun, holds, and knows that all hold it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/explore.h"

#include <string.h>

static bool in_step(const struct explore *x)
{
    return x->options.story == EXPLORE_RETAIN || x->options.story == EXPLORE_ABORT;
}

static bool is_fenced(const struct explore *x, const struct explore_node *node)
{
    return node->fenced_for && x->options.broken != EXPLORE_NO_FENCE;
}

/* An operation that a view inherited is the business of those that were there before. */
static uint32_t participants(const struct explore_node *node)
{
    return node->decided ? node->veterans : node->members;
}

static bool all_contributed(const struct explore *x, const struct explore_node *node)
{
    for (uint32_t i = 0; i < EXPLORE_NODES; i++)
        if (participants(node) & explore_bit(i) && x->now->nodes[i].contributed != node->epoch)
            return false;
    return true;
}

static bool all_told(const struct explore *x, const struct explore_node *node)
{
    for (uint32_t i = 0; i < EXPLORE_NODES; i++)
        if (participants(node) & explore_bit(i) && x->now->nodes[i].told_held != node->epoch)
            return false;
    return true;
}

bool explore_op_can(const struct explore *x, uint32_t number, enum explore_op_step step)
{
    const struct explore_node *node = &x->now->nodes[number];
    if (!explore_runs(node) || is_fenced(x, node) || x->options.story == EXPLORE_LEAVE)
        return false;
    switch (step) {
    case EXPLORE_OP_BEGIN:
        return !node->begun;
    case EXPLORE_OP_HOLD:
        return node->contributed == node->epoch && !node->held && all_contributed(x, node);
    case EXPLORE_OP_SETTLE:
        return node->held && !node->settled && all_told(x, node);
    default:
        return node->forwarded == node->epoch && !node->held;
    }
}

static void hold(struct explore *x, struct explore_node *node, uint32_t result)
{
    node->held = true;
    node->result = result;
    node->told_held = node->epoch;
    if (node->begun && x->options.story != EXPLORE_FINAL)
        node->returned = true;
}

void explore_op_do(struct explore *x, uint32_t number, enum explore_op_step step)
{
    struct explore_node *node = &x->now->nodes[number];
    switch (step) {
    case EXPLORE_OP_BEGIN:
        node->begun = true;
        if (node->held || node->given_up)
            node->returned = true; /* decided before it was called */
        else
            node->contributed = node->epoch;
        break;
    case EXPLORE_OP_HOLD:
        hold(x, node, participants(node));
        break;
    case EXPLORE_OP_SETTLE:
        node->settled = true;
        node->returned = node->begun;
        break;
    default:
        hold(x, node, node->forwarded_result);
        break;
    }
}

/* All members commit a step in one view, and somebody waits: that is part of its result. */
bool explore_step_can(const struct explore *x)
{
    const struct explore_node *first = NULL;
    bool wanted = false;
    if (x->options.story != EXPLORE_LEAVE)
        return false;
    for (uint32_t i = 0; i < EXPLORE_NODES; i++) {
        const struct explore_node *node = &x->now->nodes[i];
        if (!explore_runs(node))
            continue;
        first = first ? first : node;
        if (node->epoch != first->epoch || is_fenced(x, node) || node->boundary_due ||
            shl_membership_at_boundary(&x->now->cores[i]))
            return false;
        wanted = wanted || shl_membership_wanted(&x->now->cores[i], x->now->now_ns);
    }
    for (uint32_t i = 0; first && i < EXPLORE_NODES; i++)
        if (first->members & explore_bit(i) && !explore_runs(&x->now->nodes[i]))
            return false;
    return wanted;
}

void explore_step_do(struct explore *x)
{
    for (uint32_t i = 0; i < EXPLORE_NODES; i++)
        x->now->nodes[i].boundary_due =
            explore_runs(&x->now->nodes[i]) ? x->now->nodes[i].epoch : 0;
}

void explore_op_report(const struct explore *x, uint32_t number, struct shl_report *report)
{
    const struct explore_node *node = &x->now->nodes[number];
    bool copy = !node->returned ||
                (x->options.story != EXPLORE_FINAL && x->options.broken != EXPLORE_NO_COPY);
    memset(report, 0, sizeof(*report));
    report->started = node->begun || node->decided ? EXPLORE_OP : EXPLORE_OP - 1;
    report->settled = node->settled ? EXPLORE_OP : EXPLORE_OP - 1;
    if (in_step(x) && report->started == EXPLORE_OP && !node->given_up)
        report->step_first = EXPLORE_OP;
    if (report->settled == report->started)
        return;
    if (node->held || node->given_up)
        report->ops[0] |= SHL_OP_HELD;
    if (node->held && !node->settled && copy)
        report->ops[0] |= SHL_OP_COPY;
    if (x->options.story != EXPLORE_ABORT || !node->begun)
        report->ops[0] |= SHL_OP_RETAINED;
}

/* ---- a new view ----------------------------------------------------------------------------- */

static void done(struct explore *x, struct explore_node *node)
{
    EXPLORE_CHECK(x, node->held || node->given_up || node->settled,
                  "an operation that is decided to be done is held by every survivor");
    node->settled = true;
    node->returned = node->begun;
}

static void redo(struct explore *x, struct explore_node *node)
{
    EXPLORE_CHECK(x, in_step(x) || !node->returned, "what was returned for good is not redone");
    x->result.redone++;
    node->held = node->settled = node->returned = false;
    node->contributed = node->begun ? node->epoch : 0;
}

static void forward(struct explore *x, struct explore_node *node, bool is_source)
{
    x->result.forwarded++;
    EXPLORE_CHECK(x, !is_source || node->held, "the source of a forwarded result holds it");
    for (uint32_t i = 0; is_source && i < EXPLORE_NODES; i++) {
        struct explore_node *other = &x->now->nodes[i];
        if (other == node || !(node->veterans & explore_bit(i)))
            continue;
        other->forwarded = node->epoch;
        other->forwarded_result = node->result;
    }
}

static void give_up(struct explore *x, struct explore_node *node, bool retry)
{
    EXPLORE_CHECK(x, retry || !node->returned, "what was returned for good does not fail");
    x->result.failed += !retry;
    node->given_up = node->settled = true;
    node->held = false;
    node->returned = node->begun;
}

static void follow(struct explore *x, struct explore_node *node, uint32_t number,
                   const struct shl_record *record)
{
    const struct shl_decision *decision = &record->decision;
    if (decision->started < EXPLORE_OP)
        return;
    node->decided = true;
    if (decision->redo_from && decision->redo_from <= EXPLORE_OP) {
        redo(x, node);
    } else if (decision->settled >= EXPLORE_OP) {
        if (decision->retry)
            give_up(x, node, true);
        else
            done(x, node);
    } else {
        uint64_t source = record->view.at[decision->sources[0]].id;
        switch ((enum shl_outcome)decision->outcomes[0]) {
        case SHL_OUTCOME_DONE:
            done(x, node);
            break;
        case SHL_OUTCOME_FORWARD:
            forward(x, node, source == number + 1);
            break;
        case SHL_OUTCOME_REDO:
            redo(x, node);
            break;
        default:
            give_up(x, node, decision->outcomes[0] == SHL_OUTCOME_RETRY);
        }
    }
}

void explore_op_publish(struct explore *x, uint32_t number, const struct shl_record *record)
{
    struct explore_node *node = &x->now->nodes[number];
    uint32_t before = node->members;
    node->members = explore_members(&record->view);
    node->veterans = node->members & before;
    node->epoch = record->view_epoch;
    node->fenced_for = node->fence_due = 0;
    x->result.published++;
    follow(x, node, number, record);
    if (!node->decided && node->begun && !node->held)
        node->contributed = node->epoch;
    if (node->held)
        node->told_held = node->epoch;
}

/* Whoever is in one view agrees on what was returned; given up is agreed on too. */
void explore_op_check(struct explore *x)
{
    for (uint32_t i = 0; i < EXPLORE_NODES; i++) {
        const struct explore_node *a = &x->now->nodes[i];
        for (uint32_t j = 0; j < i; j++) {
            const struct explore_node *b = &x->now->nodes[j];
            if (!explore_runs(a) || !explore_runs(b) || a->epoch != b->epoch || !a->returned ||
                !b->returned)
                continue;
            EXPLORE_CHECK(x, a->given_up == b->given_up,
                          "an operation is not given up on one and returned on another");
            EXPLORE_CHECK(x, a->given_up || in_step(x) || a->result == b->result,
                          "an operation has one result");
            EXPLORE_CHECK(x, a->given_up || !a->settled || !b->settled || a->result == b->result,
                          "a settled operation has one result");
        }
    }
}
