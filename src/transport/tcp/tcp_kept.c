/*
 * What a link keeps until something is posted: small messages, announcements and questions.
 *
 * Small messages lie in chains of fixed blocks, medium ones in slots. There are exactly as many of
 * both as the sender has credit for, so one is always free. Announcements and questions take
 * entries of a fixed table; when it is full the newest is dropped, and flags on the link make the
 * other way around it: questions ask for announcements again, or every receive is announced.
 *
 * Invariant: kept blocks plus returned credit equal the credit the peer has used.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/tcp/tcp_link.h"

/* ---- messages ----------------------------------------------------------------------------- */

static struct shl_tcp_kept *block_take(struct shl_tcp_link *link)
{
    struct shl_tcp_kept *block = link->kept_free;
    if (block) {
        link->kept_free = block->next;
        return block;
    }
    SHL_ASSERT(link->kept_fresh < SHL_TCP_KEPT_BLOCKS); /* the credit was checked */
    return &link->kept_blocks[link->kept_fresh++];
}

void shl_tcp_kept_add(struct shl_tcp_link *link, const struct shl_tcp_header *header,
                      const uint8_t *payload)
{
    struct shl_tcp_kept *first = block_take(link), *block = first;
    first->tag = header->tag;
    first->signature = header->signature;
    first->bytes = header->length;
    for (uint32_t at = 0;;) {
        uint32_t rest = header->length - at;
        uint32_t step = rest < SHL_TCP_KEPT_BLOCK_BYTES ? rest : SHL_TCP_KEPT_BLOCK_BYTES;
        memcpy(block->data, payload + at, step);
        block->next = NULL;
        at += step;
        if (at == header->length)
            break;
        block->next = block_take(link);
        block = block->next;
    }
    shl_list_append(&link->kept[shl_tcp_bucket(&header->tag)], &first->link);
    link->kept_count++;
}

struct shl_tcp_kept *shl_tcp_kept_find(struct shl_tcp_link *link, const struct shl_tag *tag)
{
    struct shl_list *head = &link->kept[shl_tcp_bucket(tag)];
    for (struct shl_list *node = head->next; node != head; node = node->next) {
        struct shl_tcp_kept *kept = SHL_CONTAINER_OF(node, struct shl_tcp_kept, link);
        if (shl_tag_equal(&kept->tag, tag))
            return kept;
    }
    return NULL;
}

void shl_tcp_kept_copy(const struct shl_tcp_kept *kept, uint8_t *target)
{
    uint32_t rest = kept->bytes;
    if (kept->slot) {
        memcpy(target, kept->slot, rest);
        return;
    }
    for (const struct shl_tcp_kept *block = kept; rest; block = block->next) {
        uint32_t step = rest < SHL_TCP_KEPT_BLOCK_BYTES ? rest : SHL_TCP_KEPT_BLOCK_BYTES;
        memcpy(target, block->data, step);
        target += step;
        rest -= step;
    }
}

void shl_tcp_kept_free(struct shl_tcp_link *link, struct shl_tcp_kept *kept)
{
    uint32_t blocks = 0;
    shl_list_remove(&kept->link);
    link->kept_count--;
    if (kept->slot) {
        kept->next = link->slot_free;
        link->slot_free = kept;
        shl_tcp_slot_return(link);
        return;
    }
    while (kept) {
        struct shl_tcp_kept *next = kept->next;
        kept->next = link->kept_free;
        link->kept_free = kept;
        kept = next;
        blocks++;
    }
    shl_tcp_blocks_return(link, blocks);
}

/* ---- slots -------------------------------------------------------------------------------- */

struct shl_tcp_kept *shl_tcp_slot_find(struct shl_tcp_link *link, uint32_t sequence)
{
    for (int i = 0; i < SHL_TCP_KEPT_SLOTS; i++)
        if (link->kept_slots[i].filling && link->kept_slots[i].sequence == sequence)
            return &link->kept_slots[i];
    return NULL;
}

struct shl_tcp_kept *shl_tcp_slot_take(struct shl_tcp_link *link,
                                       const struct shl_tcp_header *header)
{
    struct shl_tcp_kept *slot = link->slot_free;
    if (!slot)
        return NULL;
    link->slot_free = slot->next;
    slot->filling = true;
    slot->sequence = header->sequence;
    slot->tag = header->tag;
    slot->signature = header->signature;
    slot->bytes = header->length;
    return slot;
}

void shl_tcp_slot_keep(struct shl_tcp_link *link, struct shl_tcp_kept *slot)
{
    slot->filling = false;
    shl_list_append(&link->kept[shl_tcp_bucket(&slot->tag)], &slot->link);
    link->kept_count++;
}

/* Its credit is returned when its frame has ended. */
void shl_tcp_slot_drop(struct shl_tcp_link *link, struct shl_tcp_kept *slot)
{
    slot->filling = false;
    slot->next = link->slot_free;
    link->slot_free = slot;
}

/* ---- announcements and questions ---------------------------------------------------------- */

/* Entries can outlive their operation when a question was overtaken by its own message. */
static void notices_purge(struct shl_tcp_link *link)
{
    const struct shl_transport_env *env = link->t->env;
    struct shl_list *node, *after;
    for (int i = 0; i < SHL_TCP_BUCKETS; i++) {
        SHL_LIST_FOR_EACH(node, after, &link->notices[i])
        {
            struct shl_tcp_notice *notice = SHL_CONTAINER_OF(node, struct shl_tcp_notice, link);
            if (!env->wanted(env->arg, &notice->tag))
                shl_tcp_notice_free(link, notice);
        }
    }
}

static struct shl_tcp_notice *notice_take(struct shl_tcp_link *link)
{
    struct shl_list *node = shl_list_pop(&link->notice_free);
    if (node)
        return SHL_CONTAINER_OF(node, struct shl_tcp_notice, link);
    if (link->notice_fresh < SHL_TCP_NOTICES_MAX)
        return &link->notice_entries[link->notice_fresh++];
    return NULL;
}

bool shl_tcp_notice_add(struct shl_tcp_link *link, const struct shl_tcp_header *header)
{
    struct shl_tcp_notice *notice = notice_take(link);
    if (!notice) {
        notices_purge(link);
        notice = notice_take(link);
    }
    if (!notice)
        return false;
    notice->tag = header->tag;
    notice->signature = header->signature;
    notice->bytes = header->offset;
    notice->type = header->type;
    notice->elem_bytes = header->elem_bytes;
    shl_list_append(&link->notices[shl_tcp_bucket(&header->tag)], &notice->link);
    link->notice_count++;
    return true;
}

struct shl_tcp_notice *shl_tcp_notice_find(struct shl_tcp_link *link, const struct shl_tag *tag,
                                           enum shl_tcp_frame_type type)
{
    struct shl_list *head = &link->notices[shl_tcp_bucket(tag)];
    for (struct shl_list *node = head->next; node != head; node = node->next) {
        struct shl_tcp_notice *notice = SHL_CONTAINER_OF(node, struct shl_tcp_notice, link);
        if (notice->type == type && shl_tag_equal(&notice->tag, tag))
            return notice;
    }
    return NULL;
}

void shl_tcp_notice_free(struct shl_tcp_link *link, struct shl_tcp_notice *notice)
{
    shl_list_remove(&notice->link);
    shl_list_append(&link->notice_free, &notice->link);
    link->notice_count--;
}
