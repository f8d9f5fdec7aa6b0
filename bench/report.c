/*
 * The table, as nccl-tests prints it, with what it lacks at the end of each row.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

static void print_time(FILE *out, double us)
{
    fprintf(out, us >= 10000 ? " %8.0f" : us >= 100 ? " %8.1f" : " %8.2f", us);
}

void bench_print_header(const struct bench *bench, FILE *out)
{
    const struct bench_options *o = bench->options;
    if (o->csv) {
        fprintf(out, "size,count,type,redop,root,oop_time_us,oop_algbw,oop_busbw,oop_wrong,"
                     "ip_time_us,ip_algbw,ip_busbw,ip_wrong,p50_us,p99_us,algorithm,transport,"
                     "copy_us\n");
        return;
    }
    fprintf(out, "# allreduce_bench %s, shoal %s\n", shoal_collective_string(o->collective),
            shoal_version_string());
    fprintf(out,
            "# ranks %u minBytes %llu maxBytes %llu step: %g(%s) warmup iters: %u iters: %u "
            "memory: %s rotate: %llu validation: %u\n",
            bench->size, (unsigned long long)o->min_bytes, (unsigned long long)o->max_bytes,
            o->step_factor > 0 ? o->step_factor : (double)o->step_bytes,
            o->step_factor > 0 ? "factor" : "bytes", o->warmups, o->iterations,
            o->memory == BENCH_SHARED ? "shared" : "ordinary", (unsigned long long)o->rotate_bytes,
            o->check_every);
    fprintf(out, "# communicator of %u ranks formed in %.1f ms\n#\n", bench->size, bench->init_ms);
    fprintf(out, "# copy%%: time for every rank to copy as many bytes once, all at the same time, "
                 "over time out of place\n");
    fprintf(out, "#%12s %12s %9s %6s %5s %35s %35s\n", "", "", "", "", "",
            "out-of-place            ", "in-place              ");
    fprintf(out, "#%12s %12s %9s %6s %5s", "size", "count", "type", "redop", "root");
    for (int i = 0; i < 2; i++)
        fprintf(out, " %8s %8s %8s %7s", "time", "algbw", "busbw", "#wrong");
    fprintf(out, " %8s %8s  %-14s %-6s %6s\n", "p50", "p99", "algorithm", "via", "copy%");
    fprintf(out, "#%12s %12s %9s %6s %5s", "(B)", "(elements)", "", "", "");
    for (int i = 0; i < 2; i++)
        fprintf(out, " %8s %8s %8s %7s", "(us)", "(GB/s)", "(GB/s)", "");
    fprintf(out, " %8s %8s\n", "(us)", "(us)");
}

static void print_csv(const struct bench_row *row, FILE *out)
{
    const struct bench_side *a = &row->side[0], *b = &row->side[1];
    fprintf(out,
            "%llu,%llu,%s,%s,%d,%.3f,%.4f,%.4f,%lld,%.3f,%.4f,%.4f,%lld,%.3f,%.3f,%s,%s,%.3f\n",
            (unsigned long long)row->bytes, (unsigned long long)row->count,
            bench_dtype_name(row->dtype), shoal_op_string(row->op), row->root, a->time_us, a->algbw,
            a->busbw, (long long)a->wrong, b->time_us, b->algbw, b->busbw, (long long)b->wrong,
            a->p50_us, a->p99_us, row->algorithm, row->transport, row->copy_us);
    fflush(out);
}

void bench_print_row(const struct bench *bench, const struct bench_row *row, FILE *out)
{
    if (bench->options->csv) {
        print_csv(row, out);
        return;
    }
    fprintf(out, " %12llu %12llu %9s %6s %5d", (unsigned long long)row->bytes,
            (unsigned long long)row->count, bench_dtype_name(row->dtype), shoal_op_string(row->op),
            row->root);
    for (int i = 0; i < 2; i++) {
        const struct bench_side *side = &row->side[i];
        print_time(out, side->time_us);
        fprintf(out, " %8.3f %8.3f", side->algbw, side->busbw);
        if (side->wrong < 0)
            fprintf(out, " %7s", "N/A");
        else
            fprintf(out, " %7lld", (long long)side->wrong);
    }
    if (bench->options->per_iteration) {
        print_time(out, row->side[0].p50_us);
        print_time(out, row->side[0].p99_us);
    } else {
        fprintf(out, " %8s %8s", "-", "-");
    }
    fprintf(out, "  %-14s %-6s %5.0f%%\n", row->algorithm, row->transport,
            100 * row->copy_us / row->side[0].time_us);
    fflush(out);
}

void bench_print_footer(const struct bench *bench, const struct bench_row *rows, size_t count,
                        FILE *out)
{
    double sum = 0;
    long long wrong = 0;
    for (size_t i = 0; i < count; i++)
        for (int s = 0; s < 2; s++) {
            sum += rows[i].side[s].busbw;
            wrong += rows[i].side[s].wrong > 0 ? rows[i].side[s].wrong : 0;
        }
    if (bench->options->csv)
        return;
    fprintf(out, "# Out of bounds values : %lld %s\n", wrong, wrong ? "FAILED" : "OK");
    fprintf(out, "# Avg bus bandwidth    : %g\n", count ? sum / (double)(2 * count) : 0);
}
