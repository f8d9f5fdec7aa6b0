/*
 * Schemas that are built in, as JSON Schema (draft 2020-12) for editors and other checkers.
 *
 * Invariant: nothing is referred to: each schema stands by itself, closed as `validate` reads it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "schema.h"

#include "schema_internal.h"

#include <string.h>

static json_t *plain(const struct cni_node *node)
{
    json_t *list;
    switch (node->kind) {
    case CNI_INT:
        return json_integer(node->integer);
    case CNI_BOOL:
        return json_boolean(node->integer);
    case CNI_LIST:
        list = json_array();
        CNI_EACH(item, node)
        {
            json_array_append_new(list, plain(item));
        }
        return list;
    default:
        return json_string(node->text);
    }
}

static json_t *convert(const struct cni_schemas *schemas, const struct cni_node *schema);

static void put_members(const struct cni_schemas *schemas, const struct cni_node *schema,
                        json_t *out)
{
    const struct cni_node *properties = cni_get(schema, "properties");
    const struct cni_node *values = cni_get(schema, "values"), *items = cni_get(schema, "items");
    if (properties) {
        json_t *members = json_object();
        CNI_EACH(property, properties)
        {
            json_object_set_new(members, property->key, convert(schemas, property));
        }
        json_object_set_new(out, "properties", members);
    }
    if (values)
        json_object_set_new(out, "additionalProperties", convert(schemas, values));
    else if (properties && !cni_get(schema, "open"))
        json_object_set_new(out, "additionalProperties", json_false());
    if (items)
        json_object_set_new(out, "items", convert(schemas, items));
}

static json_t *convert(const struct cni_schemas *schemas, const struct cni_node *schema)
{
    static const char *const copied[] = {"required",  "enum",      "pattern",  "minimum", "maximum",
                                         "minLength", "maxLength", "minItems", "maxItems"};
    json_t *out = json_object();
    schema = cni_schema_resolve(schemas, schema);
    const char *type = cni_text_at(schema, "type");
    if (type && strcmp(type, "int-or-string") == 0)
        json_object_set_new(out, "type", json_pack("[s, s]", "integer", "string"));
    else if (type)
        json_object_set_new(out, "type", json_string(type));
    for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
        const struct cni_node *value = cni_get(schema, copied[i]);
        if (value)
            json_object_set_new(out, copied[i], plain(value));
    }
    put_members(schemas, schema, out);
    return out;
}

json_t *cni_schema_json(const struct cni_schemas *schemas, const char *api, const char *kind)
{
    const struct cni_node *schema = cni_schema_find(schemas, api, kind);
    if (!schema)
        return NULL;
    json_t *out = json_pack("{s:s, s:s}", "$schema", "https://json-schema.org/draft/2020-12/schema",
                            "title", kind);
    json_t *body = convert(schemas, schema);
    json_object_update(out, body);
    json_decref(body);
    return out;
}
