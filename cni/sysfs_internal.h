/*
 * What reading records and the archive is written from.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_SYSFS_INTERNAL_H
#define CNI_SYSFS_INTERNAL_H

#include "sysfs.h"

#include <stddef.h>

struct cni_sysfs_entry {
    const char *path;    /* below the root, without links in its folders; begins with / */
    const char *link;    /* where a link points; NULL: no link */
    const char *content; /* of a file; NULL: no file. Neither: a folder that links lead to */
    size_t bytes;
    struct cni_sysfs_entry *next;
};

struct cni_sysfs {
    struct cni_arena *arena;
    const char *root; /* real path without a slash at its end: "" for this machine */
    bool record;
    struct cni_sysfs_entry *entries;
};

#endif
