/*
 * A store of the caller's for elastic worlds, where neither Shoal's coordinator nor etcd is wanted:
 * PyTorch's TCPStore, Redis, Consul, a Kubernetes object; whatever has a compare-and-swap.
 *
 * It keeps one value of at most SHOAL_STORE_BYTES_MAX bytes for a job, which nothing else writes.
 * It must be linearizable: once a swap was done or a value was read, nobody reads an older one. A
 * value that is lost must stay lost; one that comes back from a backup can repeat epochs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_STORE_H
#define SHOAL_STORE_H

#include <shoal/status.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHOAL_STORE_BYTES_MAX (256u * 1024u + 24u)

/*
 * Both calls come from one thread of the library's, one at a time, and may block, for about
 * timeout_ms at most: ending a world waits for the one that is under way. Any status but SHOAL_OK
 * means that it is not known what became of the call.
 */
struct shoal_store {
    size_t struct_size;
    void *arg;
    /* The value that is there; *size 0: there is none. */
    enum shoal_status (*read)(void *arg, uint32_t timeout_ms, void *value, size_t capacity,
                              size_t *size);
    /* Replaces the value by `desired` if it is, byte for byte, `expected`; expected_size 0: if
     * there is none. *done says whether it did. */
    enum shoal_status (*swap)(void *arg, uint32_t timeout_ms, const void *expected,
                              size_t expected_size, const void *desired, size_t desired_size,
                              int *done);
};

#ifdef __cplusplus
}
#endif
#endif
