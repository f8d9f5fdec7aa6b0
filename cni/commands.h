/*
 * Commands of shoal-cni and what they share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_COMMANDS_H
#define CNI_COMMANDS_H

#include <stdbool.h>
#include <stdio.h>

enum cni_exit {
    CNI_EXIT_CLEAN = 0,
    CNI_EXIT_INTERNAL = 1,
    CNI_EXIT_USAGE = 2, /* also input that cannot be read */
    CNI_EXIT_ERRORS = 3,
    CNI_EXIT_WARNINGS = 4, /* under --strict */
    CNI_EXIT_NOTHING = 5,  /* nothing of RDMA is there */
};

enum cni_format { CNI_FORMAT_TEXT, CNI_FORMAT_JSON, CNI_FORMAT_YAML, CNI_FORMAT_SARIF };

/* What a command can write: bits of enum cni_format. */
#define CNI_FORMATS_DATA (1u << CNI_FORMAT_JSON | 1u << CNI_FORMAT_YAML)
#define CNI_FORMATS_REPORT (1u << CNI_FORMAT_TEXT | CNI_FORMATS_DATA)
#define CNI_FORMATS_ALL (CNI_FORMATS_REPORT | 1u << CNI_FORMAT_SARIF)

int cni_command_validate(int argc, char **argv);
int cni_command_plan(int argc, char **argv);
int cni_command_generate(int argc, char **argv);
int cni_command_patch(int argc, char **argv);
int cni_command_inspect(int argc, char **argv);
int cni_command_diff(int argc, char **argv);
int cni_command_schema(int argc, char **argv);
int cni_command_doctor(int argc, char **argv);
int cni_command_explain(int argc, char **argv);

/* The program's name in help and complaints; `shoal doctor` sets its own. */
extern const char *cni_program;

/* cni_complain - one line on standard error, with the program's name. */
void cni_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* cni_complain_unknown - the same of a name that nothing has: `near` is the nearest or NULL, and
 * `remedy` follows. */
void cni_complain_unknown(const char *what, const char *name, const char *near, const char *remedy);

/* cni_command_name - let getopt complain in the name of program and command: argv[0]. */
void cni_command_name(char **argv);

/* cni_format_parse - a name given to -o, of those that a command has; false after a complaint. */
bool cni_format_parse(const char *name, unsigned formats, enum cni_format *format);

/* cni_colour_parse - "auto", "always" or "never" for a stream; false after a complaint. */
bool cni_colour_parse(const char *name, FILE *stream, bool *colour);

#define CNI_OPTIONS_OWN_MAX 4

/* What inspect, diff, explain and schema are told: -o, -q, --color and -h, and options of their
 * own. */
struct cni_options {
    const char *usage;
    unsigned formats;       /* bits of enum cni_format */
    enum cni_format format; /* the default, then what was asked for */
    bool quiet;
    const struct option *own;                /* each takes a text, and its val is an index of: */
    const char *values[CNI_OPTIONS_OWN_MAX]; /* NULL: not given */
};

/* cni_options_parse - the exit status, or -1 to go on with the arguments from optind. */
int cni_options_parse(struct cni_options *options, int argc, char **argv);

#endif
