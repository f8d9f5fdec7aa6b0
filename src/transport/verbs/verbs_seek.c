/*
 * Quests for the way to a peer, and the thread that carries them out; see verbs_seek.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_seek.h"

#include "control/thread.h"
#include "core/log.h"
#include "core/sys.h"
#include "transport/verbs/verbs_link.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

struct shl_verbs_quest {
    struct shl_list link; /* in `waiting`, else alone */
    uint32_t asked;       /* rails, as bits */
    struct shl_verbs_trial trials[SHL_VERBS_RAILS];
    /* The thread's until `over`: */
    uint32_t found;
    int error; /* of the last rail that was not found */
    /* Under the lock: */
    bool over, forsaken; /* forsaken: the thread frees it */
};

struct shl_verbs_seeker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct shl_list waiting;
    bool ending;
    int bell_fd;
};

/* ---- the thread ------------------------------------------------------------------------------ */

static void carry_out(struct shl_verbs_quest *quest)
{
    for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++) {
        if (!(quest->asked >> rail & 1))
            continue;
        int error = shl_verbs_trial_run(&quest->trials[rail]);
        if (error)
            quest->error = error;
        else
            quest->found |= 1u << rail;
    }
}

static void *seek_main(void *arg)
{
    struct shl_verbs_seeker *seeker = arg;
    const uint64_t one = 1;
    pthread_mutex_lock(&seeker->lock);
    while (!seeker->ending) {
        struct shl_list *node = shl_list_pop(&seeker->waiting);
        if (!node) {
            pthread_cond_wait(&seeker->changed, &seeker->lock);
            continue;
        }
        struct shl_verbs_quest *quest = SHL_CONTAINER_OF(node, struct shl_verbs_quest, link);
        pthread_mutex_unlock(&seeker->lock);
        carry_out(quest);
        pthread_mutex_lock(&seeker->lock);
        quest->over = true;
        if (quest->forsaken)
            shl_mem->free(quest);
        else
            (void)shl_fd->write(seeker->bell_fd, &one, sizeof(one));
    }
    pthread_mutex_unlock(&seeker->lock);
    return NULL;
}

static void free_seeker(struct shl_verbs_seeker *seeker)
{
    if (seeker->bell_fd >= 0)
        shl_fd->close(seeker->bell_fd);
    pthread_cond_destroy(&seeker->changed);
    pthread_mutex_destroy(&seeker->lock);
    shl_mem->free(seeker);
}

static enum shoal_status start(struct shl_transport *t)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = SHL_VERBS_WATCH_SEEK};
    if (t->seeker)
        return SHOAL_OK;
    struct shl_verbs_seeker *seeker = shl_mem->alloc(sizeof(*seeker));
    if (!seeker)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to look for the way to a peer");
    pthread_mutex_init(&seeker->lock, NULL);
    pthread_cond_init(&seeker->changed, NULL);
    shl_list_init(&seeker->waiting);
    enum shoal_status status = SHOAL_OK;
    seeker->bell_fd = shl_fd->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (seeker->bell_fd < 0 ||
        shl_fd->epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, seeker->bell_fd, &event) != 0)
        status = shl_fail_errno("no bell to tell that the way to a peer was found");
    if (status == SHOAL_OK)
        status = shl_thread_start(&seeker->thread, "shoal-verbs", seek_main, seeker);
    if (status < 0)
        free_seeker(seeker);
    else
        t->seeker = seeker;
    return status;
}

void shl_verbs_seek_close(struct shl_transport *t)
{
    struct shl_verbs_seeker *seeker = t->seeker;
    struct shl_list *node;
    if (!seeker)
        return;
    pthread_mutex_lock(&seeker->lock);
    seeker->ending = true;
    pthread_cond_signal(&seeker->changed);
    pthread_mutex_unlock(&seeker->lock);
    pthread_join(seeker->thread, NULL);
    while ((node = shl_list_pop(&seeker->waiting)))
        shl_mem->free(SHL_CONTAINER_OF(node, struct shl_verbs_quest, link));
    free_seeker(seeker);
    t->seeker = NULL;
}

/* ---- quests ---------------------------------------------------------------------------------- */

/* Rails whose ports are up at this end. */
static uint32_t rails_up(const struct shl_verbs_link *link)
{
    uint32_t up = 0;
    for (uint32_t rail = 0; rail < link->direct.rail_count; rail++)
        up |= link->t->rails[rail].down ? 0 : 1u << rail;
    return up;
}

static enum shoal_status ask(struct shl_verbs_link *link, uint32_t rails)
{
    SHL_TRY(start(link->t));
    struct shl_verbs_seeker *seeker = link->t->seeker;
    struct shl_verbs_quest *quest = shl_mem->alloc(sizeof(*quest));
    if (!quest)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory to look for the way to rank %u", link->peer);
    shl_list_init(&quest->link);
    quest->asked = rails;
    for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++)
        if (rails >> rail & 1)
            shl_verbs_trial_prepare(link, rail, &quest->trials[rail]);
    link->quest = quest;
    pthread_mutex_lock(&seeker->lock);
    shl_list_append(&seeker->waiting, &quest->link);
    pthread_cond_signal(&seeker->changed);
    pthread_mutex_unlock(&seeker->lock);
    return SHOAL_OK;
}

void shl_verbs_seek(struct shl_verbs_link *link)
{
    const struct shl_verbs_port *port = &link->t->port;
    uint32_t rails = rails_up(link);
    shl_verbs_seek_end(link);
    if (rails == 0 || link->state != SHL_VERBS_UP)
        return;
    if (port->kind == SHL_VERBS_ROCE && !port->by_cm) {
        if (ask(link, rails) == SHOAL_OK)
            return;
        shl_log(SHL_LOG_WARN, "%s; connecting may take long", shl_error_text());
    }
    shl_verbs_move_found(link, rails, rails);
}

void shl_verbs_seek_end(struct shl_verbs_link *link)
{
    struct shl_verbs_quest *quest = link->quest;
    if (!quest)
        return;
    pthread_mutex_lock(&link->t->seeker->lock);
    quest->forsaken = true; /* the thread may be at it, or has yet to begin */
    bool over = quest->over;
    pthread_mutex_unlock(&link->t->seeker->lock);
    if (over)
        shl_mem->free(quest);
    link->quest = NULL;
}

unsigned shl_verbs_sought(struct shl_verbs_link *link)
{
    struct shl_verbs_quest *quest = link->quest;
    if (SHL_LIKELY(!quest) || link->state != SHL_VERBS_UP)
        return 0;
    pthread_mutex_lock(&link->t->seeker->lock);
    bool over = quest->over;
    pthread_mutex_unlock(&link->t->seeker->lock);
    if (!over)
        return 0;
    uint32_t asked = quest->asked, found = quest->found;
    for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++)
        if ((asked & ~found) >> rail & 1)
            shl_log(SHL_LOG_WARN, "%s finds no way to rank %u: %s",
                    link->t->rails[rail].port.device, link->peer, strerror(quest->error));
    link->quest = NULL;
    shl_mem->free(quest);
    shl_verbs_move_found(link, asked, found);
    return 1;
}

void shl_verbs_seek_hear(struct shl_transport *t)
{
    uint64_t count;
    (void)shl_fd->read(t->seeker->bell_fd, &count, sizeof(count));
}
