/*
 * Starting a coordinator and learning where it listens: it says so on its standard error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t bench_start_coordinator(const char *shoal, char *store, size_t store_bytes)
{
    int ends[2];
    char line[256];
    if (pipe(ends) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], 2);
        execlp(shoal, shoal, "coordinator", "--memory", "--listen", "127.0.0.1:0", NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *said = fdopen(ends[0], "r");
    while (said && pid > 0 && fgets(line, sizeof(line), said)) {
        char *at = strstr(line, " at ");
        if (!at)
            continue;
        at += 4;
        at[strcspn(at, " ,\n")] = '\0';
        snprintf(store, store_bytes, "%s", at);
        return pid; /* what it says later is not read, nor is there much */
    }
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return -1;
}
