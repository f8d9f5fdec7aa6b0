/*
 * The data path of virtual workers: what an engine has to promise to the membership core, in the
 * fewest lines.
 *
 * An operation is held when the inputs of all its participants arrived, and settled when all of
 * them said that they hold it. A program runs steps of one to three operations, two at a time, and
 * commits each by an operation of its own, which always returns after its completion round.
 *
 * Whose deadline passes stops the operation and says so; all that hear of it say, once, whether
 * they have stopped or hold it. When all have stopped their programs are told; else the core
 * decides.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/membership_world.h"

#define AHEAD 2u
#define AHEAD_OF_SETTLED 64 /* likewise, counted from what no view can touch any more */

static uint64_t bit(uint32_t life)
{
    return 1ull << life;
}

static struct world_op *op_at(struct world_life *life, uint64_t seq)
{
    struct world_op *op = &life->ops[seq % WORLD_OPS];
    if (op->seq != seq)
        *op = (struct world_op){.seq = seq};
    if (op->epoch != life->epoch) {
        op->epoch = life->epoch;
        op->inputs = op->holders = op->wanted = op->stated = 0;
        op->stopped = op->uneven = false;
    }
    return op;
}

static uint64_t participants(const struct world_life *life, uint64_t seq)
{
    return seq <= life->decided ? life->veterans : life->members;
}

static uint64_t step_hash(struct world_life *life, uint64_t last)
{
    uint64_t hash = 1469598103934665603ull;
    uint64_t first = life->world->options.loose ? last : life->step_first;
    for (uint64_t seq = first; seq <= last; seq++) {
        WORLD_CHECK(life->world, op_at(life, seq)->result == op_at(life, last)->result,
                    "life %u: operation %llu of a step has other contributors than its commit\n",
                    life->number, (unsigned long long)seq);
        hash = (hash ^ op_at(life, seq)->result) * 1099511628211ull;
    }
    return hash | 1;
}

/* Every step is committed once, with the same results on whoever returns from it, also on members
 * that were evicted meanwhile. */
static void commit_returned(struct world_life *life, struct world_op *op)
{
    struct world *world = life->world;
    uint64_t hash = step_hash(life, op->seq);
    life->step++;
    WORLD_CHECK(world, life->step < WORLD_STEPS, "too many steps\n");
    uint64_t *known = &world->step_hashes[life->step];
    if (!(world->orphans >> life->number & 1)) {
        WORLD_CHECK(world, !*known || *known == hash,
                    "life %u commits step %llu in epoch %llu with other results\n", life->number,
                    (unsigned long long)life->step, (unsigned long long)life->epoch);
        *known = hash;
    }
    if (life->step > world->steps_done)
        world->steps_done = life->step;
    life->step_last = op->seq;
    life->step_first = life->in_step = 0;
    life->commit_open = life->gives_up = false;
    life->boundary_due = true;
    if (world->observer)
        world->observer->committed(world->observer->arg, life, op->result);
    world_event(world, WORLD_BOUNDARY, life->number, (1 + world_random(world, 3)) * WORLD_MS)
        ->wanted = op->wanted;
}

static void contribute(struct world_life *life, struct world_op *op);
static void conclude(struct world_life *life, struct world_op *op);

static void op_return(struct world_life *life, struct world_op *op)
{
    if (op->returned)
        return;
    op->returned = true;
    life->unreturned--;
    if (op->commit)
        commit_returned(life, op);
    world_event(life->world, WORLD_APP, life->number, world_random(life->world, 300) * 1000);
    if (!life->commit_open || life->unreturned != 1)
        return;
    /* A commit that is redone waits for what it commits. */
    for (uint64_t seq = life->settled + 1; seq <= life->started; seq++) {
        struct world_op *waiting = op_at(life, seq);
        if (waiting->commit && waiting->begun && !waiting->contributed && !waiting->held)
            contribute(life, waiting);
    }
}

static void advance_settled(struct world_life *life)
{
    bool waits = life->started == life->settled + AHEAD_OF_SETTLED;
    while (life->settled < life->started && op_at(life, life->settled + 1)->settled)
        life->settled++;
    if (waits && life->started < life->settled + AHEAD_OF_SETTLED)
        world_event(life->world, WORLD_APP, life->number, 0);
}

static void op_progress(struct world_life *life, struct world_op *op)
{
    uint64_t needed = participants(life, op->seq);
    if (op->begun && op->contributed && !op->held && !op->failed && !op->stopped &&
        (op->inputs & needed) == needed) {
        op->held = true;
        op->result = needed;
    }
    if ((!op->held && !op->told) || op->settled)
        return;
    if (!(op->holders & bit(life->number))) {
        op->holders |= bit(life->number);
        for (uint32_t i = 0; i < life->world->life_count; i++)
            if (needed & bit(i) && i != life->number)
                world_send_data(life, i, WORLD_HELD, op->seq, 0, 0);
    }
    bool all = (op->holders & needed) == needed;
    op->settled = all;
    for (uint32_t i = 0; all && i < life->world->life_count; i++)
        if (life->members & ~needed & bit(i)) /* who came later, and has no part in it */
            world_send_data(life, i, WORLD_SETTLED, op->seq, 0, 0);
    bool early = life->world->options.optimistic && !op->commit;
    if (op->told)
        return advance_settled(life);
    if (all || early || life->world->options.broken == WORLD_NO_ROUND)
        op_return(life, op);
    advance_settled(life);
}

static void contribute(struct world_life *life, struct world_op *op)
{
    uint64_t wanted = op->commit ? shl_membership_wanted(life->core, life->world->now_ns) : 0;
    uint64_t needed = participants(life, op->seq);
    op->contributed = true;
    if (op->stopped)
        return conclude(life, op);
    op->inputs |= bit(life->number);
    if (wanted > op->wanted)
        op->wanted = wanted;
    for (uint32_t i = 0; i < life->world->life_count; i++)
        if (needed & bit(i) && i != life->number)
            world_send_data(life, i, WORLD_INPUT, op->seq, 0, wanted);
    op_progress(life, op);
}

/* ---- deadlines ------------------------------------------------------------------------------ */

/* The program is told when it has called the operation. */
static void conclude(struct world_life *life, struct world_op *op)
{
    uint64_t needed = participants(life, op->seq);
    if (!op->begun || !op->stopped || op->told || (op->stated & needed) != needed)
        return;
    life->world->uneven += op->uneven;
    if (op->uneven && life->world->options.broken != WORLD_NO_STATEMENTS) {
        shl_membership_decide(life->core, life->world->now_ns);
        return;
    }
    life->unreturned--;
    op->told = op->failed = op->returned = true;
    op_progress(life, op);
    world_event(life->world, WORLD_APP, life->number, world_random(life->world, 300) * 1000);
}

static void state(struct world_life *life, struct world_op *op)
{
    uint64_t needed = participants(life, op->seq);
    if (op->stated & bit(life->number) || op->failed)
        return;
    op->stated |= bit(life->number);
    op->stopped = !op->held;
    for (uint32_t i = 0; i < life->world->life_count; i++)
        if (needed & bit(i) && i != life->number)
            world_send_data(life, i, WORLD_STATED, op->seq, op->held, 0);
    conclude(life, op);
}

bool world_engine_expire(struct world_life *life)
{
    if (!life->epoch || life->fenced_for)
        return false;
    for (uint64_t seq = life->settled + 1; seq <= life->started; seq++) {
        struct world_op *op = op_at(life, seq);
        if (!op->contributed || op->held || op->failed || op->stopped || op->commit)
            continue;
        state(life, op);
        return true;
    }
    return false;
}

void world_engine_data(struct world_life *life, const struct world_event *event)
{
    struct world_op *op = op_at(life, event->seq);
    if (event->data == WORLD_INPUT)
        op->inputs |= bit(event->from);
    if (event->data == WORLD_HELD)
        op->holders |= bit(event->from);
    if (event->wanted > op->wanted)
        op->wanted = event->wanted;
    if (event->data == WORLD_FORWARDED && !op->held) {
        op->held = op->contributed = true;
        op->result = event->result;
    }
    if (event->data == WORLD_SETTLED) {
        op->settled = true;
        return advance_settled(life);
    }
    if (event->data == WORLD_STATED) {
        op->stated |= bit(event->from);
        op->uneven |= event->result != 0;
        state(life, op);
        conclude(life, op);
    }
    op_progress(life, op);
}

#define BY_NUMBER 3u

static bool commits_next(const struct world_life *life)
{
    if (life->world->options.by_number)
        return (life->started + 1) % BY_NUMBER == 0;
    return life->in_step == 1 + life->step % 3;
}

void world_engine_app(struct world_life *life)
{
    bool fenced = life->fenced_for && life->world->options.broken != WORLD_NO_FENCE;
    if (life->mute)
        return;
    while (life->epoch && !fenced && !life->boundary_due && !life->commit_open && !life->gives_up &&
           !shl_membership_at_boundary(life->core) && life->unreturned < AHEAD &&
           life->started < life->settled + AHEAD_OF_SETTLED) {
        bool commit = commits_next(life);
        if (commit && life->unreturned)
            return;
        struct world_op *op = op_at(life, ++life->started);
        if (op->failed) { /* decided before this worker called it */
            life->in_step = commit ? 0 : life->in_step + 1;
            op->begun = true;
            continue;
        }
        if (!life->in_step && !life->world->options.loose)
            life->step_first = op->seq;
        life->in_step += !commit;
        op->begun = true;
        op->commit = life->commit_open = commit;
        life->unreturned++;
        contribute(life, op);
    }
}

void world_engine_report(struct world_life *life, struct shl_report *report)
{
    bool optimistic = life->world->options.optimistic;
    bool keeps = life->world->options.mode == SHL_STEP_RETAIN;
    bool careless = life->world->options.broken == WORLD_NO_ROUND;
    bool round_first = life->world->options.by_number;
    *report = (struct shl_report){.settled = life->settled,
                                  .started = life->started,
                                  .step = life->step,
                                  .step_last = life->step_last,
                                  .step_first = life->step_first,
                                  .position = life->step,
                                  .gives_up = life->gives_up};
    if (report->started < life->decided)
        report->started = life->decided;
    for (uint64_t seq = life->settled + 1; seq <= report->started; seq++) {
        const struct world_op *op = op_at(life, seq);
        uint8_t *flags = &report->ops[seq - life->settled - 1];
        bool held = op->held && !(round_first && op->commit);
        if (held || op->failed)
            *flags |= SHL_OP_HELD;
        if (op->told)
            *flags |= SHL_OP_EXPIRED;
        if (held && (!op->returned || (optimistic && !op->settled && !careless)))
            *flags |= SHL_OP_COPY;
        if (keeps || !op->begun)
            *flags |= SHL_OP_RETAINED;
        if (op->commit && held && !op->returned) {
            report->step++;
            report->position++;
            report->step_last = seq;
            report->step_first = 0;
        }
    }
}

/* ---- a new view ----------------------------------------------------------------------------- */

static void done(struct world_life *life, uint64_t seq)
{
    struct world_op *op = op_at(life, seq);
    WORLD_CHECK(life->world, op->held || op->failed || op->settled,
                "life %u: operation %llu is done, but not held here\n", life->number,
                (unsigned long long)seq);
    op->settled = true;
    if (op->begun && !op->failed)
        op_return(life, op);
}

static void redo(struct world_life *life, uint64_t seq)
{
    struct world_op *op = op_at(life, seq);
    life->world->redone++;
    if (op->held && life->world->options.broken == WORLD_NO_STEP_RETENTION)
        return;
    if (op->returned)
        life->unreturned++;
    WORLD_CHECK(life->world, !op->returned || (life->step_first && seq >= life->step_first),
                "life %u: operation %llu was returned and is redone\n", life->number,
                (unsigned long long)seq);
    op->held = op->settled = op->returned = op->contributed = false;
}

static void forward(struct world_life *life, uint64_t seq, uint32_t source)
{
    struct world_op *op = op_at(life, seq);
    life->world->forwarded++;
    WORLD_CHECK(life->world, !op->told, "life %u: operation %llu was late, and is forwarded\n",
                life->number, (unsigned long long)seq);
    bool silent = life->mute && life->world->options.broken == WORLD_FORWARD_BY_CALL;
    if (source != life->number || silent)
        return;
    WORLD_CHECK(life->world, op->held, "the source of operation %llu does not hold it\n",
                (unsigned long long)seq);
    for (uint32_t i = 0; i < life->world->life_count; i++)
        if (life->veterans & bit(i) && i != life->number)
            world_send_data(life, i, WORLD_FORWARDED, seq, op->result, op->wanted);
}

static void fail_op(struct world_life *life, uint64_t seq, enum shl_outcome outcome)
{
    struct world_op *op = op_at(life, seq);
    bool retry = outcome == SHL_OUTCOME_RETRY, late = outcome == SHL_OUTCOME_EXPIRED;
    WORLD_CHECK(life->world, retry || !op->returned || !op->begun || (op->told && late),
                "life %u: operation %llu was returned and fails\n", life->number,
                (unsigned long long)seq);
    if (op->begun && !op->returned)
        life->unreturned--;
    if (op->commit && op->begun)
        life->commit_open = false;
    if (op->commit && op->begun && !retry) { /* the program goes on with the next step */
        life->in_step = 0;
        life->step_first = 0;
    }
    op->failed = op->settled = op->returned = true;
    op->held = false;
    op->told |= late;
    life->world->failures += !retry;
}

static void follow_outcomes(struct world_life *life, const struct shl_record *record)
{
    const struct shl_decision *decision = &record->decision;
    for (uint64_t seq = life->settled + 1; seq <= decision->settled; seq++)
        done(life, seq);
    for (uint64_t seq = decision->redo_from; seq && seq <= decision->settled; seq++)
        redo(life, seq);
    for (uint64_t seq = decision->settled + 1; seq <= decision->started; seq++) {
        uint32_t at = (uint32_t)(seq - decision->settled - 1);
        switch ((enum shl_outcome)decision->outcomes[at]) {
        case SHL_OUTCOME_DONE:
            done(life, seq);
            break;
        case SHL_OUTCOME_FORWARD:
            forward(life, seq,
                    world_life_of(life->world, record->view.at[decision->sources[at]].id));
            break;
        case SHL_OUTCOME_REDO:
            redo(life, seq);
            break;
        default:
            fail_op(life, seq, (enum shl_outcome)decision->outcomes[at]);
        }
    }
}

static void retry_step(struct world_life *life, const struct shl_decision *decision)
{
    uint64_t first = life->step_first;
    life->world->retries++;
    life->gives_up = false;
    /* Settled operations of the step are void with it. */
    life->started = decision->started;
    if (!life->commit_open) {
        life->in_step = life->step_first = 0;
        for (uint64_t seq = first; first && seq <= decision->settled; seq++)
            op_at(life, seq)->failed = true;
    }
}

static void newcomer(struct world_life *life, const struct shl_decision *decision)
{
    life->started = decision->started;
    life->settled = shl_decision_held(decision);
    if (life->world->options.broken == WORLD_SETTLED_BY_JOINER)
        life->settled = decision->started;
    for (uint64_t seq = life->settled + 1; seq <= life->started; seq++) {
        struct world_op *op = op_at(life, seq);
        op->failed = op->returned = true;
        op->settled =
            decision->outcomes[seq - decision->settled - 1] != (uint8_t)SHL_OUTCOME_FORWARD;
    }
    life->step = decision->step;
    life->step_last = 0;
    life->veterans = 0;
}

void world_engine_publish(struct world_life *life, const struct shl_record *record)
{
    const struct shl_decision *decision = &record->decision;
    bool first = !life->epoch;
    uint64_t before = life->members;
    life->epoch = record->view_epoch;
    life->members = world_lives_of(life->world, &record->view);
    life->veterans = life->members & before;
    life->decided = decision->started;
    life->fenced_for = 0;
    if (first) {
        newcomer(life, decision);
    } else {
        follow_outcomes(life, record);
        if (decision->retry)
            retry_step(life, decision);
        uint64_t low = decision->redo_from ? decision->redo_from - 1 : decision->settled;
        life->settled = low;
        for (uint64_t seq = low + 1; seq <= decision->started; seq++) {
            struct world_op *op = op_at(life, seq);
            bool waits_for_others = op->commit && life->unreturned > 1;
            if (op->begun && !op->settled && !op->held && !op->failed && !op->contributed &&
                !waits_for_others)
                contribute(life, op);
            else
                op_progress(life, op);
        }
        while (life->settled < decision->started && op_at(life, life->settled + 1)->settled)
            life->settled++;
    }
    if (life->world->observer)
        life->world->observer->published(life->world->observer->arg, life, record, before);
    world_event(life->world, WORLD_APP, life->number, 0);
}

/* Outside of steps what was returned is final: members of one view agree on it. */
void world_check_outcomes(struct world *world)
{
    if (!world->options.loose)
        return;
    for (uint32_t a = 0; a < world->life_count; a++) {
        struct world_life *one = world->lives[a];
        for (uint32_t b = 0; one->running && b < a; b++) {
            struct world_life *other = world->lives[b];
            if (!other->running || other->epoch != one->epoch || !one->epoch)
                continue;
            uint64_t last = one->started < other->started ? one->started : other->started;
            for (uint64_t seq = last > WORLD_OPS ? last - WORLD_OPS + 1 : 1; seq <= last; seq++) {
                const struct world_op *x = &one->ops[seq % WORLD_OPS];
                const struct world_op *y = &other->ops[seq % WORLD_OPS];
                if (x->seq != y->seq || !x->returned || !y->returned || !x->begun || !y->begun)
                    continue;
                WORLD_CHECK(world,
                            x->failed == y->failed && x->told == y->told &&
                                (x->failed || x->result == y->result),
                            "lives %u and %u differ on operation %llu\n", a, b,
                            (unsigned long long)x->seq);
            }
        }
    }
}
