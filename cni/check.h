/*
 * What one run of `validate` knows: findings, and a model of networks, pods and policies that rules
 * across objects compare.
 *
 * Invariant: every check reads trees only; checks of single objects run before those across
 * objects, in the order of the files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_CHECK_H
#define CNI_CHECK_H

#include "cidr.h"
#include "findings.h"
#include "schema.h"

#define CNI_SUBNETS_MAX 8
#define CNI_OFFERS_MAX 64

/* What an attachment brings into the pod. */
enum cni_carrier {
    CNI_CARRIES_LINK,   /* a network interface that has nothing to do with RDMA, or is unknown */
    CNI_CARRIES_SHARED, /* an interface on top of a device that stays in the host: shared mode */
    CNI_CARRIES_DEVICE, /* the device's function itself */
};

struct cni_subnet {
    struct cni_cidr cidr;
    const char *text;
    struct cni_address first, last; /* of what is handed out */
};

struct cni_network {
    const char *name, *space;     /* space: namespace, "" when not given */
    const struct cni_node *where; /* for findings about the whole */
    const char *resource;         /* that multus takes devices from, or NULL */
    bool any_prefix;              /* resource is without a prefix: the operator adds one */
    enum cni_carrier carrier;
    bool exclusive;           /* needs RDMA devices that belong to one network namespace */
    const char *exclusive_by; /* what needs it */
    bool routed;              /* by the addresses of its interface: sbr */
    int64_t mtu;              /* 0: not set */
    struct cni_subnet subnets[CNI_SUBNETS_MAX];
    uint32_t subnet_count;
    const char *pool; /* of nv-ipam, or NULL */
    struct cni_network *next;
};

/* One pod template, or a pod. */
struct cni_pod {
    const struct cni_node *metadata; /* may be NULL */
    const struct cni_node *spec;
    const char *space;                /* "" when not given */
    const char *owner;                /* kind of the object that holds it */
    const char *role;                 /* Launcher, Worker, Master...; "" for a single one */
    bool patch;                       /* part of a pod whose resources stand elsewhere: */
    const struct cni_node *resources; /* there, or NULL when they are in none of the files */
    struct cni_pod *next;
};

/* Resources that policies and device plugins among the documents offer. */
struct cni_offers {
    const char *names[CNI_OFFERS_MAX + 1]; /* without prefix, ended by NULL */
    bool rdma[CNI_OFFERS_MAX];             /* with RDMA devices, for certain */
    size_t count;
    const struct cni_node *shared_plugin; /* configuration of the shared device plugin, or NULL */
};

struct cni_check {
    struct cni_arena *arena;
    struct cni_findings *findings;
    const struct cni_schemas *schemas;
    struct cni_document *documents;
    const struct cni_document *nodes; /* inventories, as `inspect` prints them */
    struct cni_offers offers;
    struct cni_network *networks, **networks_tail;
    struct cni_pod *pods, **pods_tail;
};

/* cni_check_documents - run all rules over documents, and over the inventories of nodes if there
 * are any; findings are sorted. */
void cni_check_documents(struct cni_findings *findings, struct cni_document *documents,
                         const struct cni_document *nodes);

/* cni_documents_expand - members of a List become documents of their own. */
void cni_documents_expand(struct cni_arena *arena, struct cni_document **documents);

/* ---- single objects ------------------------------------------------------------------------ */

/* Kinds that describe networks; they also enter the model. */
void cni_check_attachment(struct cni_check *check, const struct cni_node *object);
void cni_check_operator_network(struct cni_check *check, const struct cni_node *object);
/* A CNI configuration or list by itself, not inside an object. */
void cni_check_bare_config(struct cni_check *check, struct cni_node *config);

/* The object that `config` is, into `network`. `named`: whoever runs it fills a missing name. */
void cni_check_config(struct cni_check *check, struct cni_network *network,
                      const struct cni_node *config, bool named);
/* One plugin, or its keys only. */
void cni_check_plugin_keys(struct cni_check *check, const struct cni_node *plugin,
                           const char *type);
void cni_check_ipam(struct cni_check *check, struct cni_network *network,
                    const struct cni_node *ipam);
/* A master interface: on the nodes, or where none is given by its name. */
void cni_check_master(struct cni_check *check, const struct cni_node *master, const char *type);

/* False when no node is given. */
bool cni_check_master_on_nodes(struct cni_check *check, const struct cni_node *master,
                               const char *type);

void cni_check_policy(struct cni_check *check, const struct cni_node *object);
void cni_check_pools(struct cni_check *check, const struct cni_node *object);
void cni_check_device_plugins(struct cni_check *check, const struct cni_node *object);

/* Pods of a workload, into the model, with the traps of its launcher. */
void cni_check_workload(struct cni_check *check, const struct cni_node *object);

/* ---- across objects -------------------------------------------------------------------------- */

void cni_check_pod(struct cni_check *check, const struct cni_pod *pod);
void cni_check_pod_networks(struct cni_check *check, const struct cni_pod *pod);
void cni_check_modes(struct cni_check *check);
void cni_check_nodes(struct cni_check *check);
void cni_check_policies_together(struct cni_check *check);
/* Subnets of pools enter the networks that take addresses from them. */
void cni_check_pool_networks(struct cni_check *check);
/* Claims of pods against templates and device classes. */
void cni_check_claims(struct cni_check *check);
/* What is offered, before anything is checked. */
void cni_check_gather_offers(struct cni_check *check);
/* Resources that are asked for, or that attachments consume, against those that are offered. */
void cni_check_resources(struct cni_check *check);

/* ---- shared -----------------------------------------------------------------------------------
 */

/* JSON inside a text, with a finding when it is none; NULL then. */
struct cni_node *cni_check_json(struct cni_check *check, struct cni_node *scalar);
struct cni_network *cni_check_add_network(struct cni_check *check, const struct cni_node *object);
/* The text of `object.metadata.KEY`, or "". */
const char *cni_metadata_text(const struct cni_node *object, const char *key);
bool cni_has_kind(const struct cni_node *object, const char *kind);

/* Extended resources that containers of a pod ask for: how many of those with this name. With
 * any_prefix, `name` is what follows the slash. */
int64_t cni_pod_resource_count(const struct cni_pod *pod, const char *name, bool any_prefix);
/* The entry of a resource that brings RDMA devices, as far as offers and names tell: of one
 * container's `resources`, or of the first container of a pod that has one. */
const struct cni_node *cni_resources_rdma(const struct cni_check *check,
                                          const struct cni_node *resources);
const struct cni_node *cni_pod_rdma_resource(const struct cni_check *check,
                                             const struct cni_node *spec);

#endif
