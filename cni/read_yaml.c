/*
 * YAML to trees, from libyaml's events. Plain scalars become what Kubernetes' own reader makes of
 * them, which is YAML 1.1: on, off, yes and no are booleans.
 *
 * Invariant: depth, nodes and documents are bounded before memory is spent; aliases are refused, so
 * work is linear in the bytes read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "node.h"
#include "scalar.h"

#include <string.h>
#include <yaml.h>

#define DOCUMENTS_MAX 10000u

struct reader {
    struct cni_arena *arena;
    struct cni_problem *problem;
    yaml_parser_t parser;
    struct cni_document *document;
    const char *content;
    size_t bytes;
    uint32_t nodes;
    size_t line_number, line_offset; /* a line of the content and where it begins */
};

static uint32_t line_of(yaml_mark_t mark)
{
    return (uint32_t)mark.line + 1;
}

/* libyaml counts characters, not bytes: find the line, then skip the characters before it. */
static size_t offset_of(struct reader *reader, yaml_mark_t mark)
{
    size_t at = reader->line_offset;
    for (; reader->line_number < mark.line && at < reader->bytes; at++)
        reader->line_number += reader->content[at] == '\n';
    reader->line_offset = at;
    for (size_t column = 0; column < mark.column && at < reader->bytes; column++)
        do
            at++;
        while (at < reader->bytes && ((unsigned char)reader->content[at] & 0xc0) == 0x80);
    return at;
}

static bool fail_parser(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    cni_problem_set(reader->problem, line_of(parser->problem_mark), "not YAML: %s%s%s",
                    parser->problem ? parser->problem : "unreadable bytes",
                    parser->context ? " " : "", parser->context ? parser->context : "");
    return false;
}

static struct cni_node *create(struct reader *reader, enum cni_kind kind, const yaml_event_t *event)
{
    uint32_t line = line_of(event->start_mark);
    if (++reader->nodes > CNI_NODES_MAX) {
        cni_problem_set(reader->problem, line, "more than %u values; split the file",
                        CNI_NODES_MAX);
        return NULL;
    }
    struct cni_node *node = cni_node_create(reader->arena, reader->document, kind, line);
    node->source_line = line;
    node->source_offset = offset_of(reader, event->start_mark);
    node->key_column = (uint32_t)event->start_mark.column;
    return node;
}

static struct cni_node *create_scalar(struct reader *reader, const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (memchr(value, 0, length)) {
        cni_problem_set(reader->problem, line_of(event->start_mark), "a text with a zero byte");
        return NULL;
    }
    struct cni_node *node = create(reader, CNI_TEXT, event);
    if (!node)
        return NULL;
    node->text = cni_arena_copy(reader->arena, value, length);
    node->source_end = offset_of(reader, event->end_mark);
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (node->plain)
        cni_scalar_resolve(node);
    return node;
}

static bool read_node(struct reader *reader, const yaml_event_t *event, uint32_t depth,
                      struct cni_node **node);

static bool next_event(struct reader *reader, yaml_event_t *event)
{
    return yaml_parser_parse(&reader->parser, event) || fail_parser(reader);
}

static bool read_list(struct reader *reader, struct cni_node *list, uint32_t depth)
{
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!next_event(reader, &event))
            return false;
        struct cni_node *child = NULL;
        more = event.type != YAML_SEQUENCE_END_EVENT;
        if (!more && list->flow)
            list->source_end = offset_of(reader, event.end_mark);
        bool good = !more || read_node(reader, &event, depth, &child);
        yaml_event_delete(&event);
        if (!good)
            return false;
        if (more)
            cni_node_append(list, child, NULL);
    }
    return true;
}

static bool take_key(struct reader *reader, const struct cni_node *map, const yaml_event_t *event,
                     const char **key)
{
    uint32_t line = line_of(event->start_mark);
    if (event->type != YAML_SCALAR_EVENT) {
        cni_problem_set(reader->problem, line, "a key that is no text%s",
                        event->type == YAML_ALIAS_EVENT ? " but an alias" : "");
        return false;
    }
    const char *text = (const char *)event->data.scalar.value;
    if (memchr(text, 0, event->data.scalar.length)) {
        cni_problem_set(reader->problem, line, "a key with a zero byte");
        return false;
    }
    if (strcmp(text, "<<") == 0) {
        cni_problem_set(reader->problem, line, "a merge key (<<); write the keys out");
        return false;
    }
    if (map->count >= CNI_KEYS_MAX) {
        cni_problem_set(reader->problem, line, "more than %u keys in one mapping", CNI_KEYS_MAX);
        return false;
    }
    if (cni_get(map, text)) {
        cni_problem_set(reader->problem, line, "the key %.80s is given twice", text);
        reader->problem->duplicate_key = true;
        return false;
    }
    *key = cni_arena_copy(reader->arena, text, event->data.scalar.length);
    return true;
}

static bool read_map(struct reader *reader, struct cni_node *map, uint32_t depth)
{
    for (;;) {
        yaml_event_t event;
        const char *key = NULL;
        struct cni_node *child = NULL;
        if (!next_event(reader, &event))
            return false;
        bool end = event.type == YAML_MAPPING_END_EVENT;
        uint32_t key_line = line_of(event.start_mark);
        uint32_t key_column = (uint32_t)event.start_mark.column;
        if (end && map->flow)
            map->source_end = offset_of(reader, event.end_mark);
        bool good = end || take_key(reader, map, &event, &key);
        yaml_event_delete(&event);
        if (end || !good)
            return good;
        if (!next_event(reader, &event))
            return false;
        good = read_node(reader, &event, depth, &child);
        yaml_event_delete(&event);
        if (!good)
            return false;
        child->line = key_line; /* that of an empty or block value may be another */
        child->key_column = key_column;
        cni_node_append(map, child, key);
    }
}

static bool read_node(struct reader *reader, const yaml_event_t *event, uint32_t depth,
                      struct cni_node **node)
{
    uint32_t line = line_of(event->start_mark);
    if (depth >= CNI_DEPTH_MAX) {
        cni_problem_set(reader->problem, line, "nested deeper than %d", CNI_DEPTH_MAX);
        return false;
    }
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        *node = create_scalar(reader, event);
        return *node != NULL;
    case YAML_SEQUENCE_START_EVENT:
        *node = create(reader, CNI_LIST, event);
        if (*node)
            (*node)->flow = event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
        return *node && read_list(reader, *node, depth + 1);
    case YAML_MAPPING_START_EVENT:
        *node = create(reader, CNI_MAP, event);
        if (*node)
            (*node)->flow = event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
        return *node && read_map(reader, *node, depth + 1);
    default:
        cni_problem_set(reader->problem, line, "an alias (*%.40s); write out what it stands for",
                        event->type == YAML_ALIAS_EVENT ? (const char *)event->data.alias.anchor
                                                        : "");
        return false;
    }
}

static bool read_document(struct reader *reader, const char *file, struct cni_document ***tail)
{
    yaml_event_t event;
    struct cni_document *document = cni_arena_alloc(reader->arena, sizeof(*document));
    document->file = file;
    document->content = reader->content;
    reader->document = document;
    if (!next_event(reader, &event))
        return false;
    bool good = read_node(reader, &event, 0, &document->root);
    yaml_event_delete(&event);
    if (good && document->root->kind != CNI_NULL) {
        **tail = document;
        *tail = &document->next;
    }
    return good;
}

static bool read_stream(struct reader *reader, const char *file, struct cni_document **documents)
{
    struct cni_document **tail = documents;
    for (uint32_t count = 0;;) {
        yaml_event_t event;
        if (!next_event(reader, &event))
            return false;
        yaml_event_type_t type = event.type;
        uint32_t line = line_of(event.start_mark);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return true;
        if (type != YAML_DOCUMENT_START_EVENT)
            continue;
        if (++count > DOCUMENTS_MAX) {
            cni_problem_set(reader->problem, line, "more than %u documents", DOCUMENTS_MAX);
            return false;
        }
        if (!read_document(reader, file, &tail))
            return false;
    }
}

bool cni_yaml_read(struct cni_arena *arena, const char *file, const char *content, size_t bytes,
                   struct cni_document **documents, struct cni_problem *problem)
{
    struct reader reader = {.arena = arena, .problem = problem, .content = content, .bytes = bytes};
    *documents = NULL;
    *problem = (struct cni_problem){0};
    if (bytes > CNI_FILE_BYTES_MAX) {
        cni_problem_set(problem, 1, "larger than %u MiB", CNI_FILE_BYTES_MAX >> 20);
        return false;
    }
    if (!yaml_parser_initialize(&reader.parser)) {
        cni_problem_set(problem, 1, "no memory");
        return false;
    }
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)content, bytes);
    bool good = read_stream(&reader, file, documents);
    yaml_parser_delete(&reader.parser);
    return good;
}
