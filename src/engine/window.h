/*
 * Moving ordinary buffers through shared memory, a window at a time.
 *
 * Each member of a group has a window in its shareable heap: a line with its progress and two
 * buffers. Members copy a window of their input into a buffer, combine what lies in all members'
 * buffers, and copy out, while the next window is filled. Only the callers' own buffers meet main
 * memory: each byte of input is read, and each byte of output written, once; the windows stay in
 * the cache.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ENGINE_WINDOW_H
#define SHL_ENGINE_WINDOW_H

#include "engine/comm.h"

/* The communicator's window: reserve own, learn the others' offsets, map, release. */
enum shoal_status shl_window_reserve(struct shoal_comm *comm, uint64_t *heap_offset);
enum shoal_status shl_window_map(struct shoal_comm *comm, const uint64_t *heap_offsets);
void shl_window_release(struct shoal_comm *comm);

/*
 * shl_window_step - go on with a request in mode WINDOW as far as the others allow, a window at
 * most. Returns whether anything happened; *done when the whole operation is.
 */
bool shl_window_step(struct shoal_request *request, bool *done);

#endif
