/*
 * The areas of this rank and, read only, of its peers; and on first use a peer's whole heap, in
 * which the engine reduces from and pushes into mapped buffers.
 *
 * Invariant: a memfd is mapped only if it is sealed against shrinking, so that no access to the
 * mapping can fault because of what the peer does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/log.h"
#include "core/sys.h"
#include "transport/shm/shm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Only files of the kernel's shared memory have seals. */
static enum shoal_status check_memfd(const struct shl_shm_peer *peer, int fd, const char *what,
                                     uint64_t *bytes)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return shl_fail_errno("fstat of the %s of rank %u", what, peer->rank);
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return shl_fail(SHOAL_ERR_PEER, "the %s of rank %u is no sealed memfd", what, peer->rank);
    *bytes = (uint64_t)info.st_size;
    return SHOAL_OK;
}

static void *map_shared(int fd, uint64_t bytes, int prot)
{
    void *mapped = shl_mem->map(NULL, bytes, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);
    return mapped == MAP_FAILED ? NULL : mapped;
}

static enum shoal_status map_checked(struct shl_transport *t, struct shl_shm_peer *peer,
                                     int area_fd)
{
    uint64_t bytes, need = shl_shm_area_bytes(t->locals);
    SHL_TRY(check_memfd(peer, peer->heap_fd, "heap", &peer->heap_bytes));
    SHL_TRY(check_memfd(peer, area_fd, "area", &bytes));
    if (bytes < need)
        return shl_fail(SHOAL_ERR_PEER, "the area of rank %u has %llu bytes, not %llu", peer->rank,
                        (unsigned long long)bytes, (unsigned long long)need);
    const uint8_t *area = map_shared(area_fd, need, PROT_READ);
    if (!area)
        return shl_fail_errno("mmap of the area of rank %u", peer->rank);
    peer->header = (const struct shl_shm_header *)(const void *)area;
    peer->theirs = (const struct shl_shm_block *)(const void *)(area + shl_shm_block_offset(t->me));
    return SHOAL_OK;
}

enum shoal_status shl_shm_map_area(struct shl_transport *t, struct shl_shm_peer *peer, int area_fd)
{
    enum shoal_status status = map_checked(t, peer, area_fd);
    shl_fd->close(area_fd); /* the mapping stays */
    return status;
}

void shl_shm_unmap(struct shl_transport *t, struct shl_shm_peer *peer)
{
    if (peer->header)
        shl_mem->unmap((void *)(uintptr_t)peer->header, shl_shm_area_bytes(t->locals));
    if (peer->heap)
        shl_mem->unmap(peer->heap, peer->heap_bytes);
    peer->header = NULL;
    peer->theirs = NULL;
    peer->heap = NULL;
}

static enum shoal_status fill_area(struct shl_transport *t)
{
    uint64_t bytes = shl_shm_area_bytes(t->locals);
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && bytes > limit.rlim_cur) /* would raise SIGXFSZ */
        return shl_fail(SHOAL_ERR_SYSTEM,
                        "the limit of file sizes allows no %llu bytes of shared memory; raise "
                        "ulimit -f",
                        (unsigned long long)bytes);
    if (shl_mem->truncate(t->area_fd, (off_t)bytes) != 0)
        return shl_fail_errno("ftruncate of a memfd to %llu bytes; raise ulimit -f",
                              (unsigned long long)bytes);
    t->area = map_shared(t->area_fd, bytes, PROT_READ | PROT_WRITE);
    if (!t->area)
        return shl_fail_errno("mmap of %llu bytes of shared memory; raise ulimit -v",
                              (unsigned long long)bytes);
    if (shl_mem->seal(t->area_fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return shl_fail_errno("sealing a memfd");
    if (shl_random->bytes(&t->area->nonce, sizeof(t->area->nonce)) != 0)
        return shl_fail_errno("getrandom");
    t->area->magic = SHL_SHM_MAGIC;
    return SHOAL_OK;
}

/* Our own area. Sparse: a page exists once it is touched. */
enum shoal_status shl_shm_make_area(struct shl_transport *t)
{
    t->area_fd = shl_mem->memfd("shoal-area", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (t->area_fd < 0)
        return shl_fail_errno("memfd_create");
    enum shoal_status status = fill_area(t);
    if (status != SHOAL_OK)
        shl_shm_free_area(t);
    return status;
}

void shl_shm_free_area(struct shl_transport *t)
{
    if (t->area)
        shl_mem->unmap(t->area, shl_shm_area_bytes(t->locals));
    if (t->area_fd >= 0)
        shl_fd->close(t->area_fd);
    t->area = NULL;
    t->area_fd = -1;
}

void *shl_shm_map_heap(struct shl_shm_peer *peer, uint64_t offset, uint64_t bytes)
{
    if (offset > peer->heap_bytes || bytes > peer->heap_bytes - offset)
        return NULL;
    /* All of it at once: address space is plentiful, and pages appear when they are touched. */
    if (SHL_UNLIKELY(!peer->heap) && !peer->heap_refused) {
        peer->heap = map_shared(peer->heap_fd, peer->heap_bytes, PROT_READ | PROT_WRITE);
        peer->heap_refused = !peer->heap; /* say so once; other ways work without it */
        if (!peer->heap)
            shl_log(SHL_LOG_WARN,
                    "rank %u: %llu bytes of shared memory cannot be mapped; buffers are copied "
                    "instead; raise ulimit -v",
                    peer->rank, (unsigned long long)peer->heap_bytes);
    }
    return peer->heap ? peer->heap + offset : NULL;
}
