/*
 * Receiving in place: the peer is told where a message belongs, and writes it there.
 *
 * Every place has a receive request on the direct pair, so a write never finds none; a place is
 * used again only when its write has been heard of.
 *
 * Invariant: memory of a place that was announced in this life of the direct pair is given back
 * only after the write has landed, the sender has declined, or the pair has been fenced.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_link.h"

static uint32_t name_of(const struct shl_verbs_link *link, const struct shl_verbs_place *place)
{
    return (uint32_t)place->generation << 16 | (uint32_t)(place - link->direct.places);
}

struct shl_verbs_place *shl_verbs_place_named(struct shl_verbs_link *link, uint32_t name)
{
    struct shl_verbs_place *place = &link->direct.places[name % SHL_VERBS_PLACES];
    return place->xfer && place->generation == name >> 16 ? place : NULL;
}

void shl_verbs_say_place(struct shl_verbs_link *link, struct shl_verbs_place *place)
{
    const struct shl_xfer *xfer = place->xfer;
    place->pieces_left = shl_verbs_piece_count(xfer->bytes);
    struct shl_verbs_frame frame = {.type = SHL_VERBS_PLACE,
                                    .tag = xfer->tag,
                                    .signature = xfer->signature,
                                    .bytes = xfer->bytes,
                                    .offset = link->direct.life,
                                    .address = (uintptr_t)xfer->data,
                                    .window = name_of(link, place)};
    for (uint32_t rail = 0; rail < link->t->rail_count; rail++)
        frame.keys[rail] = place->hold->mr[rail]->rkey;
    struct shl_verbs_note *note = shl_verbs_note_new(link, &frame);
    if (note)
        shl_list_append(&link->outbox, &note->link);
}

static struct shl_verbs_place *find_free(struct shl_verbs_direct *direct)
{
    for (uint32_t i = 0; i < SHL_VERBS_PLACES; i++)
        if (!direct->places[i].xfer)
            return &direct->places[i];
    return NULL;
}

bool shl_verbs_place(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    struct shl_verbs_direct *direct = &link->direct;
    struct shl_verbs_recv_state *state = shl_verbs_recv_state(xfer);
    if (state->place)
        return true;
    if (xfer->sink || xfer->bytes <= SHL_VERBS_EAGER_BYTES || state->granted || state->windowed ||
        !direct->made || (direct->up && !shl_verbs_direct_carries(direct)) ||
        direct->places_used == SHL_VERBS_PLACES)
        return false;
    struct shl_verbs_hold *hold = shl_verbs_hold(link->t, xfer->data, xfer->bytes, false);
    if (!hold)
        return false;
    struct shl_verbs_place *place = find_free(direct);
    place->xfer = xfer;
    place->hold = hold;
    place->landed = false;
    direct->places_used++;
    state->place = (uint8_t)(place - direct->places + 1);
    if (direct->up) /* else it is announced when the pair is connected */
        shl_verbs_say_place(link, place);
    return true;
}

void shl_verbs_place_free(struct shl_verbs_link *link, struct shl_verbs_place *place)
{
    shl_verbs_recv_state(place->xfer)->place = 0;
    shl_verbs_unhold(link->t, &place->hold);
    place->xfer = NULL;
    place->landed = false;
    place->generation++;
    link->direct.places_used--;
}

/* The sender is told at once, since what it is not told again has landed. */
void shl_verbs_place_to_windows(struct shl_verbs_link *link, struct shl_verbs_place *place)
{
    struct shl_xfer *xfer = place->xfer;
    struct shl_verbs_recv_state *state = shl_verbs_recv_state(xfer);
    shl_verbs_place_free(link, place);
    state->windowed = true;
    shl_verbs_say(link, SHL_VERBS_ANNOUNCE, xfer);
    if (state->ready)
        shl_verbs_sender_ready(link, xfer);
}

void shl_verbs_unplace(struct shl_verbs_link *link, struct shl_xfer *xfer)
{
    uint32_t index = shl_verbs_recv_state(xfer)->place;
    if (index == 0)
        return;
    struct shl_verbs_place *place = &link->direct.places[index - 1];
    if (link->direct.up && !place->landed) {
        /* Not announced in the next life: it is free before that is connected. */
        place->landed = true;
        shl_verbs_direct_reset(link);
    }
    if (place->xfer == xfer) /* else the link has failed, and its places are free */
        shl_verbs_place_free(link, place);
}

/* The write came before the READY about its message, which went another way. */
static void expect_ready(struct shl_verbs_link *link, const struct shl_tag *tag)
{
    struct shl_verbs_frame frame = {.type = SHL_VERBS_UNPLACE, .tag = *tag};
    struct shl_verbs_note *note = shl_verbs_note_new(link, &frame);
    if (note)
        shl_list_append(&link->notes[shl_verbs_bucket(tag)], &note->link);
}

void shl_verbs_on_placed(struct shl_verbs_link *link, uint32_t immediate)
{
    struct shl_verbs_place *place = shl_verbs_place_named(link, immediate);
    if (!place || shl_verbs_pieces_told(immediate) > place->pieces_left) {
        shl_verbs_link_fail(link, SHOAL_ERR_PEER,
                            "rank %u names place 0x%x, which it does not have", link->peer,
                            immediate);
        return;
    }
    struct shl_xfer *xfer = place->xfer;
    place->pieces_left -= shl_verbs_pieces_told(immediate);
    if (place->pieces_left)
        return; /* other rails carry them */
    link->direct.bytes_received += xfer->bytes;
    link->bytes_received += xfer->bytes;
    if (immediate & SHL_VERBS_READY_SENT && !shl_verbs_recv_state(xfer)->ready)
        expect_ready(link, &xfer->tag);
    xfer->moved_bytes = xfer->bytes;
    shl_verbs_place_free(link, place);
    shl_verbs_recv_complete(link, xfer, SHOAL_OK);
}

void shl_verbs_on_unplace(struct shl_verbs_link *link, const struct shl_verbs_frame *frame)
{
    struct shl_verbs_place *place = shl_verbs_place_named(link, frame->window);
    if (!place || place->landed)
        return;
    struct shl_xfer *xfer = place->xfer;
    struct shl_verbs_recv_state *state = shl_verbs_recv_state(xfer);
    shl_verbs_place_free(link, place);
    state->windowed = true;
    if (frame->length)
        shl_verbs_sender_ready(link, xfer);
}
