/*
 * Starting one rank: its environment, its descriptors, its death when ours comes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "run.h"

#include "core/sys.h"
#include "shoal_tools.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SET_MAX 12

/* What a rank's environment has besides, or instead of, ours: "NAME=value", or "NAME" to leave a
 * variable out. */
struct changes {
    char texts[SET_MAX][4300];
    uint32_t count;
};

extern char **environ;

__attribute__((format(printf, 2, 3))) static void change(struct changes *changes,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(changes->texts[changes->count++], sizeof(changes->texts[0]), format, args);
    va_end(args);
}

static bool is_changed(const char *entry, const struct changes *changes)
{
    size_t name = strcspn(entry, "=");
    for (uint32_t i = 0; i < changes->count; i++)
        if (strcspn(changes->texts[i], "=") == name && strncmp(entry, changes->texts[i], name) == 0)
            return true;
    return false;
}

/* Points into `changes` and our own environment. */
static char **merge_environment(struct changes *changes)
{
    size_t count = 0, at = 0;
    while (environ[count])
        count++;
    char **merged = calloc(count + SET_MAX + 1, sizeof(*merged));
    if (!merged)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (!is_changed(environ[i], changes))
            merged[at++] = environ[i];
    for (uint32_t i = 0; i < changes->count; i++)
        if (strchr(changes->texts[i], '='))
            merged[at++] = changes->texts[i];
    return merged;
}

static void place_in_world(const struct run *run, struct changes *changes)
{
    change(changes, "SHOAL_JOIN=%s", run->join);
    change(changes, "SHOAL_WORLD_MIN=%u", run->world_min);
    change(changes, "SHOAL_WORLD_MAX=%u", run->world_max);
    change(changes, "SHOAL_WORLD_START=%u", run->world_start);
    /* A worker of an elastic job has no fixed place. */
    change(changes, "SHOAL_RANK");
    change(changes, "SHOAL_SIZE");
    change(changes, "SHOAL_RENDEZVOUS");
    if (run->spare) /* it waits until another worker is lost, however long that takes */
        change(changes, "SHOAL_INIT_TIMEOUT_MS=86400000");
}

static void fill_changes(const struct run *run, const struct run_rank *rank,
                         struct changes *changes)
{
    changes->count = 0;
    change(changes, "SHOAL_LOCAL_RANK=%u", rank->rank - run->first);
    if (run->elastic) {
        place_in_world(run, changes);
    } else {
        change(changes, "SHOAL_RANK=%u", rank->rank);
        change(changes, "SHOAL_SIZE=%u", run->size);
        change(changes, "SHOAL_RENDEZVOUS=%s", run->rendezvous);
    }
    if (run->secret_file) {
        change(changes, "SHOAL_SECRET_FILE=%s", run->secret_file);
        change(changes, "SHOAL_SECRET");
    }
    if (run->job)
        change(changes, "SHOAL_JOB=%s", run->job);
    /* Into a pipe Python would hold its lines back until it ends. */
    if (run->prefix && !getenv("PYTHONUNBUFFERED"))
        change(changes, "PYTHONUNBUFFERED=1");
}

/* Only what is safe after fork in a process with threads. */
__attribute__((noreturn)) static void become(const struct run *run, const struct run_rank *rank,
                                             pid_t parent, const int output[2], int input,
                                             char **environment)
{
    sigset_t none;
    /* Nobody is left behind when `shoal run` is killed. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(RUN_EXIT_CANNOT_RUN);
    if (input >= 0)
        dup2(input, STDIN_FILENO);
    if (output[0] >= 0) {
        dup2(output[0], STDOUT_FILENO);
        dup2(output[1], STDERR_FILENO);
    }
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvpe(run->command[0], run->command, environment);
    int error = errno;
    if (rank->rank == run->first) /* once is enough */
        dprintf(STDERR_FILENO, "shoal run: cannot run %s: %s\n", run->command[0],
                strerrordesc_np(error));
    _exit(error == ENOENT ? RUN_EXIT_CANNOT_RUN : RUN_EXIT_CANNOT_RUN - 1);
}

static void close_pair(int pair[2])
{
    if (pair[0] >= 0)
        close(pair[0]);
    if (pair[1] >= 0)
        close(pair[1]);
}

/* The ends that we read from become the rank's streams. */
static bool open_pipes(struct run_rank *rank, int write_ends[2])
{
    for (int i = 0; i < 2; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC)) {
            shoal_tool_error("run", "cannot make a pipe for rank %u: %s", rank->rank,
                             strerror(errno));
            return false;
        }
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        rank->streams[i].from = ends[0];
        rank->streams[i].to = i ? STDERR_FILENO : STDOUT_FILENO;
        write_ends[i] = ends[1];
    }
    return true;
}

bool run_launch(struct run *run, struct run_rank *rank)
{
    static struct changes changes;
    int write_ends[2] = {-1, -1}, input = -1;
    bool good = false;
    fill_changes(run, rank, &changes);
    char **environment = merge_environment(&changes);
    if (!environment) {
        shoal_tool_error("run", "out of memory");
        return false;
    }
    if (rank->rank != 0)
        input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (!run->prefix || open_pipes(rank, write_ends)) {
        pid_t parent = getpid();
        rank->pid = fork();
        if (rank->pid == 0)
            become(run, rank, parent, write_ends, input, environment);
        good = rank->pid > 0;
        if (!good) {
            rank->pid = 0;
            shoal_tool_error("run",
                             "cannot start rank %u: %s; check `ulimit -u` and the cgroup's "
                             "pids.max",
                             rank->rank, strerror(errno));
        }
    }
    close_pair(write_ends);
    if (input >= 0)
        close(input);
    free(environment);
    run->running += good;
    rank->born_ns = shl_now_ns();
    return good;
}
