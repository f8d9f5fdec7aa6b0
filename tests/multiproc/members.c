/*
 * See members.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "multiproc/members.h"

#include "multiproc/hosts.h"

#include "core/config.h"
#include "elastic/store/coordinator.h"
#include "support/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double members_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- processes --------------------------------------------------------------------------------
 */

static void serve(const struct members *members)
{
    struct shl_config config;
    struct shl_coordinator *coordinator;
    struct shl_key key;
    struct shl_coordinator_options options = {.config = &config,
                                              .address = members->address,
                                              .job = "default",
                                              .key = &key,
                                              .journal =
                                                  members->job->restarts ? members->journal : NULL};
    if (members->job->hosts)
        hosts_enter(members->job->hosts);
    if (shl_config_load(&(struct shl_config_options){0}, &config) != SHOAL_OK ||
        shl_key_derive(NULL, 0, "default", &key) != SHOAL_OK ||
        shl_coordinator_serve(&options, &coordinator) != SHOAL_OK) {
        fprintf(stderr, "coordinator: %s\n", shoal_last_error());
        _exit(1);
    }
    for (;;)
        pause();
}

static pid_t spawn(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

void members_start_coordinator(struct members *members)
{
    members->coordinator = spawn();
    if (members->coordinator == 0)
        serve(members);
}

/* The journal, and the file that the coordinator locks beside it. */
static void remove_journal(const struct members *members)
{
    char lock[sizeof(members->journal) + 8];
    snprintf(lock, sizeof(lock), "%s.lock", members->journal);
    unlink(members->journal);
    unlink(lock);
}

static struct members_shared *share(const char *path)
{
    int fd = -1, flags = MAP_SHARED | MAP_NORESERVE | (path ? 0 : MAP_ANONYMOUS);
    if (path) {
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, sizeof(struct members_shared)), 0);
    }
    void *shared = mmap(NULL, sizeof(struct members_shared), PROT_READ | PROT_WRITE, flags, fd, 0);
    assert_true(shared != MAP_FAILED);
    if (path)
        close(fd);
    return shared;
}

void members_open(struct members *members, const struct members_job *job)
{
    static unsigned serial;
    memset(members, 0, sizeof(*members));
    members->job = job;
    members->shared = share(job->file);
    snprintf(members->journal, sizeof(members->journal), "/tmp/shoal-members-%d-%u", (int)getpid(),
             serial);
    remove_journal(members); /* of a process that had this number before */
    const char *given = job->store ? job->store : job->address;
    if (given) {
        assert_true(strlen(given) < sizeof(members->address));
        memcpy(members->address, given, strlen(given) + 1);
    } else if (job->hosts) {
        char host[32];
        hosts_address(job->hosts, host, sizeof(host));
        snprintf(members->address, sizeof(members->address), "%s:7000", host);
    } else {
        snprintf(members->address, sizeof(members->address), "@shoal-members-%d-%u", (int)getpid(),
                 serial);
    }
    serial++;
    if (!job->store)
        members_start_coordinator(members);
    for (uint32_t i = 0; i < job->start; i++)
        members_start(members, i);
}

void members_take_part(struct member *self, const char *store)
{
    const struct members_job *job = self->job;
    const char *const *settings =
        job->victim == self->slot + 1 ? job->victim_settings : job->settings;
    size_t count = 0;
    while (settings && settings[count])
        count++;
    struct shoal_context_options context = {
        .struct_size = sizeof(context), .settings = settings, .setting_count = count};
    struct shoal_world_options options = {.struct_size = sizeof(options),
                                          .store = store,
                                          .world_start = job->start,
                                          .world_min = job->min,
                                          .step_mode = job->mode,
                                          .join_timeout_ms = 20000,
                                          .recovery_timeout_ms = job->recovery_timeout_ms,
                                          .op_timeout_ms = job->op_timeout_ms,
                                          .catch_up = job->catch_up};
    int status = shoal_context_create(&context, &self->context);
    if (status == SHOAL_OK)
        status = shoal_world_join(self->context, &options, &self->world);
    self->report->join_status = status;
    snprintf(self->report->text, sizeof(self->report->text), "%s", shoal_last_error());
    if (status == SHOAL_OK) {
        struct shoal_view view = {.struct_size = sizeof(view)};
        shoal_world_view(self->world, &view);
        self->report->rank = view.rank;
        job->body(self);
        self->report->done = 1;
    }
    shoal_world_destroy(self->world);
    if (shoal_context_destroy(self->context) != SHOAL_OK)
        fprintf(stderr, "member %u: %s\n", self->slot, shoal_last_error());
    fflush(NULL);
}

static void run_member(struct members *members, uint32_t slot)
{
    const struct members_job *job = members->job;
    struct member self = {.slot = slot,
                          .report = &members->shared->reports[slot],
                          .shared = members->shared,
                          .job = job};
    if (job->boot) {
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* what it becomes has to clean up */
        job->boot(slot);
        _exit(127);
    }
    if (job->hosts)
        hosts_enter(slot % job->hosts);
    if (job->domains) { /* this process is the member's own */
        char domain[16];
        snprintf(domain, sizeof(domain), "node-%u", slot % job->domains);
        setenv("SHOAL_FAILURE_DOMAIN", domain, 1);
    }
    if (job->before)
        job->before(slot);
    members_take_part(&self, members->address);
    _exit(0);
}

void members_start(struct members *members, uint32_t slot)
{
    members->pids[slot] = spawn();
    if (members->pids[slot] == 0)
        run_member(members, slot);
}

void members_kill(struct members *members, uint32_t slot, int signal)
{
    assert_int_equal(kill(members->pids[slot], signal), 0);
}

void members_await(struct members *members, uint32_t slot, uint32_t more)
{
    struct member_report *report = &members->shared->reports[slot];
    uint32_t enough = report->count + more;
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (report->count < enough && members_now_s() < end_s && !report->done)
        usleep(500);
    if (report->count < enough)
        fail_msg("member %u saw %u of %u operations; status %d: %s", slot, report->count, enough,
                 report->join_status ? report->join_status : report->status, report->text);
}

static uint32_t reap_some(struct members *members)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (!members->pids[i])
            continue;
        if (waitpid(members->pids[i], &members->exits[i], WNOHANG) == members->pids[i])
            members->pids[i] = 0;
        else
            left++;
    }
    return left;
}

void members_close(struct members *members)
{
    double end_s = members_now_s() + MEMBERS_SECONDS;
    while (reap_some(members) && members_now_s() < end_s)
        usleep(1000);
    uint32_t hung = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (members->pids[i]) {
            hung++;
            print_error("member %u hangs after %u operations\n", i,
                        members->shared->reports[i].count);
            kill(members->pids[i], members->job->boot ? SIGTERM : SIGKILL);
            waitpid(members->pids[i], NULL, 0);
            members->pids[i] = 0;
        }
        if (WIFSIGNALED(members->exits[i]) && WTERMSIG(members->exits[i]) != SIGKILL)
            fail_msg("member %u died of signal %d", i, WTERMSIG(members->exits[i]));
    }
    if (members->coordinator) {
        kill(members->coordinator, SIGKILL);
        waitpid(members->coordinator, NULL, 0);
        members->coordinator = 0;
        remove_journal(members);
    }
    assert_int_equal(hung, 0);
}

/* ---- history ----------------------------------------------------------------------------------
 */

/* Numbers rise, mostly by one. */
static const struct member_saw *saw(const struct member_report *report, uint64_t seq)
{
    uint32_t low = 0, high = report->count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (report->saw[middle].seq <= seq)
            low = middle;
        else
            high = middle;
    }
    return high > 0 && report->saw[low].seq == seq ? &report->saw[low] : NULL;
}

uint32_t members_check_history(const struct members *members, const uint32_t *slots, uint32_t count)
{
    const struct member_report *reports = members->shared->reports;
    uint32_t compared = 0;
    for (uint32_t a = 0; a < count; a++) {
        const struct member_report *one = &reports[slots[a]];
        for (uint32_t i = 0; i < one->count; i++) {
            const struct member_saw *x = &one->saw[i];
            assert_int_equal(__builtin_popcountll(x->mask), x->contributors);
            assert_true(i == 0 || x->seq > one->saw[i - 1].seq);
            assert_true(i == 0 || x->epoch >= one->saw[i - 1].epoch);
        }
    }
    for (uint32_t a = 1; a < count; a++) {
        const struct member_report *one = &reports[slots[0]], *other = &reports[slots[a]];
        for (uint32_t i = 0; i < one->count; i++) {
            const struct member_saw *x = &one->saw[i];
            const struct member_saw *y = i < other->count && other->saw[i].seq == x->seq
                                             ? &other->saw[i]
                                             : saw(other, x->seq);
            if (!y)
                continue;
            compared++;
            if (x->mask != y->mask || x->epoch != y->epoch)
                fail_msg("operation %llu: member %u saw %llx of epoch %llu, member %u %llx of %llu",
                         (unsigned long long)x->seq, slots[0], (unsigned long long)x->mask,
                         (unsigned long long)x->epoch, slots[a], (unsigned long long)y->mask,
                         (unsigned long long)y->epoch);
        }
    }
    return compared;
}

void members_finish(struct members *members, const uint32_t *slots, uint32_t count, uint32_t more)
{
    for (uint32_t i = 0; i < count; i++)
        members_await(members, slots[i], more);
    members->shared->stop = 1;
    members_close(members);
    members_check_ended(members, slots, count);
    assert_true(members_check_history(members, slots, count) >= 20);
}

/* What became of a step: from who came through to the end, else from who went on after it. Whoever
 * was killed in it may have seen it otherwise. */
static const struct member_saw *agreed(const struct members *members, const uint32_t *slots,
                                       uint32_t count, uint64_t step)
{
    const struct member_report *reports = members->shared->reports;
    for (uint32_t i = 0; i < count; i++)
        if (saw(&reports[slots[i]], step + 1))
            return saw(&reports[slots[i]], step + 1);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        if (saw(&reports[i], step + 2) && saw(&reports[i], step + 1))
            return saw(&reports[i], step + 1);
    return NULL;
}

void members_check_samples(const struct members *members, const uint32_t *slots, uint32_t count)
{
    const uint64_t all = (UINT64_C(1) << MEMBERS_SAMPLES) - 1;
    const struct member_report *reports = members->shared->reports;
    uint64_t taken = 0, data_epoch = 0, steps = 0;
    for (; steps < MEMBERS_SEEN; steps++) {
        const struct member_saw *step = agreed(members, slots, count, steps);
        if (!step)
            break;
        for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
            const struct member_report *report = &reports[slot];
            if (!(step->mask >> slot & 1))
                continue;
            if (report->data_epoch[steps] != data_epoch || report->read[steps] & taken)
                fail_msg("step %llu: member %u read %llx of data epoch %llu, where %llx of %llu "
                         "had been read",
                         (unsigned long long)steps, slot, (unsigned long long)report->read[steps],
                         (unsigned long long)report->data_epoch[steps], (unsigned long long)taken,
                         (unsigned long long)data_epoch);
            taken |= report->read[steps];
        }
        data_epoch += taken == all;
        taken = taken == all ? 0 : taken;
    }
    assert_true(steps > 0);
    for (uint32_t i = 0; i < count && steps < MEMBERS_SEEN; i++)
        assert_null(saw(&reports[slots[i]], steps + 2)); /* these were all */
}

void members_check_ended(const struct members *members, const uint32_t *slots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct member_report *report = &members->shared->reports[slots[i]];
        if (report->join_status != SHOAL_OK || report->status != SHOAL_OK)
            fail_msg("member %u: %d, %d: %s", slots[i], report->join_status, report->status,
                     report->text);
        assert_true(report->done);
    }
}
