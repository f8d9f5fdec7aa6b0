/*
 * What a node has of RDMA, as JSON.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_INVENTORY_H
#define CNI_INVENTORY_H

#include "sysfs.h"

#include <jansson.h>

/* cni_inventory - the whole; json_decref it. NULL: no memory. */
json_t *cni_inventory(struct cni_sysfs *sysfs);

/* Its parts: arrays. */
json_t *cni_inventory_rdma(struct cni_sysfs *sysfs);
json_t *cni_inventory_netdevs(struct cni_sysfs *sysfs);
/* With the distance to each RDMA device. */
json_t *cni_inventory_gpus(struct cni_sysfs *sysfs, const json_t *rdma);

/* The mode of RDMA namespaces after the next start, and the file that sets it; null: unknown. */
json_t *cni_inventory_boot_mode(struct cni_sysfs *sysfs);

/* Rules of policy routing as texts, such as "inet 100 from 10.1.0.0/24 lookup 100"; null: unknown.
 */
json_t *cni_inventory_rules(struct cni_sysfs *sysfs);
/* Lines of an interface and an address with its prefix; NULL: unknown. */
const char *cni_inventory_addresses(struct cni_sysfs *sysfs);
json_t *cni_inventory_addresses_of(const char *addresses, const char *interface);

/* What libibverbs tells of this machine's ports; NULL: no memory. */
struct cni_verbs *cni_verbs_open(struct cni_sysfs *sysfs);
void cni_verbs_close(struct cni_verbs *verbs); /* NULL is ignored */
/* -1: unknown, as of a device that cannot be opened. */
int64_t cni_verbs_active_mtu(struct cni_verbs *verbs, const char *device, uint32_t port);
/* "listed", "unlisted", or NULL: unknown, as without libibverbs or the device's node: of devices
 * without one libibverbs does not know, either. */
const char *cni_verbs_user_space(struct cni_verbs *verbs, const char *device, bool has_node);

/* cni_inventory_hwloc - places from a topology in XML, into an inventory; false: it cannot be read.
 */
bool cni_inventory_hwloc(json_t *inventory, const char *path);

/* ---- shared -----------------------------------------------------------------------------------
 */

/* A member that may be unknown: null. `number` below 0 is unknown. */
void cni_put_text(json_t *object, const char *key, const char *text);
void cni_put_number(json_t *object, const char *key, int64_t number);

/* The last part of a path; NULL for NULL. */
const char *cni_last_part(const char *path);

/* How far two PCI functions are apart, given their paths below /sys/devices and their NUMA nodes
 * (-1: unknown): PIX, PXB, PHB, NODE or SYS, as nvidia-smi calls them. */
const char *cni_pci_distance(const char *one, const char *two, int64_t one_node, int64_t two_node);

#endif
