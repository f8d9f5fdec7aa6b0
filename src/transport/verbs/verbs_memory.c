/*
 * Registrations of callers' memory.
 *
 * What the caller keeps (shoal_mem_alloc, shoal_mem_register) is registered when it is first used,
 * once, and until the caller ends it. Ordinary memory is registered for one transfer, where that is
 * measured to be faster than copying; nothing of it stays, since nobody tells when it is unmapped.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/log.h"
#include "core/sys.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)
#define RELAXED IBV_ACCESS_RELAXED_ORDERING
#define REGIONS_FIRST 16
#define SMALL_BYTES 65536u
#define LARGE_BYTES 1048576u
#define ROUNDS 4
#define REGISTER_BYTES_MIN 32768u
#define PROBE_BYTES ((size_t)64 << 20)
#define PROBE_PAGES_BYTES ((size_t)2 << 20)

#define BLOCK_HOLDS 64

/* A range that is registered, or that could not be (NULLs). */
struct region {
    uint64_t id;
    struct ibv_mr *mr[SHL_VERBS_RAILS];
};

/* Blocks of holds are only given back when the transport closes. */
struct block {
    struct shl_list link;
    struct shl_verbs_hold holds[BLOCK_HOLDS];
};

struct shl_verbs_memory {
    struct shl_memory_user user;
    struct shl_transport *t;
    pthread_mutex_t lock; /* regions: ranges end in any thread */
    struct region *regions;
    uint32_t count, capacity;
};

/* ---- on all rails --------------------------------------------------------------------------- */

static void deregister(struct ibv_mr *mr[SHL_VERBS_RAILS])
{
    for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++) {
        if (mr[rail])
            shl_verbs->dereg_mr(mr[rail]);
        mr[rail] = NULL;
    }
}

struct ibv_mr *shl_verbs_register(struct ibv_pd *pd, void *start, size_t bytes)
{
    struct ibv_mr *mr =
        shl_verbs->reg_mr_iova2(pd, start, bytes, (uintptr_t)start, ACCESS | RELAXED);
    if (mr || (errno != EOPNOTSUPP && errno != EINVAL))
        return mr;
    return shl_verbs->reg_mr(pd, start, bytes, ACCESS);
}

/* A dmabuf as such, which needs no processor to see it; else its pages, if these can be pinned. */
static struct ibv_mr *register_one(const struct shl_verbs_rail *rail, void *start, size_t bytes,
                                   const struct shl_memory_dmabuf *dmabuf)
{
    struct ibv_mr *mr = NULL;
    if (!dmabuf->given)
        return shl_verbs_register(rail->pd, start, bytes);
    mr = shl_verbs->reg_dmabuf_mr(rail->pd, dmabuf->offset, bytes, (uintptr_t)start, dmabuf->fd,
                                  ACCESS | RELAXED);
    if (mr) {
        shl_log(SHL_LOG_INFO, "%s: %zu bytes are registered as a dmabuf", rail->port.device, bytes);
        return mr;
    }
    shl_log(SHL_LOG_INFO, "%s: %zu bytes cannot be registered as a dmabuf (%s); by address instead",
            rail->port.device, bytes, strerror(errno));
    return shl_verbs_register(rail->pd, start, bytes);
}

/* false: not on all, hence on none; errno says why. */
static bool register_as(struct shl_transport *t, void *start, size_t bytes,
                        const struct shl_memory_dmabuf *dmabuf, struct ibv_mr *mr[SHL_VERBS_RAILS])
{
    for (uint32_t rail = 0; rail < t->rail_count; rail++) {
        mr[rail] = register_one(&t->rails[rail], start, bytes, dmabuf);
        if (mr[rail])
            continue;
        int error = errno;
        deregister(mr);
        errno = error;
        return false;
    }
    return true;
}

static bool register_all(struct shl_transport *t, void *start, size_t bytes,
                         struct ibv_mr *mr[SHL_VERBS_RAILS])
{
    return register_as(t, start, bytes, &(struct shl_memory_dmabuf){0}, mr);
}

/* ---- memory that is kept --------------------------------------------------------------------- */

static void range_gone(struct shl_memory_user *user, const struct shl_memory_range *range)
{
    struct shl_verbs_memory *memory = SHL_CONTAINER_OF(user, struct shl_verbs_memory, user);
    pthread_mutex_lock(&memory->lock);
    for (uint32_t i = 0; i < memory->count; i++) {
        if (memory->regions[i].id != range->id)
            continue;
        deregister(memory->regions[i].mr);
        memory->regions[i] = memory->regions[--memory->count];
        break;
    }
    pthread_mutex_unlock(&memory->lock);
}

static bool grow(struct shl_verbs_memory *memory)
{
    if (memory->count < memory->capacity)
        return true;
    uint32_t capacity = memory->capacity ? memory->capacity * 2 : REGIONS_FIRST;
    struct region *grown = shl_mem->resize(memory->regions, capacity * sizeof(*grown));
    if (!grown)
        return false;
    memory->regions = grown;
    memory->capacity = capacity;
    return true;
}

/* NULL: it is not registered. */
static const struct region *region_of(struct shl_verbs_memory *memory,
                                      const struct shl_memory_range *range)
{
    const struct region *region = NULL;
    for (uint32_t i = 0; i < memory->count && !region; i++)
        if (memory->regions[i].id == range->id)
            region = &memory->regions[i];
    if (!region && grow(memory)) {
        struct region *made = &memory->regions[memory->count++];
        size_t bytes = range->end - range->start;
        *made = (struct region){.id = range->id};
        if (!register_as(memory->t, (void *)range->start, bytes, &range->dmabuf, made->mr))
            shl_log(SHL_LOG_WARN,
                    "%zu bytes that are allocated or registered for good cannot be registered "
                    "with %s, so they are copied; raise the limit of locked memory (ulimit -l)",
                    bytes, memory->t->port.device);
        region = made;
    }
    return region && region->mr[0] ? region : NULL;
}

static bool hold_kept(struct shl_verbs_memory *memory, const struct shl_memory_range *range,
                      struct shl_verbs_hold *hold)
{
    pthread_mutex_lock(&memory->lock);
    const struct region *region = region_of(memory, range);
    if (region)
        memcpy(hold->mr, region->mr, sizeof(hold->mr));
    pthread_mutex_unlock(&memory->lock);
    hold->once = false;
    return region != NULL;
}

/* ---- memory of one transfer ------------------------------------------------------------------ */

static struct shl_verbs_hold *new_hold(struct shl_transport *t)
{
    struct shl_list *node = shl_list_pop(&t->holds_free);
    if (node)
        return SHL_CONTAINER_OF(node, struct shl_verbs_hold, link);
    struct block *block = shl_mem->alloc(sizeof(*block));
    if (!block)
        return NULL;
    shl_list_append(&t->hold_blocks, &block->link);
    for (uint32_t i = 1; i < BLOCK_HOLDS; i++)
        shl_list_append(&t->holds_free, &block->holds[i].link);
    shl_list_init(&block->holds[0].link);
    return &block->holds[0];
}

struct shl_verbs_hold *shl_verbs_hold(struct shl_transport *t, void *data, uint64_t bytes,
                                      bool always)
{
    struct shl_verbs_memory *memory = t->memory;
    struct shl_memory_range range;
    bool kept = t->env->memory && shl_memory_find(t->env->memory, data, bytes, &range);
    if (!memory || (!kept && !always && bytes < t->register_bytes))
        return NULL;
    struct shl_verbs_hold *hold = new_hold(t);
    if (!hold)
        return NULL;
    hold->once = true;
    if (kept ? hold_kept(memory, &range, hold) : register_all(t, data, bytes, hold->mr))
        return hold;
    shl_list_append(&t->holds_free, &hold->link);
    return NULL;
}

void shl_verbs_unhold(struct shl_transport *t, struct shl_verbs_hold **hold)
{
    if (!*hold)
        return;
    if ((*hold)->once)
        deregister((*hold)->mr);
    memset((*hold)->mr, 0, sizeof((*hold)->mr));
    shl_list_append(&t->holds_free, &(*hold)->link);
    *hold = NULL;
}

/* ---- when to register ---------------------------------------------------------------------- */

/* Nanoseconds that it takes to register and forget memory of this size; 0: it cannot be done. */
static uint64_t time_registering(struct shl_transport *t, uint32_t bytes)
{
    uint64_t least_ns = UINT64_MAX;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start_ns = shl_now_ns();
        struct ibv_mr *mr[SHL_VERBS_RAILS] = {0};
        if (!register_all(t, t->pool, bytes, mr))
            return 0;
        deregister(mr);
        uint64_t took_ns = shl_now_ns() - start_ns;
        least_ns = took_ns < least_ns ? took_ns : least_ns;
    }
    return least_ns + 1;
}

/* Callers' data are seldom in the caches, so each round copies what no other has. */
static uint64_t time_copying(struct shl_transport *t, uint32_t bytes)
{
    uint64_t least_ns = UINT64_MAX;
    for (size_t round = 0; round < ROUNDS; round++) {
        uint8_t *from = t->pool + 2 * round * bytes;
        uint64_t start_ns = shl_now_ns();
        memcpy(from + bytes, from, bytes);
        uint64_t took_ns = shl_now_ns() - start_ns;
        least_ns = took_ns < least_ns ? took_ns : least_ns;
    }
    return least_ns + 1;
}
_Static_assert(2 * (size_t)ROUNDS * LARGE_BYTES <=
                   (SHL_VERBS_WINDOWS + SHL_VERBS_STAGES) * (size_t)SHL_VERBS_WINDOW_BYTES,
               "the pool holds what is copied to measure");

/* Both are taken to grow with the size along a line: the size at which the lines cross. */
static uint64_t crossing(double small_ns, double large_ns, double copy_ns)
{
    double slope = (large_ns - small_ns) / (LARGE_BYTES - SMALL_BYTES);
    slope = slope < 0 ? 0 : slope;
    double fixed_ns = small_ns - slope * SMALL_BYTES;
    double gain = copy_ns / LARGE_BYTES - slope;
    if (gain <= 0)
        return UINT64_MAX;
    double bytes = fixed_ns > 0 ? fixed_ns / gain : 0;
    if (bytes >= 1e15)
        return UINT64_MAX;
    return bytes < REGISTER_BYTES_MIN ? REGISTER_BYTES_MIN : (uint64_t)bytes;
}

static void measure(struct shl_transport *t)
{
    uint64_t small_ns = time_registering(t, SMALL_BYTES);
    uint64_t large_ns = time_registering(t, LARGE_BYTES);
    uint64_t copy_ns = time_copying(t, LARGE_BYTES);
    if (small_ns && large_ns)
        t->register_bytes = crossing((double)small_ns, (double)large_ns, (double)copy_ns);
    shl_log(SHL_LOG_INFO,
            "%s: registering takes %llu ns for 64 KiB and %llu ns for 1 MiB, copying 1 MiB %llu "
            "ns; ordinary memory is registered from %llu bytes on",
            t->port.device, (unsigned long long)small_ns, (unsigned long long)large_ns,
            (unsigned long long)copy_ns, (unsigned long long)t->register_bytes);
}

/* ---- how much may be locked ---------------------------------------------------------------- */

/* A mapping of PROBE_BYTES whose pages are few; NULL: none. */
static void *map_probe(int fd)
{
    if (shl_mem->truncate(fd, PROBE_PAGES_BYTES) != 0)
        return NULL;
    uint8_t *base = shl_mem->map(NULL, PROBE_BYTES, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    for (size_t at = 0; at < PROBE_BYTES; at += PROBE_PAGES_BYTES) {
        if (shl_mem->map(base + at, PROBE_PAGES_BYTES, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED)
            continue;
        shl_mem->unmap(base, PROBE_BYTES);
        return NULL;
    }
    return base;
}

/* Can 64 MiB be registered at one time? A limit that is smaller would show only later, by large
 * messages that are slower than they could be, so it is looked for now, and reported. */
static bool probe(struct shl_transport *t)
{
    bool enough = true; /* when it cannot be found out */
    int fd = shl_mem->memfd("shoal-probe", MFD_CLOEXEC);
    void *base = fd >= 0 ? map_probe(fd) : NULL;
    if (base) {
        struct ibv_mr *mr[SHL_VERBS_RAILS] = {0};
        enough = register_all(t, base, PROBE_BYTES, mr);
        int error = errno;
        deregister(mr);
        if (!enough)
            shl_log(SHL_LOG_WARN,
                    "%s: 64 MiB cannot be registered (%s), so large messages in ordinary memory "
                    "are copied; raise the limit of locked memory (ulimit -l unlimited; in a pod: "
                    "of the container runtime)",
                    t->port.device, strerror(error));
        shl_mem->unmap(base, PROBE_BYTES);
    }
    if (fd >= 0)
        shl_fd->close(fd);
    return enough;
}

/* ---- making -------------------------------------------------------------------------------- */

enum shoal_status shl_verbs_memory_open(struct shl_transport *t)
{
    struct shl_verbs_memory *memory = shl_mem->alloc(sizeof(*memory));
    if (!memory)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory for the record of registrations");
    pthread_mutex_init(&memory->lock, NULL);
    memory->t = t;
    memory->user.gone = range_gone;
    t->memory = memory;
    if (t->env->memory)
        shl_memory_watch(t->env->memory, &memory->user);
    t->register_bytes = UINT64_MAX;
    if (probe(t))
        measure(t);
    return SHOAL_OK;
}

void shl_verbs_memory_close(struct shl_transport *t)
{
    struct shl_verbs_memory *memory = t->memory;
    struct shl_list *node;
    if (!memory)
        return;
    if (t->env->memory)
        shl_memory_unwatch(t->env->memory, &memory->user);
    for (uint32_t i = 0; i < memory->count; i++)
        deregister(memory->regions[i].mr);
    while ((node = shl_list_pop(&t->hold_blocks)))
        shl_mem->free(node); /* the first member of its block */
    pthread_mutex_destroy(&memory->lock);
    shl_mem->free(memory->regions);
    shl_mem->free(memory);
    t->memory = NULL;
}
