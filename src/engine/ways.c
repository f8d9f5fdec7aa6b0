/*
 * Choosing among ways by what they took. Path: from group.c, at the begin and end of operations
 * with ordinary buffers.
 *
 * Estimates are the least of the last few times: the others are what disturbs the machine. The way
 * in use is timed at every operation, so when it becomes slower that shows at once; the others are
 * tried twice in a row, the first time finding cold memory, after so many operations that the
 * tries cost a hundredth of the time at most.
 *
 * Invariant: only member 0's choices matter, and every member takes them from what it published.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/ways.h"

#include "core/sys.h"

#define WAYS 3
#define KEPT 4         /* times, of each way */
#define TRIES 2        /* in a row */
#define COST_SHARE 100 /* tries cost at most one part in so many */
#define PAUSE_LEAST 32 /* operations between tries */
#define PAUSE_MOST 1024
#define COLLECTIVES SHOAL_BARRIER /* those that move data */
#define CLASS_BITS 14 /* sizes below 2^14 are one class, then one for each power of two */
#define CLASSES 20
#define UNKNOWN 1e30f

static const enum shl_group_mode modes[WAYS] = {SHL_GROUP_STREAM, SHL_GROUP_WINDOW, SHL_GROUP_PULL};

/* Operations of one kind and size. Times are in nanoseconds for each KiB. */
struct kind {
    float kept[WAYS][KEPT];
    uint32_t noted[WAYS]; /* times, since the last tries began */
    uint32_t tried;       /* bits: ways that were ever tried */
    uint32_t current;     /* way */
    uint32_t trial;       /* way that is being tried */
    uint32_t trials_left;
    uint32_t since; /* operations since the last tries */
    uint32_t pause; /* until the next */
};

struct shl_ways {
    struct kind kinds[COLLECTIVES][2][CLASSES]; /* out of place, in place */
};

enum shoal_status shl_ways_create(struct shl_ways **ways)
{
    *ways = shl_mem->alloc(sizeof(**ways));
    return *ways ? SHOAL_OK : shl_fail_errno("cannot allocate what ways of copying took");
}

void shl_ways_destroy(struct shl_ways *ways)
{
    shl_mem->free(ways);
}

static struct kind *kind_of(struct shl_ways *ways, const struct shl_way_op *op)
{
    unsigned class = 0;
    for (uint64_t size = op->bytes >> CLASS_BITS; size > 0 && class < CLASSES - 1; size >>= 1)
        class ++;
    return &ways->kinds[op->collective][op->in_place][class];
}

static bool usable(const struct shl_way_op *op, uint32_t way)
{
    return op->usable >> modes[way] & 1;
}

static float estimate(const struct kind *kind, uint32_t way)
{
    float least = UNKNOWN;
    for (uint32_t i = 0; i < KEPT && i < kind->noted[way]; i++)
        least = kind->kept[way][i] < least ? kind->kept[way][i] : least;
    return least;
}

static void begin_trial(struct kind *kind, uint32_t way)
{
    kind->trial = way;
    kind->trials_left = TRIES;
    kind->tried |= 1u << way;
    kind->noted[way] = 0;
    kind->since = 0;
}

static uint32_t index_of(enum shl_group_mode mode)
{
    uint32_t way = 0;
    while (way < WAYS && modes[way] != mode)
        way++;
    return way;
}

/* A usable way that was never tried; WAYS: none. */
static uint32_t find_untried(const struct shl_way_op *op, const struct kind *kind)
{
    uint32_t first = index_of(op->first);
    for (uint32_t i = 0; i < WAYS; i++) {
        uint32_t way = (first + i) % WAYS;
        if (!(kind->tried >> way & 1) && usable(op, way))
            return way;
    }
    return WAYS;
}

static uint32_t find_fastest(const struct shl_way_op *op, const struct kind *kind)
{
    uint32_t fastest = kind->current;
    for (uint32_t way = 0; way < WAYS; way++)
        if (usable(op, way) &&
            (!usable(op, fastest) || estimate(kind, way) < estimate(kind, fastest)))
            fastest = way;
    return fastest;
}

/* The way after the one that was tried last, but for the one in use; WAYS: there is only that. */
static uint32_t find_next_trial(const struct shl_way_op *op, const struct kind *kind)
{
    for (uint32_t i = 1; i <= WAYS; i++) {
        uint32_t way = (kind->trial + i) % WAYS;
        if (way != kind->current && usable(op, way))
            return way;
    }
    return WAYS;
}

/* After how many operations trying `way` costs no more than its share. */
static uint32_t pause_before(const struct kind *kind, uint32_t way)
{
    if (kind->noted[way] == 0) /* its tries came to nothing */
        return PAUSE_LEAST;
    float more = estimate(kind, way) / estimate(kind, kind->current) - 1;
    float pause = more * TRIES * COST_SHARE;
    if (pause < PAUSE_LEAST)
        return PAUSE_LEAST;
    return pause > PAUSE_MOST ? PAUSE_MOST : (uint32_t)pause;
}

enum shl_group_mode shl_ways_next(struct shl_ways *ways, const struct shl_way_op *op)
{
    struct kind *kind = kind_of(ways, op);
    if (kind->trials_left == 0) {
        uint32_t untried = find_untried(op, kind);
        if (untried < WAYS)
            begin_trial(kind, untried);
    }
    if (kind->trials_left == 0) {
        kind->current = find_fastest(op, kind);
        uint32_t next = find_next_trial(op, kind);
        kind->since++;
        if (next < WAYS && kind->since >= pause_before(kind, next))
            begin_trial(kind, next);
    }
    if (kind->trials_left == 0)
        return modes[kind->current];
    kind->trials_left--;
    return modes[kind->trial];
}

enum shl_group_mode shl_ways_usual(struct shl_ways *ways, const struct shl_way_op *op)
{
    const struct kind *kind = kind_of(ways, op);
    uint32_t untried = find_untried(op, kind);
    return modes[kind->tried == 0 && untried < WAYS ? untried : find_fastest(op, kind)];
}

void shl_ways_note(struct shl_ways *ways, const struct shl_way_op *op, enum shl_group_mode way,
                   uint64_t took_ns)
{
    struct kind *kind = kind_of(ways, op);
    uint32_t index = index_of(way);
    if (index == WAYS || op->bytes == 0)
        return;
    if (took_ns == 0) {
        kind->current = index;
        kind->tried |= 1u << index;
        return;
    }
    kind->kept[index][kind->noted[index]++ % KEPT] = (float)took_ns * 1024 / (float)op->bytes;
}
