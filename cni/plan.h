/*
 * Which stack an intent becomes on these nodes, and why.
 *
 * Invariant: a plan that is possible names the same rails for every node; what it chose and what it
 * did not is explained by its notes. The same intent and inventories give the same plan.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_PLAN_H
#define CNI_PLAN_H

#include "intent.h"

#include <jansson.h>

/* One device of one node. */
struct cni_nic {
    const char *node;                         /* file of the inventory; "" when there is none */
    const char *netdev;                       /* the interface */
    const char *rdma, *pci, *vendor, *device; /* or NULL */
    bool infiniband;
    int64_t mtu, speed_mbps, functions; /* -1: unknown */
    const char *gpu;                    /* distance of the nearest GPU, or NULL */
};

struct cni_rail {
    const char *name, *subnet;
    const char *resource; /* the last part: rail0 */
    const char *full;     /* what pods ask for: openshift.io/rail0 */
    struct cni_nic *nics; /* one a node, or one without */
    const char *master;   /* when it is the same on all nodes, or NULL */
};

enum cni_note_kind {
    CNI_NOTE_REASON,     /* why the stack and the mode were chosen */
    CNI_NOTE_REJECTED,   /* `subject` is the stack */
    CNI_NOTE_LEFT_OUT,   /* `subject` is the device */
    CNI_NOTE_DIFFERENCE, /* between nodes */
    CNI_NOTE_ADVICE,     /* what has to be done elsewhere */
    CNI_NOTE_PROBLEM,    /* why there is no plan */
};

struct cni_plan_note {
    enum cni_note_kind kind;
    const char *subject, *text;
    struct cni_plan_note *next;
};

struct cni_plan {
    struct cni_arena *arena;
    const struct cni_intent *intent;
    const struct cni_document *nodes;
    uint32_t node_count;
    bool possible, infiniband, exclusive;
    enum cni_stack stack;
    struct cni_rail rails[CNI_RAILS_MAX];
    uint32_t rail_count;
    struct cni_plan_note *notes, **notes_tail;
};

/* cni_plan_make - into an empty plan; `nodes` are inventories, or NULL. */
void cni_plan_make(struct cni_plan *plan, struct cni_arena *arena, const struct cni_intent *intent,
                   const struct cni_document *nodes);

/* cni_plan_json - the whole; json_decref it. */
json_t *cni_plan_json(const struct cni_plan *plan);
bool cni_plan_text(const struct cni_plan *plan, FILE *out);

#define CNI_DEVICE_CLASS "shoal-rdma"
#define CNI_CLAIM_TEMPLATE "shoal-rails"

/* cni_generate - objects that make the plan: an array; json_decref it. */
json_t *cni_generate(const struct cni_plan *plan);

/* ---- parts -------------------------------------------------------------------------------------
 */

void cni_plan_note(struct cni_plan *plan, enum cni_note_kind kind, const char *subject,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Devices of each node into rails; notes a problem and answers false when they do not suffice. */
bool cni_plan_select(struct cni_plan *plan);
/* Mode and stack; false with a problem. */
bool cni_plan_choose(struct cni_plan *plan);
/* The number of inventories in this mode, with one of them. */
uint32_t cni_plan_nodes_in_mode(const struct cni_plan *plan, const char *mode, const char **file);
/* The type of adapter whose template sets the lossless priorities that the intent wants; NULL: none
 * are wanted, or it is not one adapter that has templates. */
const char *cni_plan_nic_type(const struct cni_plan *plan);
/* What stands before a resource's slash. */
const char *cni_plan_prefix(const struct cni_plan *plan);
/* The operators' kind of network that makes the attachment of a rail. */
json_t *cni_generate_network(const struct cni_plan *plan, uint32_t rail);
/* NicClusterPolicy with the configuration of its device plugin, which it takes over. */
json_t *cni_generate_cluster_policy(const struct cni_plan *plan, json_t *config);
/* DRANET: a class of devices, and a template of claims with a request a rail; into a list. */
void cni_generate_claims(const struct cni_plan *plan, json_t *objects);
json_t *cni_generate_object(const char *api, const char *kind, const char *name, const char *space);
/* Interfaces of a rail on all nodes, each once. */
json_t *cni_generate_interfaces(const struct cni_plan *plan, const struct cni_rail *rail);
/* The CNI configuration of a rail. */
json_t *cni_generate_config(const struct cni_plan *plan, uint32_t rail);
/* False: macvlan, ipvlan, ipoib, whose device stays in the host. */
bool cni_stack_moves_device(enum cni_stack stack);

#endif
