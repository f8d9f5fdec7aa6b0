/*
 * A control group of a test's own, of version 1 or 2.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_MULTIPROC_CGROUPS_H
#define TESTS_MULTIPROC_CGROUPS_H

#include <stdbool.h>
#include <stdint.h>

struct cgroup {
    char path[512];
    int version; /* 0: there is none */
};

/* cgroup_make - for a controller of version 1, else of version 2; `files` and `values` are what is
 * written into it at once, by version. false: not permitted here, or the controller is elsewhere.
 */
bool cgroup_make(struct cgroup *group, const char *controller, const char *const files[2],
                 const char *const values[2]);
bool cgroup_write(const struct cgroup *group, const char *file, const char *text);
/* The number behind a word of a file, such as of "nr_throttled 3"; 0: none. */
uint64_t cgroup_number(const struct cgroup *group, const char *file, const char *word);
/* Nobody may be left in it. */
void cgroup_remove(struct cgroup *group);

/* Memory that sanitized processes do without, too. */
#define CGROUP_SMALL_BYTES ((size_t)512 << 20)
/* cgroup_make_small - one of CGROUP_SMALL_BYTES, without swap. */
bool cgroup_make_small(struct cgroup *group);
/* Takes more than there is in such a group; of its processes the kernel kills this one first. */
void cgroup_take_too_much(void);

#endif
