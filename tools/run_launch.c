/*
 * Starting one rank: its environment, its descriptors, its death when ours comes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "run.h"

#include "shoal_tools.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SET_MAX 8

extern char **environ;

static bool is_set_anew(const char *entry, char *const *set)
{
    for (; *set; set++) {
        size_t name = strcspn(*set, "=") + 1;
        if (strncmp(entry, *set, name) == 0)
            return true;
    }
    return false;
}

/* `set` ("NAME=value") over ours. A secret in our environment gives way to a secret file. */
static char **merge_environment(char *const *set, bool drop_secret)
{
    size_t count = 0, at = 0;
    while (environ[count])
        count++;
    char **merged = calloc(count + SET_MAX + 1, sizeof(*merged));
    if (!merged)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (!is_set_anew(environ[i], set) &&
            !(drop_secret && strncmp(environ[i], "SHOAL_SECRET=", 13) == 0))
            merged[at++] = environ[i];
    for (; *set; set++)
        merged[at++] = *set;
    return merged;
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
    char texts[5][400], *set[SET_MAX + 1] = {NULL};
    int write_ends[2] = {-1, -1}, input = -1, used = 0;
    char **environment = NULL;
    bool good = false;
    snprintf(texts[0], sizeof(texts[0]), "SHOAL_RANK=%u", rank->rank);
    snprintf(texts[1], sizeof(texts[1]), "SHOAL_SIZE=%u", run->size);
    snprintf(texts[2], sizeof(texts[2]), "SHOAL_LOCAL_RANK=%u", rank->rank - run->first);
    snprintf(texts[3], sizeof(texts[3]), "SHOAL_RENDEZVOUS=%s", run->rendezvous);
    while (used < 4) {
        set[used] = texts[used];
        used++;
    }
    char file[4200], job[200];
    if (run->secret_file) {
        snprintf(file, sizeof(file), "SHOAL_SECRET_FILE=%s", run->secret_file);
        set[used++] = file;
    }
    if (run->job) {
        snprintf(job, sizeof(job), "SHOAL_JOB=%s", run->job);
        set[used++] = job;
    }
    if (run->prefix && !getenv("PYTHONUNBUFFERED")) {
        /* Into a pipe Python would hold its lines back until it ends. */
        static char unbuffered[] = "PYTHONUNBUFFERED=1";
        set[used++] = unbuffered;
    }
    environment = merge_environment(set, run->secret_file != NULL);
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
    return good;
}
