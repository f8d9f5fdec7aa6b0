/*
 * Settings from a YAML file: one flat mapping of scalars, nothing else.
 *
 * Invariant: libyaml sees at most FILE_MAX_BYTES, and parsing stops at the first event that a flat
 * mapping cannot have, so depth and size are bounded whatever the file holds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/config_internal.h"
#include "core/file.h"
#include "core/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define FILE_MAX_BYTES (1u << 20)
#define WHERE_BYTES 512

struct reader {
    struct shl_config_loader *loader;
    const char *path;
    yaml_parser_t parser;
    size_t key_line; /* of the key whose value comes next */
    bool seen[SHL_CONFIG_KEY_COUNT];
};

static void describe(const struct reader *reader, size_t line, char *where)
{
    snprintf(where, WHERE_BYTES, "%s:%zu", reader->path, line + 1);
}

static enum shoal_status fail_parser(const struct reader *reader)
{
    char where[WHERE_BYTES];
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to read %s", reader->path);
    describe(reader, parser->problem_mark.line, where);
    return shl_fail(SHOAL_ERR_CONFIG, "%s: not YAML: %s", where,
                    parser->problem ? parser->problem : "unreadable bytes");
}

static enum shoal_status next_event(struct reader *reader, yaml_event_t *event)
{
    return yaml_parser_parse(&reader->parser, event) ? SHOAL_OK : fail_parser(reader);
}

static const char *event_name(yaml_event_type_t type)
{
    switch (type) {
    case YAML_SEQUENCE_START_EVENT:
        return "a list";
    case YAML_MAPPING_START_EVENT:
        return "a nested mapping";
    case YAML_ALIAS_EVENT:
        return "an alias";
    case YAML_SCALAR_EVENT:
        return "a single value";
    case YAML_DOCUMENT_START_EVENT:
        return "a second document";
    default:
        return "something else";
    }
}

/* A scalar without anchor or tag of its own, and without a zero byte inside. */
static enum shoal_status check_scalar(const struct reader *reader, const yaml_event_t *event)
{
    char where[WHERE_BYTES];
    describe(reader, event->start_mark.line, where);
    if (event->type != YAML_SCALAR_EVENT)
        return shl_fail(SHOAL_ERR_CONFIG,
                        "%s: %s where a single value belongs; write one `key: value` a line, lists "
                        "as `a,b`",
                        where, event_name(event->type));
    if (event->data.scalar.anchor)
        return shl_fail(SHOAL_ERR_CONFIG, "%s: anchors are not allowed; repeat the value", where);
    if (event->data.scalar.tag)
        return shl_fail(SHOAL_ERR_CONFIG, "%s: tags are not allowed; remove it", where);
    if (memchr(event->data.scalar.value, 0, event->data.scalar.length))
        return shl_fail(SHOAL_ERR_CONFIG, "%s: a value contains a zero byte; remove it", where);
    return SHOAL_OK;
}

/* What YAML reads as null: `key:`, `key: ~`, `key: null`. An empty text must be quoted. */
static bool is_null(const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static enum shoal_status find_key(struct reader *reader, const yaml_event_t *event,
                                  enum shl_config_number *number)
{
    char where[WHERE_BYTES];
    SHL_TRY(check_scalar(reader, event));
    const char *name = (const char *)event->data.scalar.value;
    describe(reader, event->start_mark.line, where);
    SHL_TRY(shl_config_find(name, true, where, number));
    if (reader->seen[*number])
        return shl_fail(SHOAL_ERR_CONFIG, "%s: %.80s is set twice; remove one", where, name);
    if (*number == SHL_KEY_config_file)
        return shl_fail(SHOAL_ERR_CONFIG, "%s: a file cannot name another; remove %.80s", where,
                        name);
    reader->seen[*number] = true;
    reader->key_line = event->start_mark.line;
    return SHOAL_OK;
}

static enum shoal_status assign(struct reader *reader, enum shl_config_number number,
                                const yaml_event_t *event)
{
    char where[WHERE_BYTES];
    SHL_TRY(check_scalar(reader, event));
    /* The key's line: that of an empty value may be the next one. */
    describe(reader, reader->key_line, where);
    if (is_null(event))
        return shl_fail(SHOAL_ERR_CONFIG, "%s: %s has no value; give one, or \"\" for none", where,
                        shl_config_keys[number].name);
    const char *text = NULL;
    SHL_TRY(shl_config_keep(reader->loader, (const char *)event->data.scalar.value,
                            event->data.scalar.length, &text));
    const struct shl_config_origin origin = {.source = SHL_CONFIG_FILE,
                                             .line = (uint32_t)reader->key_line + 1};
    return shl_config_assign(reader->loader, number, text, origin, where);
}

/* Key and value events in turn, up to the end of the mapping. */
static enum shoal_status read_mapping(struct reader *reader)
{
    bool have_key = false, done = false;
    enum shl_config_number number = SHL_CONFIG_KEY_COUNT;
    while (!done) {
        yaml_event_t event;
        SHL_TRY(next_event(reader, &event));
        enum shoal_status status = SHOAL_OK;
        if (event.type == YAML_MAPPING_END_EVENT)
            done = true;
        else if (have_key)
            status = assign(reader, number, &event);
        else
            status = find_key(reader, &event, &number);
        have_key = !have_key;
        yaml_event_delete(&event);
        SHL_TRY(status);
    }
    return SHOAL_OK;
}

static bool is_empty_scalar(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && !event->data.scalar.anchor && is_null(event);
}

/* The one node of a document: a mapping, or nothing (`---` alone). */
static enum shoal_status read_root(struct reader *reader)
{
    yaml_event_t event;
    char where[WHERE_BYTES];
    SHL_TRY(next_event(reader, &event));
    describe(reader, event.start_mark.line, where);
    bool mapping = event.type == YAML_MAPPING_START_EVENT;
    bool anchored = mapping && event.data.mapping_start.anchor;
    bool empty = is_empty_scalar(&event);
    const char *name = event_name(event.type);
    yaml_event_delete(&event);
    if (anchored)
        return shl_fail(SHOAL_ERR_CONFIG, "%s: anchors are not allowed; remove it", where);
    if (mapping)
        return read_mapping(reader);
    if (empty)
        return SHOAL_OK;
    return shl_fail(SHOAL_ERR_CONFIG, "%s: %s where settings belong; write one `key: value` a line",
                    where, name);
}

/* Stream start, at most one document, stream end. */
static enum shoal_status read_stream(struct reader *reader)
{
    uint32_t documents = 0;
    for (;;) {
        yaml_event_t event;
        char where[WHERE_BYTES];
        SHL_TRY(next_event(reader, &event));
        yaml_event_type_t type = event.type;
        describe(reader, event.start_mark.line, where);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return SHOAL_OK;
        if (type != YAML_DOCUMENT_START_EVENT)
            continue;
        if (++documents > 1)
            return shl_fail(SHOAL_ERR_CONFIG, "%s: a second document; keep one", where);
        SHL_TRY(read_root(reader));
    }
}

enum shoal_status shl_config_read_yaml(struct shl_config_loader *loader, const char *path,
                                       const char *content, size_t bytes)
{
    struct reader reader = {.loader = loader, .path = path};
    if (!yaml_parser_initialize(&reader.parser))
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to read %s", path);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)content, bytes);
    enum shoal_status status = read_stream(&reader);
    yaml_parser_delete(&reader.parser);
    return status;
}

/* Anything else is cured by correcting the path or the file. */
static bool is_lack_of_resources(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == EIO;
}

enum shoal_status shl_config_read_file(struct shl_config_loader *loader, const char *path)
{
    size_t bytes = 0;
    char *content = shl_mem->alloc(FILE_MAX_BYTES);
    if (!content)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to read configuration file %s", path);
    enum shoal_status status = shl_file_read(path, content, FILE_MAX_BYTES, &bytes);
    if (status == SHOAL_ERR_SYSTEM && !is_lack_of_resources(errno))
        status = shl_fail(SHOAL_ERR_CONFIG, "configuration file: %s; correct SHOAL_CONFIG_FILE",
                          shl_error_text());
    if (status == SHOAL_OK)
        status = shl_config_read_yaml(loader, path, content, bytes);
    shl_mem->free(content);
    return status;
}
