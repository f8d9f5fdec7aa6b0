/*
 * The sections of `shoal info`. Each returns a new JSON value; NULL: no memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHOAL_INFO_H
#define SHOAL_INFO_H

#include <jansson.h>

/* {"keys": [{key, value, source, help}...]}, or {"error": text} when the configuration is bad. */
json_t *shoal_info_configuration(void);
json_t *shoal_info_build(void);
json_t *shoal_info_host(void);
json_t *shoal_info_topology(void);
json_t *shoal_info_limits(void);
json_t *shoal_info_interfaces(void);
/* {"device:port": {usable, reason, ...}...}, or {"none": why}. */
json_t *shoal_info_rdma(void);
/* What is tried out here and now: {"name": {"works": bool, "detail": text}...}. */
json_t *shoal_info_abilities(void);

#endif
