/*
 * One round of progress, the mailbox, and the service thread.
 *
 * The service thread exists so that mail is answered when the application is computing, and so
 * that started requests move on when nobody waits for them. It is asleep otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bell.h"
#include "core/sys.h"
#include "engine/comm.h"

#include <signal.h>
#include <string.h>

static void announce_mail(struct shl_engine *engine)
{
    shl_engine_ring(engine);
    if (atomic_load(&engine->service_started))
        shl_bell_ring(engine->service_bell);
}

void shl_engine_mail(struct shl_engine *engine, uint32_t origin, uint16_t type, const void *payload,
                     size_t bytes)
{
    struct shl_mail *mail = shl_mem->alloc(sizeof(*mail) + bytes);
    if (!mail)
        return; /* The statement's other copies, or the incident's deadline, settle it. */
    mail->origin = origin;
    mail->type = type;
    mail->bytes = bytes;
    memcpy(mail->payload, payload, bytes);
    pthread_mutex_lock(&engine->mail_lock);
    shl_list_append(&engine->mail, &mail->link);
    atomic_store(&engine->has_mail, true);
    pthread_mutex_unlock(&engine->mail_lock);
    announce_mail(engine);
}

/* Told by the control thread, or by a transport inside poll; handled with the mail in both cases,
 * since the first does not hold the token and the second is in the middle of something. Needs no
 * memory: a loss must not be missed. */
void shl_engine_lost(struct shl_engine *engine, uint32_t rank, enum shoal_status status,
                     const char *cause)
{
    struct shl_peer *peer = &engine->peers[rank];
    (void)status;
    pthread_mutex_lock(&engine->mail_lock);
    bool news = !peer->told;
    if (news) {
        peer->told = true;
        memcpy(peer->cause, cause, strnlen(cause, sizeof(peer->cause) - 1));
        engine->losses_told++;
        atomic_store(&engine->has_mail, true);
    }
    pthread_mutex_unlock(&engine->mail_lock);
    if (news)
        announce_mail(engine);
}

static void take_loss(struct shl_engine *engine, uint32_t rank)
{
    engine->peers[rank].lost = true;
    engine->losses_taken++;
    for (uint32_t i = 0; i < engine->transport_count; i++)
        engine->transports[i].ops->drop_peer(engine->transports[i].t, rank);
    shl_incident_lost(engine, rank);
}

static unsigned take_losses(struct shl_engine *engine)
{
    unsigned count = 0;
    for (uint32_t rank = 0; rank < engine->size; rank++) {
        pthread_mutex_lock(&engine->mail_lock);
        bool news = engine->peers[rank].told && !engine->peers[rank].lost;
        pthread_mutex_unlock(&engine->mail_lock);
        if (news) {
            take_loss(engine, rank);
            count++;
        }
    }
    return count;
}

static void handle_mail(struct shl_engine *engine, const struct shl_mail *mail)
{
    switch (mail->type) {
    case SHL_MAIL_LEFT:
    case SHL_MAIL_ABORT:
    case SHL_MAIL_UNSPLIT:
        shl_leave_mail(engine, mail->type, mail->payload, mail->bytes);
        break;
    case SHL_MAIL_STATEMENT:
        shl_incident_mail(engine, mail->payload, mail->bytes);
        break;
    default:
        shl_why_mail(engine, mail->type, mail->payload, mail->bytes);
        break;
    }
}

static unsigned read_mail(struct shl_engine *engine)
{
    unsigned count = 0;
    struct shl_list batch, *node;
    shl_list_init(&batch);
    pthread_mutex_lock(&engine->mail_lock);
    while ((node = shl_list_pop(&engine->mail)))
        shl_list_append(&batch, node);
    atomic_store(&engine->has_mail, false);
    bool losses = engine->losses_told != engine->losses_taken;
    pthread_mutex_unlock(&engine->mail_lock);
    while ((node = shl_list_pop(&batch))) {
        struct shl_mail *mail = SHL_CONTAINER_OF(node, struct shl_mail, link);
        handle_mail(engine, mail);
        shl_mem->free(mail);
        count++;
    }
    return losses ? count + take_losses(engine) : count;
}

unsigned shl_engine_advance_groups(struct shl_engine *engine)
{
    unsigned events = 0;
    struct shl_list *c, *c_next, *r, *r_next;
    SHL_LIST_FOR_EACH(c, c_next, &engine->comms)
    {
        struct shoal_comm *comm = SHL_CONTAINER_OF(c, struct shoal_comm, link);
        if (!comm->group)
            continue;
        SHL_LIST_FOR_EACH(r, r_next, &comm->ops)
        {
            struct shoal_request *request = SHL_CONTAINER_OF(r, struct shoal_request, link);
            if (request->state != SHL_REQUEST_GATHER && request->state != SHL_REQUEST_MOVE)
                continue;
            if (shl_group_advance(request) != 0) {
                events++;
                break; /* It may have completed, and others with it: the list has changed. */
            }
        }
    }
    return events;
}

unsigned shl_engine_poll(struct shl_engine *engine)
{
    unsigned events = 0;
    for (uint32_t i = 0; i < engine->transport_count; i++)
        events += engine->transports[i].ops->poll(engine->transports[i].t);
    if (SHL_UNLIKELY(atomic_load_explicit(&engine->has_mail, memory_order_relaxed)))
        events += read_mail(engine);
    if (SHL_UNLIKELY(engine->disagreements > 0))
        shl_incident_raise_seen(engine);
    struct shl_list *node;
    while ((node = shl_list_pop(&engine->ready_execs))) {
        shl_exec_run(shl_exec_from_link(node));
        events++;
    }
    return events + shl_engine_advance_groups(engine);
}

/* ---- service thread ----------------------------------------------------------------------- */

void shl_engine_kick_service(struct shl_engine *engine)
{
    if (engine->service_started && atomic_load(&engine->service_idle))
        shl_bell_ring(engine->service_bell);
}

/* token: work until everything outstanding has a caller that drives it. */
static void serve(struct shl_engine *engine)
{
    struct shl_idle idle = {.timeout_ns = UINT64_MAX};
    while (!atomic_load(&engine->service_stop) &&
           (engine->outstanding > engine->waited || atomic_load(&engine->has_mail) ||
            shl_engine_has_incident(engine))) {
        if (shl_engine_poll(engine) != 0)
            shl_idle_end(&idle);
        else
            shl_idle_step(engine, &idle);
        shl_token_offer(engine);
    }
    shl_engine_stop_driving(engine);
}

static void *service_main(void *arg)
{
    struct shl_engine *engine = arg;
    uint64_t drained;
    atomic_store(&engine->service_idle, true);
    while (!atomic_load(&engine->service_stop)) {
        if (shl_fd->read(engine->service_bell, &drained, sizeof(drained)) < 0)
            shl_time->sleep_ns(1000000);
        shl_token_take(engine);
        atomic_store(&engine->service_idle, false);
        serve(engine);
        /* Before the token goes, so that whoever starts a request next rings. */
        atomic_store(&engine->service_idle, true);
        shl_token_give(engine);
    }
    return NULL;
}

enum shoal_status shl_service_start(struct shl_engine *engine)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&engine->service, NULL, service_main, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return shl_fail(SHOAL_ERR_SYSTEM, "cannot start the service thread: %s; check ulimit -u",
                        strerror(error));
    atomic_store(&engine->service_started, true);
    return SHOAL_OK;
}

void shl_service_stop(struct shl_engine *engine)
{
    if (!engine->service_started)
        return;
    atomic_store(&engine->service_stop, true);
    shl_bell_ring(engine->service_bell);
    shl_engine_ring(engine);
    pthread_join(engine->service, NULL);
    atomic_store(&engine->service_started, false);
}
