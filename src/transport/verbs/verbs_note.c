/*
 * What a link keeps until something is posted: small messages, and frames about messages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

#include "core/sys.h"

#define BLOCK_NOTES 64

/* Blocks of notes are only given back when the transport closes. */
struct block {
    struct shl_list link;
    struct shl_verbs_note notes[BLOCK_NOTES];
};

static bool add_block(struct shl_transport *t)
{
    struct block *block =
        t->note_count < SHL_VERBS_NOTES_MAX ? shl_mem->alloc(sizeof(*block)) : NULL;
    if (!block)
        return false;
    shl_list_append(&t->note_blocks, &block->link);
    for (uint32_t i = 0; i < BLOCK_NOTES; i++)
        shl_list_append(&t->notes_free, &block->notes[i].link);
    t->note_count += BLOCK_NOTES;
    return true;
}

struct shl_verbs_note *shl_verbs_note_new(struct shl_verbs_link *link,
                                          const struct shl_verbs_frame *frame)
{
    struct shl_transport *t = link->t;
    if (shl_list_empty(&t->notes_free) && !add_block(t)) {
        shl_verbs_link_fail(link, SHOAL_ERR_NOMEM, "no memory for what rank %u tells", link->peer);
        return NULL;
    }
    struct shl_list *node = shl_list_pop(&t->notes_free);
    struct shl_verbs_note *note = SHL_CONTAINER_OF(node, struct shl_verbs_note, link);
    note->frame = *frame;
    note->xfer = NULL;
    return note;
}

void shl_verbs_note_free(struct shl_transport *t, struct shl_verbs_note *note)
{
    shl_list_remove(&note->link);
    shl_list_append(&t->notes_free, &note->link);
}

struct shl_verbs_note *shl_verbs_note_find(struct shl_verbs_link *link, const struct shl_tag *tag,
                                           uint8_t type)
{
    struct shl_list *node, *after, *head = &link->notes[shl_verbs_bucket(tag)];
    SHL_LIST_FOR_EACH(node, after, head)
    {
        struct shl_verbs_note *note = SHL_CONTAINER_OF(node, struct shl_verbs_note, link);
        if (note->frame.type == type && shl_tag_equal(&note->frame.tag, tag))
            return note;
    }
    return NULL;
}

struct shl_verbs_kept *shl_verbs_kept_find(struct shl_verbs_link *link, const struct shl_tag *tag)
{
    struct shl_list *node, *after, *head = &link->kept[shl_verbs_bucket(tag)];
    SHL_LIST_FOR_EACH(node, after, head)
    {
        struct shl_verbs_kept *kept = SHL_CONTAINER_OF(node, struct shl_verbs_kept, link);
        if (shl_tag_equal(&kept->frame.tag, tag))
            return kept;
    }
    return NULL;
}

void shl_verbs_kept_free(struct shl_verbs_link *link, struct shl_verbs_kept *kept)
{
    shl_list_remove(&kept->link);
    shl_list_append(&link->kept_free, &kept->link);
    link->unkept++;
}

struct shl_xfer *shl_verbs_find(struct shl_list *buckets, const struct shl_tag *tag)
{
    struct shl_list *node, *after, *head = &buckets[shl_verbs_bucket(tag)];
    SHL_LIST_FOR_EACH(node, after, head)
    {
        struct shl_xfer *xfer = SHL_CONTAINER_OF(node, struct shl_xfer, link);
        if (shl_tag_equal(&xfer->tag, tag))
            return xfer;
    }
    return NULL;
}
