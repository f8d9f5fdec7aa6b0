/*
 * The embedded schemas; a zero byte follows the last.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_SCHEMAS_DATA_H
#define CNI_SCHEMAS_DATA_H

extern const char cni_schemas_json[], cni_schemas_json_end[];

#endif
