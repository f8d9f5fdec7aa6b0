/*
 * Command line of allreduce_bench.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_COLLECTIVE = 256, OPT_RANKS, OPT_ROTATE, OPT_MEMORY, OPT_PLOT, OPT_CSV, OPT_PIN };

static const struct option long_options[] = {
    {"minbytes", required_argument, NULL, 'b'},
    {"maxbytes", required_argument, NULL, 'e'},
    {"stepbytes", required_argument, NULL, 'i'},
    {"stepfactor", required_argument, NULL, 'f'},
    {"iters", required_argument, NULL, 'n'},
    {"warmup_iters", required_argument, NULL, 'w'},
    {"datatype", required_argument, NULL, 'd'},
    {"op", required_argument, NULL, 'o'},
    {"root", required_argument, NULL, 'r'},
    {"check", required_argument, NULL, 'c'},
    {"average", required_argument, NULL, 'a'},
    {"blocking", required_argument, NULL, 'z'},
    {"timeout", required_argument, NULL, 'T'},
    {"unalign", required_argument, NULL, 'u'},
    {"local_register", required_argument, NULL, 'R'},
    {"per_iteration", no_argument, NULL, 'I'},
    {"json", required_argument, NULL, 'J'},
    {"nthreads", required_argument, NULL, 't'},
    {"ngpus", required_argument, NULL, 'g'},
    {"collective", required_argument, NULL, OPT_COLLECTIVE},
    {"ranks", required_argument, NULL, OPT_RANKS},
    {"rotate", required_argument, NULL, OPT_ROTATE},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"plot", required_argument, NULL, OPT_PLOT},
    {"csv", no_argument, NULL, OPT_CSV},
    {"pin", no_argument, NULL, OPT_PIN},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0}};

static const char help_text[] =
    "Usage: allreduce_bench [--ranks N] [options]\n"
    "\n"
    "Times a collective over a range of sizes and checks every element. With --ranks N it starts\n"
    "N local ranks by itself; otherwise it takes its place from the environment of shoal run,\n"
    "torchrun, mpirun, Slurm, MPIJob or PyTorchJob.\n"
    "\n"
    "  -b, --minbytes SIZE      first size (8)             -e, --maxbytes SIZE  last (32M)\n"
    "  -f, --stepfactor F       multiply by F (2)          -i, --stepbytes SIZE add SIZE instead\n"
    "  -n, --iters N            timed iterations a size (0: as many as fit about 0.2 s)\n"
    "  -w, --warmup_iters N     untimed ones before (5)\n"
    "  -d, --datatype TYPE      int8 uint8 int32 uint32 int64 uint64 half bfloat16 float double\n"
    "                           fp8_e4m3 fp8_e5m2, or all (float)\n"
    "  -o, --op OP              sum prod min max avg, or all (sum)\n"
    "  -r, --root RANK          of broadcast and reduce (0)\n"
    "  -c, --check N            verified iterations a size (1); 0: none\n"
    "  -a, --average MODE       time over ranks: 0 rank 0, 1 mean, 2 min, 3 max (1)\n"
    "  -z, --blocking 0|1       0: start and wait, 1: blocking call (1)\n"
    "  -T, --timeout SECONDS    deadline of one operation (60)\n"
    "  -u, --unalign BYTES      misalign the buffers\n"
    "  -R, --local_register 1   register the buffers\n"
    "  -I, --per_iteration      p50, p95, p99 from times of single iterations\n"
    "  -J, --json FILE          write everything as JSON\n"
    "      --collective NAME    allreduce broadcast reduce reduce_scatter allgather barrier\n"
    "      --ranks N            start N local ranks\n"
    "      --memory KIND        ordinary, or shared: from shoal_mem_alloc (ordinary)\n"
    "      --rotate SIZE        memory that iterations go through, so that caches do not lie;\n"
    "                           0: the same buffers every time (32M)\n"
    "      --pin                bind rank i to the i-th allowed CPU\n"
    "      --plot FILE.svg      draw bus bandwidth and time\n"
    "      --csv                table as CSV\n"
    "  -h, --help, -V, --version\n"
    "\n"
    "  -t and -g are accepted with the value 1.\n"
    "\n"
    "Exit status: 0; 1 an element was wrong or an operation failed; 2 bad arguments.\n";

static const struct {
    const char *name;
    enum shoal_dtype dtype;
} dtype_names[] = {{"int8", SHOAL_I8},       {"uint8", SHOAL_U8},        {"int32", SHOAL_I32},
                   {"uint32", SHOAL_U32},    {"int64", SHOAL_I64},       {"uint64", SHOAL_U64},
                   {"half", SHOAL_F16},      {"bfloat16", SHOAL_BF16},   {"float", SHOAL_F32},
                   {"double", SHOAL_F64},    {"fp8_e4m3", SHOAL_F8E4M3}, {"fp8_e5m2", SHOAL_F8E5M2},
                   {"f8e4m3", SHOAL_F8E4M3}, {"f8e5m2", SHOAL_F8E5M2}};

const char *bench_dtype_name(enum shoal_dtype dtype)
{
    for (size_t i = 0; i < sizeof(dtype_names) / sizeof(dtype_names[0]); i++)
        if (dtype_names[i].dtype == dtype)
            return dtype_names[i].name;
    return "?";
}

static int bad(const char *option, const char *value, const char *wanted)
{
    fprintf(stderr, "allreduce_bench: %s: '%s' is not %s\n", option, value, wanted);
    return 2;
}

static int parse_size(const char *option, const char *text, uint64_t *bytes)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    static const char suffixes[] = "KMGT";
    const char *suffix = *end ? strchr(suffixes, *end & ~0x20) : NULL;
    for (const char *s = suffixes; suffix && s <= suffix; s++)
        value *= 1024;
    if (suffix)
        end++;
    if (*end == 'B' || *end == 'b')
        end++;
    if (end == text || *end != '\0' || errno != 0 || value < 0 || value > 1e15)
        return bad(option, text, "a size such as 8, 64K or 1G");
    *bytes = (uint64_t)value;
    return 0;
}

static int parse_u32(const char *option, const char *text, uint32_t max, uint32_t *out)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value > max || text[0] == '-') {
        char wanted[64];
        snprintf(wanted, sizeof(wanted), "a number up to %u", max);
        return bad(option, text, wanted);
    }
    *out = (uint32_t)value;
    return 0;
}

static int parse_dtype(const char *text, uint32_t *mask)
{
    if (strcmp(text, "all") == 0) {
        *mask = (1u << SHOAL_DTYPE_COUNT) - 1;
        return 0;
    }
    for (size_t i = 0; i < sizeof(dtype_names) / sizeof(dtype_names[0]); i++)
        if (strcmp(text, dtype_names[i].name) == 0) {
            *mask = 1u << dtype_names[i].dtype;
            return 0;
        }
    for (int i = 0; i < SHOAL_DTYPE_COUNT; i++)
        if (strcmp(text, shoal_dtype_string((enum shoal_dtype)i)) == 0) {
            *mask = 1u << i;
            return 0;
        }
    return bad("--datatype", text, "a type; see --help");
}

static int parse_op(const char *text, uint32_t *mask)
{
    if (strcmp(text, "all") == 0) {
        *mask = (1u << SHOAL_OP_COUNT) - 1;
        return 0;
    }
    for (uint32_t i = 0; i < SHOAL_OP_COUNT; i++)
        if (strcmp(text, shoal_op_string(i)) == 0) {
            *mask = 1u << i;
            return 0;
        }
    return bad("--op", text, "one of sum prod min max avg all");
}

static int parse_collective(const char *text, enum shoal_collective *collective)
{
    for (int i = 0; i < SHOAL_COLLECTIVE_COUNT; i++)
        if (strcmp(text, shoal_collective_string((enum shoal_collective)i)) == 0) {
            *collective = (enum shoal_collective)i;
            return 0;
        }
    return bad("--collective", text,
               "one of allreduce broadcast reduce reduce_scatter allgather barrier");
}

static int parse_memory(const char *text, enum bench_memory *memory)
{
    if (strcmp(text, "ordinary") == 0)
        *memory = BENCH_ORDINARY;
    else if (strcmp(text, "shared") == 0)
        *memory = BENCH_SHARED;
    else
        return bad("--memory", text, "ordinary or shared");
    return 0;
}

static int parse_one_only(const char *option, const char *text)
{
    return strcmp(text, "1") == 0 ? 0 : bad(option, text, "1; start more processes instead");
}

static int parse_flag(const char *option, const char *text, bool *flag)
{
    uint32_t value;
    int error = parse_u32(option, text, 1, &value);
    if (!error)
        *flag = value != 0;
    return error;
}

/* Options that set numbers and sizes. */
static int set_number(int which, struct bench_options *o)
{
    switch (which) {
    case 'b':
        return parse_size("--minbytes", optarg, &o->min_bytes);
    case 'e':
        return parse_size("--maxbytes", optarg, &o->max_bytes);
    case 'i':
        o->step_factor = 0;
        return parse_size("--stepbytes", optarg, &o->step_bytes);
    case 'f':
        o->step_factor = atof(optarg);
        return o->step_factor > 1 ? 0 : bad("--stepfactor", optarg, "a number above 1");
    case 'n':
        return parse_u32("--iters", optarg, 100000000, &o->iterations);
    case 'w':
        return parse_u32("--warmup_iters", optarg, 1000000, &o->warmups);
    case 'r':
        return parse_u32("--root", optarg, UINT32_MAX - 1, &o->root);
    case 'c':
        return parse_u32("--check", optarg, 1000, &o->check_every);
    case 'a':
        return parse_u32("--average", optarg, 3, &o->average);
    case 'T':
        o->timeout_ms = (uint32_t)(atof(optarg) * 1000);
        return o->timeout_ms >= 10 ? 0 : bad("--timeout", optarg, "0.01 seconds or more");
    case 'u':
        return parse_u32("--unalign", optarg, 63, &o->misalign_bytes);
    case OPT_RANKS:
        return parse_u32("--ranks", optarg, 1024, &o->ranks);
    default:
        return parse_size("--rotate", optarg, &o->rotate_bytes);
    }
}

static int set(int which, struct bench_options *o)
{
    switch (which) {
    case 'd':
        return parse_dtype(optarg, &o->dtype_mask);
    case 'o':
        return parse_op(optarg, &o->op_mask);
    case 'z':
        return parse_flag("--blocking", optarg, &o->blocking);
    case 'R':
        return parse_flag("--local_register", optarg, &o->register_memory);
    case 'I':
        o->per_iteration = true;
        return 0;
    case 'J':
        o->json_file = optarg;
        return 0;
    case 't':
        return parse_one_only("--nthreads", optarg);
    case 'g':
        return parse_one_only("--ngpus", optarg);
    case OPT_COLLECTIVE:
        return parse_collective(optarg, &o->collective);
    case OPT_MEMORY:
        return parse_memory(optarg, &o->memory);
    case OPT_PLOT:
        o->plot_file = optarg;
        return 0;
    case OPT_CSV:
        o->csv = true;
        return 0;
    case OPT_PIN:
        o->pin = true;
        return 0;
    default:
        return set_number(which, o);
    }
}

static int check(const struct bench_options *o)
{
    if (o->min_bytes > o->max_bytes) {
        fprintf(stderr, "allreduce_bench: --minbytes %llu is above --maxbytes %llu\n",
                (unsigned long long)o->min_bytes, (unsigned long long)o->max_bytes);
        return 2;
    }
    if (o->step_factor == 0 && o->step_bytes == 0) {
        fprintf(stderr, "allreduce_bench: --stepbytes 0 would never end\n");
        return 2;
    }
    return 0;
}

int bench_parse(int argc, char **argv, struct bench_options *options)
{
    *options = (struct bench_options){.min_bytes = 8,
                                      .max_bytes = 32 << 20,
                                      .step_factor = 2,
                                      .warmups = 5,
                                      .dtype_mask = 1u << SHOAL_F32,
                                      .op_mask = 1u << SHOAL_SUM,
                                      .check_every = 1,
                                      .average = 1,
                                      .timeout_ms = 60000,
                                      .rotate_bytes = 32 << 20,
                                      .blocking = true,
                                      .argc = argc,
                                      .argv = argv};
    int which;
    while ((which = getopt_long(argc, argv, "b:e:i:f:n:w:d:o:r:c:a:z:T:u:R:IJ:t:g:hV", long_options,
                                NULL)) != -1) {
        if (which == 'h') {
            fputs(help_text, stdout);
            return -1;
        }
        if (which == 'V') {
            printf("allreduce_bench (shoal) %s\n", shoal_version_string());
            return -1;
        }
        int error = which == '?' ? 2 : set(which, options);
        if (error)
            return error;
    }
    if (optind < argc)
        return bad("argument", argv[optind], "expected; see --help");
    return check(options);
}
