/*
 * What pods are meant to get: an RdmaIntent document with its defaults filled in.
 *
 * Invariant: an intent that was read without errors holds only values that its schema admits, and a
 * subnet that has room for every rail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_INTENT_H
#define CNI_INTENT_H

#include "cidr.h"
#include "findings.h"

#define CNI_RAILS_MAX 32
#define CNI_INTENT_DEFAULT                                                                         \
    "apiVersion: shoal.dev/v1alpha1\nkind: RdmaIntent\nmetadata: {name: default}\nspec: {}\n"

enum cni_stack {
    CNI_STACK_AUTO,
    CNI_STACK_SRIOV,
    CNI_STACK_IB_SRIOV,
    CNI_STACK_MACVLAN,
    CNI_STACK_IPVLAN,
    CNI_STACK_IPOIB,
    CNI_STACK_HOST_DEVICE,
    CNI_STACK_DRANET,
    CNI_STACK_COUNT,
};

enum cni_fabric { CNI_FABRIC_AUTO, CNI_FABRIC_ROCE, CNI_FABRIC_INFINIBAND };
enum cni_isolation { CNI_ISOLATION_AUTO, CNI_ISOLATION_SHARED, CNI_ISOLATION_EXCLUSIVE };

struct cni_intent {
    const char *space; /* namespace of attachments */
    enum cni_stack stack;
    enum cni_fabric fabric;
    enum cni_isolation isolation;
    uint32_t rail_count; /* 0: as many as the nodes have */
    const char *naming;  /* with {n} at its end */
    const char *vendor;  /* "any", or a PCI vendor such as 15b3 */
    int64_t speed_min_mbps;
    const struct cni_node *pf_names; /* a list, or NULL */
    const char *gpu_max;             /* PIX to SYS, or NULL: no matter */
    bool gpu_required;
    int64_t vf_per_pod, vf_total;
    const char *vf_trust, *vf_spoof_check; /* or NULL */
    const char *operator_space, *prefix;   /* of policies; of resources made by the operator */
    bool operator_networks;                /* the operators' kinds, not attachments themselves */
    const char *release;                   /* of the NVIDIA network operator's images, or NULL */
    const struct cni_node *node_selector;  /* a mapping, or NULL */
    const char *ipam;                      /* type */
    struct cni_cidr cidr;                  /* of all rails */
    uint32_t rail_prefix;                  /* of one */
    int64_t node_block_size;               /* nv-ipam: addresses a node takes at once */
    int64_t mtu;                           /* 0: that of the device */
    const struct cni_node *qos;            /* a mapping, or NULL */
    int64_t priority, dscp;                /* with qos; dscp -1: eight times the priority */
    bool memlock;                          /* the capability IPC_LOCK */
    int64_t run_as_user;                   /* -1: as the image says */
    const char *shm;                       /* size of /dev/shm, or NULL */
    const char *gpu_direct, *fallback, *workload_kind; /* the last may be NULL */
    const struct cni_node *containers, *replicas;      /* lists, or NULL */
};

/* Of this version: what the schema of another admits is unknown. */
bool cni_intent_is(const struct cni_node *object);

/* cni_intent_read - fill *intent from a document. What contradicts itself is a finding, and false.
 */
bool cni_intent_read(struct cni_findings *findings, const struct cni_node *object,
                     struct cni_intent *intent);

const char *cni_stack_name(enum cni_stack stack);

/* The subnet of a rail as text. */
const char *cni_intent_subnet(struct cni_arena *arena, const struct cni_intent *intent,
                              uint32_t rail);
const char *cni_intent_rail_name(struct cni_arena *arena, const struct cni_intent *intent,
                                 uint32_t rail);

#endif
