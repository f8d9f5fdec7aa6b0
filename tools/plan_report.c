/*
 * `shoal plan`: works the lines out, and shows them as a table or as JSON.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collectives/cost.h"
#include "collectives/schedule_check.h"
#include "collectives/schedule_print.h"
#include "shoal_plan.h"
#include "shoal_tools.h"

#include <stdlib.h>
#include <string.h>

/* Up to here simulating takes no noticeable time, so the table always has exact counts. */
#define SIMULATED_ANYWAY_MAX 64

/* ---- working out -------------------------------------------------------------------------- */

static const struct shl_host_map *hosts_of(const struct plan *plan)
{
    return plan->request->host_of ? &plan->hosts : NULL;
}

struct shl_shape plan_shape(const struct plan *plan, const struct plan_line *line, uint32_t rank)
{
    struct shl_shape shape = {.rank_count = plan->request->ranks,
                              .rank = rank,
                              .root = plan->request->root,
                              .chunks = line->chunks,
                              .hosts = hosts_of(plan)};
    return shape;
}

static struct shl_select_query query_of(const struct plan *plan, const char *forced)
{
    const struct plan_request *request = plan->request;
    struct shl_select_query query = {.collective = request->collective,
                                     .rank_count = request->ranks,
                                     .root = request->root,
                                     .bytes = request->bytes,
                                     .commutes = !request->in_rank_order,
                                     .hosts = hosts_of(plan),
                                     .forced = forced};
    return query;
}

/* The library's own choice among one algorithm's chunk counts, or the price of the given one. */
static enum shoal_status price(struct plan *plan, const struct shl_algorithm *algorithm,
                               struct plan_line *line)
{
    char forced[128];
    const struct plan_request *request = plan->request;
    snprintf(forced, sizeof(forced), "%s=%s", shoal_collective_string(algorithm->collective),
             algorithm->name);
    struct shl_select_query query = query_of(plan, forced);
    struct shl_choice choice;
    SHL_TRY(shl_select(&query, &request->costs, &choice));
    *line = (struct plan_line){
        .algorithm = algorithm, .chunks = choice.chunks, .predicted_s = choice.predicted_s};
    if (request->chunks && request->ranks > 1) {
        struct shl_price terms;
        shl_price_init(&terms, &query, &request->costs);
        terms.chunks = line->chunks = request->chunks;
        line->predicted_s = shl_time_seconds(&terms, algorithm->cost(&terms));
    }
    return SHOAL_OK;
}

static enum shoal_status count(const struct plan *plan, struct plan_line *line)
{
    struct shl_schedule *schedule;
    struct shl_shape shape = plan_shape(plan, line, 0);
    SHL_TRY(shl_schedule_build(line->algorithm, &shape, &schedule));
    bool parts = line->algorithm->collective == SHOAL_REDUCE_SCATTER ||
                 line->algorithm->collective == SHOAL_ALLGATHER;
    uint64_t bytes = plan->request->bytes;
    struct shl_layout layout =
        shl_layout_make(schedule, parts ? bytes / plan->request->ranks : bytes, 1);
    line->steps = schedule->step_count;
    for (uint32_t i = 0; i < schedule->step_count; i++) {
        const struct shl_step *step = &schedule->steps[i];
        if (step->kind == SHL_STEP_SEND) {
            line->messages++;
            line->bytes_sent += shl_layout_length(&layout, &step->src);
        }
    }
    shl_schedule_free(schedule);
    return SHOAL_OK;
}

static enum shoal_status simulate(const struct plan *plan, struct plan_line *line)
{
    const struct plan_request *request = plan->request;
    struct shl_simulate_query query = {.algorithm = line->algorithm,
                                       .shape = plan_shape(plan, line, 0),
                                       .bytes = request->bytes,
                                       .elem_bytes = 1,
                                       .costs = &request->costs,
                                       .oversubscription = request->oversubscription};
    SHL_TRY(shl_simulate(&query, &line->simulation));
    line->simulated = true;
    line->steps = line->simulation.steps_max;
    line->messages = line->simulation.messages_max;
    line->bytes_sent = line->simulation.bytes_sent_max;
    return SHOAL_OK;
}

static void prove(const struct plan *plan, struct plan_line *line)
{
    struct shl_shape shape = plan_shape(plan, line, 0);
    line->proved = shl_algorithm_prove(line->algorithm, &shape) == SHOAL_OK;
    line->refuted = !line->proved;
    if (line->refuted)
        snprintf(line->finding, sizeof(line->finding), "%s", shl_error_text());
}

static enum shoal_status work_out(struct plan *plan, struct plan_line *line)
{
    SHL_TRY(count(plan, line));
    if (plan->request->simulate || plan->request->ranks <= SIMULATED_ANYWAY_MAX)
        SHL_TRY(simulate(plan, line));
    if (plan->request->prove)
        prove(plan, line);
    return SHOAL_OK;
}

static int by_prediction(const void *a, const void *b)
{
    const struct plan_line *x = a, *y = b;
    if (x->predicted_s != y->predicted_s)
        return x->predicted_s < y->predicted_s ? -1 : 1;
    return x->algorithm < y->algorithm ? -1 : 1; /* in the order of the registry, as selection */
}

enum shoal_status plan_make(const struct plan_request *request, struct plan *plan)
{
    plan->request = request;
    plan->hosts = (struct shl_host_map){
        .rank_count = request->ranks, .host_count = request->hosts, .host_of = request->host_of};
    struct shl_select_query query = query_of(plan, NULL);
    struct shl_choice choice;
    SHL_TRY(shl_select(&query, &request->costs, &choice));
    if (request->algorithm) {
        char forced[160]; /* says what is wrong with a name or a shape */
        struct shl_choice ignored;
        snprintf(forced, sizeof(forced), "%s=%.128s", shoal_collective_string(request->collective),
                 request->algorithm);
        query.forced = forced;
        SHL_TRY(shl_select(&query, &request->costs, &ignored));
    }
    for (size_t i = 0; i < shl_algorithm_count() && plan->count < PLAN_ALGORITHMS_MAX; i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        if (algorithm->collective != request->collective ||
            (request->algorithm && strcmp(request->algorithm, algorithm->name) != 0) ||
            (request->in_rank_order && !algorithm->in_rank_order) ||
            (request->ranks > 1 && !shl_algorithm_suits(algorithm, request->ranks, hosts_of(plan))))
            continue;
        struct plan_line *line = &plan->lines[plan->count];
        SHL_TRY(price(plan, algorithm, line));
        line->chosen = algorithm == choice.algorithm;
        SHL_TRY(work_out(plan, line));
        plan->count++;
    }
    qsort(plan->lines, plan->count, sizeof(plan->lines[0]), by_prediction);
    return SHOAL_OK;
}

/* ---- text --------------------------------------------------------------------------------- */

static void text_of_bytes(uint64_t bytes, char *text, size_t room)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1024;
    snprintf(text, room, "%.4g %s", value, units[unit]);
}

static void text_of_seconds(double seconds, char *text, size_t room)
{
    double us = seconds * 1e6;
    if (us < 1e4)
        snprintf(text, room, "%.4g us", us);
    else
        snprintf(text, room, "%.4g %s", us < 1e7 ? us / 1e3 : us / 1e6, us < 1e7 ? "ms" : "s");
}

static void print_line(const struct plan *plan, const struct plan_line *line, bool colour)
{
    char sent[32], predicted[32], simulated[32] = "-", busbw[32] = "-", rounds[16] = "-";
    text_of_bytes(line->bytes_sent, sent, sizeof(sent));
    text_of_seconds(line->predicted_s, predicted, sizeof(predicted));
    if (line->simulated) {
        text_of_seconds(line->simulation.seconds, simulated, sizeof(simulated));
        snprintf(busbw, sizeof(busbw), "%.3g", line->simulation.busbw_bytes_per_s / 1e9);
        snprintf(rounds, sizeof(rounds), "%u", line->simulation.rounds);
    }
    const char *proved = line->proved ? "yes" : line->refuted ? "NO" : "-";
    printf("%s%c %-24s %-5s %6u %7u %7s %9llu %12s %11s %11s %7s %6s%s\n",
           colour && line->chosen ? "\033[1m" : "", line->chosen ? '*' : ' ', line->algorithm->name,
           line->algorithm->in_rank_order ? "rank" : "fixed", line->chunks, line->steps, rounds,
           (unsigned long long)line->messages, sent, predicted, simulated, busbw,
           plan->request->prove ? proved : "-", colour && line->chosen ? "\033[0m" : "");
    if (line->refuted)
        printf("    %s\n", line->finding);
}

void plan_print(const struct plan *plan)
{
    char bytes[32];
    const struct plan_request *request = plan->request;
    bool colour = shoal_tool_colour(stdout);
    text_of_bytes(request->bytes, bytes, sizeof(bytes));
    printf("%s of %s, %u ranks", shoal_collective_string(request->collective), bytes,
           request->ranks);
    if (request->hosts)
        printf(" on %u hosts of %u", request->hosts, request->local);
    if (request->collective == SHOAL_BROADCAST || request->collective == SHOAL_REDUCE)
        printf(", root %u", request->root);
    printf("\n\n%s  %-24s %-5s %6s %7s %7s %9s %12s %11s %11s %7s %6s%s\n", colour ? "\033[1m" : "",
           "algorithm", "order", "chunks", "steps", "rounds", "messages", "sent", "predicted",
           "simulated", "GB/s", "proved", colour ? "\033[0m" : "");
    for (uint32_t i = 0; i < plan->count; i++)
        print_line(plan, &plan->lines[i], colour);
    printf("\n* what the library would use. Steps, messages and bytes sent are the most of any rank"
           "%s;\n  GB/s is the bus bandwidth of the simulation.\n",
           plan->count && plan->lines[0].simulated ? "" : " (here rank 0's)");
}

static void list_one(const struct shl_algorithm *algorithm)
{
    printf("%-16s %-24s %-5s %-9s %-11s %s\n", shoal_collective_string(algorithm->collective),
           algorithm->name, algorithm->in_rank_order ? "rank" : "fixed",
           algorithm->pipelined ? "yes" : "no", algorithm->needs_hosts ? "needed" : "any",
           algorithm->source);
}

void plan_list(bool json)
{
    json_t *all = json ? json_array() : NULL;
    if (!json)
        printf("%-16s %-24s %-5s %-9s %-11s %s\n", "collective", "algorithm", "order", "pipelined",
               "hosts", "source");
    for (size_t i = 0; i < shl_algorithm_count(); i++) {
        const struct shl_algorithm *algorithm = shl_algorithm_at(i);
        if (!json) {
            list_one(algorithm);
            continue;
        }
        json_array_append_new(all,
                              json_pack("{s:s, s:s, s:b, s:b, s:b, s:s}", "collective",
                                        shoal_collective_string(algorithm->collective), "algorithm",
                                        algorithm->name, "in_rank_order", algorithm->in_rank_order,
                                        "pipelined", algorithm->pipelined, "needs_hosts",
                                        algorithm->needs_hosts, "source", algorithm->source));
    }
    if (json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(all);
}

/* ---- JSON --------------------------------------------------------------------------------- */

static json_t *json_of_line(const struct plan *plan, const struct plan_line *line)
{
    json_t *object = json_pack(
        "{s:s, s:b, s:b, s:i, s:i, s:I, s:I, s:f}", "algorithm", line->algorithm->name, "chosen",
        line->chosen, "in_rank_order", line->algorithm->in_rank_order, "chunks", (int)line->chunks,
        "steps", (int)line->steps, "messages", (json_int_t)line->messages, "bytes_sent",
        (json_int_t)line->bytes_sent, "predicted_us", line->predicted_s * 1e6);
    if (line->simulated) {
        json_object_set_new(object, "simulated_us", json_real(line->simulation.seconds * 1e6));
        json_object_set_new(object, "busbw_gbs",
                            json_real(line->simulation.busbw_bytes_per_s / 1e9));
        json_object_set_new(object, "rounds", json_integer(line->simulation.rounds));
        json_object_set_new(object, "net_bytes",
                            json_integer((json_int_t)line->simulation.bytes_net_total));
    }
    if (plan->request->prove)
        json_object_set_new(object, "proved", json_boolean(line->proved));
    if (line->refuted)
        json_object_set_new(object, "finding", json_string(line->finding));
    return object;
}

static json_t *json_of_span(const struct shl_span *span)
{
    return json_pack("{s:s, s:i, s:i, s:i}", "buffer", shl_buffer_string(span->buffer), "first",
                     (int)span->first, "count", (int)span->count, "like", (int)span->like);
}

static json_t *json_of_step(const struct shl_schedule *schedule, uint32_t index)
{
    const struct shl_step *step = &schedule->steps[index];
    char text[SHL_STEP_TEXT_BYTES];
    shl_step_text(step, text);
    json_t *object =
        json_pack("{s:s, s:s}", "kind", shl_step_kind_string(step->kind), "text", text);
    bool local = step->kind == SHL_STEP_REDUCE || step->kind == SHL_STEP_COPY;
    if (!local) {
        json_object_set_new(object, "peer", json_integer(step->peer));
        json_object_set_new(object, "message", json_integer(step->msg));
    }
    if (step->kind != SHL_STEP_SEND)
        json_object_set_new(object, "dst", json_of_span(&step->dst));
    if (step->kind != SHL_STEP_RECV)
        json_object_set_new(object, "src", json_of_span(&step->src));
    if (step->kind == SHL_STEP_REDUCE)
        json_object_set_new(object, "src2", json_of_span(&step->src2));
    json_object_set_new(object, "swap", json_boolean(step->flags & SHL_STEP_SWAP));
    json_object_set_new(object, "final", json_boolean(step->flags & SHL_STEP_FINAL));
    json_t *after = json_array();
    for (uint32_t i = 0; i < step->dep_count; i++)
        json_array_append_new(after, json_integer(schedule->deps[step->first_dep + i]));
    json_object_set_new(object, "after", after);
    return object;
}

json_t *plan_json(const struct plan *plan, const struct shl_schedule *schedule)
{
    const struct plan_request *request = plan->request;
    json_t *lines = json_array(), *steps = json_array();
    for (uint32_t i = 0; i < plan->count; i++)
        json_array_append_new(lines, json_of_line(plan, &plan->lines[i]));
    json_t *all =
        json_pack("{s:s, s:i, s:I, s:i, s:i, s:o}", "collective",
                  shoal_collective_string(request->collective), "ranks", (int)request->ranks,
                  "bytes", (json_int_t)request->bytes, "root", (int)request->root, "hosts",
                  (int)(request->hosts ? request->hosts : request->ranks), "algorithms", lines);
    for (uint32_t i = 0; schedule && i < schedule->step_count; i++)
        json_array_append_new(steps, json_of_step(schedule, i));
    if (all && schedule)
        json_object_set_new(all, "schedule",
                            json_pack("{s:s, s:i, s:i, s:i, s:i, s:O}", "algorithm",
                                      schedule->algorithm->name, "rank", (int)schedule->rank,
                                      "blocks", (int)schedule->blocks, "chunks",
                                      (int)schedule->chunks, "scratch_units",
                                      (int)schedule->scratch_units, "steps", steps));
    json_decref(steps);
    return all;
}
