/*
 * `shoal plan`: prints, proves, prices and simulates the schedules of the collectives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "shoal_plan.h"

#include "collectives/schedule_builder.h"
#include "collectives/schedule_print.h"
#include "collectives/select.h"
#include "shoal_tools.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: shoal plan COLLECTIVE --ranks P [OPTION]...\n"
    "       shoal plan --list [--json]\n\n"
    "Compares the algorithms of a collective: steps, messages and bytes that a rank sends, "
    "predicted\n"
    "time; the one that the library would use is marked. Costs are of a typical cluster unless\n"
    "given.\n\n"
    "  -n, --ranks P         number of ranks\n"
    "      --hosts AxB       A hosts of B ranks each; instead of --ranks or beside it\n"
    "  -b, --bytes N         size of the larger buffer; K, M, G are powers of 1024 (1M)\n"
    "  -a, --algorithm NAME  only this one\n"
    "      --root R          root of broadcast and reduce (0)\n"
    "      --chunks C        pieces that a block moves in (those with the least predicted time)\n"
    "      --in-rank-order   only what suits operations that do not commute\n"
    "  -r, --rank R          also print this rank's schedule (of the fastest algorithm)\n"
    "      --prove           execute all ranks symbolically and prove the result\n"
    "      --simulate        simulate all ranks on the modelled fabric\n"
    "      --price           only predict (what happens anyway)\n"
    "      --json            print JSON\n"
    "      --list            list all algorithms with their sources\n"
    "      --help            print this\n\n"
    "The fabric, for predictions and simulation:\n"
    "      --net-us T --net-gbs B       a small message and bandwidth between hosts (15, 1.25)\n"
    "      --net-places                 large messages wait to be told their place, as over RDMA\n"
    "      --local-us T --local-gbs B   the same inside a host (0.5, 10)\n"
    "      --reduce-gbs B               speed of combining (10)\n"
    "      --cores N                    cores of a host; more ranks than that share them (all)\n"
    "      --oversubscription F         hosts' ports exceed the network's core by F (1)\n";

enum long_option {
    OPT_HOSTS = 256,
    OPT_ROOT,
    OPT_CHUNKS,
    OPT_ORDER,
    OPT_PROVE,
    OPT_SIMULATE,
    OPT_PRICE,
    OPT_JSON,
    OPT_LIST,
    OPT_NET_US,
    OPT_NET_GBS,
    OPT_LOCAL_US,
    OPT_LOCAL_GBS,
    OPT_REDUCE_GBS,
    OPT_CORES,
    OPT_NET_PLACES,
    OPT_OVERSUBSCRIPTION
};

static const struct option options[] = {
    {"ranks", required_argument, NULL, 'n'},
    {"hosts", required_argument, NULL, OPT_HOSTS},
    {"bytes", required_argument, NULL, 'b'},
    {"algorithm", required_argument, NULL, 'a'},
    {"root", required_argument, NULL, OPT_ROOT},
    {"chunks", required_argument, NULL, OPT_CHUNKS},
    {"in-rank-order", no_argument, NULL, OPT_ORDER},
    {"rank", required_argument, NULL, 'r'},
    {"prove", no_argument, NULL, OPT_PROVE},
    {"simulate", no_argument, NULL, OPT_SIMULATE},
    {"price", no_argument, NULL, OPT_PRICE},
    {"json", no_argument, NULL, OPT_JSON},
    {"list", no_argument, NULL, OPT_LIST},
    {"net-us", required_argument, NULL, OPT_NET_US},
    {"net-gbs", required_argument, NULL, OPT_NET_GBS},
    {"local-us", required_argument, NULL, OPT_LOCAL_US},
    {"local-gbs", required_argument, NULL, OPT_LOCAL_GBS},
    {"reduce-gbs", required_argument, NULL, OPT_REDUCE_GBS},
    {"net-places", no_argument, NULL, OPT_NET_PLACES},
    {"cores", required_argument, NULL, OPT_CORES},
    {"oversubscription", required_argument, NULL, OPT_OVERSUBSCRIPTION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0}};

/* ---- reading options ---------------------------------------------------------------------- */

static const char *option_name(int value)
{
    size_t i = 0;
    while (options[i].name && options[i].val != value)
        i++;
    return options[i].name;
}

/* A whole number up to `max`, with K, M, G when `suffix`. */
static bool read_count(const char *text, uint64_t max, bool suffix, uint64_t *value)
{
    char *end;
    if (!isdigit((unsigned char)*text))
        return false;
    unsigned long long number = strtoull(text, &end, 10);
    const char *units = "KMG";
    const char *unit = suffix && *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    unsigned shift = unit && *unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if ((shift ? end[1] : *end) != '\0' || number > max >> shift)
        return false;
    *value = (uint64_t)number << shift;
    return true;
}

static bool read_u32(const char *text, uint32_t max, uint32_t *value)
{
    uint64_t number;
    if (!read_count(text, max, false, &number))
        return false;
    *value = (uint32_t)number;
    return true;
}

static bool read_positive(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return *text && *end == '\0' && *value > 0 && *value < 1e12;
}

static bool read_hosts(const char *text, struct plan_request *request)
{
    char word[16];
    const char *cross = strchr(text, 'x');
    if (!cross || (size_t)(cross - text) >= sizeof(word))
        return false;
    memcpy(word, text, (size_t)(cross - text));
    word[cross - text] = '\0';
    return read_u32(word, SHL_RANKS_MAX, &request->hosts) &&
           read_u32(cross + 1, SHL_RANKS_MAX, &request->local) && request->hosts > 0 &&
           request->local > 0;
}

static bool read_seconds(const char *text, double scale, bool inverse, double *seconds)
{
    double value;
    if (!read_positive(text, &value))
        return false;
    *seconds = inverse ? scale / value : scale * value;
    return true;
}

static bool read_cost(int option, struct plan_request *request)
{
    struct shl_costs *costs = &request->costs;
    switch (option) {
    case OPT_NET_US:
        return read_seconds(optarg, 1e-6, false, &costs->alpha_net_s);
    case OPT_NET_GBS:
        return read_seconds(optarg, 1e-9, true, &costs->beta_net_s_per_byte);
    case OPT_LOCAL_US:
        return read_seconds(optarg, 1e-6, false, &costs->alpha_local_s);
    case OPT_LOCAL_GBS:
        return read_seconds(optarg, 1e-9, true, &costs->beta_local_s_per_byte);
    case OPT_REDUCE_GBS:
        return read_seconds(optarg, 1e-9, true, &costs->gamma_s_per_byte);
    case OPT_NET_PLACES:
        costs->net_places = 1;
        return true;
    case OPT_CORES:
        return read_u32(optarg, SHL_RANKS_MAX, &costs->cores_per_host);
    case OPT_OVERSUBSCRIPTION:
        return read_positive(optarg, &request->oversubscription);
    default:
        return false;
    }
}

static bool read_option(int option, struct plan_request *request)
{
    uint32_t rank;
    switch (option) {
    case 'n':
        return read_u32(optarg, SHL_RANKS_MAX, &request->ranks) && request->ranks > 0;
    case 'b':
        return read_count(optarg, UINT64_C(1) << 50, true, &request->bytes);
    case 'a':
        request->algorithm = strcmp(optarg, "all") == 0 ? NULL : optarg;
        return true;
    case 'r':
        if (!read_u32(optarg, SHL_RANKS_MAX, &rank))
            return false;
        request->rank = rank;
        return true;
    case OPT_HOSTS:
        return read_hosts(optarg, request);
    case OPT_ROOT:
        return read_u32(optarg, SHL_RANKS_MAX, &request->root);
    case OPT_CHUNKS:
        return read_u32(optarg, 1u << 16, &request->chunks) && request->chunks > 0;
    case OPT_ORDER:
        return request->in_rank_order = true;
    case OPT_PROVE:
        return request->prove = true;
    case OPT_SIMULATE:
        return request->simulate = true;
    case OPT_PRICE:
        return true;
    case OPT_JSON:
        return request->json = true;
    default:
        return read_cost(option, request);
    }
}

/* The parts of a request that depend on each other. */
static bool complete(struct plan_request *request)
{
    if (request->hosts) {
        uint64_t ranks = (uint64_t)request->hosts * request->local;
        if (request->ranks && request->ranks != ranks) {
            shoal_tool_error("plan", "--hosts %ux%u has %llu ranks, --ranks says %u",
                             request->hosts, request->local, (unsigned long long)ranks,
                             request->ranks);
            return false;
        }
        request->ranks = ranks <= SHL_RANKS_MAX ? (uint32_t)ranks : 0;
    }
    if (request->ranks == 0) {
        shoal_tool_error("plan", "say for how many ranks, at most %u: --ranks P or --hosts AxB",
                         SHL_RANKS_MAX);
        return false;
    }
    if (request->root >= request->ranks || request->rank >= (int64_t)request->ranks) {
        shoal_tool_error("plan", "rank and root must be below the rank count %u", request->ranks);
        return false;
    }
    if (request->hosts) {
        request->host_of = calloc(request->ranks, sizeof(uint32_t));
        for (uint32_t rank = 0; request->host_of && rank < request->ranks; rank++)
            request->host_of[rank] = rank / request->local;
    }
    return !request->hosts || request->host_of;
}

static bool read_collective(const char *word, struct plan_request *request)
{
    const struct shl_algorithm *found;
    char forced[160];
    for (int i = 0; i < SHOAL_COLLECTIVE_COUNT; i++) {
        if (strcmp(word, shoal_collective_string((enum shoal_collective)i)) == 0) {
            request->collective = (enum shoal_collective)i;
            return true;
        }
    }
    /* The reader of SHOAL_ALGORITHM knows how to say what was meant. */
    snprintf(forced, sizeof(forced), "%.128s=", word);
    shl_forced_find(forced, SHOAL_ALLREDUCE, &found);
    shoal_tool_error("plan", "%s", shl_error_text());
    return false;
}

/* ---- command ------------------------------------------------------------------------------ */

static enum shoal_status print_schedule(const struct plan *plan, bool json)
{
    const struct plan_line *line = &plan->lines[0];
    struct shl_schedule *schedule = NULL;
    if (plan->request->rank >= 0 && plan->count > 0) {
        struct shl_shape shape = plan_shape(plan, line, (uint32_t)plan->request->rank);
        SHL_TRY(shl_schedule_build(line->algorithm, &shape, &schedule));
    }
    if (json) {
        json_t *all = plan_json(plan, schedule);
        if (all)
            json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(all);
    } else {
        plan_print(plan);
        if (schedule) {
            putchar('\n');
            shl_schedule_print(schedule, stdout);
        }
    }
    shl_schedule_free(schedule);
    return SHOAL_OK;
}

static int run_plan(const struct plan_request *request)
{
    struct plan *plan = calloc(1, sizeof(*plan));
    int exit_status = 0;
    if (!plan || plan_make(request, plan) < 0 || print_schedule(plan, request->json) < 0) {
        shoal_tool_error("plan", "%s", plan ? shl_error_text() : "no memory");
        exit_status = SHOAL_EXIT_FAILURE;
    }
    for (uint32_t i = 0; exit_status == 0 && i < plan->count; i++) {
        if (plan->lines[i].refuted)
            exit_status = SHOAL_EXIT_FAILURE;
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        exit_status = SHOAL_EXIT_FAILURE;
    free(plan);
    return exit_status;
}

int shoal_tool_plan(int argc, char **argv)
{
    struct plan_request request = {.rank = -1,
                                   .bytes = 1 << 20,
                                   .oversubscription = 1,
                                   .costs = {0.5e-6, 1e-10, 15e-6, 8e-10, 1e-10, 0, 0}};
    bool list = false;
    for (int option; (option = getopt_long(argc, argv, "n:b:a:r:h", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (option == OPT_LIST) {
            list = true;
            continue;
        }
        if (option == '?') { /* getopt has said why */
            shoal_tool_suggest(argv, options);
            return SHOAL_EXIT_USAGE;
        }
        if (!read_option(option, &request)) {
            shoal_tool_error("plan", "'%s' is no value for --%s; see --help", optarg,
                             option_name(option));
            return SHOAL_EXIT_USAGE;
        }
    }
    if (list) {
        plan_list(request.json);
        return 0;
    }
    if (optind + 1 != argc) {
        shoal_tool_error("plan", "name one collective; see --help");
        return SHOAL_EXIT_USAGE;
    }
    if (!read_collective(argv[optind], &request) || !complete(&request))
        return SHOAL_EXIT_USAGE;
    int exit_status = run_plan(&request);
    free(request.host_of);
    return exit_status;
}
