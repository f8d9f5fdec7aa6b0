/*
 * Checks of a pod or node from inside: what was seen, why it matters, and the command that cures
 * it. Shared by `shoal-cni doctor` and whoever else links it.
 *
 * Invariant: checks read an inventory, files below the root and the environment; only the probe and
 * a peer make anything happen.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_DOCTOR_H
#define CNI_DOCTOR_H

#include "inventory.h"
#include "rules.h"

enum cni_check_number {
#define CHECK(name, id, title, why, fix, ref) CNI_CHECK_##name,
#include "doctor.def"
#undef CHECK
    CNI_CHECK_COUNT
};

struct cni_doctor_check {
    const char *id, *title, *why, *fix, *ref;
};

extern const struct cni_doctor_check cni_doctor_checks[CNI_CHECK_COUNT];

struct cni_observation {
    const struct cni_doctor_check *check;
    bool good;
    enum cni_severity severity; /* when not good */
    const char *seen;
    struct cni_observation *next;
};

struct cni_doctor {
    struct cni_arena *arena;
    struct cni_sysfs *sysfs;
    json_t *inventory;
    bool pod;  /* else the node */
    bool live; /* this machine, not a captured tree */
    const char *const *environment;
    struct cni_observation *first, **tail;
    uint32_t by_severity[3];
};

/* cni_doctor_run - all checks but probe and peer. False: nothing of RDMA is there. */
bool cni_doctor_run(struct cni_doctor *doctor);

/* cni_doctor_peer - what the way to a host is; "HOST" or "HOST:PORT", where it also connects. */
void cni_doctor_peer(struct cni_doctor *doctor, const char *peer);

/* cni_doctor_probe - try each device, port and GID that Shoal could use: memory, a queue pair, a
 * write to itself. On this machine, whatever the root. */
void cni_doctor_probe(struct cni_doctor *doctor);

/* Each false when the stream failed. */
bool cni_doctor_text(const struct cni_doctor *doctor, FILE *out, bool colour, bool quiet);
bool cni_doctor_data(const struct cni_doctor *doctor, bool yaml, FILE *out); /* else JSON */

const struct cni_doctor_check *cni_doctor_check_find(const char *id);

/* ---- for checks --------------------------------------------------------------------------------
 */

void cni_doctor_good(struct cni_doctor *doctor, enum cni_check_number check, const char *format,
                     ...) __attribute__((format(printf, 3, 4)));
void cni_doctor_bad(struct cni_doctor *doctor, enum cni_check_number check,
                    enum cni_severity severity, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
const char *cni_doctor_variable(const struct cni_doctor *doctor, const char *name);

void cni_doctor_devices(struct cni_doctor *doctor);
void cni_doctor_host(struct cni_doctor *doctor);
void cni_doctor_losses(struct cni_doctor *doctor);
void cni_doctor_addresses(struct cni_doctor *doctor);
/* Asks on each wire whether others have our addresses, too. */
void cni_doctor_addresses_probe(struct cni_doctor *doctor);
/* What multus says that it attached. */
void cni_doctor_attached(struct cni_doctor *doctor);

/* A text of an inventory's object, or "". */
const char *cni_doctor_text_of(const json_t *object, const char *key);
/* The interface of this name in this network namespace, or NULL. */
const json_t *cni_doctor_netdev(const struct cni_doctor *doctor, const char *name);

#endif
