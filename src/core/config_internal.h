/*
 * What the files of the configuration share: the table built from config.def, and the values that
 * are being collected while the sources are read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_CONFIG_INTERNAL_H
#define SHL_CORE_CONFIG_INTERNAL_H

#include "core/config.h"

/* One number a key, in table order: SHL_KEY_timeout_ms. */
enum shl_config_number {
#define SHL_CONFIG_KEY(type, field, ...) SHL_KEY_##field,
#include "core/config.def"
#undef SHL_CONFIG_KEY
    SHL_CONFIG_KEY_COUNT
};

struct shl_config_key {
    const char *name; /* "SHOAL_TIMEOUT_MS" */
    const char *help;
    const char *fallback; /* default, as text */
    enum shl_config_type type;
    size_t offset;            /* of the field in struct shl_config */
    uint64_t min, max;        /* U64, BYTES */
    const char *const *names; /* CHOICE, SET: NULL-terminated */
    bool agree;               /* must be the same on every rank */
    bool secret;              /* never printed */
};

extern const struct shl_config_key shl_config_keys[SHL_CONFIG_KEY_COUNT];

#define SHL_CONFIG_PREFIX "SHOAL_"

/*
 * shl_config_find - number of the key that `name` spells: "SHOAL_TIMEOUT_MS", and with `short_form`
 * also "timeout_ms". `where` says for the error where the name stands, "environment" or
 * "/etc/shoal.yaml:3".
 */
enum shoal_status shl_config_find(const char *name, bool short_form, const char *where,
                                  enum shl_config_number *number);

union shl_config_value {
    bool flag;
    uint64_t number;
    uint32_t index; /* CHOICE: into names; SET: mask */
    const char *text;
};

/* shl_config_parse - the value that `text` stands for, borrowed from it if it is a string. */
enum shoal_status shl_config_parse(const struct shl_config_key *key, const char *text,
                                   const char *where, union shl_config_value *value);

/* shl_config_value_get - the effective value of a key. */
union shl_config_value shl_config_value_get(const struct shl_config *config,
                                            const struct shl_config_key *key);

struct shl_config_text; /* a string kept until loading ends */

struct shl_config_loader {
    union shl_config_value values[SHL_CONFIG_KEY_COUNT];
    struct shl_config_origin origins[SHL_CONFIG_KEY_COUNT];
    struct shl_config_text *texts;
};

/* shl_config_assign - parse `text` and let it win over what was there. Borrows `text` until loading
 * ends. */
enum shoal_status shl_config_assign(struct shl_config_loader *loader, enum shl_config_number number,
                                    const char *text, struct shl_config_origin origin,
                                    const char *where);

/* shl_config_keep - a copy of `bytes` bytes of text that lives until loading ends. */
enum shoal_status shl_config_keep(struct shl_config_loader *loader, const char *text, size_t bytes,
                                  const char **kept);

/* shl_config_drop - end of loading: forget what was kept. */
void shl_config_drop(struct shl_config_loader *loader);

/* The sources. */
enum shoal_status shl_config_read_file(struct shl_config_loader *loader, const char *path);
enum shoal_status shl_config_read_yaml(struct shl_config_loader *loader, const char *path,
                                       const char *content, size_t bytes);
enum shoal_status shl_config_read_environment(struct shl_config_loader *loader,
                                              char *const *environment);
enum shoal_status shl_config_read_settings(struct shl_config_loader *loader,
                                           const char *const *settings, size_t count);

#endif
