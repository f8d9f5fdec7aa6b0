/*
 * A plot as SVG: bus bandwidth and time over size, both axes logarithmic.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <math.h>

#define WIDTH 900.0
#define HEIGHT 360.0
#define LEFT 70.0
#define TOP 40.0
#define PANEL 380.0 /* distance between the two panels */

struct panel {
    double x0, low, high; /* decades of y */
    double first, last;   /* binary logarithm of the sizes */
    const char *title;
    bool time;
};

static double figure(const struct panel *panel, const struct bench_row *row, int side)
{
    return panel->time ? row->side[side].time_us : row->side[side].busbw;
}

static double x_of(const struct panel *panel, double bytes)
{
    double span = panel->last > panel->first ? panel->last - panel->first : 1;
    return panel->x0 + (log2(bytes) - panel->first) / span * (PANEL - 100);
}

static double y_of(const struct panel *panel, double value)
{
    double share = (log10(value) - panel->low) / (panel->high - panel->low);
    return TOP + (1 - share) * (HEIGHT - 100);
}

static void fit(struct panel *panel, const struct bench_row *rows, size_t count)
{
    double low = 1e30, high = 1e-30;
    for (size_t i = 0; i < count; i++)
        for (int s = 0; s < 2; s++) {
            double value = figure(panel, &rows[i], s);
            if (value > 0 && value < low)
                low = value;
            if (value > high)
                high = value;
        }
    panel->low = floor(log10(low));
    panel->high = ceil(log10(high));
    if (panel->high <= panel->low)
        panel->high = panel->low + 1;
}

static void size_label(double bytes, char *text, size_t capacity)
{
    static const char *const units[] = {"", "K", "M", "G"};
    int unit = 0;
    while (bytes >= 1024 && unit < 3) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, capacity, "%g%s", bytes, units[unit]);
}

static void draw_axes(const struct panel *panel, FILE *out)
{
    double bottom = TOP + HEIGHT - 100, right = panel->x0 + PANEL - 100;
    fprintf(out, "<text x='%g' y='%g' font-weight='bold'>%s</text>\n", panel->x0, TOP - 14,
            panel->title);
    for (double d = panel->low; d <= panel->high; d++) {
        double y = y_of(panel, pow(10, d));
        fprintf(out, "<line x1='%g' x2='%g' y1='%g' y2='%g' stroke='#ddd'/>\n", panel->x0, right, y,
                y);
        fprintf(out, "<text x='%g' y='%g' text-anchor='end'>%g</text>\n", panel->x0 - 6, y + 4,
                pow(10, d));
    }
    double step = panel->last - panel->first > 12 ? 4 : 2;
    for (double e = ceil(panel->first); e <= panel->last; e += step) {
        char label[32];
        size_label(pow(2, e), label, sizeof(label));
        fprintf(out, "<text x='%g' y='%g' text-anchor='middle'>%s</text>\n", x_of(panel, pow(2, e)),
                bottom + 18, label);
    }
    fprintf(out, "<text x='%g' y='%g' text-anchor='middle'>bytes</text>\n", (panel->x0 + right) / 2,
            bottom + 36);
}

static void draw_line(const struct panel *panel, const struct bench_row *rows, size_t count,
                      int side, const char *color, FILE *out)
{
    fprintf(out, "<polyline fill='none' stroke='%s' stroke-width='2' points='", color);
    for (size_t i = 0; i < count; i++)
        if (rows[i].bytes > 0 && figure(panel, &rows[i], side) > 0)
            fprintf(out, "%.1f,%.1f ", x_of(panel, (double)rows[i].bytes),
                    y_of(panel, figure(panel, &rows[i], side)));
    fprintf(out, "'/>\n");
}

int bench_write_plot(const struct bench *bench, const struct bench_row *rows, size_t count)
{
    FILE *out = count ? fopen(bench->options->plot_file, "w") : NULL;
    if (!out) {
        fprintf(stderr, "allreduce_bench: cannot write %s\n", bench->options->plot_file);
        return 1;
    }
    uint64_t first = rows[0].bytes ? rows[0].bytes : 1, last = rows[count - 1].bytes;
    struct panel panels[2] = {{.x0 = LEFT, .title = "bus bandwidth (GB/s)"},
                              {.x0 = LEFT + PANEL, .title = "time (us)", .time = true}};
    fprintf(out,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %g %g' "
            "font-family='sans-serif' font-size='11'>\n<rect width='100%%' height='100%%' "
            "fill='white'/>\n",
            WIDTH, HEIGHT);
    for (int p = 0; p < 2; p++) {
        panels[p].first = log2((double)first);
        panels[p].last = log2((double)(last ? last : 1));
        fit(&panels[p], rows, count);
        draw_axes(&panels[p], out);
        draw_line(&panels[p], rows, count, 0, "#1565c0", out);
        draw_line(&panels[p], rows, count, 1, "#ef6c00", out);
    }
    fprintf(out,
            "<text x='%g' y='%g'><tspan fill='#1565c0'>out of place</tspan> <tspan "
            "fill='#ef6c00'>in place</tspan> - %s, %u ranks, shoal %s</text>\n</svg>\n",
            LEFT, HEIGHT - 8, shoal_collective_string(bench->options->collective), bench->size,
            shoal_version_string());
    return fclose(out) != 0;
}
