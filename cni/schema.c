/*
 * Checks of objects against their schemas.
 *
 * Invariant: a schema's depth is that of the object's at most, since each step down the schema
 * takes one step down the object.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "schema_internal.h"

#include "cel.h"
#include "core/suggest.h"
#include "schemas_data.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAMES_MAX 256

struct checker {
    const struct cni_schemas *schemas;
    struct cni_findings *findings;
};

struct cni_schemas *cni_schemas_load(struct cni_arena *arena)
{
    struct cni_problem problem;
    struct cni_document *document = cni_arena_alloc(arena, sizeof(*document));
    size_t bytes = (size_t)(cni_schemas_json_end - cni_schemas_json);
    document->file = "(built-in schemas)";
    struct cni_schemas *schemas = cni_arena_alloc(arena, sizeof(*schemas));
    if (!cni_json_read(arena, document, cni_schemas_json, bytes, &document->root, &problem)) {
        fprintf(stderr, "shoal-cni: built-in schemas, line %u: %s\n", problem.line, problem.text);
        abort(); /* our own data */
    }
    schemas->kinds = cni_get(document->root, "kinds");
    struct cni_node *shared = cni_get(document->root, "shared");
    schemas->shared = cni_arena_alloc(arena, (shared->count + 1) * sizeof(*schemas->shared));
    CNI_EACH(node, shared)
    {
        schemas->shared[schemas->shared_count++] = node;
    }
    return schemas;
}

void cni_schemas_each(const struct cni_schemas *schemas,
                      void (*visit)(void *user, const char *group, const char *version,
                                    const char *kind),
                      void *user)
{
    CNI_EACH(row, schemas->kinds)
    {
        visit(user, cni_text_at(row, "group"), cni_text_at(row, "version"),
              cni_text_at(row, "kind"));
    }
}

const struct cni_node *cni_schema_resolve(const struct cni_schemas *schemas,
                                          const struct cni_node *schema)
{
    const struct cni_node *ref = cni_get(schema, "ref");
    return ref ? schemas->shared[ref->integer] : schema;
}

static void check(const struct checker *checker, const struct cni_node *schema,
                  const struct cni_node *value);

/* ---- scalars ------------------------------------------------------------------------------ */

static bool has_type(const struct cni_node *value, const char *type)
{
    switch (value->kind) {
    case CNI_BOOL:
        return strcmp(type, "boolean") == 0;
    case CNI_INT:
        return strcmp(type, "integer") == 0 || strcmp(type, "number") == 0 ||
               strcmp(type, "int-or-string") == 0;
    case CNI_REAL:
        return strcmp(type, "number") == 0;
    case CNI_TEXT:
        return strcmp(type, "string") == 0 || strcmp(type, "int-or-string") == 0;
    case CNI_MAP:
        return strcmp(type, "object") == 0;
    case CNI_LIST:
        return strcmp(type, "array") == 0;
    default:
        return true; /* nothing: Kubernetes takes it for absent */
    }
}

static bool is_switch_word(const char *text)
{
    static const char *const words[] = {"on", "off", "yes", "no", "y", "n"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasecmp(words[i], text) == 0)
            return true;
    return false;
}

static void report_type(const struct checker *checker, const struct cni_node *value,
                        const char *type)
{
    if (value->kind == CNI_BOOL && strcmp(type, "string") == 0 && is_switch_word(value->text))
        cni_find(checker->findings, CNI_RULE_yaml_switch, value,
                 "%s without quotes is the boolean %s, and %s must be a text", value->text,
                 value->integer ? "true" : "false", value->key ? value->key : "this");
    else
        cni_find(checker->findings, CNI_RULE_schema_type, value, "%s is %s%s%.60s%s, not %s",
                 value->key ? value->key : "this", cni_kind_name(value), *value->text ? " (" : "",
                 value->text, *value->text ? ")" : "", type);
}

static void check_enum(const struct checker *checker, const struct cni_node *schema,
                       const struct cni_node *value)
{
    char list[160] = "";
    size_t used = 0;
    const struct cni_node *values = cni_get(schema, "enum");
    CNI_EACH(allowed, values)
    {
        if (strcmp(allowed->text, value->text) == 0)
            return;
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
                                 *allowed->text ? allowed->text : "\"\"");
        if (used >= sizeof(list))
            used = sizeof(list) - 1;
    }
    if (values)
        cni_find(checker->findings, CNI_RULE_schema_value, value, "%.80s is none of %s",
                 *value->text ? value->text : "\"\"", list);
}

static void check_pattern(const struct checker *checker, const struct cni_node *schema,
                          const struct cni_node *value)
{
    regex_t regex;
    const char *pattern = cni_text_at(schema, "pattern");
    if (!pattern || regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return;
    int miss = strlen(value->text) <= 1024 ? regexec(&regex, value->text, 0, NULL, 0) : 1;
    regfree(&regex);
    if (miss)
        cni_find(checker->findings, CNI_RULE_schema_value, value, "\"%.80s\" does not match %.120s",
                 value->text, pattern);
}

/* A limit of the schema against a number: value, length or count. */
static void check_limits(const struct checker *checker, const struct cni_node *schema,
                         const struct cni_node *value, int64_t number, const char *what,
                         const char *const names[2])
{
    const struct cni_node *low = cni_get(schema, names[0]), *high = cni_get(schema, names[1]);
    if (low && number < low->integer)
        cni_find(checker->findings, CNI_RULE_schema_value, value, "%s %lld is below %lld", what,
                 (long long)number, (long long)low->integer);
    if (high && number > high->integer)
        cni_find(checker->findings, CNI_RULE_schema_value, value, "%s %lld is above %lld", what,
                 (long long)number, (long long)high->integer);
}

/* Rules of the CRD about this value. */
static void check_rules(const struct checker *checker, const struct cni_node *schema,
                        const struct cni_node *value)
{
    CNI_EACH(rule, cni_get(schema, "rules"))
    {
        const char *expression = rule->first->text, *message = rule->last->text;
        switch (cni_cel_check(checker->findings->arena, expression, value)) {
        case CNI_CEL_HOLDS:
            break;
        case CNI_CEL_BROKEN:
            cni_find(checker->findings, CNI_RULE_schema_rule, value, "%.250s",
                     *message ? message : expression);
            break;
        case CNI_CEL_UNKNOWN:
            cni_find(checker->findings, CNI_RULE_schema_rule_unknown, value,
                     "not evaluated: %.250s", expression);
            break;
        }
    }
}

/* ---- objects and lists -------------------------------------------------------------------- */

static void report_unknown(const struct checker *checker, const struct cni_node *properties,
                           const struct cni_node *value)
{
    const char *names[NAMES_MAX + 1] = {NULL};
    size_t count = 0;
    CNI_EACH(property, properties)
    {
        if (count < NAMES_MAX)
            names[count++] = property->key;
    }
    const char *near = shl_suggest(value->key, names);
    if (strcmp(value->key, "metaPluginsConfig") == 0) /* what that operator's documents say */
        near = "metaPlugins";
    cni_find(checker->findings, CNI_RULE_schema_unknown, value,
             "%.80s is no field here%s%s%s: the API server drops it", value->key,
             near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

static void check_object(const struct checker *checker, const struct cni_node *schema,
                         const struct cni_node *value)
{
    const struct cni_node *properties = cni_get(schema, "properties");
    const struct cni_node *values = cni_get(schema, "values");
    bool open = cni_get(schema, "open") || !(properties || values);
    CNI_EACH(member, value)
    {
        const struct cni_node *property = cni_get(properties, member->key);
        if (property)
            check(checker, property, member);
        else if (values)
            check(checker, values, member);
        else if (!open)
            report_unknown(checker, properties, member);
    }
    CNI_EACH(required, cni_get(schema, "required"))
    {
        const struct cni_node *member = cni_get(value, required->text);
        if (!member || member->kind == CNI_NULL)
            cni_find(checker->findings, CNI_RULE_schema_missing, value, "%.80s has no %s",
                     value->key ? value->key : "this", required->text);
    }
}

static void check(const struct checker *checker, const struct cni_node *schema,
                  const struct cni_node *value)
{
    static const char *const sizes[] = {"minimum", "maximum"};
    static const char *const lengths[] = {"minLength", "maxLength"};
    static const char *const counts[] = {"minItems", "maxItems"};
    schema = cni_schema_resolve(checker->schemas, schema);
    const char *type = cni_text_at(schema, "type");
    if (value->kind == CNI_NULL) { /* absent to Kubernetes, forgotten by its author */
        if (cni_get(schema, "required"))
            check_object(checker, schema, value);
        return;
    }
    if (type && !has_type(value, type)) {
        report_type(checker, value, type);
        return;
    }
    check_rules(checker, schema, value);
    switch (value->kind) {
    case CNI_MAP:
        check_object(checker, schema, value);
        break;
    case CNI_LIST:
        check_limits(checker, schema, value, value->count, "the number of entries", counts);
        CNI_EACH(item, value)
        {
            if (cni_get(schema, "items"))
                check(checker, cni_get(schema, "items"), item);
        }
        break;
    case CNI_INT:
        check_limits(checker, schema, value, value->integer, "the value", sizes);
        check_enum(checker, schema, value);
        break;
    default:
        check_limits(checker, schema, value, (int64_t)strlen(value->text), "the length", lengths);
        check_enum(checker, schema, value);
        check_pattern(checker, schema, value);
        break;
    }
}

/* ---- documents ---------------------------------------------------------------------------- */

static void check_metadata(const struct checker *checker, const struct cni_node *object)
{
    static const char *const maps[] = {"annotations", "labels"};
    const struct cni_node *metadata = cni_get(object, "metadata");
    if (!cni_get(metadata, "name") && !cni_get(metadata, "generateName"))
        cni_find(checker->findings, CNI_RULE_schema_missing, metadata ? metadata : object,
                 "metadata has no name");
    for (size_t i = 0; i < 2; i++)
        CNI_EACH(entry, cni_get(metadata, maps[i]))
        {
            if (entry->kind != CNI_TEXT)
                report_type(checker, entry, "string");
        }
}

const struct cni_node *cni_schema_find(const struct cni_schemas *schemas, const char *api,
                                       const char *kind)
{
    const char *slash = api ? strchr(api, '/') : NULL;
    size_t group_length = slash ? (size_t)(slash - api) : 0;
    const char *version = slash ? slash + 1 : api;
    CNI_EACH(row, schemas->kinds)
    {
        const char *group = cni_text_at(row, "group");
        if (!cni_is(cni_get(row, "kind"), kind))
            continue;
        if (!api || (cni_is(cni_get(row, "version"), version) && strlen(group) == group_length &&
                     strncmp(group, api, group_length) == 0))
            return cni_get(row, "schema");
    }
    return NULL;
}

void cni_schema_check(const struct cni_schemas *schemas, struct cni_findings *findings,
                      const struct cni_node *object)
{
    const struct checker checker = {.schemas = schemas, .findings = findings};
    const char *api = cni_text_at(object, "apiVersion"), *kind = cni_text_at(object, "kind");
    if (!api || !kind)
        return;
    const struct cni_node *schema = cni_schema_find(schemas, api, kind);
    if (!schema) {
        cni_find(findings, CNI_RULE_schema_kind, cni_get(object, "kind"),
                 "no schema for %.60s of %.80s is built in: its fields were not checked", kind,
                 api);
        return;
    }
    check(&checker, schema, object);
    check_metadata(&checker, object);
}
