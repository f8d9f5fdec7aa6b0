/*
 * Talking with the store: reads and compare-and-swap, one at a time.
 *
 * A swap whose answer is lost may have happened, or may still happen. The core never guesses: it
 * reads, and whatever record is there is followed. When that is its own, known by writer and
 * proposal number, it goes on as its writer. A swap that takes effect late does no harm either: it
 * only can while the version is the one that it was meant for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/membership/internal.h"

static struct shl_store_request begin(struct shl_membership *m, bool swap)
{
    m->reg.request = ++m->reg.last_id;
    m->reg.swapping = swap;
    m->reg.asked_ns = m->now_ns;
    return (struct shl_store_request){.id = m->reg.request, .swap = swap};
}

void shl_register_read(struct shl_membership *m)
{
    if (m->reg.request)
        return;
    struct shl_store_request request = begin(m, false);
    m->host.store(m->host.context, &request);
}

void shl_register_swap(struct shl_membership *m)
{
    SHL_ASSERT(!m->reg.request);
    if (m->reg.must_read) {
        shl_register_read(m);
        return;
    }
    struct shl_store_request request = begin(m, true);
    m->proposed.writer = m->options.self.id;
    m->proposed.proposal = request.id;
    struct shl_bytes out = shl_bytes_writer(m->wire, sizeof(m->wire));
    shl_record_put(&out, &m->proposed);
    SHL_ASSERT(!out.failed);
    request.incarnation = m->incarnation;
    request.version = m->version;
    request.bytes = m->wire;
    request.size = out.at;
    m->host.store(m->host.context, &request);
}

void shl_register_poll(struct shl_membership *m)
{
    if (m->reg.must_read || m->now_ns - m->reg.answered_ns >= m->options.times.poll_ns)
        shl_register_read(m);
}

static void unanswered(struct shl_membership *m)
{
    m->reg.must_read = m->reg.must_read || m->reg.swapping;
    m->reg.request = 0;
    m->reg.silent = true;
}

void shl_register_expire(struct shl_membership *m)
{
    if (m->reg.request && m->now_ns - m->reg.asked_ns >= m->options.times.store_ns)
        unanswered(m);
}

bool shl_register_silent(const struct shl_membership *m)
{
    return m->now_ns - m->reg.answered_ns >= m->options.times.store_ns + m->options.times.poll_ns;
}

/* The store began anew without its journal. Its epochs and ours have nothing to do with each other;
 * whoever was a member of the old one cannot go on changing. */
static void lost_register(struct shl_membership *m, uint64_t incarnation)
{
    if (m->state == SHL_MEMBERSHIP_MEMBER) {
        shl_membership_end(
            m, shl_fail(SHOAL_ERR_STORE,
                        "the store lost the register of this job (incarnation %016llx became "
                        "%016llx); members of epoch %llu must join again",
                        (unsigned long long)m->incarnation, (unsigned long long)incarnation,
                        (unsigned long long)m->published));
        return;
    }
    m->incarnation = incarnation;
    m->version = 0;
}

/* A read or a conflict: what the register holds. */
static void follow(struct shl_membership *m, const struct shl_store_answer *answer)
{
    if (!answer->version)
        return; /* empty: nobody has founded the job */
    struct shl_bytes in = shl_bytes_reader(answer->bytes, answer->size);
    if (!shl_record_get(&in, &m->received) || shl_bytes_left(&in)) {
        shl_membership_end(m, shl_fail(SHOAL_ERR_STORE,
                                       "the register holds %zu bytes that are no record of this "
                                       "version; run the same build of Shoal on all members, and "
                                       "use the key of this job for nothing else",
                                       answer->size));
        return;
    }
    shl_membership_adopt(m, answer->version, &m->received);
}

void shl_register_answer(struct shl_membership *m, const struct shl_store_answer *answer)
{
    if (!m->reg.request || answer->id != m->reg.request)
        return;
    if (answer->result == SHL_STORE_UNKNOWN) {
        unanswered(m);
        return;
    }
    bool swapped = m->reg.swapping && answer->result == SHL_STORE_OK;
    m->reg.request = 0;
    m->reg.silent = false;
    m->reg.must_read = false;
    m->reg.answered_ns = m->now_ns;
    if (!m->incarnation)
        m->incarnation = answer->incarnation;
    if (answer->incarnation != m->incarnation)
        lost_register(m, answer->incarnation);
    if (m->state == SHL_MEMBERSHIP_ENDED)
        return;
    if (swapped)
        shl_membership_adopt(m, answer->version, &m->proposed);
    else
        follow(m, answer);
}
