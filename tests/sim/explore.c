/*
 * The exploration itself: which transitions a state has, making one, and going through all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim/explore.h"

#include "support/test.h"

#include <stdlib.h>
#include <string.h>

enum kind {
    DELIVER, /* the oldest message from a to b */
    FENCED,
    LOST, /* a hears that b is gone */
    TICK,
    STEP, /* all commit one */
    BOUNDARY,
    EXECUTE, /* request b of a */
    ANSWER,
    OP, /* enum explore_op_step b of a */
    PASS_TIME,
    CRASH_SENT, /* a dies; what it sent arrives */
    CRASH_MUTE, /* a dies; what it sent is lost with it */
    CUT,        /* b hears nothing more of a */
    HURRY,      /* time passes although something is under way */
    LOSE        /* request b of a, or its answer, is lost */
};

static const char *const kind_names[] = {
    "message",   "fenced", "lost",  "tick",        "step", "boundary", "store runs", "answer",
    "operation", "time",   "crash", "crash, mute", "cut",  "hurry",    "store lost"};

struct transition {
    enum kind kind;
    uint32_t a, b;
};

#define TRANSITIONS_MAX 128u

struct list {
    struct transition at[TRANSITIONS_MAX];
    uint32_t count;
};

static void add(struct list *list, enum kind kind, uint32_t a, uint32_t b)
{
    assert_true(list->count < TRANSITIONS_MAX);
    list->at[list->count++] = (struct transition){kind, a, b};
}

/* ---- which ---------------------------------------------------------------------------------- */

static void list_events(const struct explore *x, uint32_t i, struct list *list)
{
    const struct explore_state *state = x->now;
    const struct explore_node *node = &state->nodes[i];
    for (uint32_t k = 0; k < EXPLORE_REQUESTS; k++) {
        if (state->requests[i][k].stage == EXPLORE_ASKED) /* also of one that has died since */
            add(list, EXECUTE, i, k);
        else if (state->requests[i][k].stage == EXPLORE_ANSWERED && explore_runs(node))
            add(list, ANSWER, i, k);
    }
    if (!explore_runs(node))
        return;
    for (uint32_t from = 0; from < EXPLORE_NODES; from++)
        if (state->channel[from][i][0])
            add(list, DELIVER, from, i);
    if (node->fence_due)
        add(list, FENCED, i, 0);
    for (uint32_t other = 0; other < EXPLORE_NODES; other++)
        if (node->lost_due & explore_bit(other))
            add(list, LOST, i, other);
    if (node->tick_due)
        add(list, TICK, i, 0);
    if (node->boundary_due)
        add(list, BOUNDARY, i, 0);
    for (uint32_t step = EXPLORE_OP_BEGIN; step <= EXPLORE_OP_FORWARDED; step++)
        if (explore_op_can(x, i, (enum explore_op_step)step))
            add(list, OP, i, step);
}

static uint64_t next_wake(const struct explore_state *state)
{
    uint64_t wake = UINT64_MAX;
    for (uint32_t i = 0; i < EXPLORE_NODES; i++)
        if (explore_runs(&state->nodes[i]) && state->nodes[i].wake_ns < wake)
            wake = state->nodes[i].wake_ns;
    return wake;
}

static void list_faults(const struct explore *x, bool busy, struct list *list)
{
    const struct explore_state *state = x->now;
    if (state->faults == x->options.faults)
        return;
    for (uint32_t i = 0; i < EXPLORE_NODES; i++) {
        if (!explore_runs(&state->nodes[i]))
            continue;
        bool speaks = false;
        for (uint32_t j = 0; j < EXPLORE_NODES; j++) {
            speaks = speaks || state->channel[i][j][0];
            if (i != j && explore_runs(&state->nodes[j]) && !state->cut[i][j])
                add(list, CUT, i, j);
        }
        add(list, CRASH_SENT, i, 0);
        if (speaks || state->nodes[i].forwarded)
            add(list, CRASH_MUTE, i, 0);
        for (uint32_t k = 0; k < EXPLORE_REQUESTS; k++)
            if (state->requests[i][k].stage != EXPLORE_IDLE)
                add(list, LOSE, i, k);
    }
    if (busy && next_wake(state) != UINT64_MAX && next_wake(state) > state->now_ns)
        add(list, HURRY, 0, 0);
}

static void list_all(const struct explore *x, struct list *list)
{
    list->count = 0;
    for (uint32_t i = 0; i < EXPLORE_NODES; i++)
        list_events(x, i, list);
    bool busy = list->count > 0;
    if (!busy && explore_step_can(x)) /* steps take longer than messages */
        add(list, STEP, 0, 0);
    if (!busy && next_wake(x->now) != UINT64_MAX)
        add(list, PASS_TIME, 0, 0);
    list_faults(x, busy, list);
}

/* ---- making one ------------------------------------------------------------------------------ */

static void deliver(struct explore *x, uint32_t from, uint32_t to)
{
    uint32_t *channel = x->now->channel[from][to], id = channel[0];
    size_t size;
    memmove(channel, channel + 1, (EXPLORE_QUEUE - 1) * sizeof(*channel));
    channel[EXPLORE_QUEUE - 1] = 0;
    const void *bytes = explore_bytes(id, &size);
    ASSERT_OK(shl_membership_receive(&x->now->cores[to], x->now->now_ns, from + 1, bytes, size));
}

static void fenced(struct explore *x, uint32_t i)
{
    static struct shl_report report;
    struct explore_node *node = &x->now->nodes[i];
    uint64_t epoch = node->fence_due;
    node->fence_due = 0;
    explore_op_report(x, i, &report);
    shl_membership_fenced(&x->now->cores[i], x->now->now_ns, epoch, &report);
}

static void boundary(struct explore *x, uint32_t i)
{
    uint64_t wanted = x->now->nodes[i].boundary_due;
    x->now->nodes[i].boundary_due = 0;
    shl_membership_boundary(&x->now->cores[i], x->now->now_ns, wanted);
}

static void crash(struct explore *x, uint32_t i, bool mute)
{
    struct explore_state *state = x->now;
    state->nodes[i].alive = false;
    state->crashed |= explore_bit(i);
    for (uint32_t j = 0; j < EXPLORE_NODES; j++) {
        memset(state->channel[j][i], 0, sizeof(state->channel[j][i]));
        if (mute) {
            memset(state->channel[i][j], 0, sizeof(state->channel[i][j]));
            state->nodes[j].forwarded = 0;
        }
        if (explore_runs(&state->nodes[j]) && !state->cut[i][j])
            state->nodes[j].lost_due |= explore_bit(i);
    }
    for (uint32_t k = 0; mute && k < EXPLORE_REQUESTS; k++)
        state->requests[i][k] = (struct explore_request){0};
}

static void pass_time(struct explore_state *state)
{
    state->now_ns = next_wake(state);
    for (uint32_t i = 0; i < EXPLORE_NODES; i++)
        if (explore_runs(&state->nodes[i]) && state->nodes[i].wake_ns <= state->now_ns)
            state->nodes[i].tick_due = true;
}

static void make_fault(struct explore *x, const struct transition *t)
{
    struct explore_state *state = x->now;
    state->faults++;
    if (t->kind == CRASH_SENT || t->kind == CRASH_MUTE) {
        crash(x, t->a, t->kind == CRASH_MUTE);
    } else if (t->kind == CUT) {
        state->cuts++;
        state->cut[t->a][t->b] = true;
        memset(state->channel[t->a][t->b], 0, sizeof(state->channel[t->a][t->b]));
        state->nodes[t->b].lost_due |= explore_bit(t->a);
    } else if (t->kind == HURRY) {
        pass_time(state);
    } else {
        state->requests[t->a][t->b] = (struct explore_request){0};
    }
}

static void make(struct explore *x, const struct transition *t)
{
    struct explore_state *state = x->now;
    struct shl_membership *core = &state->cores[t->a];
    x->result.transitions++;
    switch (t->kind) {
    case DELIVER:
        deliver(x, t->a, t->b);
        break;
    case FENCED:
        fenced(x, t->a);
        break;
    case LOST:
        state->nodes[t->a].lost_due &= ~explore_bit(t->b);
        shl_membership_suspect(core, state->now_ns, t->b + 1);
        break;
    case TICK:
        state->nodes[t->a].tick_due = false;
        shl_membership_tick(core, state->now_ns);
        break;
    case BOUNDARY:
        boundary(x, t->a);
        break;
    case STEP:
        explore_step_do(x);
        break;
    case EXECUTE:
        explore_store_execute(x, t->a, t->b);
        break;
    case ANSWER:
        explore_store_answer(x, t->a, t->b);
        break;
    case OP:
        explore_op_do(x, t->a, (enum explore_op_step)t->b);
        break;
    case PASS_TIME:
        pass_time(state);
        break;
    default:
        make_fault(x, t);
    }
    explore_op_check(x);
}

/* ---- where nothing more happens ---------------------------------------------------------------
 */

/* Those who are left, if they are allowed to, go on: in one view, of just them, without anything
 * open. Cuts make more than one end legal, so long as the job lives. */
static void check_end(struct explore *x)
{
    const struct explore_state *state = x->now;
    uint32_t running = 0, left = 0;
    uint64_t epoch = 0;
    for (uint32_t i = 0; i < EXPLORE_NODES; i++)
        if (explore_runs(&state->nodes[i])) {
            running |= explore_bit(i);
            epoch = state->nodes[i].epoch > epoch ? state->nodes[i].epoch : epoch;
        }
    x->result.ends++;
    for (uint32_t i = 0; i < EXPLORE_NODES; i++) {
        const struct explore_node *node = &state->nodes[i];
        left += node->alive && node->ended && node->status == SHOAL_OK;
        if (!explore_runs(node))
            continue;
        EXPLORE_CHECK(x, node->epoch == epoch, "all that go on are in one view");
        EXPLORE_CHECK(x, node->members == running, "all of the last view go on");
        EXPLORE_CHECK(x, !node->fenced_for, "nobody stays fenced");
        EXPLORE_CHECK(x, x->options.story == EXPLORE_LEAVE || node->returned,
                      "the operation returns");
    }
    bool may_end = state->crashed && (state->crashed & (state->crashed - 1));
    EXPLORE_CHECK(x, running || may_end || state->cuts, "the job goes on");
    if (!state->crashed && !state->cuts)
        EXPLORE_CHECK(x, running == (EXPLORE_ALL >> left), "nobody is evicted without a cause");
}

/* ---- all ------------------------------------------------------------------------------------ */

static bool is_new(struct explore *x, uint64_t hash)
{
    if (4 * (x->result.states + 1) > 3 * x->visited_capacity) {
        uint64_t old = x->visited_capacity, *before = x->visited;
        x->visited_capacity = old ? 2 * old : 1u << 16;
        x->visited = calloc(x->visited_capacity, sizeof(*x->visited));
        assert_non_null(x->visited);
        for (uint64_t i = 0; i < old; i++) {
            uint64_t at = before[i];
            while (before[i] && x->visited[at % x->visited_capacity])
                at++;
            if (before[i])
                x->visited[at % x->visited_capacity] = before[i];
        }
        free(before);
    }
    uint64_t at = hash;
    for (; x->visited[at % x->visited_capacity]; at++)
        if (x->visited[at % x->visited_capacity] == hash)
            return false;
    x->visited[at % x->visited_capacity] = hash;
    x->result.states++;
    return true;
}

/* A state on the way from the first one to where the exploration is. */
struct frame {
    struct explore_state state;
    struct list list;
    uint32_t next; /* transition to make */
    bool ends;     /* nothing but faults can happen */
};

struct stack {
    struct frame **frames; /* allocated up to capacity */
    uint32_t depth, capacity;
};

static struct frame *push(struct stack *stack)
{
    if (stack->depth == stack->capacity) {
        stack->capacity++;
        stack->frames = realloc(stack->frames, stack->capacity * sizeof(struct frame *));
        assert_non_null(stack->frames);
        stack->frames[stack->depth] = malloc(sizeof(struct frame));
        assert_non_null(stack->frames[stack->depth]);
    }
    return stack->frames[stack->depth++];
}

static void tell(const struct explore *x, const struct stack *stack)
{
    print_error("not true: %s\nafter:\n", x->violation);
    for (uint32_t i = 0; i + 1 < stack->depth; i++) {
        const struct frame *frame = stack->frames[i];
        const struct transition *t = &frame->list.at[frame->next - 1];
        print_error("  %s %u %u\n", kind_names[t->kind], t->a, t->b);
    }
}

/* The newest frame's state is new: what can happen there? */
static void enter(struct explore *x, struct frame *frame)
{
    x->now = &frame->state;
    list_all(x, &frame->list);
    frame->next = 0;
    frame->ends = true;
    for (uint32_t i = 0; i < frame->list.count; i++)
        frame->ends = frame->ends && frame->list.at[i].kind >= CRASH_SENT;
    if (frame->ends)
        check_end(x);
}

static void explore_all(struct explore *x, struct stack *stack)
{
    enter(x, stack->frames[0]);
    while (stack->depth && !x->violation) {
        struct frame *from = stack->frames[stack->depth - 1];
        if (from->next == from->list.count) {
            stack->depth--;
            continue;
        }
        struct frame *to = push(stack);
        memcpy(&to->state, &from->state, sizeof(to->state));
        x->now = &to->state;
        make(x, &from->list.at[from->next++]);
        if (x->violation)
            return;
        if (is_new(x, explore_hash(&to->state)))
            enter(x, to);
        else
            stack->depth--;
    }
}

void explore_run(const struct explore_options *options, struct explore_result *result)
{
    struct explore x = {.options = *options};
    struct stack stack = {0};
    explore_open(&x, &push(&stack)->state);
    explore_all(&x, &stack);
    *result = x.result;
    result->violations = x.violation != NULL;
    if (x.violation)
        tell(&x, &stack);
    for (uint32_t i = 0; i < stack.capacity; i++)
        free(stack.frames[i]);
    free(stack.frames);
    free(x.visited);
    explore_intern_clear();
    if (x.violation && !options->broken)
        fail_msg("%s", x.violation);
}
