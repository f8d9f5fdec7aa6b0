/*
 * Tables of the keys that a program reads from JSON, with the values it takes. Programs in Go
 * ignore all other keys in silence, and the case of keys.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_KEYS_H
#define CNI_KEYS_H

#include "check.h"

struct cni_key {
    const char *name;
    enum cni_kind kind; /* CNI_NULL: anything */
    /* Words between bars, as they stand here, or in any case behind a ~: "~ippool|cidrpool"; or a
     * form, which begins with =: "=mac", "=guid", "=pci", "=texts" (all members of a list or map
     * are); NULL: anything. */
    const char *accepts;
    int64_t low, high; /* of an integer; high 0: whatever is not below low */
};

#define CNI_KEY_END                                                                                \
    {                                                                                              \
        NULL, CNI_NULL, NULL, 0, 0                                                                 \
    }

/* cni_key_find - by name, whatever its case; NULL when the table has none. */
const struct cni_key *cni_key_find(const struct cni_key *keys, const char *name);
/* cni_key_suggest - the name in a table that is nearest to a misspelt one, or NULL. */
const char *cni_key_suggest(const struct cni_key *keys, const char *name);

/* cni_check_key - spelling and value of a key that was found; `whose` is named in findings. */
void cni_check_key(struct cni_check *check, const struct cni_key *key, const struct cni_node *value,
                   const char *whose);
/* cni_check_keys - all members of a map against one table; unknown ones are findings, too. */
void cni_check_keys(struct cni_check *check, const struct cni_key *keys, const struct cni_node *map,
                    const char *whose);
void cni_check_key_unknown(struct cni_check *check, const struct cni_key *keys,
                           const struct cni_node *value, const char *whose);

#endif
