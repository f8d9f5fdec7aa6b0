/*
 * A learner and the members that give to it, over sessions that break, memory that is short and
 * places that are taken: whatever happens, it gets all chunks, long before it would be let in
 * without. The nodes are a queue of letters here, and sessions are numbers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/sys.h"
#include "elastic/state/state.h"
#include "support/test.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define GIVERS 2
#define LEARNER GIVERS /* its place; who comes behind it writes by hand */
#define OTHERS SHL_CATCH_UP_TAKERS
#define PLACES (GIVERS + 1 + OTHERS)
#define CHUNKS 12
#define BYTES (CHUNKS * (uint64_t)SHL_CHUNK_BYTES - 77)
#define PATIENCE_NS (60 * 1000000000ull) /* the learner has an hour */

struct letter {
    struct shl_list link;
    unsigned from, to;
    uint64_t session;
    size_t size;
    uint8_t bytes[];
};

static struct net {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct shl_list letters;
    uint64_t session[PLACES][GIVERS]; /* of a learner's with a giver */
    uint64_t sessions;
    unsigned delivered;
    unsigned cut_at[2]; /* letters after which all sessions break, and are back at once */
    _Atomic unsigned later, dropped; /* such answers that were delivered */
    _Atomic unsigned poor;           /* of so many requests for memory every fourth fails */
    bool reads;                      /* who writes by hand reads what it gets, and asks for more */
    bool stop;
} net;

static struct place {
    struct shoal_world world;
    struct shoal_state *state;
    uint8_t *data;
} places[GIVERS + 1];

static char nodes[GIVERS + 1]; /* whose addresses are the nodes */
static _Atomic bool steps_stop, learner_done;
static _Thread_local bool is_poor; /* this thread's memory runs out */

/* ---- nodes ------------------------------------------------------------------------------------
 */

static unsigned place_of(const struct shl_node *node)
{
    return (unsigned)((const char *)node - nodes);
}

/* net.lock */
static uint64_t *session_of(unsigned a, unsigned b)
{
    return a < GIVERS ? &net.session[b][a] : &net.session[a][b];
}

static uint64_t post(unsigned from, unsigned to, const void *head, size_t head_bytes,
                     const void *body, size_t body_bytes)
{
    struct letter *letter = malloc(sizeof(*letter) + head_bytes + body_bytes);
    *letter = (struct letter){.from = from, .to = to, .size = head_bytes + body_bytes};
    if (head_bytes)
        memcpy(letter->bytes, head, head_bytes);
    if (body_bytes)
        memcpy(letter->bytes + head_bytes, body, body_bytes);
    pthread_mutex_lock(&net.lock);
    uint64_t session = letter->session = *session_of(from, to);
    shl_list_append(&net.letters, &letter->link);
    pthread_cond_signal(&net.changed);
    pthread_mutex_unlock(&net.lock);
    return session;
}

uint64_t __wrap_shl_node_mail(struct shl_node *node, uint64_t to, const void *head,
                              size_t head_bytes, const void *body, size_t body_bytes);
uint64_t __wrap_shl_node_mail(struct shl_node *node, uint64_t to, const void *head,
                              size_t head_bytes, const void *body, size_t body_bytes)
{
    return post(place_of(node), (unsigned)to - 1, head, head_bytes, body, body_bytes);
}

uint32_t __wrap_shl_node_reached(struct shl_node *node, struct shl_node_reach *reached,
                                 uint32_t capacity);
uint32_t __wrap_shl_node_reached(struct shl_node *node, struct shl_node_reach *reached,
                                 uint32_t capacity)
{
    pthread_mutex_lock(&net.lock);
    for (unsigned i = 0; i < GIVERS && i < capacity; i++)
        reached[i] = (struct shl_node_reach){i + 1, *session_of(place_of(node), i)};
    pthread_mutex_unlock(&net.lock);
    return GIVERS;
}

static void ask_by_hand(unsigned from, unsigned giver, uint64_t chunk)
{
    uint8_t head[SHL_CATCH_UP_HEAD];
    struct shl_catch_up_mail mail = {.kind = SHL_CATCH_UP_ASK, .chunk = chunk};
    ASSERT_OK(shl_state_schema(places[giver].state, mail.schema));
    post(from, giver, head, shl_catch_up_put(head, &mail), NULL, 0);
}

static void read_by_hand(unsigned place, unsigned giver, const struct shl_catch_up_mail *mail)
{
    uint8_t head[SHL_CATCH_UP_HEAD];
    struct shl_catch_up_mail read = {.kind = SHL_CATCH_UP_READ};
    if (!net.reads || place != LEARNER + 2 || mail->kind != SHL_CATCH_UP_DATA)
        return;
    post(place, giver, head, shl_catch_up_put(head, &read), NULL, 0);
    ask_by_hand(place, giver, mail->chunk);
}

static void deliver(const struct letter *letter)
{
    struct shl_catch_up_mail mail;
    struct shl_node_letter read = {.from = letter->from + 1,
                                   .session = letter->session,
                                   .bytes = letter->bytes,
                                   .size = letter->size};
    bool is_mail = shl_catch_up_get(letter->bytes, letter->size, &mail);
    net.later += is_mail && mail.kind == SHL_CATCH_UP_LATER;
    net.dropped += is_mail && mail.kind == SHL_CATCH_UP_DROPPED;
    if (letter->to > LEARNER) {
        if (is_mail)
            read_by_hand(letter->to, letter->from, &mail);
        return;
    }
    struct place *to = &places[letter->to];
    pthread_mutex_lock(&to->world.lock); /* as views do */
    bool is_read = to->state->follower.mail(to->state, &read);
    pthread_mutex_unlock(&to->world.lock);
    if (read.answer_bytes || (!is_read && letter->size))
        post(letter->to, letter->from, read.answer, read.answer_bytes, NULL, 0);
}

/* net.lock: all that is on its way is lost. */
static void cut(void)
{
    struct shl_list *at;
    while ((at = shl_list_pop(&net.letters)))
        free(SHL_CONTAINER_OF(at, struct letter, link));
    for (unsigned i = 0; i < PLACES; i++)
        for (unsigned k = 0; k < GIVERS; k++)
            net.session[i][k] = ++net.sessions;
}

static void *carry(void *arg)
{
    struct shl_list *at;
    (void)arg;
    is_poor = true;
    pthread_mutex_lock(&net.lock);
    while (!net.stop) {
        if (!(at = shl_list_pop(&net.letters))) {
            pthread_cond_wait(&net.changed, &net.lock);
            continue;
        }
        struct letter *letter = SHL_CONTAINER_OF(at, struct letter, link);
        net.delivered++;
        pthread_mutex_unlock(&net.lock);
        deliver(letter);
        free(letter);
        pthread_mutex_lock(&net.lock);
        if (net.delivered == net.cut_at[0] || net.delivered == net.cut_at[1])
            cut();
    }
    cut();
    pthread_mutex_unlock(&net.lock);
    return NULL;
}

/* ---- members ----------------------------------------------------------------------------------
 */

static void *alloc(size_t bytes)
{
    unsigned poor = net.poor;
    while (is_poor && poor && !atomic_compare_exchange_weak(&net.poor, &poor, poor - 1))
        ;
    if (!is_poor || !poor || poor % 4)
        return shl_mem_kernel.alloc(bytes);
    errno = ENOMEM;
    return NULL;
}

static void open_place(unsigned i)
{
    struct place *place = &places[i];
    struct shoal_world *world = &place->world;
    *world = (struct shoal_world){.node = (struct shl_node *)&nodes[i]};
    world->options.world.join_timeout_ms = 3600 * 1000;
    pthread_mutex_init(&world->lock, NULL);
    pthread_cond_init(&world->changed, NULL);
    world->log = shl_mem->alloc(sizeof(*world->log));
    place->data = malloc(BYTES);
    for (uint64_t k = 0; k < BYTES; k++)
        place->data[k] = i == LEARNER ? 0xee : (uint8_t)(k * 7 + k / SHL_CHUNK_BYTES);
    struct shoal_state_array array = {.struct_size = sizeof(array),
                                      .name = "a",
                                      .data = place->data,
                                      .count = BYTES,
                                      .dtype = SHOAL_U8,
                                      .kind = SHOAL_STATE_REPLICATED};
    ASSERT_OK(shl_state_create(world, 8, 1, false, 4 * SHL_CHUNK_BYTES, &place->state));
    ASSERT_OK(shl_state_add(place->state, &array));
}

static void close_place(unsigned i)
{
    struct place *place = &places[i];
    pthread_mutex_lock(&place->world.lock);
    place->state->follower.forget(place->state);
    pthread_mutex_unlock(&place->world.lock);
    shl_state_destroy(place->state);
    shl_oplog_free(place->world.log);
    pthread_cond_destroy(&place->world.changed);
    pthread_mutex_destroy(&place->world.lock);
    free(place->data);
}

static void *begin_steps(void *arg)
{
    (void)arg;
    is_poor = true;
    while (!steps_stop) {
        for (unsigned i = 0; i < GIVERS; i++)
            places[i].state->follower.begun(places[i].state, false);
        sched_yield();
    }
    return NULL;
}

static void *learn(void *arg)
{
    (void)arg;
    places[LEARNER].state->follower.catch_up(places[LEARNER].state);
    learner_done = true;
    return NULL;
}

/* ---- a job ------------------------------------------------------------------------------------
 */

static struct shl_sys_mem mem;
static pthread_t carrier, steps, learner;

static int open_job(void **state)
{
    (void)state;
    mem = shl_mem_kernel;
    mem.alloc = alloc;
    shl_mem = &mem;
    net = (struct net){.stop = false};
    pthread_mutex_init(&net.lock, NULL);
    pthread_cond_init(&net.changed, NULL);
    shl_list_init(&net.letters);
    cut();
    steps_stop = learner_done = false;
    for (unsigned i = 0; i <= LEARNER; i++)
        open_place(i);
    for (unsigned i = 0; i < GIVERS; i++)
        places[i].state->follower.settled(places[i].state);
    return 0;
}

static void start(pthread_t *thread, void *(*run)(void *))
{
    assert_int_equal(pthread_create(thread, NULL, run, NULL), 0);
}

/* false: it took too long. */
static bool await(bool (*is_so)(void))
{
    uint64_t end_ns = shl_now_ns() + PATIENCE_NS;
    bool so; /* which looking may change */
    while (!(so = is_so()) && shl_now_ns() < end_ns)
        sched_yield();
    return so;
}

static bool has_learned(void)
{
    return learner_done;
}

static void end_threads(void)
{
    pthread_mutex_lock(&places[LEARNER].world.lock);
    places[LEARNER].world.ended = true; /* should it still wait */
    pthread_mutex_unlock(&places[LEARNER].world.lock);
    steps_stop = true;
    pthread_join(steps, NULL);
    for (unsigned i = 0; i < GIVERS; i++)
        places[i].state->follower.end(places[i].state);
    pthread_mutex_lock(&net.lock);
    net.stop = true;
    pthread_cond_signal(&net.changed);
    pthread_mutex_unlock(&net.lock);
    pthread_join(carrier, NULL);
}

static void close_job(void)
{
    for (unsigned i = 0; i <= LEARNER; i++)
        close_place(i);
    shl_mem = &shl_mem_kernel;
}

/* The learner gets all there is. */
static void finish(const char *story)
{
    bool in_time = await(has_learned);
    end_threads();
    pthread_join(learner, NULL);
    if (!in_time || memcmp(places[0].data, places[LEARNER].data, BYTES) != 0)
        fail_msg("%s: %llu of %llu bytes came, %u letters", story,
                 (unsigned long long)places[LEARNER].state->stats.caught_up,
                 (unsigned long long)BYTES, net.delivered);
    close_job();
}

/* ---- tests ------------------------------------------------------------------------------------
 */

/* At any moment, twice, and back before anybody looks. */
static void sessions_break(void **state)
{
    for (unsigned k = 1; k < 60; k += 8) {
        char story[32];
        if (k > 1)
            open_job(state);
        snprintf(story, sizeof(story), "cut after %u letters", k);
        net.cut_at[0] = k;
        net.cut_at[1] = 2 * k + 3;
        start(&carrier, carry);
        start(&steps, begin_steps);
        start(&learner, learn);
        finish(story);
    }
}

static bool was_put_off(void)
{
    return net.later > 0;
}

/* For requests, for copies, and for what it takes to begin. */
static void members_lack_memory(void **state)
{
    (void)state;
    net.poor = 80;
    for (unsigned i = 0; i < GIVERS; i++) { /* it could not be made */
        struct shl_giver *giver = &places[i].state->giver;
        giver->open = false;
        shl_chunks_free(&giver->chunks);
    }
    start(&carrier, carry);
    start(&learner, learn);
    assert_true(await(was_put_off));
    start(&steps, begin_steps);
    finish("no memory");
    assert_true(net.poor <= 80 - 2 * CHUNKS);
}

static void members_give_to_as_many_as_they_can(void **state)
{
    (void)state;
    for (unsigned i = 0; i < OTHERS; i++)
        for (unsigned k = 0; k < GIVERS; k++)
            ask_by_hand(LEARNER + 1 + i, k, 0);
    start(&carrier, carry);
    start(&learner, learn);
    assert_true(await(was_put_off));
    start(&steps, begin_steps);
    finish("many learners");
}

static bool is_known(unsigned giver, uint64_t id)
{
    bool known = false;
    struct shl_giver *of = &places[giver].state->giver;
    pthread_mutex_lock(&of->lock);
    for (unsigned i = 0; i < SHL_CATCH_UP_TAKERS; i++)
        known |= of->takers[i].id == id;
    pthread_mutex_unlock(&of->lock);
    return known;
}

/* It reads nothing of four answers, and seems to have been silent for long. */
static bool is_silent(void)
{
    bool silent = false;
    struct shl_giver *giver = &places[0].state->giver;
    pthread_mutex_lock(&giver->lock);
    for (unsigned i = 0; i < SHL_CATCH_UP_TAKERS; i++) {
        struct shl_giver_taker *taker = &giver->takers[i];
        if (taker->id != LEARNER + 2 || taker->unread < SHL_CATCH_UP_UNREAD)
            continue;
        taker->since_ns -= 3600 * 1000000000ull;
        silent = true;
    }
    pthread_mutex_unlock(&giver->lock);
    return silent;
}

static bool is_dropped(void)
{
    return !is_known(0, LEARNER + 2) && net.dropped > 0;
}

/* While another reads all the time. */
static void one_that_reads_nothing_is_dropped_and_told(void **state)
{
    (void)state;
    net.reads = true;
    for (uint64_t k = 0; k < SHL_CATCH_UP_UNREAD + 2; k++) /* two copies wait for it */
        ask_by_hand(LEARNER + 1, 0, k);
    start(&carrier, carry);
    start(&steps, begin_steps);
    assert_true(await(is_silent));
    ask_by_hand(LEARNER + 2, 0, 3);
    bool dropped = await(is_dropped);
    bool other = is_known(0, LEARNER + 3);
    end_threads();
    close_job();
    assert_true(dropped);
    assert_true(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sessions_break, open_job),
        cmocka_unit_test_setup(members_lack_memory, open_job),
        cmocka_unit_test_setup(members_give_to_as_many_as_they_can, open_job),
        cmocka_unit_test_setup(one_that_reads_nothing_is_dropped_and_told, open_job),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
