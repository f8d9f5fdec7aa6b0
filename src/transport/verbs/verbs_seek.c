/*
 * Quests for the way to a peer, and the threads that carry them out; see verbs_seek.h.
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

#define AT_RAIL 4 /* threads at one rail: if its network is dead, the others have theirs */
#define THREADS_MAX (SHL_VERBS_RAILS * AT_RAIL)
#define GATHER_NS                                                                                  \
    UINT64_C(50000000) /* ways that are there are found by then, and used together                 \
                        */

struct shl_verbs_quest {
    struct shl_list link; /* in `waiting` while rails are untaken, else alone */
    uint32_t asked;       /* rails, as bits */
    uint64_t since_ns;
    struct shl_verbs_trial trials[SHL_VERBS_RAILS];
    /* Under the lock, as bits: */
    uint32_t untaken;   /* no thread is at them yet */
    uint32_t under_way; /* one is */
    uint32_t found;
    uint32_t told;               /* of these */
    int errors[SHL_VERBS_RAILS]; /* of rails that were not found */
    bool forsaken;               /* the thread that ends it frees it */
};

struct shl_verbs_seeker {
    pthread_t threads[THREADS_MAX];
    uint32_t thread_count;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: */
    struct shl_list waiting;
    uint32_t at_rail[SHL_VERBS_RAILS]; /* threads */
    uint32_t errands;                  /* that no thread has ended */
    bool ending;
    int bell_fd;
};

/* ---- the threads ----------------------------------------------------------------------------- */

static bool is_over(const struct shl_verbs_quest *quest)
{
    return !quest->untaken && !quest->under_way;
}

/* The next rail of a quest that a thread may go to; false: there is none. */
static bool take(struct shl_verbs_seeker *seeker, struct shl_verbs_quest **quest, uint32_t *rail)
{
    struct shl_list *node, *after;
    SHL_LIST_FOR_EACH(node, after, &seeker->waiting)
    {
        struct shl_verbs_quest *next = SHL_CONTAINER_OF(node, struct shl_verbs_quest, link);
        for (uint32_t i = 0; i < SHL_VERBS_RAILS; i++) {
            if (!(next->untaken >> i & 1) || seeker->at_rail[i] == AT_RAIL)
                continue;
            next->untaken &= ~(1u << i);
            next->under_way |= 1u << i;
            seeker->at_rail[i]++;
            if (!next->untaken)
                shl_list_remove(node);
            *quest = next;
            *rail = i;
            return true;
        }
    }
    return false;
}

static void carry_out(struct shl_verbs_seeker *seeker, struct shl_verbs_quest *quest, uint32_t rail)
{
    const uint64_t one = 1;
    pthread_mutex_unlock(&seeker->lock);
    int error = shl_verbs_trial_run(&quest->trials[rail]);
    pthread_mutex_lock(&seeker->lock);
    seeker->errands--;
    if (seeker->at_rail[rail]-- == AT_RAIL)
        pthread_cond_broadcast(&seeker->changed); /* others may wait for this rail */
    quest->under_way &= ~(1u << rail);
    quest->found |= error ? 0 : 1u << rail;
    quest->errors[rail] = error;
    if (!quest->forsaken)
        (void)shl_fd->write(seeker->bell_fd, &one, sizeof(one));
    else if (is_over(quest))
        shl_mem->free(quest);
}

static void *seek_main(void *arg)
{
    struct shl_verbs_seeker *seeker = arg;
    struct shl_verbs_quest *quest;
    uint32_t rail;
    pthread_mutex_lock(&seeker->lock);
    while (!seeker->ending) {
        if (take(seeker, &quest, &rail))
            carry_out(seeker, quest, rail);
        else
            pthread_cond_wait(&seeker->changed, &seeker->lock);
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
    if (status < 0)
        free_seeker(seeker);
    else
        t->seeker = seeker;
    return status;
}

/* As many threads as there are errands, if the system lets us. */
static enum shoal_status man(struct shl_verbs_seeker *seeker, uint32_t errands)
{
    while (seeker->thread_count < THREADS_MAX && seeker->thread_count < errands) {
        enum shoal_status status = shl_thread_start(&seeker->threads[seeker->thread_count],
                                                    "shoal-verbs", seek_main, seeker);
        if (status < 0)
            return seeker->thread_count ? SHOAL_OK : status; /* those that there are do it all */
        seeker->thread_count++;
    }
    return SHOAL_OK;
}

void shl_verbs_seek_close(struct shl_transport *t)
{
    struct shl_verbs_seeker *seeker = t->seeker;
    if (!seeker)
        return;
    pthread_mutex_lock(&seeker->lock);
    seeker->ending = true;
    pthread_cond_broadcast(&seeker->changed);
    pthread_mutex_unlock(&seeker->lock);
    for (uint32_t i = 0; i < seeker->thread_count; i++)
        pthread_join(seeker->threads[i], NULL);
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
    quest->asked = quest->untaken = rails;
    quest->since_ns = shl_now_ns();
    for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++)
        if (rails >> rail & 1)
            shl_verbs_trial_prepare(link, rail, &quest->trials[rail]);
    pthread_mutex_lock(&seeker->lock);
    uint32_t errands = seeker->errands + (uint32_t)__builtin_popcount(rails);
    pthread_mutex_unlock(&seeker->lock);
    enum shoal_status status = man(seeker, errands);
    if (status < 0) {
        shl_mem->free(quest);
        return status;
    }
    link->quest = quest;
    pthread_mutex_lock(&seeker->lock);
    seeker->errands += (uint32_t)__builtin_popcount(rails);
    shl_list_append(&seeker->waiting, &quest->link);
    pthread_cond_broadcast(&seeker->changed);
    pthread_mutex_unlock(&seeker->lock);
    return SHOAL_OK;
}

void shl_verbs_seek(struct shl_verbs_link *link, uint32_t rails)
{
    const struct shl_verbs_port *port = &link->t->port;
    rails |= shl_verbs_seek_end(link);
    rails &= rails_up(link);
    if (rails == 0 || link->state != SHL_VERBS_UP)
        return;
    if (port->kind == SHL_VERBS_ROCE && !port->by_cm) {
        if (ask(link, rails) == SHOAL_OK) {
            shl_verbs_move_ask(link, rails);
            return;
        }
        shl_log(SHL_LOG_WARN, "%s; connecting may take long", shl_error_text());
    }
    shl_verbs_move_found(link, rails);
}

uint32_t shl_verbs_seek_end(struct shl_verbs_link *link)
{
    struct shl_verbs_quest *quest = link->quest;
    if (!quest)
        return 0;
    struct shl_verbs_seeker *seeker = link->t->seeker;
    link->quest = NULL;
    pthread_mutex_lock(&seeker->lock);
    uint32_t unheard = quest->untaken | quest->under_way | (quest->found & ~quest->told);
    seeker->errands -= (uint32_t)__builtin_popcount(quest->untaken);
    if (quest->untaken)
        shl_list_remove(&quest->link);
    quest->untaken = 0;
    quest->forsaken = true;
    bool over = is_over(quest);
    pthread_mutex_unlock(&seeker->lock);
    if (over)
        shl_mem->free(quest);
    return unheard;
}

bool shl_verbs_sought_any(const struct shl_verbs_link *link)
{
    const struct shl_verbs_quest *quest = link->quest;
    if (!quest)
        return false;
    pthread_mutex_lock(&link->t->seeker->lock);
    bool any = is_over(quest) || quest->found != quest->told;
    pthread_mutex_unlock(&link->t->seeker->lock);
    return any;
}

/* The quest is over: which rails it did not find, and why. */
static void conclude(struct shl_verbs_link *link)
{
    struct shl_verbs_quest *quest = link->quest;
    uint32_t lost = quest->asked & ~quest->found;
    bool in_vain = quest->found == 0;
    for (uint32_t rail = 0; rail < SHL_VERBS_RAILS; rail++)
        if (lost >> rail & 1)
            shl_log(SHL_LOG_WARN, "%s finds no way to rank %u: %s",
                    link->t->rails[rail].port.device, link->peer, strerror(quest->errors[rail]));
    link->quest = NULL;
    shl_mem->free(quest);
    if (lost)
        shl_verbs_move_missed(link, lost, in_vain);
}

unsigned shl_verbs_sought(struct shl_verbs_link *link)
{
    struct shl_verbs_quest *quest = link->quest;
    if (SHL_LIKELY(!quest) || link->state != SHL_VERBS_UP)
        return 0;
    pthread_mutex_lock(&link->t->seeker->lock);
    uint32_t news = quest->found & ~quest->told;
    bool over = is_over(quest);
    if (!over && shl_now_ns() < quest->since_ns + GATHER_NS)
        news = 0;
    quest->told |= news;
    pthread_mutex_unlock(&link->t->seeker->lock);
    if (over)
        conclude(link);
    if (news && link->state == SHL_VERBS_UP)
        shl_verbs_move_found(link, news);
    return news || over;
}

unsigned shl_verbs_seek_hear(struct shl_transport *t)
{
    uint64_t count;
    return shl_fd->read(t->seeker->bell_fd, &count, sizeof(count)) == sizeof(count)
               ? (unsigned)count
               : 0;
}
