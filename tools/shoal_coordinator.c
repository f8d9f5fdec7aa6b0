/*
 * `shoal coordinator`: hold the register of an elastic job until told to end.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/coordinator.h"
#include "shoal_tools.h"

#include <getopt.h>
#include <signal.h>
#include <string.h>

static const char usage[] =
    "usage: shoal coordinator --listen HOST:PORT --journal FILE [OPTION]...\n\n"
    "Holds the record of who is a member of an elastic job. Workers find it by SHOAL_JOIN, or by\n"
    "`shoal run --join HOST:PORT`. With its journal it may be ended and started again while the\n"
    "job runs; without, the members of the job have to join again.\n\n"
    "      --listen HOST:PORT  where; *:PORT is every address of this host\n"
    "      --journal FILE      what it knows, on a disk that outlives this process\n"
    "      --memory            no journal: what it knows dies with it\n"
    "      --job NAME          job name (SHOAL_JOB)\n"
    "      --secret-file FILE  the job secret (SHOAL_SECRET_FILE)\n"
    "      --help              print this\n\n"
    "Ends with status 0 on SIGTERM and SIGINT.\n";

static const struct option options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"journal", required_argument, NULL, 'J'},
    {"memory", no_argument, NULL, 'm'},
    {"job", required_argument, NULL, 'j'},
    {"secret-file", required_argument, NULL, 'S'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct arguments {
    const char *listen, *journal, *job, *secret_file;
    bool memory;
};

static bool take_option(int option, struct arguments *arguments)
{
    switch (option) {
    case 'l':
        arguments->listen = optarg;
        return true;
    case 'J':
        arguments->journal = optarg;
        return true;
    case 'm':
        arguments->memory = true;
        return true;
    case 'j':
        arguments->job = optarg;
        return true;
    case 'S':
        arguments->secret_file = optarg;
        return true;
    default:
        return false; /* getopt has said what is wrong */
    }
}

static bool check(const struct arguments *arguments, int argc)
{
    const char *wrong = NULL;
    if (optind < argc)
        wrong = "it takes options only";
    else if (!arguments->listen)
        wrong = "--listen HOST:PORT is missing: where do workers find it?";
    else if (!arguments->journal == !arguments->memory)
        wrong = "give either --journal FILE or --memory";
    if (wrong)
        shoal_tool_error("coordinator", "%s", wrong);
    return !wrong;
}

/* From now on SIGTERM and SIGINT wait to be asked for, in every thread. */
static void hold_signals(sigset_t *held)
{
    sigemptyset(held);
    sigaddset(held, SIGTERM);
    sigaddset(held, SIGINT);
    sigprocmask(SIG_BLOCK, held, NULL);
}

static int serve(const struct shl_config *config, const struct arguments *arguments,
                 const struct shl_key *key)
{
    struct shl_coordinator *coordinator;
    struct shl_coordinator_options serving = {.config = config,
                                              .address = arguments->listen,
                                              .job = arguments->job,
                                              .key = key,
                                              .journal = arguments->journal};
    sigset_t held;
    int number = 0;
    hold_signals(&held);
    if (shl_coordinator_serve(&serving, &coordinator) < 0) {
        shoal_tool_error("coordinator", "%s", shl_error_text());
        return SHOAL_EXIT_FAILURE;
    }
    shoal_tool_error("coordinator", "job %s at %s, incarnation %016llx, %s", arguments->job,
                     shl_coordinator_address(coordinator),
                     (unsigned long long)shl_coordinator_incarnation(coordinator),
                     shl_coordinator_restored(coordinator) ? "went on from its journal"
                     : arguments->journal                  ? "new journal"
                                                           : "in memory only");
    while (sigwait(&held, &number))
        ;
    shl_coordinator_stop(coordinator);
    shoal_tool_error("coordinator", "ended by %s", sigabbrev_np(number));
    return 0;
}

int shoal_tool_coordinator(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct shl_config config;
    struct shl_key key;
    int option, status = SHOAL_EXIT_FAILURE;
    optind = 1;
    while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (!take_option(option, &arguments)) {
            if (option == '?')
                shoal_tool_suggest(argv, options);
            fputs("`shoal coordinator --help` lists the options\n", stderr);
            return SHOAL_EXIT_USAGE;
        }
    }
    if (!check(&arguments, argc))
        return SHOAL_EXIT_USAGE;
    if (shl_config_load(NULL, &config) < 0) {
        shoal_tool_error("coordinator", "%s", shl_error_text());
        return SHOAL_EXIT_USAGE;
    }
    if (!arguments.job)
        arguments.job = config.job;
    if (shoal_tool_key("coordinator", &config, arguments.secret_file, arguments.job, &key))
        status = serve(&config, &arguments, &key);
    explicit_bzero(&key, sizeof(key));
    shl_config_free(&config);
    return status;
}
