/*
 * Results as JSON, with the keys of nccl-tests' version 3 where they mean the same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <jansson.h>
#include <string.h>

extern char **environ;

static json_t *side_json(const struct bench_side *side)
{
    json_t *object = json_pack("{s:f, s:f, s:f, s:I}", "time", side->time_us, "alg_bw", side->algbw,
                               "bus_bw", side->busbw, "nwrong", (json_int_t)side->wrong);
    return object;
}

static json_t *row_json(const struct bench *bench, const struct bench_row *row)
{
    json_t *object = json_pack(
        "{s:I, s:I, s:s, s:s, s:i, s:o, s:o, s:s, s:s, s:f, s:f}", "size", (json_int_t)row->bytes,
        "count", (json_int_t)row->count, "type", bench_dtype_name(row->dtype), "redop",
        shoal_op_string(row->op), "root", row->root, "out_of_place", side_json(&row->side[0]),
        "in_place", side_json(&row->side[1]), "algorithm", row->algorithm, "transport",
        row->transport, "predicted_us", row->predicted_us, "copy_us", row->copy_us);
    static const char *const names[] = {"out_of_place_per_iter", "in_place_per_iter"};
    for (int i = 0; i < 2 && bench->options->per_iteration; i++) {
        const struct bench_side *side = &row->side[i];
        json_object_set_new(object, names[i],
                            json_pack("{s:f, s:f, s:f, s:f, s:f}", "min", side->min_us, "max",
                                      side->max_us, "p50", side->p50_us, "p95", side->p95_us, "p99",
                                      side->p99_us));
    }
    return object;
}

static json_t *args_json(const struct bench *bench)
{
    json_t *args = json_array();
    for (int i = 0; i < bench->options->argc; i++)
        json_array_append_new(args, json_string(bench->options->argv[i]));
    return args;
}

/* Settings that may have changed the result; never the secret. */
static json_t *env_json(void)
{
    json_t *env = json_object();
    for (char **entry = environ; *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        if (strncmp(*entry, "SHOAL_", 6) != 0 || !equals ||
            strncmp(*entry, "SHOAL_SECRET", 12) == 0)
            continue;
        json_t *value = json_string(equals + 1);
        json_object_setn_new(env, *entry, (size_t)(equals - *entry), value);
    }
    return env;
}

int bench_write_json(const struct bench *bench, const struct bench_row *rows, size_t count)
{
    double sum = 0;
    json_int_t wrong = 0;
    json_t *results = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(results, row_json(bench, &rows[i]));
        for (int s = 0; s < 2; s++) {
            sum += rows[i].side[s].busbw;
            wrong += rows[i].side[s].wrong > 0 ? rows[i].side[s].wrong : 0;
        }
    }
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:o, s:o, s:{s:I, s:s, s:I, s:f}, s:o, s:f, s:I}", "version", 3,
        "shoal_version", shoal_version_string(), "collective",
        shoal_collective_string(bench->options->collective), "args", args_json(bench), "env",
        env_json(), "config", "ranks", (json_int_t)bench->size, "memory",
        bench->options->memory == BENCH_SHARED ? "shared" : "ordinary", "rotate_bytes",
        (json_int_t)bench->options->rotate_bytes, "init_ms", bench->init_ms, "results", results,
        "average_bus_bandwidth", count ? sum / (double)(2 * count) : 0, "out_of_bounds", wrong);
    int error = !root || json_dump_file(root, bench->options->json_file, JSON_INDENT(1)) != 0;
    if (error)
        fprintf(stderr, "allreduce_bench: cannot write %s\n", bench->options->json_file);
    json_decref(root);
    return error;
}
