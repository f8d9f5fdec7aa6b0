/*
 * Documents as trees whose nodes know their line, so that every finding can name one. YAML and JSON
 * are read into the same tree.
 *
 * Invariant: children are in the order of the file; a mapping has each key once; text is never NULL
 * in a scalar and holds no zero byte but the last.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_NODE_H
#define CNI_NODE_H

#include "arena.h"

#include <stdbool.h>
#include <stdint.h>

#define CNI_DEPTH_MAX 64
#define CNI_NODES_MAX 400000u
#define CNI_KEYS_MAX 5000u /* of one mapping: each new one is compared with all */
#define CNI_FILE_BYTES_MAX (16u << 20)

enum cni_kind { CNI_NULL, CNI_BOOL, CNI_INT, CNI_REAL, CNI_TEXT, CNI_MAP, CNI_LIST };

struct cni_document {
    const char *file;    /* as the user named it */
    const char *content; /* of the file, all of it; NULL when there is none */
    struct cni_node *root;
    struct cni_document *next;
};

struct cni_node {
    enum cni_kind kind;
    bool plain;              /* a scalar without quotes: YAML decided what it is */
    uint32_t line;           /* from 1 */
    uint32_t index;          /* in its parent */
    uint32_t count;          /* children */
    int64_t integer;         /* of CNI_INT (saturated) and CNI_BOOL */
    const char *key;         /* in a mapping */
    const char *text;        /* scalars, as read; "" for what is no scalar */
    size_t source_offset;    /* of YAML: where in the document's content it begins */
    size_t source_end;       /* and what follows it; not set for mappings and lists in blocks */
    uint32_t source_line;    /* a value below its key has the key's `line` */
    uint32_t key_column;     /* from 0, of what begins the entry: its key, or the value itself */
    bool flow;               /* a mapping or list in brackets */
    struct cni_node *parent; /* of the root of a text that was read as JSON: the node of the text */
    struct cni_node *first, *last, *next;
    const struct cni_document *document;
};

/* Why something could not be read. */
struct cni_problem {
    uint32_t line;
    bool duplicate_key;
    char text[240];
};

/* cni_yaml_read - the documents of a stream, linked; empty ones are left out. False: see *problem.
 * `content` ends with a zero behind `bytes` and outlives the documents.
 * Aliases are refused: what they stand for has no line of its own, and they multiply. */
bool cni_yaml_read(struct cni_arena *arena, const char *file, const char *content, size_t bytes,
                   struct cni_document **documents, struct cni_problem *problem);

/* cni_json_read - strict JSON, such as a file. */
bool cni_json_read(struct cni_arena *arena, const struct cni_document *document,
                   const char *content, size_t bytes, struct cni_node **root,
                   struct cni_problem *problem);

/* cni_json_read_text - the JSON that a scalar of a document holds; its nodes get lines of the file
 * and paths below `scalar`. */
bool cni_json_read_text(struct cni_arena *arena, struct cni_node *scalar, struct cni_node **root,
                        struct cni_problem *problem);

/* For readers. */
struct cni_node *cni_node_create(struct cni_arena *arena, const struct cni_document *document,
                                 enum cni_kind kind, uint32_t line);
void cni_node_append(struct cni_node *parent, struct cni_node *child, const char *key);
void cni_problem_set(struct cni_problem *problem, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- looking -------------------------------------------------------------------------------
 * All accept NULL and answer NULL, false or "" for what is not there. */

/* Child of a mapping. */
struct cni_node *cni_get(const struct cni_node *map, const char *key);
/* The same, whatever the case of the key: how programs in Go read JSON. */
struct cni_node *cni_get_nocase(const struct cni_node *map, const char *key);
/* Through several mappings: "spec.template.spec". */
struct cni_node *cni_at(const struct cni_node *map, const char *path);
/* Text of a scalar that is a text; NULL for anything else. */
const char *cni_text(const struct cni_node *node);
const char *cni_text_at(const struct cni_node *map, const char *path);
bool cni_is(const struct cni_node *node, const char *text);
const char *cni_kind_name(const struct cni_node *node);

/* Where a node is: `spec.containers[0].image`, `spec.config:plugins[1].type`. */
const char *cni_node_path(struct cni_arena *arena, const struct cni_node *node);

#define CNI_EACH(child, node)                                                                      \
    for (struct cni_node *child = (node) ? (node)->first : NULL; child; child = child->next)

#endif
