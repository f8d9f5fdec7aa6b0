/*
 * Configuration: one table (config.def) defines every key; sources are defaults, a YAML file, the
 * environment, and settings given by the caller, later ones win.
 *
 * Invariant: a struct shl_config that config_load returned holds only values its table allows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_CONFIG_H
#define SHL_CORE_CONFIG_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shl_config_source {
    SHL_CONFIG_DEFAULT,
    SHL_CONFIG_FILE,
    SHL_CONFIG_ENVIRONMENT,
    SHL_CONFIG_CALLER
};

enum shl_config_type {
    SHL_CONFIG_BOOL,   /* bool */
    SHL_CONFIG_U64,    /* uint64_t with a range */
    SHL_CONFIG_BYTES,  /* uint64_t; K, M, G suffixes */
    SHL_CONFIG_STRING, /* const char *, never NULL */
    SHL_CONFIG_CHOICE, /* uint32_t index into a list of names */
    SHL_CONFIG_SET     /* uint32_t bit mask of a comma list of names */
};

/* Where the effective value of a key came from. */
struct shl_config_origin {
    enum shl_config_source source;
    uint32_t line; /* of the file; 0 for other sources */
};

/* One field a key; generated from config.def, e.g. `uint64_t timeout_ms;` for SHOAL_TIMEOUT_MS. */
struct shl_config {
#define SHL_CONFIG_FIELD_BOOL bool
#define SHL_CONFIG_FIELD_U64 uint64_t
#define SHL_CONFIG_FIELD_BYTES uint64_t
#define SHL_CONFIG_FIELD_STRING const char *
#define SHL_CONFIG_FIELD_CHOICE uint32_t
#define SHL_CONFIG_FIELD_SET uint32_t
#define SHL_CONFIG_KEY(type, field, key, ...) SHL_CONFIG_FIELD_##type field;
#include "core/config.def"
#undef SHL_CONFIG_KEY
    struct shl_config_origin *origins; /* source of each key, in table order */
    char *strings;                     /* owned storage of all string values */
};

struct shl_config_options {
    const char *file; /* NULL: SHOAL_CONFIG_FILE from settings or environment, else none */
    const char *const *settings; /* "SHOAL_TIMEOUT_MS=5"; these win */
    size_t setting_count;
    char *const *environment; /* NULL: environ */
};

/*
 * shl_config_load - read all sources. An unknown SHOAL_* variable or key, or a value outside its
 * range, is SHOAL_ERR_CONFIG naming it, where it stands, and the nearest known key. Not ours, and
 * passed over: SHOAL_TEST_* (but for SHOAL_TEST_FAULT), and the variables that Kubernetes makes for
 * a service named shoal.
 *
 * options  may be NULL: environment only
 * Owns     copies everything; freed by shl_config_free, which also takes a zeroed configuration
 */
enum shoal_status shl_config_load(const struct shl_config_options *options,
                                  struct shl_config *config);
void shl_config_free(struct shl_config *config);

/* shl_config_print - call `line` for each key: name, effective value, source, one-line help. Of a
 * secret it says only "set" or "unset". */
void shl_config_print(const struct shl_config *config,
                      void (*line)(void *arg, const char *key, const char *value,
                                   const char *source, const char *help),
                      void *arg);

/* shl_config_digest - a digest of the keys marked "must agree on all ranks" (FNV-1a, 64 bit). */
uint64_t shl_config_digest(const struct shl_config *config);

#endif
