/*
 * Measures the reduction kernels next to what the machine's memory can do in the same run.
 *
 * A figure is payload (bytes of one result) per second, best of a few batches; the ratio compares
 * it with the time that plain streams of the same traffic take here: loads of every input and
 * stores of every output at the rate of the best triad, or of the best streaming copy. A ratio near
 * 1 in L1 means that load and store ports are busy, in memory that the bus is.
 *
 * Sees the internals, unlike the other benchmarks: it measures one part by itself.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "device/reduce.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MOST_INPUTS 16
#define MOST_OUTPUTS 4
#define LEVELS 3

static const char *const dtype_names[SHOAL_DTYPE_COUNT] = {
    "i8", "u8", "i32", "u32", "i64", "u64", "f16", "bf16", "f32", "f64", "f8e4m3", "f8e5m2"};
static const char *const op_names[] = {"sum", "prod", "min", "max"};
static const char *const isa_names[] = {"scalar", "avx2", "avx512", "neon"};

static const struct form {
    const char *name;
    size_t inputs, outputs; /* outputs 0: `two` */
    bool nontemporal, push;
} forms[] = {
    {"two", 2, 1, false, false},     {"two-in", 2, 1, false, false},
    {"many3", 3, 1, false, false},   {"many4", 4, 1, false, false},
    {"many8", 8, 1, false, false},   {"many16", 16, 1, false, false},
    {"push2x2", 2, 2, false, true},  {"push2x2nt", 2, 2, true, true},
    {"push4x4nt", 4, 4, true, true},
};
#define FORMS (sizeof(forms) / sizeof(forms[0]))

static struct {
    const char *isa, *dtype, *op, *form; /* NULL: all */
    size_t level_bytes[LEVELS];          /* payload */
    double batch_s;
    int batches;
} options = {NULL, NULL, NULL, NULL, {8 << 10, 128 << 10, 32 << 20}, 2e-3, 5};

static char *inputs[MOST_INPUTS], *outputs[MOST_OUTPUTS];

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* One thing to time: a kernel or a limit, on one size. */
struct job {
    void (*run)(const struct job *job);
    const struct shl_reducer *reducer;
    const struct form *form;
    enum shoal_dtype dtype;
    size_t bytes;
};

/* Seconds a run, the best batch. */
static double measure(const struct job *job)
{
    size_t runs = 1;
    double best = 1e30, start, took;

    for (;;) {
        start = now_s();
        for (size_t i = 0; i < runs; i++)
            job->run(job);
        took = now_s() - start;
        if (took >= options.batch_s)
            break;
        runs = took * 4 < options.batch_s ? runs * 4 : runs * 2;
    }
    for (int b = 0; b < options.batches; b++) {
        start = now_s();
        for (size_t i = 0; i < runs; i++)
            job->run(job);
        took = (now_s() - start) / (double)runs;
        best = took < best ? took : best;
    }
    return best;
}

/* The limits: plain streams of vectors, one file-local copy for each width that may exist. */
#define DEFINE_LIMITS(name, width, attribute)                                                      \
    typedef uint64_t name##_vector __attribute__((vector_size(width), aligned(width)));            \
    attribute static void name##_triad(const struct job *job)                                      \
    {                                                                                              \
        const name##_vector *a = (const void *)inputs[0], *b = (const void *)inputs[1];            \
        name##_vector *out = (void *)outputs[0];                                                   \
        for (size_t i = 0; i < job->bytes / (width); i += 4) {                                     \
            out[i] = a[i] ^ b[i];                                                                  \
            out[i + 1] = a[i + 1] ^ b[i + 1];                                                      \
            out[i + 2] = a[i + 2] ^ b[i + 2];                                                      \
            out[i + 3] = a[i + 3] ^ b[i + 3];                                                      \
        }                                                                                          \
    }                                                                                              \
    attribute static void name##_copy(const struct job *job)                                       \
    {                                                                                              \
        const name##_vector *a = (const void *)inputs[0];                                          \
        name##_vector *out = (void *)outputs[0];                                                   \
        for (size_t i = 0; i < job->bytes / (width); i += 4) {                                     \
            out[i] = a[i];                                                                         \
            out[i + 1] = a[i + 1];                                                                 \
            out[i + 2] = a[i + 2];                                                                 \
            out[i + 3] = a[i + 3];                                                                 \
        }                                                                                          \
        __asm__ volatile("" : : : "memory");                                                       \
    }

DEFINE_LIMITS(base, 16, )
#if defined(__x86_64__)
DEFINE_LIMITS(avx, 32, __attribute__((target("avx2"))))
DEFINE_LIMITS(avx512, 64, __attribute__((target("avx512f"))))
#endif

static void libc_copy(const struct job *job)
{
    memcpy(outputs[0], inputs[0], job->bytes);
}

static void streaming_copy(const struct job *job)
{
    shl_copy(outputs[0], inputs[0], job->bytes, true);
}

static void cached_copy(const struct job *job)
{
    shl_copy(outputs[0], inputs[0], job->bytes, false);
}

static void scale(const struct job *job)
{
    shl_reduce_scale(outputs[0], inputs[0], job->bytes / job->reducer->elem_bytes, job->dtype, 3);
}

static void reduce(const struct job *job)
{
    const struct form *f = job->form;
    size_t count = job->bytes / job->reducer->elem_bytes;
    const void *const *x = (const void *const *)inputs;

    if (f->push)
        job->reducer->push((void *const *)outputs, f->outputs, x, f->inputs, count,
                           f->nontemporal ? 0 : f->outputs);
    else if (strcmp(f->name, "two-in") == 0)
        job->reducer->two(inputs[0], x[0], x[1], count);
    else if (f->inputs == 2)
        job->reducer->two(outputs[0], x[0], x[1], count);
    else
        job->reducer->many(outputs[0], x, f->inputs, count);
}

/* Bytes of traffic a second that the best plain loop reaches, by level. */
static struct {
    double triad[LEVELS], copy[LEVELS], stream;
} limits;

static double best_rate(void (*const *runs)(const struct job *), size_t count, size_t bytes,
                        double streams)
{
    double best = 0;

    for (size_t i = 0; i < count; i++) {
        struct job job = {runs[i], NULL, NULL, SHOAL_U8, bytes};
        double rate = streams * (double)bytes / measure(&job);
        best = rate > best ? rate : best;
    }
    return best;
}

static void measure_limits(void)
{
    void (*triads[3])(const struct job *) = {base_triad};
    void (*copies[4])(const struct job *) = {base_copy, libc_copy};
    void (*const streaming)(const struct job *) = streaming_copy;
    size_t triad_count = 1, copy_count = 2;

#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) {
        triads[triad_count++] = avx_triad;
        copies[copy_count++] = avx_copy;
    }
    if (__builtin_cpu_supports("avx512f")) {
        triads[triad_count++] = avx512_triad;
        copies[copy_count++] = avx512_copy;
    }
#endif
    for (int level = 0; level < LEVELS; level++) {
        size_t bytes = options.level_bytes[level];
        limits.triad[level] = best_rate(triads, triad_count, bytes, 3);
        limits.copy[level] = best_rate(copies, copy_count, bytes, 2);
    }
    limits.stream = best_rate(&streaming, 1, options.level_bytes[LEVELS - 1], 2);
    printf("limits, GB/s of payload: ");
    for (int level = 0; level < LEVELS; level++)
        printf("%zu KiB: copy %.1f, triad %.1f; ", options.level_bytes[level] >> 10,
               limits.copy[level] / 2e9, limits.triad[level] / 3e9);
    printf("streaming copy %.1f\n", limits.stream / 2e9);
}

static void print_row(const char *isa, const char *dtype, const char *op, const char *form,
                      struct job *job, double streams, bool nontemporal)
{
    printf("%-7s %-7s %-5s %-10s", isa, dtype, op, form);
    for (int level = 0; level < LEVELS; level++) {
        double limit = streams < 2.5 ? limits.copy[level] : limits.triad[level];
        job->bytes = options.level_bytes[level];
        if (nontemporal && level < LEVELS - 1) { /* goes to memory whatever the size */
            printf("       -    -");
            continue;
        }
        if (nontemporal && limits.stream > limit)
            limit = limits.stream;
        double rate = (double)job->bytes / measure(job);
        printf("  %6.1f %.2f", rate / 1e9, rate / (limit / streams));
    }
    printf("\n");
    fflush(stdout);
}

static bool chosen(const char *wanted, const char *name)
{
    return wanted == NULL || strcmp(wanted, name) == 0;
}

static void table_of(enum shoal_dtype dtype, const char *isa)
{
    for (unsigned op = 0; op < 4; op++)
        for (size_t f = 0; f < FORMS; f++) {
            const struct shl_reducer *r = shl_reducer_get_isa(dtype, (enum shoal_op)op, isa);
            if (r == NULL || !chosen(options.op, op_names[op]) ||
                !chosen(options.form, forms[f].name))
                continue;
            struct job job = {reduce, r, &forms[f], dtype, 0};
            print_row(isa, dtype_names[dtype], op_names[op], forms[f].name, &job,
                      (double)(forms[f].inputs + forms[f].outputs), forms[f].nontemporal);
        }
}

static void tables(void)
{
    printf("\n%-7s %-7s %-5s %-10s", "isa", "dtype", "op", "form");
    for (int level = 0; level < LEVELS; level++)
        printf("  %6zuK rat", options.level_bytes[level] >> 10);
    printf("\n");
    for (size_t i = 0; i < sizeof(isa_names) / sizeof(isa_names[0]); i++)
        for (unsigned d = 0; d < SHOAL_DTYPE_COUNT; d++)
            if (chosen(options.isa, isa_names[i]) && chosen(options.dtype, dtype_names[d]))
                table_of((enum shoal_dtype)d, isa_names[i]);
    for (unsigned d = 0; d < SHOAL_DTYPE_COUNT; d++) {
        const struct shl_reducer *r = shl_reducer_get((enum shoal_dtype)d, SHOAL_AVG);
        struct job job = {scale, r, NULL, (enum shoal_dtype)d, 0};
        if (chosen(options.form, "scale") && chosen(options.dtype, dtype_names[d]))
            print_row(r->isa, dtype_names[d], "avg", "scale", &job, 2, false);
    }
    struct job cached = {cached_copy, NULL, NULL, SHOAL_U8, 0};
    struct job streaming = {streaming_copy, NULL, NULL, SHOAL_U8, 0};
    if (chosen(options.form, "copy")) {
        print_row("-", "-", "-", "copy", &cached, 2, false);
        print_row("-", "-", "-", "copynt", &streaming, 2, true);
    }
}

static const char usage[] =
    "usage: reduce_bench [--isa NAME] [--dtype NAME] [--op NAME] [--form NAME]\n"
    "                    [--memory-mib N] [--batch-ms N] [--batches N]\n"
    "forms: two two-in many3 many4 many8 many16 push2x2 push2x2nt push4x4nt scale copy\n";

static bool parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"isa", required_argument, NULL, 'i'},        {"dtype", required_argument, NULL, 'd'},
        {"op", required_argument, NULL, 'o'},         {"form", required_argument, NULL, 'f'},
        {"memory-mib", required_argument, NULL, 'm'}, {"batch-ms", required_argument, NULL, 'b'},
        {"batches", required_argument, NULL, 'n'},    {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == 'i')
            options.isa = optarg;
        else if (option == 'd')
            options.dtype = optarg;
        else if (option == 'o')
            options.op = optarg;
        else if (option == 'f')
            options.form = optarg;
        else if (option == 'm' && atoi(optarg) > 0)
            options.level_bytes[LEVELS - 1] = (size_t)atoi(optarg) << 20;
        else if (option == 'b' && atof(optarg) > 0)
            options.batch_s = atof(optarg) * 1e-3;
        else if (option == 'n' && atoi(optarg) > 0)
            options.batches = atoi(optarg);
        else
            return false;
    }
    return optind == argc;
}

/*
 * Pages with numbers in them: floats near one for every dtype. Each begins at another page of its
 * mapping: with equal distances, the first-level caches that predict ways from hashed addresses
 * take lines of different buffers for one another.
 */
static char *buffer(size_t which)
{
    size_t skew = which * 5 * 4096, bytes = options.level_bytes[LEVELS - 1] + skew;
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        perror("reduce_bench: mmap");
        exit(1);
    }
    memset(p, 0x3f, bytes);
    return p + skew;
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    for (size_t i = 0; i < MOST_INPUTS; i++)
        inputs[i] = buffer(i);
    for (size_t i = 0; i < MOST_OUTPUTS; i++)
        outputs[i] = buffer(MOST_INPUTS + i);
    measure_limits();
    tables();
    return 0;
}
