/*
 * Files of /sys and /proc: of this machine, or of a tree that was captured on another.
 *
 * Invariant: nothing outside the root is read, whatever links a captured tree holds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_SYSFS_H
#define CNI_SYSFS_H

#include "arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct cni_sysfs;

/* cni_sysfs_open - paths begin below `root` ("/" for this machine); NULL when it is no folder. With
 * `record`, what is looked at is kept for cni_sysfs_capture. */
struct cni_sysfs *cni_sysfs_open(struct cni_arena *arena, const char *root, bool record);

/* The content without blanks at its end; NULL for what is absent or cannot be read. */
const char *cni_sysfs_text(struct cni_sysfs *sysfs, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A number; -1 for what is absent or none. */
int64_t cni_sysfs_integer(struct cni_sysfs *sysfs, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Names in a folder, numbers by value and others by letters, ended by NULL; none when absent. */
const char *const *cni_sysfs_list(struct cni_sysfs *sysfs, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Where links lead, as a path below the root; NULL when absent. */
const char *cni_sysfs_real(struct cni_sysfs *sysfs, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* cni_sysfs_live - whether this is the machine, and not a tree. */
bool cni_sysfs_live(const struct cni_sysfs *sysfs);

/* cni_sysfs_add - record a text that the machine tells otherwise than in a file, so that a replay
 * finds it at `path`; returns a copy. */
const char *cni_sysfs_add(struct cni_sysfs *sysfs, const char *text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* cni_sysfs_capture - what was recorded as a tar archive; unpacked, it is a root that answers the
 * same. False when the stream failed. */
bool cni_sysfs_capture(const struct cni_sysfs *sysfs, FILE *out);

#endif
