/*
 * A member of an elastic job (multiproc/members.h) in a guest, whose report reaches the test that
 * booted the guest: memory is not shared by kernels, but a file is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_RDMA_GUEST_MEMBER_H
#define TESTS_RDMA_GUEST_MEMBER_H

#include "multiproc/members.h"

/* guest_member_run - take part in the job, whose `file` is `path` in this guest. What the member
 * reports is in the file some milliseconds later, an operation's values before the count that
 * includes it; `stop` and `leave` are read from there. */
void guest_member_run(const struct members_job *job, const char *path, uint32_t slot);

#endif
