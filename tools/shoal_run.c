/*
 * `shoal run`: start the local ranks of a job, let them meet, and end together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/handshake.h"
#include "control/sock.h"
#include "core/config.h"
#include "core/sys.h"
#include "elastic/launch_env.h"
#include "elastic/membership/members.h"
#include "elastic/rendezvous.h"
#include "elastic/store/coordinator.h"
#include "run.h"
#include "shoal_tools.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANKS_MAX 4096 /* which TOO_MANY names */
#define TOO_MANY "one host has at most 4096 ranks, with its spares: spread more over several hosts"

static const char usage[] =
    "usage: shoal run -n N [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
    "       shoal run [--join HOST:PORT] --min N [OPTION]... [--] PROGRAM [ARGUMENT]...\n\n"
    "Starts N ranks of PROGRAM on this host and lets them meet. The first rank that fails is\n"
    "named and ends the job with its exit status. Rank 0 gets standard input.\n\n"
    "  -n, --ranks N          ranks on this host\n"
    "      --prefix           put [rank] before each line of output (default)\n"
    "      --no-prefix        let the ranks write by themselves\n"
    "      --timeout SECONDS  end the job after that time, with exit status 124\n"
    "      --grace SECONDS    time for the other ranks to end by themselves after a failure,\n"
    "                         and between SIGTERM and SIGKILL (default 5; elastic: 25)\n"
    "      --job NAME         job name (SHOAL_JOB)\n\n"
    "Several hosts: run it on each, with the same address and secret.\n"
    "      --rendezvous HOST:PORT  where all ranks meet; the host whose address it is serves it\n"
    "      --nnodes N --node-rank R  N hosts with equally many ranks, this is number R (from 0)\n"
    "      --size N --first-rank R   or: the job has N ranks, those of this host begin at R\n"
    "      --secret-file FILE      the job secret (SHOAL_SECRET_FILE)\n"
    "      --help             print this\n\n"
    "PROGRAM finds its place in SHOAL_RANK, SHOAL_SIZE, SHOAL_LOCAL_RANK and SHOAL_RENDEZVOUS.\n\n"
    "An elastic job, whose workers may fail, leave and join; one agent a host or pod, with -n\n"
    "workers (default 1). PROGRAM joins it by SHOAL_JOIN and SHOAL_WORLD_*:\n"
    "      --join HOST:PORT   the job's coordinator (see `shoal coordinator`), or etcd:// and\n"
    "                         HOST:PORT,... for etcd; without, one is served here, for workers\n"
    "                         of this host\n"
    "      --serve            serve the coordinator at that address; it ends with this process\n"
    "      --journal FILE     of the coordinator served here, so that it can come back\n"
    "      --min N --max N    members that the job needs, and takes\n"
    "      --start N          members that it begins with (default: --min)\n"
    "      --restarts N       how often in a row a worker that fails is started again (default 3)\n"
    "      --backoff SECONDS  before the first of these; it doubles, up to 30 s (default 1)\n"
    "      --healthy SECONDS  a worker that lived so long begins a new row (default 60)\n"
    "      --spare            one more worker, which waits, ready, until one is lost; needs --max\n"
    "A worker that ends with status 0 says that the job is over.\n";

#define GRACE_S 5.0
#define GRACE_ELASTIC_S 25.0 /* leaving takes until the end of a step; pods get 30 s */

struct arguments {
    uint32_t ranks, nodes, node, size, first;
    bool has_node, has_first;
    const char *rendezvous;
    bool serve;
    const char *journal;
};

/* ---- options ----------------------------------------------------------------------------- */

static bool parse_count(const char *option, const char *text, uint32_t least, uint32_t *value)
{
    char *end;
    unsigned long parsed = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || parsed < least || parsed > 1000000) {
        shoal_tool_error("run", "--%s: '%s' is no number from %u on", option, text, least);
        return false;
    }
    *value = (uint32_t)parsed;
    return true;
}

static bool parse_seconds(const char *option, const char *text, double *value)
{
    char *end;
    double parsed = strtod(text, &end);
    if (end == text || *end || !(parsed >= 0 && parsed < 1e9)) {
        shoal_tool_error("run", "--%s: '%s' is no number of seconds", option, text);
        return false;
    }
    *value = parsed;
    return true;
}

static const struct option options[] = {
    {"ranks", required_argument, NULL, 'n'},
    {"prefix", no_argument, NULL, 'p'},
    {"no-prefix", no_argument, NULL, 'P'},
    {"timeout", required_argument, NULL, 't'},
    {"grace", required_argument, NULL, 'g'},
    {"job", required_argument, NULL, 'j'},
    {"rendezvous", required_argument, NULL, 'r'},
    {"nnodes", required_argument, NULL, 'N'},
    {"node-rank", required_argument, NULL, 'R'},
    {"size", required_argument, NULL, 's'},
    {"first-rank", required_argument, NULL, 'f'},
    {"secret-file", required_argument, NULL, 'S'},
    {"join", required_argument, NULL, 'J'},
    {"min", required_argument, NULL, 'm'},
    {"max", required_argument, NULL, 'M'},
    {"start", required_argument, NULL, 'b'},
    {"serve", no_argument, NULL, 'v'},
    {"journal", required_argument, NULL, 'l'},
    {"restarts", required_argument, NULL, 'a'},
    {"backoff", required_argument, NULL, 'B'},
    {"healthy", required_argument, NULL, 'H'},
    {"spare", no_argument, NULL, 'w'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool take_elastic_option(int option, struct run *run, struct arguments *arguments)
{
    run->elastic = true;
    switch (option) {
    case 'J':
        run->join = optarg;
        return true;
    case 'm':
        return parse_count("min", optarg, 1, &run->world_min);
    case 'M':
        return parse_count("max", optarg, 1, &run->world_max);
    case 'b':
        return parse_count("start", optarg, 1, &run->world_start);
    case 'v':
        arguments->serve = true;
        return true;
    case 'l':
        arguments->journal = optarg;
        return true;
    case 'a':
        return parse_count("restarts", optarg, 0, &run->restarts);
    case 'B':
        return parse_seconds("backoff", optarg, &run->backoff_s);
    case 'H':
        return parse_seconds("healthy", optarg, &run->healthy_s);
    case 'w':
        run->spare = true;
        return true;
    default:
        return false; /* getopt has said what is wrong */
    }
}

static bool take_option(int option, struct run *run, struct arguments *arguments)
{
    switch (option) {
    case 'n':
        return parse_count("ranks", optarg, 1, &arguments->ranks);
    case 'p':
    case 'P':
        run->prefix = option == 'p';
        return true;
    case 't':
        return parse_seconds("timeout", optarg, &run->timeout_s);
    case 'g':
        return parse_seconds("grace", optarg, &run->grace_s);
    case 'j':
        run->job = optarg;
        return true;
    case 'r':
        arguments->rendezvous = optarg;
        return true;
    case 'N':
        return parse_count("nnodes", optarg, 1, &arguments->nodes);
    case 'R':
        arguments->has_node = true;
        return parse_count("node-rank", optarg, 0, &arguments->node);
    case 's':
        return parse_count("size", optarg, 1, &arguments->size);
    case 'f':
        arguments->has_first = true;
        return parse_count("first-rank", optarg, 0, &arguments->first);
    case 'S':
        run->secret_file = optarg;
        return true;
    default:
        return take_elastic_option(option, run, arguments);
    }
}

/* Names are not asked for: a coordinator may get its own later. Workers read what etcd needs. */
static bool check_join(const char *join)
{
    char host[NI_MAXHOST];
    uint16_t port;
    if (strncmp(join, "etcd://", 7) == 0 || strncmp(join, "etcds://", 8) == 0 ||
        shl_sock_split(join, -1, host, sizeof(host), &port) == SHOAL_OK)
        return true;
    shoal_tool_error("run", "--join: %s", shl_error_text());
    return false;
}

static bool place_elastic(struct run *run, const struct arguments *arguments)
{
    const char *wrong = NULL;
    char text[128];
    run->world_min = run->world_min ? run->world_min : 1;
    run->world_start = run->world_start ? run->world_start : run->world_min;
    run->count = (arguments->ranks ? arguments->ranks : 1) + run->spare;
    run->size = run->count;
    if (arguments->nodes || arguments->has_node || arguments->size || arguments->has_first ||
        arguments->rendezvous)
        wrong = "an elastic job (--join, --min, ...) has no fixed places: it takes no "
                "--rendezvous, --nnodes, --node-rank, --size or --first-rank";
    else if (run->spare && !run->world_max)
        wrong = "--spare needs --max: the spare is the worker that is too much";
    else if (run->world_max && run->world_max < run->world_start) {
        snprintf(text, sizeof(text), "--max %u is below the %u workers of --start or --min",
                 run->world_max, run->world_start);
        wrong = text;
    } else if (run->world_start < run->world_min) {
        snprintf(text, sizeof(text), "--start %u is below --min %u", run->world_start,
                 run->world_min);
        wrong = text;
    } else if (run->count > RANKS_MAX)
        wrong = TOO_MANY;
    else if (run->join && arguments->journal && !arguments->serve)
        wrong = "--journal is for the coordinator that --serve serves";
    else if (!run->command[0])
        wrong = "no program is named; write it after --";
    if (!run->world_max)
        run->world_max = SHL_MEMBERS_MAX;
    if (!wrong && run->world_max > SHL_MEMBERS_MAX)
        wrong = "a job has at most 1024 members";
    if (wrong)
        shoal_tool_error("run", "%s", wrong);
    return !wrong && (!run->join || check_join(run->join));
}

/* Where this host's ranks stand in the job. */
static bool place(struct run *run, const struct arguments *arguments)
{
    uint32_t nodes = arguments->nodes ? arguments->nodes : 1;
    bool by_node = arguments->nodes || arguments->has_node;
    bool by_rank = arguments->size || arguments->has_first;
    const char *wrong = NULL;
    if (run->elastic)
        return place_elastic(run, arguments);
    run->count = arguments->ranks;
    run->size = by_rank ? arguments->size : nodes * arguments->ranks;
    run->first = by_rank ? arguments->first : arguments->node * arguments->ranks;
    if (!arguments->ranks)
        wrong = "-n N is missing: how many ranks shall run on this host?";
    else if (arguments->ranks > RANKS_MAX)
        wrong = TOO_MANY;
    else if (by_node && by_rank)
        wrong = "give --nnodes and --node-rank, or --size and --first-rank, not both";
    else if (by_node && !(arguments->nodes && arguments->has_node))
        wrong = "--nnodes and --node-rank belong together";
    else if (by_rank && !(arguments->size && arguments->has_first))
        wrong = "--size and --first-rank belong together";
    else if (by_node && arguments->node >= arguments->nodes)
        wrong = "--node-rank counts from 0 and is below --nnodes";
    else if (run->first + run->count > run->size)
        wrong = "--first-rank and -n together go beyond --size";
    else if (run->size > run->count && !arguments->rendezvous)
        wrong = "a job on several hosts needs --rendezvous HOST:PORT, the same on all";
    else if (!run->command[0])
        wrong = "no program is named; write it after --";
    if (wrong)
        shoal_tool_error("run", "%s", wrong);
    return !wrong;
}

/* ---- the secret -------------------------------------------------------------------------- */

/* A file that only we and our ranks can read, and that is gone when we are. */
static bool make_secret(char *path, size_t capacity)
{
    uint8_t random[32];
    char text[2 * sizeof(random) + 1];
    int fd = memfd_create("shoal-secret", MFD_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0600) || shl_random->bytes(random, sizeof(random))) {
        shoal_tool_error("run", "cannot make a secret: %s", strerror(errno));
        return false;
    }
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(text + 2 * i, 3, "%02x", random[i]);
    bool written = write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1;
    snprintf(path, capacity, "/proc/%ld/fd/%d", (long)getpid(), fd);
    explicit_bzero(text, sizeof(text));
    explicit_bzero(random, sizeof(random));
    if (!written)
        shoal_tool_error("run", "cannot keep a secret: %s", strerror(errno));
    return written;
}

static bool get_secret(struct run *run, struct shl_config *config, char *path, size_t capacity)
{
    if (run->secret_file)
        config->secret = "";
    if (!run->secret_file && (config->secret_file[0] || config->secret[0]))
        return true;
    if (run->elastic && run->join)
        return true; /* that of the coordinator, which needs none on this host alone */
    if (!run->secret_file && run->size > run->count) {
        if (config->insecure)
            return true;
        shoal_tool_error("run", "a job on several hosts needs --secret-file FILE, the same secret "
                                "on all; make one with `head -c 32 /dev/urandom | base64`");
        return false;
    }
    if (!run->secret_file) {
        if (!make_secret(path, capacity))
            return false;
        run->secret_file = path;
    }
    config->secret_file = run->secret_file;
    return true;
}

/* ---- the rendezvous, or the coordinator ---------------------------------------------------- */

struct servers {
    struct shl_rendezvous_server *rendezvous;
    struct shl_coordinator *coordinator;
};

static bool serve(struct run *run, const struct shl_config *config, const struct shl_key *key,
                  const char *given, struct servers *servers)
{
    const char *address = given ? given : "127.0.0.1:0";
    enum shoal_status status = shl_rendezvous_serve(
        config, address, run->job ? run->job : config->job, key, &servers->rendezvous);
    /* On another host, or by another `shoal run` of this one. */
    bool elsewhere = status == SHOAL_ERR_SYSTEM && run->size > run->count &&
                     (errno == EADDRNOTAVAIL || errno == EADDRINUSE);
    if (status < 0 && !elsewhere) {
        shoal_tool_error("run", "%s", shl_error_text());
        return false;
    }
    run->rendezvous = status == SHOAL_OK ? shl_rendezvous_address(servers->rendezvous) : address;
    return true;
}

static bool serve_coordinator(struct run *run, const struct shl_config *config,
                              const struct shl_key *key, const struct arguments *arguments,
                              struct servers *servers)
{
    const char *launcher = shl_launch_env_fixed();
    struct shl_coordinator_options serving = {.config = config,
                                              .address = run->join ? run->join : "127.0.0.1:0",
                                              .job = run->job ? run->job : config->job,
                                              .key = key,
                                              .journal = arguments->journal};
    if (launcher)
        shoal_tool_error("run",
                         "started by %s, which ends all when one fails: under it a job has a fixed "
                         "world; start an agent on each host or pod by itself",
                         launcher);
    if (run->join && !arguments->serve)
        return true;
    if (shl_coordinator_serve(&serving, &servers->coordinator) < 0) {
        shoal_tool_error("run", "%s", shl_error_text());
        return false;
    }
    run->join = shl_coordinator_address(servers->coordinator);
    return true;
}

static bool serve_any(struct run *run, struct shl_config *config, const struct arguments *arguments,
                      struct servers *servers)
{
    struct shl_key key;
    const char *job = run->job ? run->job : config->job;
    bool good = shoal_tool_key("run", config, run->secret_file, job, &key) &&
                (run->elastic ? serve_coordinator(run, config, &key, arguments, servers)
                              : serve(run, config, &key, arguments->rendezvous, servers));
    explicit_bzero(&key, sizeof(key));
    return good;
}

/* ---- running ----------------------------------------------------------------------------- */

static bool watch_signals(struct run *run)
{
    sigset_t watched;
    sigemptyset(&watched);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGHUP);
    sigaddset(&watched, SIGCHLD);
    /* Before any thread starts, so that all have it. */
    sigprocmask(SIG_BLOCK, &watched, NULL);
    signal(SIGPIPE, SIG_IGN);
    run->signal_fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    if (run->signal_fd < 0)
        shoal_tool_error("run", "signalfd: %s", strerror(errno));
    return run->signal_fd >= 0;
}

static int start_and_watch(struct run *run)
{
    run->ranks = calloc(run->count, sizeof(*run->ranks));
    if (!run->ranks) {
        shoal_tool_error("run", "out of memory");
        return SHOAL_EXIT_FAILURE;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    run->oom_kills = run_oom_kills();
    run->begun_ns = shl_now_ns();
    for (uint32_t i = 0; i < run->count; i++) {
        run->ranks[i].rank = run->first + i;
        run->ranks[i].streams[0].from = run->ranks[i].streams[1].from = -1;
    }
    for (uint32_t i = 0; i < run->count && !run->failed; i++) {
        if (run_launch(run, &run->ranks[i]))
            continue;
        run->failed = true; /* then those that run are ended at once */
        run->exit_status = SHOAL_EXIT_FAILURE;
        run->escalate_ns = 1;
    }
    int status = run_watch(run);
    run_reap_orphans();
    free(run->ranks);
    return status;
}

int shoal_tool_run(int argc, char **argv)
{
    struct run run = {
        .prefix = true, .grace_s = -1, .restarts = 3, .backoff_s = 1, .healthy_s = 60};
    struct arguments arguments = {0};
    struct shl_config config;
    struct servers servers = {0};
    char secret_path[64];
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "+n:h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (!take_option(option, &run, &arguments)) {
            if (option == '?')
                shoal_tool_suggest(argv, options);
            fputs("`shoal run --help` lists the options\n", stderr);
            return SHOAL_EXIT_USAGE;
        }
    }
    run.command = argv + optind;
    if (run.grace_s < 0)
        run.grace_s = run.elastic ? GRACE_ELASTIC_S : GRACE_S;
    if (!place(&run, &arguments))
        return SHOAL_EXIT_USAGE;
    if (shl_config_load(NULL, &config) < 0) {
        shoal_tool_error("run", "%s", shl_error_text());
        return SHOAL_EXIT_USAGE;
    }
    int status = SHOAL_EXIT_FAILURE;
    if (watch_signals(&run) && get_secret(&run, &config, secret_path, sizeof(secret_path)) &&
        serve_any(&run, &config, &arguments, &servers))
        status = start_and_watch(&run);
    shl_rendezvous_stop(servers.rendezvous);
    shl_coordinator_stop(servers.coordinator);
    shl_config_free(&config);
    return status;
}
