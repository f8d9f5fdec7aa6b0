/*
 * `shoal info`: collects every section as JSON and prints that, or the same as text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "shoal_info.h"

#include "shoal_tools.h"

#include <getopt.h>
#include <stdint.h>
#include <string.h>

#define KEY_WIDTH 24

static const char usage[] =
    "usage: shoal info [--json]\n\n"
    "Prints every setting with its effective value and source, the build, what was found of the\n"
    "machine, its RDMA ports and which can be used, and what this host lets processes do.\n"
    "Exit status 1 when the configuration is bad.\n\n"
    "  --json   print JSON\n"
    "  --help   print this\n";

static json_t *collect(void)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "configuration",
                     shoal_info_configuration(), "build", shoal_info_build(), "host",
                     shoal_info_host(), "topology", shoal_info_topology(), "limits",
                     shoal_info_limits(), "interfaces", shoal_info_interfaces(), "rdma",
                     shoal_info_rdma(), "abilities", shoal_info_abilities());
}

/* ---- text ------------------------------------------------------------------------------- */

static void print_bytes(json_int_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1024;
    printf("%.4g %s", value, units[unit]);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static void print_value(const char *key, const json_t *value);

static void print_array(const char *key, const json_t *array)
{
    size_t index;
    const json_t *member;
    json_array_foreach((json_t *)(uintptr_t)array, index, member)
    {
        fputs(index ? "; " : "", stdout);
        print_value(key, member);
    }
}

static void print_object(const char *key, const json_t *object)
{
    const char *name, *separator = "";
    const json_t *member;
    json_object_foreach((json_t *)(uintptr_t)object, name, member)
    {
        printf("%s%s ", separator, name);
        print_value(ends_with(key, "_bytes") ? key : name, member);
        separator = ", ";
    }
}

/* On one line; `key` tells numbers of bytes from others. */
static void print_value(const char *key, const json_t *value)
{
    if (json_is_string(value))
        fputs(json_string_value(value), stdout);
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "yes" : "no", stdout);
    else if (json_is_null(value))
        fputs("none", stdout);
    else if (json_is_real(value))
        printf("%g", json_real_value(value));
    else if (json_is_integer(value) && ends_with(key, "_bytes"))
        print_bytes(json_integer_value(value));
    else if (json_is_integer(value))
        printf("%lld", (long long)json_integer_value(value));
    else if (json_is_array(value))
        print_array(key, value);
    else
        print_object(key, value);
}

static void print_heading(const char *title, bool colour)
{
    printf("%s%s%s\n", colour ? "\033[1m" : "", title, colour ? "\033[0m" : "");
}

static void print_section(const char *title, const json_t *section, bool colour)
{
    const char *key;
    const json_t *value;
    print_heading(title, colour);
    json_object_foreach((json_t *)(uintptr_t)section, key, value)
    {
        printf("  %-*s ", KEY_WIDTH, key);
        print_value(key, value);
        putchar('\n');
    }
    putchar('\n');
}

static void print_configuration(const json_t *section, bool colour)
{
    size_t index;
    json_t *line;
    const char *error = json_string_value(json_object_get(section, "error"));
    print_heading("configuration", colour);
    if (error)
        printf("  %serror%s: %s\n", colour ? "\033[31m" : "", colour ? "\033[0m" : "", error);
    json_array_foreach(json_object_get(section, "keys"), index, line)
    {
        const char *value = json_string_value(json_object_get(line, "value"));
        const char *source = json_string_value(json_object_get(line, "source"));
        bool is_default = strcmp(source, "default") == 0;
        printf("  %s%-*s %-12s %-12s%s %s%s%s\n", colour && !is_default ? "\033[1m" : "", KEY_WIDTH,
               json_string_value(json_object_get(line, "key")), *value ? value : "-", source,
               colour && !is_default ? "\033[0m" : "", colour ? "\033[2m" : "",
               json_string_value(json_object_get(line, "help")), colour ? "\033[0m" : "");
    }
    putchar('\n');
}

static void print_text(const json_t *info)
{
    const char *title;
    const json_t *section;
    bool colour = shoal_tool_colour(stdout);
    json_object_foreach((json_t *)(uintptr_t)info, title, section)
    {
        if (strcmp(title, "configuration") == 0)
            print_configuration(section, colour);
        else
            print_section(title, section, colour);
    }
}

/* ---- command ---------------------------------------------------------------------------- */

static int print_info(bool as_json)
{
    json_t *info = collect();
    if (!info) {
        shoal_tool_error("info", "no memory");
        return SHOAL_EXIT_FAILURE;
    }
    if (as_json) {
        json_dumpf(info, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    } else {
        print_text(info);
    }
    const json_t *configuration = json_object_get(info, "configuration");
    const char *error = json_string_value(json_object_get(configuration, "error"));
    if (error)
        shoal_tool_error("info", "%s", error);
    int failed = error || fflush(stdout) != 0 || ferror(stdout);
    json_decref(info);
    return failed ? SHOAL_EXIT_FAILURE : 0;
}

int shoal_tool_info(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    bool as_json = false;
    for (int option; (option = getopt_long(argc, argv, "jh", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (option != 'j') {
            shoal_tool_suggest(argv, options);
            fputs(usage, stderr);
            return SHOAL_EXIT_USAGE;
        }
        as_json = true;
    }
    if (optind < argc) {
        shoal_tool_error("info", "unexpected argument '%s'", argv[optind]);
        return SHOAL_EXIT_USAGE;
    }
    return print_info(as_json);
}
